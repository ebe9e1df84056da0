package live

import (
	"context"
	"flag"
	"os"
	"runtime"
	"strconv"
	"testing"
	"time"

	"careof/internal/control"
	"careof/internal/lab/labtest"
	"careof/internal/lab/topology"
)

func TestMain(m *testing.M) {
	labtest.Daemon()
	labtest.EnterUnlessRoot()
	// Scenes mostly wait, so more of them play at a time than there are
	// processors; not so many that they wait for each other.
	flag.Parse()
	if err := flag.Set("test.parallel", strconv.Itoa(10*runtime.NumCPU())); err != nil {
		panic(err)
	}
	os.Exit(m.Run())
}

// build makes a laboratory that the test takes down. It skips only where the
// privilege is missing; never as root.
func build(t *testing.T, top *topology.Topology, o Options) *Lab {
	t.Helper()
	if o.Command == nil {
		o.Command = labtest.Command
	}
	o.Heard = func(node string, e control.Event) { t.Logf("%s: %v", node, e.Note) }
	ctx, cancel := context.WithTimeout(t.Context(), 8*time.Minute)
	defer cancel()
	l, err := Build(ctx, top, o)
	labtest.Allowed(t, err)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if t.Failed() {
			for _, d := range l.Daemons() {
				t.Logf("log of %s:\n%s", d.Node, d.LogTail(60))
			}
		}
		if err := l.Close(); err != nil {
			t.Error("close the laboratory: ", err)
		}
	})
	return l
}
