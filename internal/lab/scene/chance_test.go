package scene

import (
	"strings"
	"testing"

	"careof/internal/lab/topology"
)

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
		n = 4
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

// TestOtherProfile plays each scene with an eager node: on a network that does no more
// than the scene says, it may do nothing that the scene forbids.
func TestOtherProfile(t *testing.T) {
	if testing.Short() {
		t.Skip("all scenes once more")
	}
	for _, s := range All() {
		if !s.Simulated() || strings.HasPrefix(s.Name, "tour-") {
			continue // the tours' golden stories have no second uplink that stands by
		}
		t.Run(s.Name, func(t *testing.T) {
			t.Parallel()
			eager := *s
			eager.Edit = func(top *topology.Topology) {
				if s.Edit != nil {
					s.Edit(top)
				}
				for i := range top.Nodes {
					if n := &top.Nodes[i]; n.Kind == topology.MobileNode && !strings.Contains(n.Config, "profile =") {
						n.Config = strings.Replace(n.Config, "[mobile-node]\n", "[mobile-node]\nprofile = \"fast\"\n", 1)
					}
				}
			}
			if err := PlaySimulated(&eager, *first+1, nil); err != nil {
				t.Error(err)
			}
		})
	}
}
