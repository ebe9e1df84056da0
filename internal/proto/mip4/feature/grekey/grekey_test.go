package grekey_test

import (
	"math/rand/v2"
	"net/netip"
	"testing"
	"time"

	"careof/internal/core/assoc"
	"careof/internal/core/engine"
	"careof/internal/core/engine/enginetest"
	"careof/internal/core/forward"
	"careof/internal/core/ident"
	"careof/internal/proto/mip4/fa"
	"careof/internal/proto/mip4/feature/grekey"
	"careof/internal/proto/mip4/ha"
	"careof/wire/encap"
	"careof/wire/mip4"
)

var (
	linkAddr  = netip.MustParseAddr("192.168.1.1")
	careOf    = netip.MustParseAddr("203.0.113.1")
	homeAgent = netip.MustParseAddr("198.51.100.1")
	home      = netip.MustParseAddr("10.10.0.5")
	epoch     = time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)
	nodeKey   = association(256, "home-home-home-h")
	agentKey  = association(300, "foreign-foreign-")
)

func association(spi uint32, secret string) *assoc.Association {
	a, err := assoc.New(spi, assoc.HMACSHA256, assoc.NewKey([]byte(secret)), assoc.Timestamps)
	if err != nil {
		panic(err)
	}
	return a
}

// A pair is a foreign agent and a home agent whose datagrams reach each other.
type pair struct {
	t                   *testing.T
	fa                  *fa.Agent
	ha                  *ha.Agent
	now                 engine.Now
	foreign, home       enginetest.Plane
	requests, responses [][]byte            // between the agents
	change              func([]byte) []byte // of requests, by somebody between; nil discards
	delivered           []mip4.RegistrationReply
}

