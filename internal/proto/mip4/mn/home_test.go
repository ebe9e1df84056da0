package mn_test

import (
	"errors"
	"net/netip"
	"slices"
	"testing"
	"time"

	"careof/internal/core/engine"
	"careof/internal/core/forward"
	"careof/internal/core/note"
	"careof/internal/proto/mip4/mn"
	"careof/wire/adv4"
	"careof/wire/mip4"
)

var atHome = netip.MustParseAddr("10.10.0.77")

func homeConfig(t testing.TB) mn.Config {
	cfg := config(t)
	cfg.HomeNetwork = homeNetwork
	cfg.Uplinks = append(cfg.Uplinks, mn.UplinkConfig{Interface: "eth0", Priority: 200})
	return cfg
}

// Returning: "re-enable ARP, gratuitous ARP with own MAC, Request": the
// request and the ARP wait for the forwarding entry that names the home link.
//
//rfc:5944#4.6
//rfc:5944#3.6.1.2
//rfc:5944#2.4.3-1
//rfc:5944#2.4.3-2
//rfc:5944#3.1-4
//rfc:5944#3.6.1.1-3
//rfc:5944#3.6.1.2-2
func TestReturningHome(t *testing.T) {
	r := newRig(t, homeConfig(t))
	r.other = granting(-1)
	r.up("wlan0", wifiAddress)
	r.run(10 * time.Second)
	r.other = granting(0)
	actions := r.up("eth0", atHome)
	i := slices.IndexFunc(actions, func(a engine.Action) bool {
		c, ok := a.(engine.Commit)
		return ok && len(c.Changes) > 0
	})
	if i < 0 {
		t.Fatalf("no change of the data plane in %v", actions)
	}
	for _, a := range actions[:i] {
		switch a.(type) {
		case engine.Send, engine.Announce:
			t.Errorf("%T before the data plane knows", a)
		}
	}
	c := actions[i].(engine.Commit)
	if e := c.Changes[0].Entry; c.Changes[0].Op != forward.Put || e.HomeLink != "eth0" || len(e.Tunnels) != 0 {
		t.Errorf("change %+v", c.Changes[0])
	}
	if len(c.Then) != 2 {
		t.Fatalf("then %v", c.Then)
	}
	if a, ok := c.Then[0].(engine.Announce); !ok || a != (engine.Announce{Link: "eth0", Address: homeAddress}) {
		t.Errorf("first %+v", c.Then[0])
	}
	s, ok := c.Then[1].(engine.Send)
	q := r.last().request
	// "a Lifetime of zero", "it MUST set this field to its home address",
	// "the IP source address MUST be the mobile node's home address".
	if !ok || s.Link != "eth0" || s.Src.Addr() != homeAddress || s.Dst.Addr() != homeAgent ||
		q.Lifetime != 0 || q.CareOfAddress != homeAddress || q.HomeAddress != homeAddress || q.Flags.Has(mip4.FlagD) {
		t.Errorf("request %+v from %v to %v", q, s.Src, s.Dst)
	}
	r.run(time.Second)
	if r.count(note.Home) != 1 || r.status().State != "home" {
		t.Errorf("state %s", r.status().State)
	}
	// "A mobile node operates without the support of mobility functions when
	// it is at home."
	n := len(r.requests)
	r.run(time.Hour)
	if len(r.requests) != n {
		t.Error("it registers at home")
	}
	for k := range r.store {
		if len(k) > 8 && k[:8] == "mn/link/" {
			t.Errorf("record %s is left", k)
		}
	}

	// Leaving: the node's own ARP for the home address ends before the request.
	r.other = granting(-1)
	actions = r.lose("eth0")
	for _, a := range actions {
		if _, ok := a.(engine.Send); ok {
			t.Error("the request does not wait for the data plane")
		}
	}
	i = slices.IndexFunc(actions, func(a engine.Action) bool { _, ok := a.(engine.Commit); return ok })
	c = actions[i].(engine.Commit)
	if c.Changes[0].Entry.HomeLink != "" || len(c.Then) != 1 {
		t.Errorf("commit %+v", c)
	}
	r.run(time.Second)
	if r.tunnels() != "wlan0 ipip both" {
		t.Errorf("away again: %s", r.tunnels())
	}
}

