package standard_test

import (
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"careof/internal/core/engine"
	"careof/internal/core/forward"
	"careof/internal/proto/mip4/feature"
	"careof/internal/proto/mip4/feature/natt"
	"careof/internal/proto/mip4/feature/path"
	"careof/internal/proto/mip4/feature/redundant"
	"careof/internal/proto/mip4/feature/wireguard"
	"careof/internal/proto/mip4/ha"
	"careof/internal/proto/mip4/standard"
)

func redundancy(t *testing.T) standard.Config {
	t.Helper()
	c, err := forward.ParseClass("dscp ef")
	if err != nil {
		t.Fatal(err)
	}
	return standard.Config{Redundant: redundant.Config{Classes: []forward.Class{c}}}
}

// both says that both ends hold two tunnels for copies, and that the rest goes
// over first and comes from there.
func (p *pair) both(first netip.Addr) {
	p.t.Helper()
	for end, h := range map[string]*host{"home agent": p.agent, "node": p.node} {
		if len(h.entries) != 1 {
			p.t.Fatalf("%s: %d entries", end, len(h.entries))
		}
		for _, e := range h.entries {
			copies, rest := 0, netip.Addr{}
			for _, t := range e.Tunnels {
				outer := t.Peer.Addr()
				if h == p.node {
					outer = t.Local.Addr()
				}
				if t.Copies {
					copies++
				}
				if t.Mode != forward.Receive {
					rest = outer
				}
			}
			if copies != 2 || rest != first || len(e.Redundant) != 1 {
				p.t.Errorf("%s: %d tunnels for copies, the rest over %v: %+v", end, copies, rest, e)
			}
		}
	}
}

// Two uplinks are registered, one for all and one for copies; when the first is
// lost the other takes its place in one round trip, and when it is back it is the
// first again. The home agent's configuration needs to say nothing.
func TestRedundantPacketsGoOverTwoUplinks(t *testing.T) {
	ac := agentConfig(t)
	ac.SimultaneousBindings = 1
	p := newPair(t, ac, nodeConfig(t), redundancy(t))
	p.up("wlan0", wifi)
	p.run(time.Second)
	p.agree()
	p.up("lte0", lte)
	p.run(time.Second)
	p.both(wifi)
	w, l := p.uplink("wlan0"), p.uplink("lte0")
	if said := "redundant packets go over it and another"; !strings.Contains(w.Why, said) || !strings.Contains(l.Why, said) || l.State != "standby" {
		t.Errorf("shown as %q and %s %q", w.Why, l.State, l.Why)
	}
	p.step(p.agent, engine.Command{Ticket: 1, Value: ha.ListBindings{}})
	for _, b := range p.agent.results[len(p.agent.results)-1].Value.([]ha.Binding) {
		if b.Standby != (b.CareOfAddress == lte) || !slices.Equal(b.Redundant, []string{"dscp 46"}) {
			t.Errorf("shown as %+v", b)
		}
	}
	p.bootAgent(ac, redundancy(t)) // what was agreed outlives a restart
	for e := range p.agent.machine.Entries() {
		p.agent.entries[e.Key] = e
	}
	p.both(wifi)

	p.run(time.Hour)
	p.both(wifi)
	p.lose("wlan0")
	p.run(60 * time.Millisecond)
	p.agree()
	if s := p.status(); s.Link != "lte0" {
		t.Errorf("over %s", s.Link)
	}
	p.run(time.Minute)
	p.up("wlan0", wifi)
	p.run(time.Second)
	p.both(wifi)
}

// A black hole on the first uplink: the other one takes all packets.
func TestTheOtherUplinkTakesOverFromABlackHole(t *testing.T) {
	p := newPair(t, agentConfig(t), nodeConfig(t), redundancy(t))
	p.ways, p.losses = map[string]time.Duration{}, map[string]func() bool{}
	p.up("wlan0", wifi)
	p.run(time.Second)
	p.up("lte0", lte)
	p.run(10 * time.Second)
	p.both(wifi)
	p.down["wlan0"] = true
	for since := time.Duration(0); p.status().Link != "lte0"; since += 50 * time.Millisecond {
		if since > time.Second {
			t.Fatalf("still over %s", p.status().Link)
		}
		p.run(50 * time.Millisecond)
	}
	p.down["wlan0"] = false
	p.run(2 * time.Minute)
	p.both(wifi)
}

