package standard_test

import (
	"fmt"
	"testing"
	"time"

	"careof/internal/core/engine"
	"careof/internal/proto/mip4/feature/path"
	"careof/internal/proto/mip4/standard"
)

// standsStill stops the node's process for a while. What arrives meanwhile lies in its
// sockets, and when it goes on its timers come first.
func (p *pair) standsStill(d time.Duration) {
	p.t.Helper()
	var unread []engine.Event
	p.pass(p.t, d, func(m parcel) {
		switch {
		case m.done != nil:
			m.done()
		case m.to == p.node:
			unread = append(unread, m.ev)
		default:
			p.step(m.to, m.ev)
		}
	}, func() (at time.Time, wake func()) {
		return sooner(at, wake, p.agent.machine.Deadline(), func() { p.step(p.agent, engine.Wake{}) })
	})
	p.step(p.node, engine.Wake{})
	for _, ev := range unread {
		p.later(time.Millisecond, p.node, ev)
	}
}

// A host that has stood still takes no path for dead whose answers are there and were
// not read yet, nor for one that answers late; and a hole it still finds, as soon as ever.
func TestAStandstillIsNoDeath(t *testing.T) {
	for profile := range path.Off {
		for _, way := range []time.Duration{20 * time.Millisecond, 50 * time.Millisecond, 200 * time.Millisecond, 600 * time.Millisecond} {
			t.Run(fmt.Sprint(profile, "-", way), func(t *testing.T) {
				p := newPair(t, agentConfig(t), nodeConfig(t), standard.Config{Paths: path.Config{Profile: profile}})
				p.ways, p.losses = map[string]time.Duration{"wlan0": way, "lte0": way}, map[string]func() bool{}
				p.up("wlan0", wifi)
				p.run(time.Second)
				p.up("lte0", lte)
				p.run(10 * time.Second)
				before := p.uplink("wlan0")
				for d := 10 * time.Millisecond; d < 8*time.Second; d += d / 3 {
					p.standsStill(d)
					p.run(3 * time.Second)
					if n := p.told(path.PathDead); n > 0 {
						t.Fatalf("dead after a standstill of %v", d)
					}
				}
				got, want := p.uplink("wlan0").Quality.RoundTrip, before.Quality.RoundTrip
				if got.Round(time.Microsecond) != want.Round(time.Microsecond) {
					t.Errorf("a round trip of %v has become one of %v", want, got)
				}
			})
		}
	}
}

// On a host that never wakes in time a silent path is found, too.
func TestAHostThatIsAlwaysLateFindsADeadPath(t *testing.T) {
	p := paths(t, nil)
	p.losses["wlan0"] = func() bool { return true }
	for range 100 {
		p.standsStill(50 * time.Millisecond)
		p.run(5 * time.Millisecond)
	}
	if p.told(path.PathDead) == 0 {
		t.Error("nothing comes over the path for 5 s, and nobody has noticed")
	}
}