// A denial or silence at home is tried again; the node stays at home.
func TestDeregistrationIsRepeated(t *testing.T) {
	r := newRig(t, homeConfig(t))
	r.up("eth0", atHome)
	r.run(10 * time.Second)
	if n := len(r.requests); n != 4 || r.status().State != "returning" || r.entry().HomeLink != "eth0" {
		t.Errorf("%d requests, %s, at home on %q", n, r.status().State, r.entry().HomeLink)
	}
	r.other = always(answer{code: 128, lifetime: 0})
	r.run(20 * time.Second)
	if r.entry().HomeLink != "eth0" {
		t.Error("a denial drove it from home")
	}
	r.other = granting(0)
	r.run(2 * time.Minute)
	if r.status().State != "home" {
		t.Errorf("state %s", r.status().State)
	}
}

// A late acceptance of a request from away does not undo the return.
func TestLateAcceptanceAtHome(t *testing.T) {
	r := newRig(t, homeConfig(t))
	r.up("wlan0", wifiAddress)
	late := r.last().Send
	r.other = granting(0)
	r.up("eth0", atHome)
	r.step(r.reply(late, answer{lifetime: -1}))
	if r.count(note.Registered) != 0 {
		t.Error("it was taken for a registration")
	}
	r.run(time.Second)
	if s := r.status(); s.State != "home" || r.entry().HomeLink != "eth0" || len(r.entry().Tunnels) != 0 {
		t.Errorf("state %s, %s", s.State, r.tunnels())
	}
}

// What is the home link, and what is not.
func TestHomeLink(t *testing.T) {
	for name, c := range map[string]struct {
		change func(*mn.Config)
		link   string
		prefix string
		home   bool
	}{
		"an address in the home network":      {nil, "eth0", "10.10.0.77/24", true},
		"the home address itself":             {nil, "eth0", "10.10.0.5/24", true},
		"the home address as a host route":    {nil, "eth0", "10.10.0.5/32", false},
		"another network":                     {nil, "eth0", "10.11.0.77/24", false},
		"a wider network":                     {nil, "eth0", "10.10.0.77/16", false},
		"another interface than the home one": {func(c *mn.Config) { c.HomeLink = "eth0" }, "wlan0", "10.10.0.77/24", false},
		"the home one":                        {func(c *mn.Config) { c.HomeLink = "eth0" }, "eth0", "10.10.0.77/24", true},
		"virtual home network":                {func(c *mn.Config) { c.HomeNetwork = netip.Prefix{} }, "eth0", "10.10.0.77/24", false},
	} {
		cfg := homeConfig(t)
		if c.change != nil {
			c.change(&cfg)
		}
		r := newRig(t, cfg)
		l := link(c.link, wifiAddress)
		l.Addresses = []netip.Prefix{netip.MustParsePrefix(c.prefix)}
		r.step(engine.LinkChanged{Link: l})
		if got := r.entry().HomeLink != ""; got != c.home {
			t.Errorf("%s: home %v", name, got)
		}
	}
}

// The order holds also when the data plane refuses at first.
func TestHomeLinkRefusedByTheDataPlane(t *testing.T) {
	r := newRig(t, homeConfig(t))
	r.refuse = errors.New("no")
	r.other = granting(0)
	r.up("eth0", atHome)
	r.run(500 * time.Millisecond)
	if len(r.requests) != 0 {
		t.Error("the request did not wait")
	}
	r.refuse = nil
	r.run(10 * time.Second)
	if r.status().State != "home" || r.entry().HomeLink != "eth0" {
		t.Errorf("state %s", r.status().State)
	}
}

// Whatever the data plane refuses, no request for the home link leaves before
// it took the change.
//
//rfc:5944#4.6
func TestOrderUnderRefusal(t *testing.T) {
	r := newRig(t, homeConfig(t))
	r.refuse, r.slow = errors.New("no"), 300*time.Millisecond
	r.other = granting(0)
	r.up("eth0", atHome)
	for range 200 {
		r.run(100 * time.Millisecond)
		if len(r.requests) != 0 {
			t.Fatal("a request left before the home link was in place")
		}
	}
}

// TestComingHomeWithoutAnAddress: the node was registered through a foreign
// agent, whose registration lives on at the home agent; on the home link it
// has no address but hears its home agent.
//
//rfc:5944#2.4.3
func TestComingHomeWithoutAnAddress(t *testing.T) {
	cfg := foreign(t)
	cfg.HomeNetwork = homeNetwork
	r := visiting(t, cfg)
	r.lose("wlan0")
	r.bare("wlan0", 2)
	r.step(advertA(func(a *advert) { a.src, a.Agent.Flags = homeAgent, adv4.FlagH }, careOf(), router(homeAgent)))
	r.run(time.Second)
	if s := r.status(); s.State != "home" || r.entry().HomeLink != "wlan0" {
		t.Errorf("%s, home link %q", s.State, r.entry().HomeLink)
	}
}

