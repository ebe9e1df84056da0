package standard_test

import (
	"net/netip"
	"slices"
	"testing"
	"time"

	"careof/internal/core/forward"
	"careof/internal/core/note"
	"careof/internal/proto/mip4/feature/hostconfig"
	"careof/internal/proto/mip4/feature/path"
	"careof/internal/proto/mip4/feature/pathmtu"
	"careof/internal/proto/mip4/feature/twins"
	"careof/internal/proto/mip4/feature/validate"
	"careof/internal/proto/mip4/feature/vendor"
	"careof/internal/proto/mip4/feature/wireguard"

	styles "careof/internal/proto/mip4/feature/delivery"
)

// sendsTo are the care-of addresses that the home agent sends to.
func (p *pair) sendsTo() (list []netip.Addr) {
	for _, e := range p.agent.entries {
		for _, t := range e.Tunnels {
			if t.Mode != forward.Receive {
				list = append(list, t.Peer.Addr())
			}
		}
	}
	return list
}

// keepsTo says that for d the home agent sends to nothing but one address, and that
// packets go over its link.
func (p *pair) keepsTo(link string, address netip.Addr, d time.Duration) {
	p.t.Helper()
	for since := time.Duration(0); since < d; since += 5 * time.Millisecond {
		if list := p.sendsTo(); !slices.Equal(list, []netip.Addr{address}) {
			p.t.Fatalf("after %v the home agent sends to %v\n%s", since, list, p.trace())
		}
		p.run(5 * time.Millisecond)
	}
	if got := p.status().Link; got != link {
		p.t.Fatalf("over %s", got)
	}
}

// well says that the uplink beside a deaf one was never called bad, nor the node two.
func (p *pair) well(link string) {
	p.t.Helper()
	for _, n := range noted(p.node.notes, path.PathDead) {
		if n.Link == link {
			p.t.Errorf("told of a good path: %+v", n)
		}
	}
	if list := noted(p.agent.notes, twins.BackAndForth); len(list) != 0 {
		p.t.Errorf("the home agent tells of two hosts: %v", list)
	}
}

// The preferred uplink takes requests to the home agent, and no reply back. The home
// agent would send there what is lost, with each request anew, so no more of them
// leave over it from the moment on in which the other uplink is registered.
//
//rfc:5944#3.6-2
func TestAPreferredUplinkThatIsDeafFromTheStartBreaksNothing(t *testing.T) {
	p := alone(t, nil)
	p.unheard = map[netip.Addr]bool{wifi: true}
	p.up("wlan0", wifi)
	p.up("lte0", lte)
	p.over("lte0", 0, 2*time.Second)
	p.keepsTo("lte0", lte, time.Second)
	p.saysOf("wlan0", "standby", "preferred, and registered when a question over it is answered")
	p.saysOf("lte0", "in-use", "in use until something comes back over wlan0: priority 100 goes before 50")
	p.keepsTo("lte0", lte, 5*time.Minute)
	p.saysOf("wlan0", "dead", "nothing has ever come back over it")
	p.well("lte0")

	// It is used as soon as a question is answered: it was never good, and so has not
	// failed. Nothing is lost, since packets go over the other one until then.
	p.unheard[wifi] = false
	p.over("wlan0", 0, 6*time.Second)
	p.keepsTo("wlan0", wifi, time.Minute)
}

// So it is when it comes up later, and when it died in that direction while it was used.
func TestAPreferredUplinkThatComesUpDeafBreaksNothing(t *testing.T) {
	p := alone(t, nil)
	p.lose("wlan0")
	p.up("lte0", lte)
	p.run(10 * time.Second)
	p.unheard = map[netip.Addr]bool{wifi: true}
	p.up("wlan0", wifi)
	p.keepsTo("lte0", lte, 2*time.Minute)
	p.well("lte0")

	// Another network that answers.
	p.lose("wlan0")
	p.run(time.Second)
	p.unheard[wifi] = false
	p.upVia("wlan0", wifi, 9)
	p.over("wlan0", 0, 200*time.Millisecond)

	p.unheard[wifi] = true
	p.over("lte0", 700*time.Millisecond, time.Second)
	p.keepsTo("lte0", lte, 5*time.Minute)
	p.well("lte0")
}

