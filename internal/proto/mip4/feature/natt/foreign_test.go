package natt_test

import (
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"
	"time"

	"careof/internal/core/assoc"
	"careof/internal/core/engine"
	"careof/internal/core/engine/enginetest"
	"careof/internal/core/forward"
	"careof/internal/proto/mip4/fa"
	"careof/internal/proto/mip4/feature/natt"
	"careof/wire/adv4"
	"careof/wire/encap"
	"careof/wire/mip4"
)

var (
	lanAddr    = netip.MustParseAddr("198.18.1.1")
	visitorMAC = engine.HardwareAddr{2, 0, 0, 0, 0, 9}
	hidden     = netip.MustParseAddr("192.168.8.11")
)

// A foreignWorld is a foreign agent whose commits come true at once.
type foreignWorld struct {
	t       *testing.T
	a       *fa.Agent
	careOf  netip.Addr
	now     engine.Now
	plane   enginetest.Plane
	sent    []engine.Send
	flags   adv4.Flags // last advertised
	counter uint64
}

func newForeign(t *testing.T, careOf netip.Addr, cfg natt.Config, tune func(*fa.Config)) *foreignWorld {
	t.Helper()
	c := fa.Config{
		Links: []string{"eth1"}, CareOfAddresses: []netip.Addr{careOf}, Interval: 3 * time.Second,
		HomeAgents: []fa.HomeAgent{{Address: agentAddr, Keys: []*assoc.Association{key(t, 300)}}},
	}
	if tune != nil {
		tune(&c)
	}
	a, err := fa.New(c, rand.New(rand.NewPCG(1, 2)), func(a *fa.Agent) error { return natt.New(cfg).Foreign(a) })
	if err != nil {
		t.Fatal(err)
	}
	w := &foreignWorld{t: t, a: a, careOf: careOf, plane: make(enginetest.Plane)}
	w.now = engine.Now{Mono: time.Unix(1000, 0), Wall: time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)}
	w.step(engine.LinkChanged{Link: engine.Link{Name: "eth1", Up: true, MTU: 1500, HW: engine.HardwareAddr{2, 0, 0, 0, 0, 1}, Addresses: []netip.Prefix{netip.PrefixFrom(lanAddr, 24)}}})
	return w
}

func (w *foreignWorld) step(ev engine.Event) { w.do(enginetest.Step(w.a, w.now, ev)) }

func (w *foreignWorld) do(actions []engine.Action) {
	for _, act := range actions {
		switch act := act.(type) {
		case engine.Send:
			w.sent = append(w.sent, act)
		case engine.SendDiscovery:
			if m, err := adv4.Parse(act.Data); err == nil {
				if a, err := m.ForMobileNode(); err == nil {
					w.flags = a.Flags
				}
			}
		case engine.Commit:
			for _, c := range act.Changes {
				w.plane.Apply(w.t, c)
			}
			w.do(act.Then)
			w.step(engine.Answer{Ticket: act.Ticket})
		}
	}
}

func (w *foreignWorld) advance(by time.Duration) {
	w.t.Helper()
	enginetest.Advance(w.t, w.a, &w.now, by, func() { w.step(engine.Wake{}) })
}

func (w *foreignWorld) take() []engine.Send {
	sent := w.sent
	w.sent = nil
	return sent
}

// ask sends a visitor's request and gives what the agent did about it.
func (w *foreignWorld) ask(flags mip4.RequestFlags, careOf netip.Addr, lifetime uint16) *mip4.Message {
	w.t.Helper()
	w.advance(time.Second)
	w.counter++
	w.take()
	d := mip4.NewRequest(mip4.RegistrationRequest{
		Flags: flags, Lifetime: lifetime, HomeAddress: homeAddr, HomeAgent: agentAddr, CareOfAddress: careOf, Identification: 0xe0000000<<32 | w.counter,
	})
	d.Authenticate(mip4.ExtMobileHome, key(w.t, 256))
	b, err := d.Seal()
	if err != nil {
		w.t.Fatal(err)
	}
	src := homeAddr
	if flags.Has(mip4.FlagD) {
		src = careOf
	}
	w.step(engine.Packet{Link: "eth1", Src: netip.AddrPortFrom(src, 4000), Dst: netip.AddrPortFrom(lanAddr, 434), TTL: 255, HW: visitorMAC, Data: b})
	sent := w.take()
	if len(sent) != 1 {
		w.t.Fatalf("%d messages after a request", len(sent))
	}
	m, err := mip4.Parse(sent[0].Data)
	if err != nil {
		w.t.Fatal(err)
	}
	if m.Type == mip4.TypeRegistrationRequest && sent[0].Src.Addr() != w.careOf {
		w.t.Errorf("relayed from %v, not from the care-of address", sent[0].Src)
	}
	return m
}

