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
	for _, m := range r.Roams {
		rtt := 2*m.OneWay + 400*time.Microsecond
		var down, up time.Duration
		switch m.Move {
		case "make before break", "silent black hole, redundant":
			if m.Lost+m.Twice > 0 {
				t.Errorf("%s, %v each way: %d lost, %d came twice", m.Move, m.OneWay, m.Lost, m.Twice)
			}
			continue
		case "break before make, the other uplink stands by":
			down, up = rtt+20*time.Millisecond, 20*time.Millisecond
		case "break before make, the node only receives":
			down = rtt + 20*time.Millisecond
		case "break before make, cold, behind a NAT":
			down, up = 2*rtt+20*time.Millisecond, 2*rtt+20*time.Millisecond
		case "silent black hole, profile default":
			down, up = time.Second, time.Second
		case "silent black hole, profile fast":
			// In doubt packets go over both uplinks: the node's at once.
			down, up = min(rtt+80*time.Millisecond, 250*time.Millisecond), 60*time.Millisecond
			if m.Twice > 0 {
				t.Errorf("%s, %v each way: %d came twice", m.Move, m.OneWay, m.Twice)
			}
		default:
			t.Errorf("%s has no limit", m.Move)
		}
		if m.Down.Longest > down || m.Up.Longest > up || len(m.Moves) != 10 {
			t.Errorf("%s, %v each way: nothing came down for %v and up for %v, more than %v and %v", m.Move, m.OneWay, m.Down.Longest, m.Up.Longest, down, up)
		}
	}
	if len(r.Roams) != 14 {
		t.Errorf("%d kinds of moves", len(r.Roams))
	}
	var table strings.Builder
	if err := r.Write(&table); err != nil {
		t.Fatal(err)
	}
	t.Log(table.String())
}
