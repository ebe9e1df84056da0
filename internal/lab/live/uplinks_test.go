package live

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"careof/internal/core/note"
	"careof/internal/lab/topology"
)

// A node that starts, knows nothing and has two uplinks registers once, over
// the one that it prefers, though it is told of the other one first.
func TestANodeThatStartsWithTwoUplinksRegistersOnce(t *testing.T) {
	t.Parallel()
	plan := topology.Default()
	mn := plan.Node("mn")
	mn.Config = strings.Replace(mn.Config, "priority = 50", "priority = 200", 1)
	l := build(t, plan, Options{})
	s := NewStage(t.Context(), l, t.Logf)
	defer s.Close()
	s.Plug("mn", "wwan0", "access2")
	s.Plug("mn", "wlan0", "access1")
	registered := func() bool { b := s.Binding("mn"); return b.Registered && b.Link == "wwan0" }
	s.Until("the node is registered", 10*time.Second, registered)
	s.Kill("mn")
	state := filepath.Join(filepath.Dir(l.Daemon("mn").Config), "state")
	if err := os.RemoveAll(state); err != nil {
		t.Fatal(err)
	}
	before := len(l.Events("mn"))
	s.Start("mn")
	s.Until("the node is registered again", 10*time.Second, func() bool {
		for _, e := range l.Events("mn")[before:] {
			if e.Kind == note.Registered {
				return true
			}
		}
		return false
	})
	s.Wait(2 * time.Second)
	var over []string
	for _, e := range l.Events("mn")[before:] {
		t.Logf("%v %v %v", e.Time.Format("15:04:05.000"), e.Kind, e.Link)
		if e.Kind == note.Requesting {
			over = append(over, e.Link)
		}
	}
	over = slices.Compact(over) // where a reply is late, a request is repeated
	if len(over) > 1 || len(over) == 1 && over[0] != "wwan0" {
		t.Errorf("requests over %v", over)
	}
}