// TestAHomeAddressByHandIsNotHome: the interface has the home address
// wherever it is; a foreign agent of another network is heard, and no home
// agent. A foreign agent beside a home agent that has confirmed the node is
// nobody.
//
//rfc:5944#2.4.2.2
//rfc:5944#2.4.3
func TestAHomeAddressByHandIsNotHome(t *testing.T) {
	cfg := foreign(t)
	cfg.HomeNetwork = homeNetwork
	r := newRig(t, cfg)
	r.other = granting(-1)
	byHand := func(attachment uint64) {
		r.step(engine.LinkChanged{Link: engine.Link{Name: "wlan0", Up: true, MTU: 1500, HW: engine.HardwareAddr{2, 0, 0, 0, 9, 9},
			Attachment: attachment, Addresses: []netip.Prefix{netip.PrefixFrom(homeAddress, homeNetwork.Bits())}}})
	}
	byHand(1)
	r.run(time.Second)
	if s := r.status(); s.State != "home" {
		t.Fatalf("at home the node is %s", s.State)
	}
	r.step(advertA())
	r.run(time.Second)
	if s := r.status(); s.State != "home" {
		t.Errorf("a stranger's advertisement makes the node at home %s", s.State)
	}
	r.lose("wlan0")
	byHand(2)
	r.step(advertA())
	r.run(2 * time.Second)
	if s := r.status(); s.State != "registered" || s.ForeignAgent != agentA {
		t.Errorf("elsewhere the node is %s through %v", s.State, s.ForeignAgent)
	}
	r.lose("wlan0")
	byHand(3)
	r.run(2 * time.Second)
	if s := r.status(); s.State != "home" {
		t.Errorf("back home the node is %s", s.State)
	}
}

// TestInventedAgentsFillNoLog: anybody on a link can advertise under any
// address.
func TestInventedAgentsFillNoLog(t *testing.T) {
	r := visiting(t, foreign(t))
	for i := range 1000 {
		r.step(advertB(func(a *advert) { a.src = netip.AddrFrom4([4]byte{192, 0, 3, byte(i)}) }))
	}
	lines := 0
	for _, n := range r.notes {
		if n.Kind == mn.AgentHeard && n.Level >= note.Info {
			lines++
		}
	}
	if lines > 20 {
		t.Errorf("%d lines of a thousand invented agents", lines)
	}
}

// A node that has no home address yet and is on its home link is given one there,
// and is at home from then on: without an address there is nothing that could end
// its bindings, and it would wait for ever. Most home agents bind no care-of address
// of a home network; the denial names the home address, too.
//
//rfc:2794#3
//rfc:5944#2.4.3
func TestAddressedAtHome(t *testing.T) {
	for name, code := range map[string]mip4.Code{"bound": mip4.CodeAccepted, "denied": mip4.CodeHAProhibited} {
		t.Run(name, func(t *testing.T) { addressedAtHome(t, code) })
	}
}

func addressedAtHome(t *testing.T, code mip4.Code) {
	cfg := homeConfig(t)
	cfg.HomeAddress, cfg.NAI = netip.Addr{}, "van7@fleet.example"
	r := newRig(t, cfg)
	r.other = always(answer{lifetime: -1, home: []mip4.Payload{&mip4.NAI{Value: "van7@fleet.example"}}, change: func(p *mip4.RegistrationReply) {
		if p.HomeAddress.IsUnspecified() {
			p.Code = code
		}
		p.HomeAddress = homeAddress
	}})
	r.up("eth0", atHome)
	if len(r.requests) != 1 {
		t.Fatalf("%d requests from the home link", len(r.requests))
	}
	if q := r.last().request; !q.HomeAddress.IsUnspecified() || q.CareOfAddress != atHome || q.Lifetime == 0 {
		t.Errorf("asked for an address with %+v", q)
	}
	r.run(time.Second)
	if q := r.last().request; q.HomeAddress != homeAddress || q.CareOfAddress != homeAddress || q.Lifetime != 0 {
		t.Errorf("with the address it asks %+v, and is at home", q)
	}
	if s := r.status(); s.State != "home" || r.node.HomeAddress() != homeAddress {
		t.Errorf("state %s, home address %v", s.State, r.node.HomeAddress())
	}
}
