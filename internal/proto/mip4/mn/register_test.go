package mn_test

import (
	"bytes"
	"errors"
	"net/netip"
	"testing"
	"time"

	"careof/internal/core/assoc"
	"careof/internal/core/engine"
	"careof/internal/core/forward"
	"careof/internal/core/ident"
	"careof/internal/core/note"
	"careof/internal/proto/mip4/mn"
	"careof/wire/encap"
	"careof/wire/mip4"
)

// "When registering on a foreign network with a co-located care-of address,
// the IP source address MUST be the care-of address"; "The mobile node SHOULD
// set the 'D' bit"; RFC 3024: TTL 255.
//
//rfc:5944#3.6.1
//rfc:3024#4.1.1
//rfc:3024#3.2-2
//rfc:3024#A.4-1
//rfc:2794#2-1
//rfc:5944#3.1-3
//rfc:5944#3.3-1
//rfc:5944#3.3-2
//rfc:5944#3.6.1.1-1
//rfc:5944#3.6.1.1-8
//rfc:5944#3.6.1.2-1
//rfc:5944#3.6.1.2-9
//rfc:5944#3.6.1.2-11
//rfc:5944#3.6.1.2-14
//rfc:5944#3.6.1.3-2
func TestRequestFields(t *testing.T) {
	cfg := config(t)
	cfg.NAI = "van7@fleet.example"
	r := newRig(t, cfg)
	r.up("wlan0", wifiAddress)
	s := r.last()
	want := mip4.RegistrationRequest{
		Flags: mip4.FlagD | mip4.FlagT, Lifetime: 600,
		HomeAddress: homeAddress, HomeAgent: homeAgent, CareOfAddress: wifiAddress, Identification: s.request.Identification,
	}
	if s.request != want {
		t.Errorf("request %+v, want %+v", s.request, want)
	}
	if s.Link != "wlan0" || s.Src != netip.AddrPortFrom(wifiAddress, 0) || s.Dst != netip.AddrPortFrom(homeAgent, 434) || s.TTL != 255 {
		t.Errorf("sent on %s from %v to %v with TTL %d", s.Link, s.Src, s.Dst, s.TTL)
	}
	off := assoc.TimeOf(s.request.Identification, r.now.Wall).Sub(r.now.Wall)
	if off > time.Millisecond || off < -time.Millisecond {
		t.Errorf("the timestamp is off by %v", off)
	}
	// RFC 2794: the NAI stands before the Mobile-Home Authentication Extension.
	nai, _, err := mip4.Get[mip4.NAI](s.m)
	if err != nil || nai.Value != "van7@fleet.example" || s.m.Exts[0].Type != mip4.ExtNAI || s.m.Exts[1].Type != mip4.ExtMobileHome {
		t.Errorf("extensions %v, NAI %v, %v", s.m.Exts, nai, err)
	}
	a, _ := s.m.Authentication(s.m.Exts[1])
	if !cfg.Association.Verify(s.m.Covered(s.m.Exts[1]), a.Authenticator) {
		t.Error("the authenticator does not hold")
	}
}

// A registration leads to a tunnel both ways, and says how long it took.
func TestRegistrationMakesATunnel(t *testing.T) {
	r := registered(t)
	e := r.entry()
	want := forward.Tunnel{
		Local: netip.AddrPortFrom(wifiAddress, 0), Peer: netip.AddrPortFrom(homeAgent, 0), Link: "wlan0",
		Encap: encap.IPIP, Until: start.Mono.Add(600 * time.Second),
	}
	if len(e.Tunnels) != 1 || e.Tunnels[0] != want || e.Role != forward.MobileNode || e.Inner != netip.PrefixFrom(homeAddress, 32) {
		t.Errorf("entry %+v", e)
	}
	for _, n := range r.notes {
		if n.Kind == note.Registered && n.Took != 50*time.Millisecond {
			t.Errorf("took %v", n.Took)
		}
	}
}