// A home agent that knows nothing of this gets no second registration, though
// it would take one.
func TestOthersGetNoSecondRegistration(t *testing.T) {
	p := newPair(t, agentConfig(t), nodeConfig(t), redundancy(t))
	p.without(redundant.Name)
	p.up("wlan0", wifi)
	p.run(time.Second)
	p.up("lte0", lte)
	p.run(10 * time.Minute)
	p.agree()
	if s := p.status(); s.Link != "wlan0" || len(s.Registered) != 1 {
		t.Errorf("%+v", s)
	}
}

// encryptedRedundancy is a pair whose node encrypts and sends redundant packets.
func encryptedRedundancy(t *testing.T) *pair {
	t.Helper()
	p := encrypting(t, wireguard.Allowed)
	nc := nodeConfig(t)
	nc.Encrypted = true
	p.bootNode(nc, standard.Config{
		NATTraversal: natt.Config{Mode: natt.Force}, WireGuard: wireguard.Config{Own: nodeKey}, Redundant: redundancy(t).Redundant,
	})
	return p
}

// In encrypted tunnels it is the same, from the first uplink to the loss of one and
// a restart of the home agent, and no tunnel is ever in the clear.
func TestRedundantPacketsGoOverTwoEncryptedUplinks(t *testing.T) {
	p := encryptedRedundancy(t)
	p.up("wlan0", wifi)
	p.run(time.Second)
	p.up("lte0", lte)
	p.run(time.Second)
	p.both(wifi)
	if !p.sealed() {
		t.Fatal("in the clear")
	}
	if w := p.uplink("wlan0"); !strings.Contains(w.Why, "redundant packets go over it and another") {
		t.Errorf("shown as %q", w.Why)
	}
	p.bootAgent(agentConfig(t), atAgent(wireguard.Allowed))
	for e := range p.agent.machine.Entries() {
		p.agent.entries[e.Key] = e
	}
	p.both(wifi)
	p.run(time.Hour)
	p.lose("wlan0")
	for range 100 {
		p.run(10 * time.Millisecond)
		p.sealed()
	}
	p.agree()
	if s := p.status(); s.Link != "lte0" {
		t.Errorf("over %s", s.Link)
	}
	p.up("wlan0", wifi)
	p.run(time.Minute)
	p.both(wifi)
	if !p.sealed() {
		t.Fatal("in the clear")
	}
}

// The second uplink is kept open in the NAT before it, also with a profile that
// probes nothing and while no packet goes: the copies of what comes after a long
// rest get through.
func TestTheSecondEncryptedUplinksMappingIsKept(t *testing.T) {
	p := encryptedRedundancy(t)
	nc := nodeConfig(t)
	nc.Encrypted = true
	p.bootNode(nc, standard.Config{
		NATTraversal: natt.Config{Mode: natt.Force}, WireGuard: wireguard.Config{Own: nodeKey},
		Redundant: redundancy(t).Redundant, Paths: path.Config{Profile: path.Off},
	})
	p.nat, p.idle = map[netip.Addr]uint16{lte: 30000}, 30*time.Second // keepalives are due every 20 s
	p.up("wlan0", wifi)
	p.run(time.Second)
	p.up("lte0", lte)
	p.run(time.Second)
	p.both(wifi)
	for range 60 {
		p.run(time.Minute)
		if port := p.nat[lte]; port != 30000 || p.forgotten(port) {
			t.Fatalf("the NAT has forgotten the second uplink: port %d\n%s", port, p.trace())
		}
	}
	p.both(wifi)
}

// A home agent that encrypts and knows nothing of redundant packets gets one
// registration, and each packet once.
func TestOthersThatEncryptGetNoSecondRegistration(t *testing.T) {
	p := encryptedRedundancy(t)
	others := slices.DeleteFunc(standard.Features(atAgent(wireguard.Allowed)), func(f feature.Feature) bool { return f.Name == redundant.Name })
	a, err := standard.HomeAgent(agentConfig(t), others, rand.New(rand.NewPCG(1, 99)))
	if err != nil {
		t.Fatal(err)
	}
	p.restore(p.agent, a)
	p.up("wlan0", wifi)
	p.run(time.Second)
	p.up("lte0", lte)
	p.run(10 * time.Minute)
	if s := p.status(); s.Link != "wlan0" || len(s.Registered) != 1 {
		t.Errorf("%+v", s)
	}
	for _, h := range []*host{p.agent, p.node} {
		for _, e := range h.entries {
			if len(e.Tunnels) != 1 || e.Tunnels[0].Copies {
				t.Errorf("%+v", e)
			}
		}
	}
	if !p.sealed() {
		t.Error("in the clear")
	}
}