// grant answers a relayed request with these extensions for the agent, and
// gives the visitor's forwarding entry.
func (w *foreignWorld) grant(m *mip4.Message, forAgent ...mip4.Payload) (forward.Entry, *mip4.Message) {
	w.t.Helper()
	q, err := m.Request()
	if err != nil {
		w.t.Fatal(err)
	}
	d := mip4.NewReply(mip4.RegistrationReply{Lifetime: q.Lifetime, HomeAddress: homeAddr, HomeAgent: agentAddr, Identification: q.Identification})
	d.Authenticate(mip4.ExtMobileHome, key(w.t, 256))
	for _, p := range forAgent {
		d.Add(mip4.ZoneForeign, p)
	}
	d.Authenticate(mip4.ExtForeignHome, key(w.t, 300))
	b, err := d.Seal()
	if err != nil {
		w.t.Fatal(err)
	}
	w.step(engine.Packet{Link: "eth0", Src: netip.AddrPortFrom(agentAddr, 434), Dst: netip.AddrPortFrom(w.careOf, 434), Data: b})
	sent := w.take()
	if len(sent) != 1 {
		w.t.Fatalf("%d messages after a reply", len(sent))
	}
	back, err := mip4.Parse(sent[0].Data)
	if err != nil {
		w.t.Fatal(err)
	}
	for _, e := range w.plane {
		return e, back
	}
	return forward.Entry{}, back
}

// Where the extension goes: behind what the mobile node has signed, before the
// agent's own authenticator, from the care-of address; not for a care-of
// address that is the mobile node's, not where nothing hides the agent.
//
//rfc:3519#4.5
//rfc:3519#4.5-1
//rfc:3519#4.5-2
//rfc:3519#4.5-3
func TestForeignAgentAsksForUDP(t *testing.T) {
	const through = mip4.FlagT
	for _, c := range []struct {
		name   string
		careOf netip.Addr
		mode   natt.Mode
		flags  mip4.RequestFlags
		own    bool // the mobile node's own care-of address
		life   uint16
		asks   bool
		forced bool
	}{
		{"private care-of address", hidden, natt.Auto, through, false, 300, true, false},
		{"public care-of address", foreignAddr, natt.Auto, through, false, 300, false, false},
		{"switched off", hidden, natt.Off, through, false, 300, false, false},
		{"forced", foreignAddr, natt.Force, through, false, 300, true, true},
		{"co-located", hidden, natt.Force, through | mip4.FlagD, true, 300, false, false},
		{"deregistration", hidden, natt.Auto, through, false, 0, false, false},
	} {
		w := newForeign(t, c.careOf, natt.Config{Mode: c.mode}, nil)
		careOf := c.careOf
		if c.own {
			careOf = netip.MustParseAddr("198.18.1.77")
		}
		m := w.ask(c.flags, careOf, c.life)
		ask, n, err := mip4.Get[mip4.UDPTunnelRequest](m)
		if err != nil || (n == 1) != c.asks || n > 1 || ask.ForceFlag != c.forced || ask.Registration {
			t.Errorf("%s: %d extensions, %+v, %v", c.name, n, ask, err)
		}
		if n == 1 {
			e, _ := m.Find(mip4.ExtUDPTunnelRequest)
			home, _ := m.Find(mip4.ExtMobileHome)
			foreign, signed := m.Find(mip4.ExtForeignHome)
			if e.Off < home.Off || signed != 1 || e.Off > foreign.Off {
				t.Errorf("%s: the extension stands at %d, 32 at %d, 34 at %d", c.name, e.Off, home.Off, foreign.Off)
			}
		}
	}
}