// Threat T24: the entry is there, without tunnels, before anything is
// registered and after the last tunnel is gone.
func TestEntryStaysWithoutRegistration(t *testing.T) {
	r := newRig(t, config(t))
	r.step(engine.Wake{})
	if e, ok := r.entries["mobile-node/10.10.0.5"]; !ok || len(e.Tunnels) != 0 {
		t.Errorf("entry %+v, %v", e, ok)
	}
	r = registered(t)
	r.other = nil
	r.lose("wlan0")
	r.run(601 * time.Second)
	if e, ok := r.entries["mobile-node/10.10.0.5"]; !ok || len(e.Tunnels) != 0 {
		t.Errorf("entry %+v, %v", e, ok)
	}
	if r.count(note.Lost) != 1 {
		t.Error("nobody told that the registration ran out")
	}
}

// "The minimum time between Registration Requests MUST NOT be less than 1
// second. Each successive retransmission timeout period SHOULD be at least
// twice the previous period".
//
//rfc:5944#3.6.3
//rfc:5944#3.6.3-3
//rfc:5944#3.6.3-4
func TestRetransmission(t *testing.T) {
	for _, c := range []struct {
		style     assoc.Style
		identical bool
	}{{assoc.Timestamps, false}, {assoc.Nonces, true}} {
		cfg := config(t)
		cfg.Association = association(t, c.style)
		r := newRig(t, cfg)
		r.up("wlan0", wifiAddress)
		r.run(200 * time.Second)
		want := []time.Duration{0, 1, 3, 7, 15, 31, 63, 123, 183}
		if len(r.requests) != len(want) {
			t.Fatalf("%v: %d requests, want %d", c.style, len(r.requests), len(want))
		}
		for i, s := range r.requests {
			if at := s.at.Sub(start.Mono); at != want[i]*time.Second {
				t.Errorf("%v: request %d at %v, want %v", c.style, i, at, want[i]*time.Second)
			}
			if i == 0 {
				continue
			}
			before := r.requests[i-1]
			// From half a request's life on, the reply to it would grant what is
			// nearly over: a new one is sent.
			identical := c.identical && want[i] < 30
			if same := bytes.Equal(s.Data, before.Data); same != identical {
				t.Errorf("%v: request %d identical to the one before: %v", c.style, i, same)
			}
			// "it counts as a new registration": the Identification grows.
			if !c.identical && s.request.Identification <= before.request.Identification {
				t.Errorf("Identification %x follows %x", s.request.Identification, before.request.Identification)
			}
		}
	}
}

// "The maximum time until a new Registration Request is sent SHOULD be no
// greater than the requested Lifetime of the Registration Request."
//
//rfc:5944#3.6.3
//rfc:5944#3.6.3-1
func TestRetransmissionIsCappedByTheLifetime(t *testing.T) {
	cfg := config(t)
	cfg.Lifetime = 5 * time.Second
	r := newRig(t, cfg)
	r.up("wlan0", wifiAddress)
	r.run(40 * time.Second)
	for i := 1; i < len(r.requests); i++ {
		if gap := r.requests[i].at.Sub(r.requests[i-1].at); gap > 5*time.Second {
			t.Errorf("%v between requests", gap)
		}
	}
}

// "twice the round-trip time ... and at least an additional 100 milliseconds".
//
//rfc:5944#3.6.3
//rfc:5944#3.6.3-2
func TestFirstTimeoutFollowsTheRoundTrip(t *testing.T) {
	cfg := config(t)
	cfg.Lifetime = 20 * time.Second
	r := newRig(t, cfg)
	r.delay = 900 * time.Millisecond // 1.8 s round trip
	r.other = granting(-1)
	r.up("wlan0", wifiAddress)
	r.run(5 * time.Second)
	// The reply to the first request came when the second was out.
	if r.status().State != "registered" {
		t.Fatal("a reply to a request that is still pending was not taken")
	}
	r.other = nil
	n := len(r.requests)
	r.run(14 * time.Second)
	gap := r.requests[n+1].at.Sub(r.requests[n].at)
	if want := 2*1800*time.Millisecond + 100*time.Millisecond; gap != want {
		t.Errorf("renewal repeated after %v, want %v", gap, want)
	}
}

