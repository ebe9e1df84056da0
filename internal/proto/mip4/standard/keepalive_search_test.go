package standard_test

import (
	"net/netip"
	"testing"
	"time"

	"careof/internal/core/engine"
	"careof/internal/proto/mip4/feature/natt"
	"careof/internal/proto/mip4/standard"
)

// reachable says whether what the home agent sends now comes through the NAT.
func (p *pair) reachable() bool {
	port := p.nat[behindNAT]
	if p.forgotten(port) {
		return false
	}
	for _, e := range p.agent.entries {
		for _, t := range e.Tunnels {
			if t.Peer.Port() == port {
				return true
			}
		}
	}
	return false
}

// silent lets time pass in which the node only receives, and tells for how much
// of it it was not reachable.
func (p *pair) silent(d time.Duration) (lost time.Duration) {
	const grain = time.Second / 2
	for range d / grain {
		p.run(grain)
		if !p.reachable() {
			lost += grain
		}
	}
	return lost
}

// interval is between the last two keepalives.
func (p *pair) interval() time.Duration {
	return p.echoes[len(p.echoes)-1].Sub(p.echoes[len(p.echoes)-2])
}

// quiet is a pair whose registrations are so rare that they keep no mapping.
func quiet(t *testing.T, c natt.Config, idle time.Duration) *pair {
	t.Helper()
	nc := nodeConfig(t)
	nc.Lifetime = 12 * time.Hour
	ac := agentConfig(t)
	ac.MaxLifetime = 12 * time.Hour
	p := newPair(t, ac, nc, standard.Config{NATTraversal: c})
	p.nat[behindNAT], p.idle = 61001, idle
	p.up("wlan0", behindNAT)
	return p
}

// After a mapping was lost the interval grows again to what the NAT keeps, on
// another mapping than the tunnel's: a node that only receives is out of reach
// only until it has found out, as it would be without a search.
//
//rfc:3519#4.10
func TestTheKeepaliveIntervalIsSearched(t *testing.T) {
	for _, c := range []struct {
		idle     time.Duration
		losses   int
		from, to time.Duration
	}{
		{30 * time.Second, 2, 20 * time.Second, 30 * time.Second},
		{75 * time.Second, 1, 62 * time.Second, 70 * time.Second},
		{120 * time.Second, 0, 110 * time.Second, 110 * time.Second},
		{time.Hour, 0, 110 * time.Second, 110 * time.Second},
		{15 * time.Second, 3, 10 * time.Second, 15 * time.Second},
	} {
		p := quiet(t, natt.Config{}, c.idle)
		p.silent(10 * time.Minute)
		if n := p.node.count(natt.MappingLost); n != c.losses {
			t.Errorf("%v: %d mappings lost, want %d\n%s", c.idle, n, c.losses, p.trace())
		}
		if lost := p.silent(3 * time.Hour); lost != 0 {
			t.Errorf("%v: out of reach for %v while searching\n%s", c.idle, lost, p.trace())
		}
		if k := p.interval(); k < c.from || k > c.to {
			t.Errorf("%v: the interval is %v\n%s", c.idle, k, p.trace())
		}
		shown := p.uplink("wlan0").Keepalive
		if off := (shown.Interval - p.interval()).Abs(); off > time.Second || shown.Assigned != natt.DefaultKeepalive {
			t.Errorf("%v: what is shown is %+v, and keepalives are %v apart", c.idle, shown, p.interval())
		}
		p.agree()
		// It is found, and the search is over.
		n := p.asides
		if p.silent(time.Hour); p.asides != n || n > 40 {
			t.Errorf("%v: %d questions, then %d", c.idle, n, p.asides-n)
		}
	}
}