// The way over the preferred uplink leads through the node's own tunnel: a mobile router has
// joined a network that is behind it, or behind a router that visits it. Questions are
// answered until the home agent sends there, and nothing after that. The other uplink is
// good, and packets go over it but for a moment now and then.
func TestAPreferredUplinkThatLeadsThroughTheNodesOwnTunnelBreaksLittle(t *testing.T) {
	p := alone(t, nil)
	p.lose("wlan0")
	p.up("lte0", lte)
	p.run(10 * time.Second)
	p.round = map[netip.Addr]bool{wifi: true}
	p.up("wlan0", wifi)
	const step = 10 * time.Millisecond
	dark := func(d time.Duration) (sum, longest time.Duration) {
		row := time.Duration(0)
		for since := time.Duration(0); since < d; since += step {
			p.run(step)
			if row += step; slices.Equal(p.sendsTo(), []netip.Addr{lte}) {
				row = 0
				continue
			}
			sum, longest = sum+step, max(longest, row)
		}
		return sum, longest
	}
	if sum, longest := dark(15 * time.Second); sum > 4*time.Second || longest > 1200*time.Millisecond {
		t.Errorf("dark for %v in 15 s, for %v at a time", sum, longest)
	}
	p.saysOf("wlan0", "dead", "questions over it are answered, and requests are not")
	p.saysOf("lte0", "in-use", "wlan0 is dead")
	if sum, longest := dark(30 * time.Minute); sum > 12*time.Second || longest > 1200*time.Millisecond {
		t.Errorf("dark for %v in half an hour, for %v at a time", sum, longest)
	}
	if n := len(noted(p.node.notes, note.Lost)); n != 0 {
		t.Errorf("%d registrations were lost", n)
	}

	p.round = nil
	p.run(5 * time.Minute)
	p.over("wlan0", 0, time.Second)
	p.saysNot("wlan0", "questions")
}

// A home agent that the node has just met may not know questions: a deaf uplink that
// comes up in that moment is registered over, once, and packets come again within two
// seconds. Then the home agent is known.
func TestADeafUplinkTakesPacketsOnceOfAHomeAgentThatWasJustMet(t *testing.T) {
	p := alone(t, nil)
	p.up("lte0", lte)
	p.run(time.Second)
	p.unheard = map[netip.Addr]bool{wifi: true}
	p.up("wlan0", wifi)
	p.run(2 * time.Second)
	p.keepsTo("lte0", lte, 5*time.Minute)
}

// A preferred uplink that answers is registered a round trip after it has come up, over
// which nothing else is asked first; a home agent that knows no question is asked none.
func TestAPreferredUplinkIsAskedOnceBeforeItIsUsed(t *testing.T) {
	for _, c := range []struct {
		name  string
		knows bool
		took  time.Duration
	}{{"a careof home agent", true, 101 * time.Millisecond}, {"another one", false, 50 * time.Millisecond}} {
		t.Run(c.name, func(t *testing.T) {
			p := alone(t, nil)
			if !c.knows {
				p.without(path.Name, pathmtu.Name, validate.Name, hostconfig.Name, vendor.Name, styles.Name, wireguard.Name)
			}
			p.lose("wlan0")
			p.up("lte0", lte)
			p.run(10 * time.Second)
			from, sent := p.now.Mono, p.sent
			p.up("wlan0", wifi)
			for p.status().Link != "wlan0" && p.now.Mono.Sub(from) < time.Second {
				p.run(time.Millisecond)
			}
			if took := p.now.Mono.Sub(from); took != c.took {
				t.Errorf("registered over it after %v, not %v", took, c.took)
			}
			if want := int(c.took / (50 * time.Millisecond)); p.sent-sent != want {
				t.Errorf("%d messages, not %d", p.sent-sent, want)
			}
			p.agree()
			if n := p.told(note.Lost); n != 0 {
				t.Errorf("%d registrations were lost", n)
			}
		})
	}
}