func newPair(t *testing.T, mode grekey.Mode, homeEncapsulations ...encap.Kind) *pair {
	t.Helper()
	p := &pair{t: t, foreign: make(enginetest.Plane), home: make(enginetest.Plane)}
	p.now = engine.Now{Mono: time.Unix(1000, 0), Wall: epoch}
	p.change = func(b []byte) []byte { return b }
	feature := grekey.New(grekey.Config{Foreign: mode})
	var add []func(*fa.Agent) error
	if feature.Foreign != nil {
		add = append(add, feature.Foreign)
	}
	var err error
	p.fa, err = fa.New(fa.Config{
		Links: []string{"eth1"}, CareOfAddresses: []netip.Addr{careOf},
		HomeAgents: []fa.HomeAgent{{Address: homeAgent, Keys: []*assoc.Association{agentKey}}},
	}, rand.New(rand.NewPCG(1, 2)), add...)
	if err != nil {
		t.Fatal(err)
	}
	p.ha, err = ha.New(ha.Config{
		Addresses: []netip.Addr{homeAgent}, Encapsulations: homeEncapsulations,
		Networks: []ha.Network{{Prefix: netip.MustParsePrefix("10.10.0.0/24"), Virtual: true}},
		Nodes: []ha.MobileNode{
			{Node: ident.Node{HomeAddress: home}, Keys: []*assoc.Association{nodeKey}},
			{Node: ident.Node{HomeAddress: home.Next()}, Keys: []*assoc.Association{nodeKey}},
		},
		ForeignAgents: []ha.ForeignAgent{{Address: careOf, Keys: []*assoc.Association{agentKey}}},
	}, rand.New(rand.NewPCG(1, 2)), func(a *ha.Agent) {
		if err := feature.Home(a); err != nil {
			t.Error(err)
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	for name, addr := range map[string]netip.Addr{"eth0": careOf, "eth1": linkAddr} {
		p.foreignStep(engine.LinkChanged{Link: engine.Link{Name: name, Up: true, MTU: 1500, Addresses: []netip.Prefix{netip.PrefixFrom(addr, 24)}}})
	}
	return p
}

func (p *pair) foreignStep(ev engine.Event) { p.do(enginetest.Step(p.fa, p.now, ev), true) }
func (p *pair) homeStep(ev engine.Event)    { p.do(enginetest.Step(p.ha, p.now, ev), false) }

func (p *pair) do(acts []engine.Action, foreign bool) {
	for _, act := range acts {
		switch act := act.(type) {
		case engine.Send:
			p.send(act, foreign)
		case engine.Commit:
			for _, c := range act.Changes {
				if foreign {
					p.foreign.Apply(p.t, c)
				} else {
					p.home.Apply(p.t, c)
				}
			}
			p.do(act.Then, foreign)
			if foreign {
				p.foreignStep(engine.Answer{Ticket: act.Ticket})
			} else {
				p.homeStep(engine.Answer{Ticket: act.Ticket})
			}
		}
	}
}

func (p *pair) send(s engine.Send, foreign bool) {
	switch {
	case !foreign:
		p.responses = append(p.responses, s.Data)
		p.foreignStep(engine.Packet{Link: "eth0", Src: netip.AddrPortFrom(homeAgent, 434), Dst: s.Dst, TTL: 60, Data: s.Data})
	case s.HW != engine.HardwareAddr{}:
		r, err := p.parse(s.Data).Reply()
		if err != nil {
			p.t.Fatal(err)
		}
		p.delivered = append(p.delivered, r)
	default:
		p.requests = append(p.requests, s.Data)
		if data := p.change(s.Data); data != nil {
			p.homeStep(engine.Packet{Link: "wan0", Src: s.Src, Dst: s.Dst, TTL: 60, Data: data})
		}
	}
}

func (p *pair) parse(b []byte) *mip4.Message {
	p.t.Helper()
	m, err := mip4.Parse(b)
	if err != nil {
		p.t.Fatal(err)
	}
	return m
}

// register sends a visitor's request and gives the code of the answer.
func (p *pair) register(flags mip4.RequestFlags, lifetime uint16, address netip.Addr) mip4.Code {
	p.t.Helper()
	p.requests, p.responses, p.delivered = nil, nil, nil
	p.now.Mono, p.now.Wall = p.now.Mono.Add(2*time.Second), p.now.Wall.Add(2*time.Second)
	d := mip4.NewRequest(mip4.RegistrationRequest{
		Flags: flags, Lifetime: lifetime, HomeAddress: address, HomeAgent: homeAgent, CareOfAddress: careOf,
		Identification: assoc.Timestamp(p.now.Wall),
	})
	d.Authenticate(mip4.ExtMobileHome, nodeKey)
	data, err := d.Seal()
	if err != nil {
		p.t.Fatal(err)
	}
	p.foreignStep(engine.Packet{
		Link: "eth1", Src: netip.AddrPortFrom(address, 40000), Dst: netip.AddrPortFrom(linkAddr, 434), TTL: 255,
		HW: engine.HardwareAddr{2, 0, 0, 0, 0, address.As4()[3]}, Data: data,
	})
	if len(p.delivered) == 0 {
		return 255
	}
	return p.delivered[0].Code
}

// keyIn is the extension of a message, which must stand behind 32 and before 34.
func (p *pair) keyIn(b []byte) (uint32, bool) {
	p.t.Helper()
	m := p.parse(b)
	e, n := m.Find(mip4.ExtGREKey)
	if n == 0 {
		return 0, false
	}
	mh, _ := m.Find(mip4.ExtMobileHome)
	fh, signed := m.Find(mip4.ExtForeignHome)
	if n > 1 || e.Off < mh.End || signed == 1 && e.Off > fh.Off {
		p.t.Errorf("the GRE key stands in the wrong place, or %d times", n)
	}
	k, _, err := mip4.Get[mip4.GREKey](m)
	if err != nil {
		p.t.Fatal(err)
	}
	return k.Key, true
}

func (p *pair) tunnels(address netip.Addr) (foreign, home forward.Tunnel) {
	p.t.Helper()
	f := p.foreign[forward.Key("fa/"+address.String()+"/"+homeAgent.String())]
	for _, e := range p.home {
		if e.Inner.Addr() == address && len(e.Tunnels) > 0 {
			home = e.Tunnels[0]
		}
	}
	if len(f.Tunnels) == 0 {
		p.t.Fatal("no tunnel at the foreign agent")
	}
	return f.Tunnels[0], home
}

const everything = mip4.FlagT | mip4.FlagG

// A key for each visitor, the same over renewals, in requests and replies, to
// deregistrations too; and the tunnels at both ends have it.
//
//rfc:6245#4.1
//rfc:6245#4.2
//rfc:6245#4.2-6
//rfc:6245#4.2-7
//rfc:6245#4.2-8
func TestEveryVisitorHasItsKey(t *testing.T) {
	p := newPair(t, grekey.Asked)
	if code := p.register(everything, 300, home); code != 0 {
		t.Fatalf("code %d", code)
	}
	first, ok := p.keyIn(p.requests[0])
	if !ok || first == 0 {
		t.Fatalf("key %d, %v in the request", first, ok)
	}
	if back, ok := p.keyIn(p.responses[0]); !ok || back != first {
		t.Errorf("key %d, %v in the reply, want %d", back, ok, first)
	}
	f, h := p.tunnels(home)
	for _, tunnel := range []forward.Tunnel{f, h} {
		if tunnel.Encap != encap.GRE || !tunnel.HasKey || tunnel.Key != first || tunnel.KeyIn != 0 {
			t.Errorf("tunnel %+v, want GRE with key %d", tunnel, first)
		}
	}
	p.register(everything, 300, home.Next())
	if other, _ := p.keyIn(p.requests[0]); other == first {
		t.Error("two visitors have one key")
	}
	for _, lifetime := range []uint16{300, 0} {
		if code := p.register(everything, lifetime, home); code != 0 {
			t.Fatalf("code %d", code)
		}
		asked, _ := p.keyIn(p.requests[0])
		back, there := p.keyIn(p.responses[0])
		if asked != first || !there || back != first {
			t.Errorf("lifetime %d: asked for key %d, got %d, want %d", lifetime, asked, back, first)
		}
	}
}

// "The FA MUST NOT modify the 'G' bit", and the key is a request for GRE
// without it.
//
//rfc:6245#4.1
//rfc:6245#4.2
//rfc:6245#4.1-2
//rfc:6245#4.1-3
//rfc:6245#4.2-5
func TestPolicyAsksForGREWithoutTheGBit(t *testing.T) {
	p := newPair(t, grekey.Always)
	if code := p.register(mip4.FlagT, 300, home); code != 0 {
		t.Fatalf("code %d", code)
	}
	if r, err := p.parse(p.requests[0]).Request(); err != nil || r.Flags.Has(mip4.FlagG) {
		t.Errorf("relayed with flags %v, %v", r.Flags, err)
	}
	if f, h := p.tunnels(home); f.Encap != encap.GRE || h.Encap != encap.GRE || !f.HasKey || f.Key != h.Key {
		t.Errorf("tunnels %+v and %+v", f, h)
	}
}

// "If the MN does not set the 'G' bit, the FA MAY fall back to using IP-in-IP",
// and a co-located node's tunnel is not the foreign agent's.
//
//rfc:6245#4.1
//rfc:6245#4.1-1
//rfc:6245#4.2-3
func TestNoKeyWithoutGRE(t *testing.T) {
	p := newPair(t, grekey.Asked)
	if code := p.register(mip4.FlagT, 300, home); code != 0 {
		t.Fatalf("code %d", code)
	}
	if _, there := p.keyIn(p.requests[0]); there {
		t.Error("a key without GRE")
	}
	always := newPair(t, grekey.Always)
	always.register(everything|mip4.FlagD, 300, home)
	if _, there := always.keyIn(always.requests[0]); there {
		t.Error("a key for a co-located care-of address")
	}
}

// "... is not configured to support GRE encapsulation, it MUST send an RRP with
// code 'requested encapsulation unavailable (139)'".
//
//rfc:6245#4.2
//rfc:6245#4.2-4
func TestAHomeAgentWithoutGREDenies(t *testing.T) {
	p := newPair(t, grekey.Always, encap.IPIP)
	if code := p.register(mip4.FlagT, 300, home); code != mip4.CodeHAEncapsulationUnavailable {
		t.Fatalf("code %d", code)
	}
}

// Key 0: "The HA MUST assign GRE keys for both directions".
//
//rfc:6245#4.2
//rfc:6245#4.2-9
//rfc:6245#4.2-10
//rfc:6245#4.2-11
func TestAHomeAgentChoosesTheKeyForZero(t *testing.T) {
	p := newPair(t, grekey.Asked)
	p.change = func(b []byte) []byte { return p.withKey(b, 0) }
	p.register(everything, 300, home)
	chosen, there := p.keyIn(p.responses[0])
	if !there || chosen == 0 {
		t.Fatalf("key %d, %v in the reply", chosen, there)
	}
	if _, h := p.tunnels(home); !h.HasKey || h.Key != chosen {
		t.Errorf("tunnel %+v, want key %d", h, chosen)
	}
	p.register(everything, 300, home)
	if again, _ := p.keyIn(p.responses[0]); again != chosen {
		t.Errorf("key %d after a renewal, want %d", again, chosen)
	}
}

// withKey is a relayed request with another key, signed anew.
func (p *pair) withKey(b []byte, key uint32) []byte {
	d := mip4.RelayDraft(p.parse(b).Head())
	d.Add(mip4.ZoneForeign, &mip4.GREKey{Key: key})
	d.Authenticate(mip4.ExtForeignHome, agentKey)
	out, err := d.Seal()
	if err != nil {
		p.t.Fatal(err)
	}
	return out
}

// "the FA uses the HA-assigned key in the encapsulating GRE header for reverse
// tunneling, and the HA uses the FA-assigned key".
//
//rfc:6245#5
func TestKeysMayDifferByDirection(t *testing.T) {
	p := newPair(t, grekey.Asked)
	p.change = func(b []byte) []byte { return p.withKey(b, 4711) } // a home agent that has its own
	if code := p.register(everything, 300, home); code != 0 {
		t.Fatalf("code %d", code)
	}
	mine, _ := p.keyIn(p.requests[0])
	f, _ := p.tunnels(home)
	if f.Key != 4711 || f.KeyIn != mine || !f.Takes(true, mine) || f.Takes(true, 4711) || f.Takes(false, 0) {
		t.Errorf("tunnel %+v, want to send with 4711 and to take %d", f, mine)
	}
}

// A home agent that does not know the extension "MUST silently discard the
// message": the visitor is registered without, the next time.
//
//rfc:6245#4.2
func TestAHomeAgentThatDoesNotKnowKeysIsAskedWithout(t *testing.T) {
	p := newPair(t, grekey.Always)
	p.change = func(b []byte) []byte {
		if _, there := p.keyIn(b); there {
			return nil
		}
		return b
	}
	p.register(mip4.FlagT, 300, home)
	enginetest.Advance(t, p.fa, &p.now, 8*time.Second, func() { p.foreignStep(engine.Wake{}) })
	if len(p.delivered) != 1 || p.delivered[0].Code != mip4.CodeFATimeout {
		t.Fatalf("delivered %+v, want the time-out", p.delivered)
	}
	if code := p.register(mip4.FlagT, 300, home); code != 0 {
		t.Fatalf("code %d without a key", code)
	}
	if f, _ := p.tunnels(home); f.Encap != encap.IPIP || f.HasKey {
		t.Errorf("tunnel %+v", f)
	}
}

// Switched off, a home agent is one that never knew the extension.
//
//rfc:6245#4.2
//rfc:5944#1.8
func TestSwitchedOffItIsUnknown(t *testing.T) {
	f := grekey.New(grekey.Config{RefuseHome: true, Foreign: grekey.Off})
	if f.Home != nil || f.Foreign != nil {
		t.Error("something is added all the same")
	}
}
