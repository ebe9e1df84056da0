package fa_test

import (
	"net/netip"
	"testing"
	"time"

	"careof/internal/core/engine"
	"careof/internal/core/forward"
	"careof/internal/proto/mip4/advertise"
	"careof/wire/adv4"
	"careof/wire/encap"
)

func advertisement(t testing.TB, s engine.SendDiscovery) (*adv4.Message, adv4.MobilityAgent) {
	t.Helper()
	m, err := adv4.Parse(s.Data)
	if err != nil {
		t.Fatal(err)
	}
	a, err := m.ForMobileNode()
	if err != nil {
		t.Fatal(err)
	}
	return m, a
}

// "A foreign agent may indicate that it is 'too busy' to allow new mobile nodes
// to register with it, by setting the 'B' bit"; "even so, it must continue to
// send Agent Advertisements", and serves those that it has.
//
//rfc:5944#2.1.1
func TestABusyForeignAgentSaysSo(t *testing.T) {
	cfg := config()
	cfg.MaxVisitors = 1
	d := newDriver(t, cfg)
	d.advance(15 * time.Second)
	if _, a := advertisement(t, d.announced[len(d.announced)-1]); a.Flags != adv4.FlagF|adv4.FlagM|adv4.FlagG|adv4.FlagT {
		t.Errorf("flags %v before", a.Flags)
	}
	d.announced = nil
	d.visit(d.req())
	d.advance(time.Second)
	if len(d.announced) == 0 {
		t.Fatal("the change was not advertised at once")
	}
	if _, a := advertisement(t, d.announced[0]); !a.Flags.Has(adv4.FlagB | adv4.FlagF) {
		t.Errorf("flags %v with all places taken", a.Flags)
	}
	other := d.req()
	other.home, other.src = netip.MustParseAddr("10.10.0.7"), netip.MustParseAddrPort("10.10.0.7:40000")
	d.denied(66, other)
	d.announced = nil
	d.visit(d.req()) // a renewal
	d.advance(20 * time.Second)
	if len(d.announced) == 0 {
		t.Error("it does not continue to send Agent Advertisements")
	}
	r := d.req()
	r.lifetime = 0
	d.announced = nil
	d.visit(r)
	d.advance(time.Second)
	if len(d.announced) != 1 {
		t.Fatal("the change was not advertised at once")
	}
	if _, a := advertisement(t, d.announced[0]); a.Flags.Has(adv4.FlagB) {
		t.Errorf("flags %v with a place free", a.Flags)
	}
}

// What the agent cannot do it does not advertise.
//
//rfc:5944#2.1.1
//rfc:6245#4.1-4
func TestAdvertisedFlagsFollowTheConfiguration(t *testing.T) {
	cfg := config()
	cfg.Encapsulations, cfg.ReverseTunnel = []encap.Kind{encap.IPIP}, forward.ReverseTunnelRefused
	d := newDriver(t, cfg)
	d.advance(15 * time.Second)
	if _, a := advertisement(t, d.announced[len(d.announced)-1]); a.Flags != adv4.FlagF {
		t.Errorf("flags %v", a.Flags)
	}
}

// The foreign agent's part of one advertisement for both roles.
//
//rfc:5944#2.3
func TestHomeAndForeignAgentAdvertiseTogether(t *testing.T) {
	cfg := config()
	cfg.Advertise = []advertise.Link{{Name: "eth0", Home: true}, {Name: "eth1", Foreign: true, Home: true, Registration: true}}
	d := newDriver(t, cfg)
	d.advance(2 * time.Second)
	flags := map[string]adv4.Flags{}
	for _, s := range d.announced {
		_, a := advertisement(t, s)
		flags[s.Link] = a.Flags
	}
	if flags["eth0"] != adv4.FlagH|adv4.FlagM|adv4.FlagG {
		t.Errorf("flags %v on the home link", flags["eth0"])
	}
	if flags["eth1"] != adv4.FlagR|adv4.FlagH|adv4.FlagF|adv4.FlagM|adv4.FlagG|adv4.FlagT {
		t.Errorf("flags %v on the common link", flags["eth1"])
	}
	if r := d.command(advertise.Withdraw{}); r.Value != 2 {
		t.Errorf("withdrawn on %v links, %v", r.Value, r.Err)
	}
}
