package scene

import (
	"fmt"
	"maps"
	"slices"
	"testing"
	"time"
)

// An hour on the road, and not one octet of TCP is lost: cells that fade, both
// modems in one private network, Wi-Fi, translators that forget, daemons that
// are killed, clocks and disks that fail, strangers. Twice the same seed is
// twice the same hour.
func TestAnHourOnTheRoad(t *testing.T) {
	list := []uint64{1, 2, 3}
	if testing.Short() {
		list = list[:1]
	}
	if *oneSeed != 0 {
		list = []uint64{*oneSeed}
	}
	for _, seed := range list {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			t.Parallel()
			d := &Drive{Seed: seed, Keep: *oneSeed != 0}
			sim, out, err := d.Run(1 + int(seed%2)*2)
			if err != nil {
				tail := ""
				if sim != nil {
					for _, v := range sim.Check.Violations() {
						t.Log(v)
					}
					if *oneSeed != 0 {
						tail = sim.World.TraceTail(1 << 22)
					}
				}
				t.Fatalf("%v\n%s\nreplay it with: go test ./internal/lab/scene -run TestAnHourOnTheRoad -seed=%d", err, tail, seed)
			}
			t.Logf("%d registrations, %d octets, %d segments sent again, the longest stall %v, %d times all was well; %d events", out.Moves, out.Octets, out.Retransmitted, out.Stall, out.Calms, sim.World.Events())
			for _, what := range slices.Sorted(maps.Keys(out.Events)) {
				t.Logf("%3d times %s", out.Events[what], what)
			}
			if out.Calms < 10 || out.Moves < 50 {
				t.Errorf("hardly anything happened: %+v", out)
			}
		})
	}
	hash := func() uint64 {
		sim, _, err := (&Drive{Seed: 5, Long: 5 * time.Minute}).Run(1)
		if err != nil {
			t.Fatal(err)
		}
		return sim.World.TraceHash()
	}
	if a, b := hash(), hash(); a != b {
		t.Errorf("the same seed gave the traces %x and %x", a, b)
	}
}