// "This procedure is equivalent to the mobile node starting a timer for the
// granted Lifetime at the time it sent the Registration Request".
//
//rfc:5944#3.6.2.2
//rfc:5944#3.4-4
//rfc:5944#3.6.2.2-5
func TestLifetimeCountsFromTheRequest(t *testing.T) {
	r := newRig(t, config(t))
	r.delay = 400 * time.Millisecond
	r.other = granting(100)
	r.up("wlan0", wifiAddress)
	r.run(time.Second)
	if until := r.entry().Tunnels[0].Until.Sub(start.Mono); until != 100*time.Second {
		t.Errorf("the tunnel ends after %v", until)
	}
	r.other = nil
	r.run(99*time.Second - time.Millisecond)
	if r.count(note.Lost) != 0 {
		t.Error("lost too early")
	}
	r.run(time.Millisecond)
	if r.count(note.Lost) != 1 || len(r.entry().Tunnels) != 0 {
		t.Error("not lost in time")
	}
}

// "If the Lifetime in the Reply is greater than the original Lifetime in the
// Request, the Lifetime from the Request is used"; 0xffff does not expire.
//
//rfc:5944#3.4
//rfc:5944#3.4-3
func TestGrantedLifetime(t *testing.T) {
	for _, c := range []struct {
		asked   time.Duration
		granted int
		want    time.Duration // 0 for never
	}{
		{600 * time.Second, 900, 600 * time.Second},
		{600 * time.Second, mip4.LifetimeInfinite, 600 * time.Second},
		{mn.Infinite, 900, 900 * time.Second},
		{mn.Infinite, mip4.LifetimeInfinite, 0},
	} {
		cfg := config(t)
		cfg.Lifetime = c.asked
		r := newRig(t, cfg)
		r.other = granting(c.granted)
		r.up("wlan0", wifiAddress)
		r.run(time.Second)
		until := r.entry().Tunnels[0].Until
		if c.want == 0 != until.IsZero() || c.want != 0 && until.Sub(start.Mono) != c.want {
			t.Errorf("asked %v, granted %d: until %v", c.asked, c.granted, until)
		}
	}
}

// "it SHOULD re-register before the expiration of the Lifetime".
//
//rfc:5944#3.6.2.2
//rfc:5944#3.6-4
//rfc:5944#3.6.2.2-3
//rfc:5944#3.8.2.2-6
func TestRenewalExtendsTheTunnel(t *testing.T) {
	r := registered(t)
	puts := 0
	from := len(r.steps)
	r.run(460 * time.Second)
	if len(r.requests) != 2 {
		t.Fatalf("%d requests", len(r.requests))
	}
	at := r.last().at.Sub(start.Mono)
	if at < 360*time.Second || at > 450*time.Second {
		t.Errorf("renewed after %v of 600 s", at)
	}
	if until := r.entry().Tunnels[0].Until; !until.Equal(r.last().at.Add(600 * time.Second)) {
		t.Error("the tunnel was not extended")
	}
	for _, actions := range r.steps[from:] {
		for _, a := range actions {
			if c, ok := a.(engine.Commit); ok {
				for _, ch := range c.Changes {
					if ch.Op == forward.Put && r.now.Mono.Sub(start.Mono) > 200*time.Millisecond {
						puts++
					}
				}
			}
		}
	}
	// The tunnel of the renewal is the one that is there: a refresh is an Extend.
	if puts != 0 {
		t.Errorf("a plain renewal rewrote the entry %d times", puts)
	}
}

// A node with a NAI and no home address takes the one in the reply.
//
//rfc:5944#3.6
//rfc:2794#3
//rfc:5944#3.6.1.2-10
//rfc:5944#3.6-2
func TestHomeAddressFromTheReply(t *testing.T) {
	cfg := config(t)
	cfg.HomeAddress, cfg.NAI = netip.Addr{}, ident.NAI("van7@fleet.example")
	r := newRig(t, cfg)
	r.other = always(answer{lifetime: -1, change: func(p *mip4.RegistrationReply) { p.HomeAddress = homeAddress },
		home: []mip4.Payload{&mip4.NAI{Value: "van7@fleet.example"}}})
	r.up("wlan0", wifiAddress)
	if q := r.last().request; !q.HomeAddress.IsUnspecified() {
		t.Errorf("asked as %v", q.HomeAddress)
	}
	r.run(time.Second)
	if r.node.HomeAddress() != homeAddress || len(r.entry().Tunnels) != 1 {
		t.Errorf("home address %v, tunnels %s", r.node.HomeAddress(), r.tunnels())
	}
	// It is kept over a restart.
	r.boot(cfg)
	r.up("wlan0", wifiAddress)
	if q := r.last().request; q.HomeAddress != homeAddress {
		t.Errorf("after the restart it asks as %v", q.HomeAddress)
	}
}

