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
	"careof/internal/core/ident"
	"careof/internal/core/note"
	"careof/internal/proto/mip4/feature/natt"
	"careof/internal/proto/mip4/ha"
	"careof/wire/encap"
	"careof/wire/mip4"
)

var (
	agentAddr   = netip.MustParseAddr("198.51.100.1")
	homeAddr    = netip.MustParseAddr("10.10.0.5")
	private     = netip.MustParseAddr("192.168.8.100")
	public      = netip.MustParseAddrPort("203.0.113.77:50000")
	foreignAddr = netip.MustParseAddr("203.0.113.1")
)

func key(t testing.TB, spi uint32) *assoc.Association {
	t.Helper()
	a, err := assoc.New(spi, assoc.HMACSHA256, assoc.NewKey([]byte("0123456789abcdef")), assoc.Timestamps)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func homeConfig(t testing.TB) ha.Config {
	return ha.Config{
		Addresses:            []netip.Addr{agentAddr},
		Networks:             []ha.Network{{Prefix: netip.MustParsePrefix("10.10.0.0/24")}},
		SimultaneousBindings: 3,
		Nodes:                []ha.MobileNode{{Node: ident.Node{HomeAddress: homeAddr}, Keys: []*assoc.Association{key(t, 256)}}},
		ForeignAgents:        []ha.ForeignAgent{{Address: foreignAddr, Keys: []*assoc.Association{key(t, 300)}}},
	}
}

// A homeWorld is a home agent whose commits come true at once.
type homeWorld struct {
	t     *testing.T
	a     *ha.Agent
	now   engine.Now
	plane enginetest.Plane
	store enginetest.Store
	sent  []engine.Send
	notes []note.Kind
}

func newHome(t *testing.T, agent ha.Config, cfg natt.Config) *homeWorld {
	t.Helper()
	a, err := ha.New(agent, rand.New(rand.NewPCG(1, 2)), func(a *ha.Agent) {
		if err := natt.New(cfg).Home(a); err != nil {
			t.Fatal(err)
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	return &homeWorld{
		t: t, a: a,
		now:   engine.Now{Mono: time.Unix(1000, 0), Wall: time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)},
		plane: make(enginetest.Plane), store: make(enginetest.Store),
	}
}

func (w *homeWorld) step(ev engine.Event) { w.do(w.a.Step(w.now, ev)) }

func (w *homeWorld) do(actions []engine.Action) {
	for _, act := range actions {
		switch act := act.(type) {
		case engine.Send:
			w.sent = append(w.sent, act)
		case engine.Tell:
			w.notes = append(w.notes, act.Note.Kind)
		case engine.Commit:
			w.store.Keep(act.Records)
			for _, c := range act.Changes {
				w.plane.Apply(w.t, c)
			}
			w.do(act.Then)
			w.step(engine.Answer{Ticket: act.Ticket})
		}
	}
}

func (w *homeWorld) advance(by time.Duration) {
	end := w.now.Mono.Add(by)
	for at := w.a.Deadline(); !at.IsZero() && !at.After(end); at = w.a.Deadline() {
		w.now.Wall = w.now.Wall.Add(at.Sub(w.now.Mono))
		w.now.Mono = at
		w.step(engine.Wake{})
	}
	w.now.Wall = w.now.Wall.Add(end.Sub(w.now.Mono))
	w.now.Mono = end
}

// A request of the node behind a NAT, with extension 144.
type request struct {
	flags    mip4.RequestFlags
	lifetime uint16
	careOf   netip.Addr
	src      netip.AddrPort
	ask      *mip4.UDPTunnelRequest
	after    bool // 144 after the authenticator: from a foreign agent
	foreign  *assoc.Association
}

func behindNAT() request {
	return request{
		flags: mip4.FlagD | mip4.FlagT, lifetime: 600, careOf: private, src: public, ask: &mip4.UDPTunnelRequest{},
	}
}

// answer is what came back.
type answer struct {
	mip4.RegistrationReply
	send    engine.Send
	message *mip4.Message
	udp     *mip4.UDPTunnelReply // nil without extension 44
}

func (w *homeWorld) register(r request) answer {
	w.t.Helper()
	w.advance(10 * time.Millisecond)
	m := mip4.NewRequest(mip4.RegistrationRequest{
		Flags: r.flags, Lifetime: r.lifetime, HomeAddress: homeAddr, HomeAgent: agentAddr, CareOfAddress: r.careOf,
		Identification: assoc.Timestamp(w.now.Wall),
	})
	if r.ask != nil {
		raw, err := mip4.AppendExt(nil, r.ask)
		if err != nil {
			w.t.Fatal(err)
		}
		if r.after {
			m.AddRaw(mip4.ZoneForeign, raw)
		} else {
			m.AddRaw(mip4.ZoneHome, raw)
		}
	}
	m.Authenticate(mip4.ExtMobileHome, key(w.t, 256))
	if r.foreign != nil {
		m.Authenticate(mip4.ExtForeignHome, r.foreign)
	}
	data, err := m.Seal()
	if err != nil {
		w.t.Fatal(err)
	}
	w.sent = nil
	w.step(engine.Packet{Link: "wan0", Src: r.src, Dst: netip.AddrPortFrom(agentAddr, 434), TTL: 60, Data: data})
	if len(w.sent) != 1 {
		w.t.Fatalf("%d replies", len(w.sent))
	}
	out := answer{send: w.sent[0]}
	if len(out.send.Data) > len(data) && r.src.Addr() != foreignAddr { // a foreign agent with an association gets a 34
		w.t.Errorf("the reply has %d octets, the request %d: amplification", len(out.send.Data), len(data))
	}
	if out.send.Dst != r.src {
		w.t.Errorf("the reply goes to %v, want the request's source %v", out.send.Dst, r.src)
	}
	if out.message, err = mip4.Parse(out.send.Data); err != nil {
		w.t.Fatal(err)
	}
	if out.RegistrationReply, err = out.message.Reply(); err != nil {
		w.t.Fatal(err)
	}
	if udp, n, err := mip4.Get[mip4.UDPTunnelReply](out.message); err != nil {
		w.t.Fatal(err)
	} else if n > 0 {
		out.udp = &udp
	}
	return out
}

func (w *homeWorld) tunnel() forward.Tunnel {
	w.t.Helper()
	e, ok := w.plane[forward.Key("ha/"+homeAddr.String())]
	if !ok {
		w.t.Fatal("no forwarding entry")
	}
	return e.Tunnels[0]
}

// The table of RFC 3519 sections 4.6 and 4.6.1: what a UDP Tunnel Request is
// answered with.
//
//rfc:3519#4.6
//rfc:3519#4.6.1
//rfc:3519#3.1.4
//rfc:3519#3.1-3
//rfc:3519#3.1.3-1
//rfc:3519#3.1.1-1
//rfc:3519#3.1.1-2
//rfc:3519#4.1-1
//rfc:3519#4.1-2
//rfc:3519#4.1-3
//rfc:3519#4.1-4
//rfc:3519#4.6-2
//rfc:3519#4.6-3
//rfc:3519#4.6-4
//rfc:3519#4.6-5
//rfc:3519#4.6-6
//rfc:3519#4.6-12
//rfc:3519#4.6.1-1
//rfc:3519#4.6.1-2
//rfc:3519#4.6.1-3
//rfc:3519#4.6.1-4
//rfc:3519#4.6.1-5
//rfc:3519#4.6.1-6
func TestUDPTunnelRequest(t *testing.T) {
	const no44 = mip4.UDPTunnelCode(255)
	direct := netip.AddrPortFrom(private, 40000)
	for _, c := range []struct {
		name   string
		cfg    natt.Config
		agent  func(*ha.Config)
		change func(*request)
		code   mip4.Code
		udp    mip4.UDPTunnelCode
		force  bool
		want   forward.Tunnel // Encap, Inside, Peer, AnyPort are compared
	}{
		{name: "mismatch: assent", udp: 0, want: forward.Tunnel{Encap: encap.UDP, Inside: encap.IPIP, Peer: public}},
		{name: "match: declined", change: func(r *request) { r.src = direct }, udp: 64,
			want: forward.Tunnel{Encap: encap.IPIP, Peer: netip.AddrPortFrom(private, 0)}},
		{name: "match, F: forced", change: func(r *request) { r.src = direct; r.ask.ForceFlag = true }, udp: 0, force: true,
			want: forward.Tunnel{Encap: encap.UDP, Inside: encap.IPIP, Peer: direct}},
		{name: "mismatch, F: not by force", change: func(r *request) { r.ask.ForceFlag = true }, udp: 0,
			want: forward.Tunnel{Encap: encap.UDP, Inside: encap.IPIP, Peer: public}},
		{name: "match, home agent forces", cfg: natt.Config{Mode: natt.Force}, change: func(r *request) { r.src = direct }, udp: 0,
			want: forward.Tunnel{Encap: encap.UDP, Inside: encap.IPIP, Peer: direct}},
		{name: "match, F refused", cfg: natt.Config{RefuseForce: true}, change: func(r *request) { r.src = direct; r.ask.ForceFlag = true }, code: 129, udp: no44},
		{name: "mismatch, traversal off", cfg: natt.Config{Mode: natt.Off}, code: 129, udp: no44},
		{name: "mismatch, UDP not offered", agent: func(c *ha.Config) { c.Encapsulations = []encap.Kind{encap.IPIP} }, code: 129, udp: no44},
		{name: "match, traversal off", cfg: natt.Config{Mode: natt.Off}, change: func(r *request) { r.src = direct }, udp: 64,
			want: forward.Tunnel{Encap: encap.IPIP, Peer: netip.AddrPortFrom(private, 0)}},
		{name: "match, F, traversal off", cfg: natt.Config{Mode: natt.Off}, change: func(r *request) { r.src = direct; r.ask.ForceFlag = true }, code: 129, udp: no44},
		{name: "mismatch without the extension", change: func(r *request) { r.ask = nil }, code: 129, udp: no44},
		{name: "match without the extension", change: func(r *request) { r.ask, r.src = nil, direct }, udp: no44,
			want: forward.Tunnel{Encap: encap.IPIP, Peer: netip.AddrPortFrom(private, 0)}},
		{name: "G bit, Encapsulation 0", change: func(r *request) { r.flags |= mip4.FlagG }, udp: 0,
			want: forward.Tunnel{Encap: encap.UDP, Inside: encap.GRE, Peer: public}},
		{name: "G bit, Encapsulation 55", change: func(r *request) { r.flags |= mip4.FlagG; r.ask.Encap = 55 }, udp: 0,
			want: forward.Tunnel{Encap: encap.UDP, Inside: encap.Minimal, Peer: public}},
		{name: "Encapsulation 47", change: func(r *request) { r.ask.Encap = 47 }, udp: 0,
			want: forward.Tunnel{Encap: encap.UDP, Inside: encap.GRE, Peer: public}},
		{name: "Encapsulation not offered: never silently another one",
			agent:  func(c *ha.Config) { c.Encapsulations = []encap.Kind{encap.IPIP, encap.UDP} },
			change: func(r *request) { r.ask.Encap = 47 }, code: 142, udp: no44},
		{name: "Encapsulation unknown", change: func(r *request) { r.ask.Encap = 99 }, code: 142, udp: no44},
		{name: "Encapsulation UDP in UDP", change: func(r *request) { r.ask.Encap = 17 }, code: 142, udp: no44},
		{name: "Encapsulation not offered, but declined", agent: func(c *ha.Config) { c.Encapsulations = []encap.Kind{encap.IPIP, encap.UDP} },
			change: func(r *request) { r.ask.Encap, r.src = 47, direct }, udp: 64,
			want: forward.Tunnel{Encap: encap.IPIP, Peer: netip.AddrPortFrom(private, 0)}},
		{name: "before 32 with D=0", change: func(r *request) { r.flags = mip4.FlagT }, code: 134, udp: no44},
		{name: "after 32 with D=1", change: func(r *request) { r.after = true }, code: 134, udp: no44},
		{name: "Reserved 3 not zero: skipped", change: func(r *request) { r.ask.Reserved = 1; r.src = direct }, udp: no44,
			want: forward.Tunnel{Encap: encap.IPIP, Peer: netip.AddrPortFrom(private, 0)}},
		{name: "Reserved 3 not zero: 134", cfg: natt.Config{StrictReserved: true}, change: func(r *request) { r.ask.Reserved = 1; r.src = direct }, code: 134, udp: no44},
		{name: "R: half bound", change: func(r *request) { r.ask.Registration = true }, udp: 0,
			want: forward.Tunnel{Encap: encap.UDP, Inside: encap.IPIP, Peer: netip.AddrPortFrom(public.Addr(), 0), AnyPort: true}},
		{name: "co-located through a known foreign agent without R", change: func(r *request) { r.src = netip.AddrPortFrom(foreignAddr, 434) }, udp: 64,
			want: forward.Tunnel{Encap: encap.IPIP, Peer: netip.AddrPortFrom(private, 0)}},
		{name: "the effective care-of address must be one too", change: func(r *request) { r.src = netip.MustParseAddrPort("10.10.0.9:5") }, code: 129, udp: no44},
	} {
		t.Run(c.name, func(t *testing.T) {
			cfg := homeConfig(t)
			if c.agent != nil {
				c.agent(&cfg)
			}
			w := newHome(t, cfg, c.cfg)
			r := behindNAT()
			if c.change != nil {
				c.change(&r)
			}
			p := w.register(r)
			if p.Code != c.code {
				t.Fatalf("code %d (%v), want %d", p.Code, p.Code, c.code)
			}
			if (p.udp == nil) != (c.udp == no44) {
				t.Fatalf("extension 44: %+v", p.udp)
			}
			if p.udp != nil && (p.udp.Code != c.udp || p.udp.Force != c.force) {
				t.Errorf("extension 44: %+v", p.udp)
			}
			if c.code != 0 {
				if len(w.plane) != 0 {
					t.Error("denied, and forwarding")
				}
				return
			}
			got := w.tunnel()
			if got.Encap != c.want.Encap || got.Inside != c.want.Inside || got.Peer != c.want.Peer || got.AnyPort != c.want.AnyPort {
				t.Errorf("tunnel %+v\nwant   %+v", got, c.want)
			}
			if wantPort := uint16(434); got.Encap == encap.UDP && got.Local.Port() != wantPort {
				t.Errorf("the tunnel starts at port %d", got.Local.Port())
			}
		})
	}
}

// "The UDP Tunnel Reply Extension" stands where its reader looks: before the
// authenticator for a mobile node, after it for a foreign agent, which takes
// it off.
//
//rfc:3519#4.6
//rfc:3519#4.6-1
//rfc:3519#4.10-4
func TestPlaceOfTheUDPTunnelReply(t *testing.T) {
	w := newHome(t, homeConfig(t), natt.Config{Keepalive: 45 * time.Second})
	p := w.register(behindNAT())
	types := func(p answer) (l []mip4.ExtType) {
		for _, e := range p.message.Exts {
			l = append(l, e.Type)
		}
		return l
	}
	if got := types(p); !slices.Equal(got, []mip4.ExtType{44, 32}) {
		t.Errorf("extensions %v", got)
	}
	if p.udp.Keepalive != 45 {
		t.Errorf("keepalive %d", p.udp.Keepalive)
	}
	r := behindNAT()
	r.flags, r.after, r.careOf, r.foreign = mip4.FlagT, true, foreignAddr, key(t, 300)
	p = w.register(r)
	if got := types(p); p.Code != 0 || !slices.Equal(got, []mip4.ExtType{32, 44, 34}) {
		t.Errorf("code %d, extensions %v", p.Code, got)
	}
	if got := w.tunnel(); got.Encap != encap.UDP || got.Peer != public {
		t.Errorf("tunnel %+v", got)
	}
}

// "a parameter with a default value of 110 seconds".
//
//rfc:3519#4.9
func TestDefaultKeepalive(t *testing.T) {
	w := newHome(t, homeConfig(t), natt.Config{})
	if p := w.register(behindNAT()); p.udp.Keepalive != 110 {
		t.Errorf("keepalive %d", p.udp.Keepalive)
	}
}

// "it is RECOMMENDED to use a conservative (that is, short) mobility binding
// lifetime": shortened where data go through UDP, and only there.
//
//rfc:3519#5.2
//rfc:3519#6
//rfc:3519#6-1
func TestLifetimeBehindNAT(t *testing.T) {
	w := newHome(t, homeConfig(t), natt.Config{NATLifetime: 60 * time.Second})
	if p := w.register(behindNAT()); p.Lifetime != 60 {
		t.Errorf("lifetime %d", p.Lifetime)
	}
	r := behindNAT()
	r.src = netip.AddrPortFrom(private, 40000)
	if p := w.register(r); p.Lifetime != 600 {
		t.Errorf("lifetime %d without a NAT", p.Lifetime)
	}
	r = behindNAT()
	r.lifetime = 30
	if p := w.register(r); p.Lifetime != 30 {
		t.Errorf("lifetime %d, asked for 30", p.Lifetime)
	}
}

// Without the T bit the keepalives must still come in.
//
//rfc:3519#2
func TestUDPTunnelsReceiveWithoutT(t *testing.T) {
	w := newHome(t, homeConfig(t), natt.Config{})
	r := behindNAT()
	r.flags = mip4.FlagD
	w.register(r)
	if got := w.tunnel(); got.Mode != forward.Both {
		t.Errorf("mode %v", got.Mode)
	}
}

// A NAT that binds anew: the next registration moves the tunnel, and only it
// does.
//
//rfc:3519#4.4-6
func TestNewMapping(t *testing.T) {
	w := newHome(t, homeConfig(t), natt.Config{})
	w.register(behindNAT())
	moved := netip.AddrPortFrom(public.Addr(), 50001)
	for _, echo := range []bool{false, true} {
		w.step(engine.Plane{Event: forward.EndpointSeen{Key: forward.Key("ha/" + homeAddr.String()), From: moved, Echo: echo}})
	}
	if got := w.tunnel(); got.Peer != public {
		t.Fatalf("a data packet moved the binding to %v", got.Peer)
	}
	r := behindNAT()
	r.src = moved
	w.register(r)
	e := w.plane[forward.Key("ha/"+homeAddr.String())]
	if len(e.Tunnels) != 2 || e.Tunnels[0].Peer != moved || e.Tunnels[1].Peer != public || e.Tunnels[1].Mode != forward.Receive {
		t.Errorf("tunnels %+v", e.Tunnels)
	}
}

// Deregistrations need no tunnel: a mismatch is no matter, and nothing is
// answered about UDP.
func TestDeregistrationBehindNAT(t *testing.T) {
	w := newHome(t, homeConfig(t), natt.Config{})
	w.register(behindNAT())
	r := behindNAT()
	r.lifetime = 0
	if p := w.register(r); p.Code != 0 || p.udp != nil || len(w.plane) != 0 {
		t.Errorf("code %d, 44 %+v, %d entries", p.Code, p.udp, len(w.plane))
	}
}

func (w *homeWorld) seen(from string, echo bool) {
	w.step(engine.Plane{Event: forward.EndpointSeen{
		Key: forward.Key("ha/" + homeAddr.String()), Local: netip.AddrPortFrom(agentAddr, 434),
		From: netip.MustParseAddrPort(from), Echo: echo,
	}})
}

// "the home agent MUST wait for the first keepalive packet from the mobile
// node to arrive ... the home agent MUST check that the outer source address
// (but not the port) of this keepalive packet is identical with the source
// address of the corresponding registration request".
//
//rfc:3519#4.6
//rfc:3519#4.11
//rfc:3519#4.6-8
//rfc:3519#4.6-10
//rfc:3519#6.1.2-1
func TestHalfBound(t *testing.T) {
	w := newHome(t, homeConfig(t), natt.Config{})
	r := behindNAT()
	r.ask.Registration = true
	w.register(r)
	w.seen("203.0.113.78:60000", true)  // another address
	w.seen("203.0.113.77:60000", false) // no keepalive
	if got := w.tunnel(); !got.AnyPort || got.Peer.Port() != 0 {
		t.Fatalf("bound by the wrong packet: %+v", got)
	}
	w.seen("203.0.113.77:60000", true)
	if got := w.tunnel(); got.AnyPort || got.Peer != netip.MustParseAddrPort("203.0.113.77:60000") {
		t.Fatalf("not bound by the keepalive: %+v", got)
	}
	w.seen("203.0.113.77:60001", true)
	if got := w.tunnel(); got.Peer.Port() != 60000 {
		t.Fatal("a second keepalive moved the binding")
	}
	// A renewal keeps the port, and one keepalive may correct it.
	w.register(r)
	if got := w.tunnel(); got.AnyPort || got.Peer.Port() != 60000 {
		t.Fatalf("the renewal lost the port: %+v", got)
	}
	w.seen("203.0.113.77:60001", true)
	if got := w.tunnel(); got.Peer.Port() != 60001 {
		t.Fatalf("the first keepalive after a renewal was not taken: %+v", got)
	}
	w.advance(10 * time.Second)
	if len(w.plane) != 1 {
		t.Error("a binding whose keepalive came was given up")
	}
	// The port is durable.
	again := newHome(t, homeConfig(t), natt.Config{})
	w.store.Restore(t, again.a, w.now)
	for e := range again.a.Entries() {
		if e.Tunnels[0].Peer.Port() != 60001 || e.Tunnels[0].AnyPort {
			t.Errorf("restored tunnel %+v", e.Tunnels[0])
		}
	}
}

// An open port is an invitation: half-bound state lasts three seconds, also
// across a restart.
//
//rfc:3519#6.1.2
func TestHalfBoundEnds(t *testing.T) {
	w := newHome(t, homeConfig(t), natt.Config{})
	r := behindNAT()
	r.ask.Registration = true
	w.register(r)
	again := newHome(t, homeConfig(t), natt.Config{})
	w.store.Restore(t, again.a, w.now)
	for e := range again.a.Entries() {
		again.plane[e.Key] = e
	}
	again.now = w.now
	for name, w := range map[string]*homeWorld{"before": w, "after a restart": again} {
		w.advance(natt.DefaultHalfBound - time.Millisecond)
		if len(w.plane) != 1 {
			t.Errorf("%s: given up early", name)
		}
		w.advance(time.Millisecond)
		if len(w.plane) != 0 {
			t.Errorf("%s: still half bound", name)
		}
		w.seen("203.0.113.77:60000", true)
		if len(w.plane) != 0 {
			t.Errorf("%s: a late keepalive bound", name)
		}
	}
}

// A feature that is switched off behaves like an implementation that never had
// it: 144 is skipped, and a NAT is refused.
//
//rfc:5944#1.8
func TestWithoutTheFeature(t *testing.T) {
	w := newHome(t, homeConfig(t), natt.Config{})
	a, err := ha.New(homeConfig(t), rand.New(rand.NewPCG(1, 2)))
	if err != nil {
		t.Fatal(err)
	}
	w.a = a
	if p := w.register(behindNAT()); p.Code != mip4.CodeHAProhibited || p.udp != nil {
		t.Errorf("code %d, 44 %+v", p.Code, p.udp)
	}
	r := behindNAT()
	r.src = netip.AddrPortFrom(private, 40000)
	if p := w.register(r); p.Code != mip4.CodeAccepted || p.udp != nil {
		t.Errorf("code %d, 44 %+v", p.Code, p.udp)
	}
}
