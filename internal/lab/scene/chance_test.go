package scene

import "testing"

// byChance are scenes in which one story in some tens once went wrong.
var byChance = []string{"loaded-path", "ha-drain"}

// TestOtherChances plays each scene with other seeds: what is lost, delayed and drawn
// there is another each time, and what the scene asserts must not depend on it.
func TestOtherChances(t *testing.T) {
	n := *seeds
	switch {
	case n == 0 && testing.Short():
		n = 1
	case n == 0:
		n = 5
	}
	play := func(s *Scene, n int) {
		t.Run(s.Name, func(t *testing.T) {
			t.Parallel()
			for seed := *first + 1; seed <= *first+uint64(n); seed++ {
				if err := PlaySimulated(s, seed, nil); err != nil {
					t.Errorf("seed %d: %v", seed, err)
				}
			}
		})
	}
	for _, s := range All() {
		if s.Simulated() {
			play(s, n)
		}
	}
	if *seeds == 0 && !testing.Short() {
		for _, name := range byChance {
			play(Find(name), 60)
		}
	}
}