// What the home agent says decides: assent, decline, or silence of an agent
// without RFC 3519. The answer is the foreign agent's to take off.
//
//rfc:3519#4.5
//rfc:3519#3.2
//rfc:3519#3.4-1
//rfc:3519#3.4-2
//rfc:3519#4.5-5
//rfc:3519#4.5-6
func TestForeignAgentTunnelsInUDPWhenTheHomeAgentSaysSo(t *testing.T) {
	for _, c := range []struct {
		name   string
		answer *mip4.UDPTunnelReply
		udp    bool
	}{
		{"assent", &mip4.UDPTunnelReply{Code: mip4.UDPTunnelAccepted, Keepalive: 60}, true},
		{"declined", &mip4.UDPTunnelReply{Code: mip4.UDPTunnelDeclined}, false},
		{"no answer", nil, false},
	} {
		w := newForeign(t, hidden, natt.Config{}, nil)
		m := w.ask(mip4.FlagT|mip4.FlagG, hidden, 300)
		var forAgent []mip4.Payload
		if c.answer != nil {
			forAgent = append(forAgent, c.answer)
		}
		e, back := w.grant(m, forAgent...)
		if _, n := back.Find(mip4.ExtUDPTunnelReply); n != 0 {
			t.Errorf("%s: the mobile node gets the answer", c.name)
		}
		tunnel := e.Tunnels[0]
		want := forward.Tunnel{Local: netip.AddrPortFrom(hidden, 0), Peer: netip.AddrPortFrom(agentAddr, 0), Encap: encap.GRE, Until: tunnel.Until}
		if c.udp {
			want.Local, want.Peer = netip.AddrPortFrom(hidden, 434), netip.AddrPortFrom(agentAddr, 434)
			want.Encap, want.Inside = encap.UDP, encap.GRE
		}
		if tunnel != want {
			t.Errorf("%s: tunnel %+v, want %+v", c.name, tunnel, want)
		}
		// A NAT that is known is told, and asks for reverse tunnels; one that
		// is not is not.
		w.advance(4 * time.Second)
		if w.flags.Has(adv4.FlagU) != c.udp {
			t.Errorf("%s: advertises %v", c.name, w.flags)
		}
		m = w.ask(0, hidden, 300)
		reply, err := m.Reply()
		if denied := m.Type == mip4.TypeRegistrationReply && err == nil && reply.Code == mip4.CodeFAReverseTunnelMandatory; denied != c.udp {
			t.Errorf("%s: a request without T leads to %v %v", c.name, m.Type, reply.Code)
		}
	}
}

// An answer to nothing changes nothing.
//
//rfc:3519#4.5
func TestForeignAgentIgnoresAnUnaskedAnswer(t *testing.T) {
	w := newForeign(t, foreignAddr, natt.Config{}, nil)
	e, _ := w.grant(w.ask(mip4.FlagT, foreignAddr, 300), &mip4.UDPTunnelReply{})
	if e.Tunnels[0].Encap != encap.IPIP {
		t.Errorf("tunnel %+v", e.Tunnels[0])
	}
}

// Keepalives: one for all visitors of a home agent, as often as it says and no
// rarer than the operator; again when it is not answered, and told when nobody
// answers; none without visitors.
//
//rfc:3519#4.9
//rfc:3519#4.10
//rfc:3519#4.9-1
//rfc:3519#4.9-2
//rfc:3519#4.9-3
//rfc:3519#4.9-4
func TestForeignAgentKeepsTheMapping(t *testing.T) {
	for _, c := range []struct {
		own, said time.Duration
		want      time.Duration
	}{
		{0, 0, natt.DefaultKeepalive},
		{0, 40 * time.Second, 40 * time.Second},
		{30 * time.Second, 40 * time.Second, 30 * time.Second},
		{0, time.Second, natt.MinKeepalive},
	} {
		w := newForeign(t, hidden, natt.Config{Keepalive: c.own}, nil)
		e, _ := w.grant(w.ask(mip4.FlagT, hidden, 600), &mip4.UDPTunnelReply{Keepalive: uint16(c.said / time.Second)})
		w.advance(c.want - time.Second)
		if n := len(w.take()); n != 0 {
			t.Errorf("%v: %d keepalives too early", c.want, n)
		}
		w.advance(time.Second)
		sent := w.take()
		if len(sent) != 1 || sent[0].Src != netip.AddrPortFrom(hidden, 434) || sent[0].Dst != netip.AddrPortFrom(agentAddr, 434) {
			t.Fatalf("%v: sent %+v", c.want, sent)
		}
		h := encap.Header{Src: hidden, Dst: agentAddr, SrcPort: 434, DstPort: 434}
		inner, err := encap.PullUDP(&h, slices.Concat(make([]byte, 64), sent[0].Data), 64)
		if err != nil {
			t.Fatal(err)
		}
		echo, err := encap.ParseEcho(inner)
		if err != nil || echo.Type != encap.EchoRequest || echo.Src != homeAddr || echo.Dst != agentAddr {
			t.Errorf("%v: the keepalive is %+v, %v", c.want, echo, err)
		}
		w.step(engine.Plane{Event: forward.EchoReply{Key: e.Key, ID: echo.ID, Seq: echo.Seq}})
		w.advance(c.want - time.Second)
		if n := len(w.take()); n != 0 {
			t.Errorf("%v: %d keepalives after an answered one", c.want, n)
		}
		w.advance(time.Second + 6*time.Second)
		if n := len(w.take()); n != 3 {
			t.Errorf("%v: %d keepalives while nobody answers, want 3", c.want, n)
		}
		w.grant(w.ask(mip4.FlagT, hidden, 0))
		w.take()
		w.advance(10 * time.Minute)
		if n := len(w.take()); n != 0 {
			t.Errorf("%v: %d keepalives without a visitor", c.want, n)
		}
	}
}
