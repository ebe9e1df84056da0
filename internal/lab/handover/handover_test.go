package handover

import (
	"io"
	"strings"
	"testing"
	"time"
)

// "With link events the outage of an announced move between foreign agents is
// registration time, not advertisement time"; without them it follows the
// advertisements. In virtual time that is exact.
//
//rfc:5944#2.4.2.1
//rfc:5944#2.4.2.2
func TestOutageOfMovesBetweenForeignAgents(t *testing.T) {
	r, err := Run(t.Context(), Options{Moves: 10, Virtual: true, Seed: 1, Tell: io.Discard})
	if err != nil {
		t.Fatal(err)
	}
	// The flow's own 5 ms and the way to the visited link are in the 20 ms.
	announced := r.RoundTrip + 20*time.Millisecond
	for _, c := range []struct {
		told           string
		least, longest time.Duration
	}{
		{"the link goes down and up", r.RoundTrip, announced},
		// The next advertisement comes within an interval.
		{"prefixes in advertisements", announced, r.Interval + announced},
		// An agent is lost after its advertisement's lifetime, three intervals
		// (RFC 1256 section 4.1); what has been heard since then is tried.
		{"silence of the old agent", r.Interval, 3*r.Interval + announced + time.Second},
		{"probes into a black hole, profile default", r.RoundTrip, time.Second},
		{"probes into a black hole, profile fast", r.RoundTrip, 250 * time.Millisecond},
	} {
		found := false
		for _, o := range r.Outages {
			if o.Told != c.told {
				continue
			}
			found = true
			if o.Longest > c.longest || o.Longest < c.least || len(o.All) != 10 {
				t.Errorf("%s: %v, not between %v and %v", c.told, o.All, c.least, c.longest)
			}
		}
		if !found {
			t.Errorf("nothing about: %s", c.told)
		}
	}
	var table strings.Builder
	if err := r.Write(&table); err != nil {
		t.Fatal(err)
	}
	t.Log(table.String())
}