// Encapsulations other than IP-in-IP are asked for by M and G.
func TestEncapsulationFlags(t *testing.T) {
	for kind, flag := range map[encap.Kind]mip4.RequestFlags{encap.GRE: mip4.FlagG, encap.Minimal: mip4.FlagM, encap.IPIP: 0} {
		cfg := config(t)
		cfg.Encapsulation = kind
		r := newRig(t, cfg)
		r.other = granting(-1)
		r.up("wlan0", wifiAddress)
		if f := r.last().request.Flags & (mip4.FlagM | mip4.FlagG); f != flag {
			t.Errorf("%v is asked for with %v", kind, f)
		}
		r.run(time.Second)
		if got := r.entry().Tunnels[0].Encap; got != kind {
			t.Errorf("%v became %v", kind, got)
		}
	}
}

// When the data plane refuses, it is told again; nothing is lost meanwhile.
func TestDataPlaneRefuses(t *testing.T) {
	r := newRig(t, config(t))
	r.refuse = errors.New("no memory")
	r.other = granting(-1)
	r.up("wlan0", wifiAddress)
	r.run(10 * time.Second)
	if r.count(note.Failed) < 3 {
		t.Error("the failure was not told")
	}
	r.refuse = nil
	r.run(2 * time.Second)
	if r.tunnels() != "wlan0 ipip both" {
		t.Errorf("tunnels %s", r.tunnels())
	}
}

func TestConfigRefusals(t *testing.T) {
	for name, change := range map[string]func(*mn.Config){
		"no identity":          func(c *mn.Config) { c.HomeAddress = netip.Addr{} },
		"multicast home":       func(c *mn.Config) { c.HomeAddress = netip.MustParseAddr("224.0.0.5") },
		"home outside network": func(c *mn.Config) { c.HomeNetwork = netip.MustParsePrefix("10.11.0.0/24") },
		"no association":       func(c *mn.Config) { c.Association = nil },
		"no agent, no network": func(c *mn.Config) { c.HomeAgents = nil },
		"lifetime 0.5s":        func(c *mn.Config) { c.Lifetime = time.Second / 2 },
		"four at a time":       func(c *mn.Config) { c.Simultaneous = 4 },
		"agent twice named":    func(c *mn.Config) { c.HomeAgents = []mn.HomeAgent{{Address: homeAgent, Name: "ha.example"}} },
		"uplink twice":         func(c *mn.Config) { c.Uplinks = append(c.Uplinks, c.Uplinks[0]) },
		"home link, no prefix": func(c *mn.Config) { c.HomeLink = "eth0" },
	} {
		cfg := config(t)
		change(&cfg)
		if _, err := mn.New(cfg, newRig(t, config(t)).node.Rand()); err == nil {
			t.Errorf("%s was accepted", name)
		}
	}
}

// Behind a NAT the request that follows an unanswered one leaves from another
// port. When the first is answered after all, the home agent has bound a port that
// packets do not leave from any more: the node registers once more.
func TestAnAnswerToTheRequestFromTheFormerPort(t *testing.T) {
	r := newRig(t, config(t), func(n *mn.Node) error {
		n.Request.Add("test", "nat", func(x *mn.Attempt) engine.Verdict { x.Translated = true; return engine.Next() })
		return nil
	})
	r.other = func(*rig, engine.Send) []engine.Packet { return nil }
	r.up("wlan0", wifiAddress)
	r.run(1500 * time.Millisecond)
	if len(r.requests) != 2 || r.requests[0].Fresh || !r.requests[1].Fresh {
		t.Fatalf("%d requests: %+v", len(r.requests), r.requests)
	}
	r.other = granting(-1)
	r.step(r.reply(r.requests[0].Send, answer{lifetime: -1}))
	if len(r.requests) != 3 || r.requests[2].Fresh {
		t.Fatalf("%d requests: the home agent has bound the former port", len(r.requests))
	}
	r.run(time.Minute)
	if len(r.requests) != 3 || r.status().State != "registered" {
		t.Errorf("%d requests, %s", len(r.requests), r.status().State)
	}
}