// What was no NAT's fault, and a NAT that somebody mends, do not leave the node
// with half the interval. One that gets worse costs what it has always cost.
//
//rfc:3519#4.10
func TestANATThatChanges(t *testing.T) {
	p := quiet(t, natt.Config{}, 120*time.Second)
	p.silent(5 * time.Minute)
	p.nat[behindNAT]++ // it restarts
	p.silent(5 * time.Minute)
	if n := p.node.count(natt.MappingLost); n != 1 {
		t.Fatalf("%d mappings lost", n)
	}
	p.silent(time.Hour)
	if k := p.interval(); k != 110*time.Second {
		t.Errorf("after a restart of the NAT the interval is %v\n%s", k, p.trace())
	}
	p.idle = 25 * time.Second
	p.silent(10 * time.Minute)
	lost := p.node.count(natt.MappingLost)
	if out := p.silent(2 * time.Hour); out != 0 || p.node.count(natt.MappingLost) != lost || lost != 4 {
		t.Errorf("out of reach for %v, %d mappings lost before and %d after\n%s", out, lost, p.node.count(natt.MappingLost), p.trace())
	}
	if k := p.interval(); k < 12*time.Second || k > 25*time.Second {
		t.Errorf("the interval is %v", k)
	}
	// Away from it, the way back is known; a new network is nobody's lesson.
	learnt := p.uplink("wlan0").Keepalive.Interval
	p.idle = time.Hour
	p.step(p.node, engine.LinkChanged{Link: engine.Link{Name: "wlan0"}})
	p.run(time.Second)
	p.nat[behindNAT] = 30000
	p.upVia("wlan0", behindNAT, 77)
	p.silent(10 * time.Minute)
	if k := p.interval(); k != 110*time.Second || p.uplink("wlan0").Keepalive.Interval != k {
		t.Errorf("in a new network the interval is %v, and %+v is shown", k, p.uplink("wlan0").Keepalive)
	}
	// Back, and before it is registered there.
	p.step(p.node, engine.LinkChanged{Link: engine.Link{Name: "wlan0"}})
	p.run(time.Second)
	p.up("wlan0", behindNAT)
	if k := p.uplink("wlan0").Keepalive; k.Interval != learnt || learnt >= 25*time.Second {
		t.Errorf("%v was learnt of this network, and %+v is shown", learnt, k)
	}
}

// What the home agent assigns is the upper bound.
//
//rfc:3519#3.2-1
func TestTheSearchStaysBelowWhatIsAssigned(t *testing.T) {
	p := quiet(t, natt.Config{Keepalive: 40 * time.Second}, time.Hour)
	p.silent(time.Minute)
	p.nat[behindNAT]++
	p.silent(2 * time.Hour)
	if k := p.interval(); k != 40*time.Second {
		t.Errorf("the interval is %v\n%s", k, p.trace())
	}
}

// A stranger who repeats a question does not get the answer, nor keeps the node
// from it.
func TestARepeatedQuestionDoesNotTakeTheAnswer(t *testing.T) {
	p := quiet(t, natt.Config{Keepalive: 40 * time.Second}, time.Hour)
	p.silent(time.Minute)
	p.nat[behindNAT]++
	for range 400 {
		if p.run(time.Second / 2); p.asides == 2 {
			break
		}
	}
	if p.asides != 2 || !p.last.Aside {
		t.Fatalf("%d questions, the last message %+v", p.asides, p.last)
	}
	replies := p.replies
	p.step(p.agent, engine.Packet{Link: "eth0", Src: netip.AddrPortFrom(stranger, 5000), Dst: p.last.Dst, TTL: 60, Data: p.last.Data})
	p.silent(45 * time.Second) // the question is for 37 s
	if p.replies != replies+1 || p.node.count(natt.Lengthened) != 1 {
		t.Errorf("%d replies\n%s", p.replies-replies, p.trace())
	}
}

// No home agent holds an answer back for more than ten minutes, and what it
// cannot find is not searched for ever.
func TestTheSearchEndsAtTheLongestWait(t *testing.T) {
	for _, c := range []struct{ assigned, want time.Duration }{
		{20 * time.Minute, 10 * time.Minute},
		{15 * time.Minute, 595 * time.Second},
	} {
		p := quiet(t, natt.Config{Keepalive: c.assigned}, 2*time.Hour)
		p.silent(time.Minute)
		p.nat[behindNAT]++
		p.silent(2 * time.Hour)
		n := p.asides
		if p.silent(4 * time.Hour); p.asides != n {
			t.Errorf("%v: %d questions, and then %d", c.assigned, n, p.asides-n)
		}
		if k := p.interval(); k != c.want {
			t.Errorf("%v: the interval is %v\n%s", c.assigned, k, p.trace())
		}
	}
}
