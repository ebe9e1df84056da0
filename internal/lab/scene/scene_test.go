package scene

import (
	"flag"
	"fmt"
	"maps"
	"os"
	"regexp"
	"slices"
	"testing"

	"careof/internal/lab/world"
)

// TestMain reads -rewrite, which accepts what scenes tell as golden.
func TestMain(m *testing.M) {
	flag.BoolFunc("rewrite", "write the golden stories anew", func(string) error {
		rewrite = "."
		return nil
	})
	flag.Parse()
	os.Exit(m.Run())
}

// outcome is what two runs of a scene are compared by.
type outcome struct {
	hash    uint64
	state   []string
	history []string
}

// play plays a scene in a simulation, with all invariants watching.
func play(t *testing.T, s *Scene, o Options) (*Sim, outcome) {
	t.Helper()
	top, err := s.Build()
	if err != nil {
		t.Fatal(err)
	}
	o.Tune = s.Tune
	o.Keep = true
	sim, err := Simulate(top, o)
	if err != nil {
		t.Fatal(err)
	}
	err = Perform(s, sim)
	if err == nil {
		err = sim.Finish()
	}
	for _, v := range sim.Check.Violations() {
		t.Logf("%v", v)
	}
	for _, line := range sim.Logged() {
		t.Log(line)
	}
	if err != nil {
		t.Fatalf("seed %d, %d shards: %v\n%s", o.Seed, max(1, o.Shards), err, sim.World.TraceTail(400))
	}
	return sim, outcome{hash: sim.World.TraceHash(), state: finalState(t, sim.World), history: history(sim.World)}
}

// finalState lists what the planes hold at the end, without times.
func finalState(t *testing.T, w *world.World) []string {
	var list []string
	for _, d := range w.Daemons() {
		for e := range d.Node.Plane().List(t.Context()) {
			for i := range e.Tunnels {
				e.Tunnels[i].Until = e.Tunnels[i].Until.Truncate(1 << 62)
			}
			list = append(list, d.Node.Name+": "+poolAddress.ReplaceAllString(world.EntryText(e), "POOL"))
		}
	}
	slices.Sort(list)
	return list
}

// poolAddress matches addresses of the pool of all scenes: pools are divided
// among shards, so which one is drawn differs.
var poolAddress = regexp.MustCompile(`10\.10\.0\.1\d\d`)

// history lists, for each mobile node, what the daemons told about it, in
// order: what must not depend on how many shards there are. Times are left
// out, and what is drawn by luck: Identifications and pool addresses.
func history(w *world.World) []string {
	about := make(map[string][]string)
	for _, d := range w.Daemons() {
		for _, told := range d.Notes() {
			n := told.Note
			who := string(n.NAI)
			if who == "" {
				who = n.HomeAddress.String()
			}
			n.Identification, n.Took, n.Lifetime = 0, 0, 0
			key := d.Node.Name + " about " + who
			about[key] = append(about[key], poolAddress.ReplaceAllString(n.String(), "POOL"))
		}
	}
	var list []string
	for _, key := range slices.Sorted(maps.Keys(about)) {
		for _, line := range about[key] {
			list = append(list, key+": "+line)
		}
	}
	return list
}

// differ finds the first line in which two histories differ.
func differ(a, b []string) string {
	for i := range max(len(a), len(b)) {
		var x, y string
		if i < len(a) {
			x = a[i]
		}
		if i < len(b) {
			y = b[i]
		}
		if x != y {
			return fmt.Sprintf("line %d: %s | %s", i, x, y)
		}
	}
	return ""
}

// Every scene is played twice with one shard, which must give the same trace,
// and with three, which must come to the same end.
func TestScenes(t *testing.T) {
	for _, s := range All() {
		if !s.Simulated() {
			continue // it needs whole hosts: package live plays it
		}
		t.Run(s.Name, func(t *testing.T) {
			t.Parallel()
			_, first := play(t, s, Options{Seed: 1})
			_, again := play(t, s, Options{Seed: 1})
			if first.hash != again.hash {
				t.Errorf("the same seed gave the traces %x and %x", first.hash, again.hash)
			}
			_, three := play(t, s, Options{Seed: 1, Shards: 3})
			if !slices.Equal(first.state, three.state) {
				t.Errorf("one shard ends with\n%q\nthree with\n%q", first.state, three.state)
			}
			if d := differ(first.history, three.history); d != "" {
				t.Errorf("with one shard and with three: %s", d)
			}
		})
	}
}
