package scene

import (
	"bufio"
	"flag"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
)

var (
	seeds   = flag.Int("seeds", 0, "how many random stories TestSwarm plays, besides those in testdata/seeds.txt, and with how many seeds TestOtherChances each scene; 0 is 200 and 4, and 40 and 1 with -short")
	first   = flag.Uint64("first", 1, "the first of the seeds")
	oneSeed = flag.Uint64("seed", 0, "the one random story that TestSwarm plays; 0 plays many")
)

// badSeeds reads the seeds that once found a bug.
func badSeeds(t *testing.T) []uint64 {
	f, err := os.Open("testdata/seeds.txt")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var list []uint64
	for lines := bufio.NewScanner(f); lines.Scan(); {
		line, _, _ := strings.Cut(strings.TrimSpace(lines.Text()), " ")
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		seed, err := strconv.ParseUint(line, 10, 64)
		if err != nil {
			t.Fatalf("testdata/seeds.txt: %v", err)
		}
		list = append(list, seed)
	}
	return list
}

// TestSwarm plays random stories: those that once found a bug first. A story
// is played twice, which must give the same trace, the second time with the
// trace's text when the first failed; and with three shards, which must come
// to the same end.
func TestSwarm(t *testing.T) {
	list := badSeeds(t)
	n := *seeds
	if n == 0 && testing.Short() {
		n = 40
	} else if n == 0 {
		n = 200
	}
	for i := range n {
		list = append(list, *first+uint64(i))
	}
	if *oneSeed != 0 {
		list = []uint64{*oneSeed}
	}
	for _, seed := range list {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			t.Parallel()
			swarm(t, seed)
		})
	}
}

func swarm(t *testing.T, seed uint64) {
	again := fmt.Sprintf("go test ./internal/lab/scene -run TestSwarm -seed=%d", seed)
	run := func(shards int) *Sim {
		s, err := NewSwarm(seed)
		if err != nil {
			t.Fatalf("seed %d: %v", seed, err)
		}
		sim, err := s.Run(shards, *oneSeed != 0)
		if err != nil {
			var trace string
			if sim != nil && *oneSeed != 0 {
				trace = sim.World.TraceTail(2000)
				for _, v := range sim.Check.Violations() {
					t.Logf("%v", v)
				}
			}
			t.Fatalf("%d shards: %v\nreplay it with: %s\n%s", shards, err, again, trace)
		}
		return sim
	}
	one, two := run(1), run(1)
	if a, b := one.World.TraceHash(), two.World.TraceHash(); a != b {
		t.Fatalf("the same seed gave the traces %x and %x\nreplay it with: %s", a, b, again)
	}
	three := run(3)
	if a, b := finalState(t, one.World), finalState(t, three.World); !slices.Equal(a, b) {
		t.Errorf("one shard ends with\n%s\nthree with\n%s\nreplay it with: %s", strings.Join(a, "\n"), strings.Join(b, "\n"), again)
	}
	if d := differ(history(one.World), history(three.World)); d != "" {
		t.Errorf("with one shard and with three: %s\nreplay it with: %s", d, again)
	}
}
