package standard_test

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"careof/internal/core/assoc"
	"careof/internal/core/engine"
	"careof/internal/core/engine/enginetest"
	"careof/internal/core/forward"
	"careof/internal/core/ident"
	"careof/internal/core/note"
	"careof/internal/proto/mip4/ha"
	"careof/internal/proto/mip4/mn"
	"careof/internal/proto/mip4/standard"
	"careof/wire/encap"
)

var (
	homeAddress = netip.MustParseAddr("10.10.0.5")
	homeNetwork = netip.MustParsePrefix("10.10.0.0/24")
	agent       = netip.MustParseAddr("198.51.100.1")
	wifi        = netip.MustParseAddr("192.0.2.7")
	lte         = netip.MustParseAddr("203.0.113.9")
	behindNAT   = netip.MustParseAddr("192.168.8.100")
	natAddress  = netip.MustParseAddr("198.18.0.1")
	stranger    = netip.MustParseAddr("203.0.113.66")
)

func association(t testing.TB, style assoc.Style) *assoc.Association {
	t.Helper()
	a, err := assoc.New(256, assoc.HMACSHA256, assoc.NewKey([]byte("the key of van 7")), style)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func agentConfig(t testing.TB) ha.Config {
	return ha.Config{
		Addresses: []netip.Addr{agent},
		Networks:  []ha.Network{{Prefix: homeNetwork, Pool: []ha.Range{{From: netip.MustParseAddr("10.10.0.100"), To: netip.MustParseAddr("10.10.0.101")}}}},
		Nodes: []ha.MobileNode{{
			Node: ident.Node{HomeAddress: homeAddress, NAI: "van7@fleet.example"},
			Keys: []*assoc.Association{association(t, assoc.Timestamps)},
		}},
		SimultaneousBindings: 3,
	}
}

func nodeConfig(t testing.TB) mn.Config {
	return mn.Config{
		HomeAddress: homeAddress,
		NAI:         "van7@fleet.example",
		HomeAgents:  []mn.HomeAgent{{Address: agent}},
		Association: association(t, assoc.Timestamps),
		Uplinks:     []mn.UplinkConfig{{Interface: "wlan0", Priority: 100}, {Interface: "lte0", Priority: 50}},
	}
}

// A host drives one machine.
type host struct {
	machine engine.Persistent
	skew    time.Duration
	entries enginetest.Plane
	store   enginetest.Store
	notes   []note.Note
	results []engine.Result
	puts    int
	use     time.Time         // of LastUse
	slow    time.Duration     // until a commit is true
	deaf    time.Time         // when it last received, if that is earlier
	carried []forward.Carried // that the data plane was told
}

// A pair is a home agent and a mobile node, 25 ms apart, in virtual time.
type pair struct {
	t testing.TB
	timeline[parcel]
	agent *host
	node  *host

	nat     map[netip.Addr]uint16 // care-of addresses behind the NAT, and their present port
	idle    time.Duration         // what the NAT forgets a mapping after, when nothing went out; 0: it forgets none
	out     map[uint16]time.Time  // by port of the NAT: when something last went out
	beside  uint16                // the NAT's port of the node's second one
	asides  int                   // what left from there
	narrow  bool                  // the NAT lets out nothing from there
	down    map[string]bool
	unheard map[netip.Addr]bool // what nothing of the home agent's reaches
	round   map[netip.Addr]bool // whose way leads through the node's own tunnel: nothing passes while the home agent sends there
	lossy   func() bool
	sent    int // requests of the node
	echoes  []time.Time
	answers bool // the home agent's data plane answers keepalives

	last    engine.Send  // of the node
	tap     func([]byte) // sees every registration message
	replies int          // of the home agent

	probes int                             // echo requests that the node sent into its tunnel
	astray int                             // of them, those for which there was none
	ways   map[string]time.Duration        // round trips over links, where it is not 50 ms
	jitter map[string]func() time.Duration // what a round trip takes besides
	losses map[string]func() bool          // of probes of either kind over links
	widths map[string]int                  // the longest outer packet that gets through, where that matters
	user   int                             // packets of programs that the node's data plane has sent
}

// A parcel is what arrives at a host.
type parcel struct {
	to   *host
	ev   engine.Event
	done func() // in place of an event
}

func newPair(t testing.TB, ac ha.Config, nc mn.Config, c standard.Config) *pair {
	t.Helper()
	p := &pair{t: t, timeline: newTimeline[parcel](), nat: map[netip.Addr]uint16{}, down: map[string]bool{}, lossy: func() bool { return false }, answers: true}
	p.agent = &host{entries: enginetest.Plane{}, store: enginetest.Store{}}
	p.node = &host{entries: enginetest.Plane{}, store: enginetest.Store{}}
	p.bootAgent(ac, c)
	p.bootNode(nc, c)
	return p
}

func (p *pair) bootAgent(cfg ha.Config, c standard.Config) {
	p.t.Helper()
	a, err := standard.HomeAgent(cfg, standard.Features(c), rand.New(rand.NewPCG(1, uint64(p.seq))))
	if err != nil {
		p.t.Fatal(err)
	}
	p.restore(p.agent, a)
}

func (p *pair) bootNode(cfg mn.Config, c standard.Config) {
	p.t.Helper()
	n, err := standard.MobileNode(cfg, standard.Features(c), rand.New(rand.NewPCG(2, uint64(p.seq))))
	if err != nil {
		p.t.Fatal(err)
	}
	p.restore(p.node, n)
}

func (p *pair) restore(h *host, m engine.Persistent) {
	h.machine = m
	h.store.Restore(p.t, m, p.clock(h))
	p.recall(func(m parcel) bool { return m.to == h })
}

func (p *pair) clock(h *host) engine.Now {
	return engine.Now{Mono: p.now.Mono, Wall: p.now.Wall.Add(h.skew)}
}

func (p *pair) step(h *host, ev engine.Event) {
	p.execute(h, h.machine.Step(p.clock(h), ev))
	if at := h.machine.Deadline(); !at.IsZero() && !at.After(p.now.Mono) {
		p.t.Fatalf("%T: after %T the deadline is not in the future", h.machine, ev)
	}
}

func (p *pair) later(d time.Duration, to *host, ev engine.Event) {
	p.after(d, parcel{to: to, ev: ev})
}

func (p *pair) execute(h *host, actions []engine.Action) {
	for _, a := range actions {
		switch a := a.(type) {
		case engine.Send:
			p.send(h, a)
		case engine.Commit:
			if h.slow > 0 {
				p.after(h.slow, parcel{done: func() { p.commit(h, a) }})
				continue
			}
			p.commit(h, a)
		case engine.Ask:
			ans := engine.Answer{Ticket: a.Ticket}
			if _, ok := a.Question.(engine.LastUse); ok {
				use := forward.Use{Sent: h.use, Received: h.use}
				if !h.deaf.IsZero() {
					use.Received = h.deaf
				}
				ans.Value = use
			}
			if c, ok := a.Question.(forward.Carried); ok {
				h.carried = append(h.carried, c)
			}
			if _, ok := a.Question.(engine.Traffic); ok {
				ans.Value = forward.Counters{SentPackets: uint64(p.user + p.probes)}
			}
			p.later(0, h, ans)
		case engine.Originate:
			p.originate(h, a.Packet)
		case engine.Tell:
			h.notes = append(h.notes, a.Note)
		case engine.Result:
			h.results = append(h.results, a)
		}
	}
}

func (p *pair) commit(h *host, a engine.Commit) {
	h.store.Keep(a.Records)
	for _, c := range a.Changes {
		if c.Op == forward.Put {
			h.puts++
		}
		h.entries.Apply(p.t, c)
	}
	p.execute(h, a.Then)
	if a.Ticket != 0 {
		p.later(0, h, engine.Answer{Ticket: a.Ticket})
	}
}

// send carries a datagram across the net, and through the NAT.
func (p *pair) send(from *host, s engine.Send) {
	if len(s.Data) > 0 && s.Data[0] == encap.TunnelDataType {
		p.echo(s)
		return
	}
	data := slices.Clone(s.Data)
	if p.tap != nil {
		p.tap(data)
	}
	if from == p.agent {
		p.replies++
	}
	if from == p.node {
		p.sent++
		if s.Aside && p.narrow {
			return
		}
		p.last = s
		src := netip.AddrPortFrom(s.Src.Addr(), 40434)
		if _, ok := p.nat[s.Src.Addr()]; ok {
			src = netip.AddrPortFrom(natAddress, p.translate(s))
		}
		if p.down[s.Link] || p.lossy() || p.loses(s.Link) || p.circles(s.Src.Addr()) {
			return
		}
		p.later(p.way(s.Link)-25*time.Millisecond, p.agent, engine.Packet{Link: "eth0", Src: src, Dst: s.Dst, TTL: s.TTL, Data: data})
		return
	}
	dst := s.Dst
	if dst.Addr() == stranger || dst.Addr() == natAddress && p.forgotten(dst.Port()) {
		return
	}
	for inside, port := range p.nat {
		if p.beside != 0 && dst == netip.AddrPortFrom(natAddress, p.beside) {
			dst = netip.AddrPortFrom(inside, 50434)
		}
		if dst == netip.AddrPortFrom(natAddress, port) {
			dst = netip.AddrPortFrom(inside, 40434)
		}
	}
	if p.lossy() || p.unheard[dst.Addr()] || p.circles(dst.Addr()) {
		return
	}
	p.later(25*time.Millisecond, p.node, engine.Packet{Src: netip.AddrPortFrom(agent, 434), Dst: dst, TTL: 60, Data: data})
}

// circles says that an address is one of round, and what the home agent sends there is
// for itself again.
func (p *pair) circles(a netip.Addr) bool { return p.round[a] && slices.Contains(p.sendsTo(), a) }

// translate gives what leaves a port of the NAT. A mapping that was forgotten
// is made anew, with another port.
func (p *pair) translate(s engine.Send) uint16 {
	port := p.nat[s.Src.Addr()]
	if s.Aside {
		p.asides++
		if port = p.beside; port == 0 || s.Fresh {
			port = max(port, 20000) + 1
		}
	}
	if p.forgotten(port) || s.Fresh && !s.Aside {
		port++
	}
	if s.Aside {
		p.beside = port
	} else {
		p.nat[s.Src.Addr()] = port
	}
	if p.out == nil {
		p.out = make(map[uint16]time.Time)
	}
	p.out[port] = p.now.Mono
	return port
}

// forgotten says that the NAT had a mapping of that port.
func (p *pair) forgotten(port uint16) bool {
	last, had := p.out[port]
	return had && p.idle != 0 && p.now.Mono.Sub(last) > p.idle
}

func (p *pair) way(link string) time.Duration {
	w := 50 * time.Millisecond
	if p.ways[link] != 0 {
		w = p.ways[link]
	}
	if more := p.jitter[link]; more != nil {
		w += more()
	}
	return w
}

func (p *pair) loses(link string) bool {
	lost := p.losses[link]
	return lost != nil && lost()
}

// originate sends the node's packet through its tunnel; the home agent answers
// an echo request.
func (p *pair) originate(h *host, packet []byte) {
	p.probes++
	e, err := encap.ParseEcho(packet)
	if err != nil || e.Src != h.machine.(*mn.Node).HomeAddress() || e.Dst != agent {
		p.t.Fatalf("%x: %+v %v", packet, e, err)
	}
	for _, t := range h.entries[h.machine.(*mn.Node).Key()].Tunnels {
		if t.Mode == forward.Receive {
			continue
		}
		header := encap.Header{Kind: t.Encap, Inner: t.Inside, HasKey: t.HasKey}
		wide := p.widths[t.Link] == 0 || len(packet)+header.Overhead() <= p.widths[t.Link]
		if !p.answers || slices.ContainsFunc(p.sendsTo(), func(a netip.Addr) bool { return p.unheard[a] || p.round[a] }) || p.down[t.Link] || p.loses(t.Link) || !wide {
			return
		}
		took := p.way(t.Link)
		p.later(took, h, engine.Plane{Event: forward.EchoReply{
			Key: h.machine.(*mn.Node).Key(), From: t.Peer, ID: e.ID, Seq: e.Seq, Token: e.Token(), Received: p.now.Mono.Add(took),
		}})
		return
	}
	p.astray++
}

// echo is the home agent's data plane: it answers keepalives that come from
// where the binding says.
func (p *pair) echo(s engine.Send) {
	p.echoes = append(p.echoes, p.now.Mono)
	var h encap.Header
	inner := s.Data[4:]
	e, err := encap.ParseEcho(inner)
	if err != nil || e.Src != homeAddress || e.Dst != agent {
		p.t.Errorf("keepalive %+v %v %v", h, e, err)
	}
	port, natted := p.nat[s.Src.Addr()]
	if natted {
		port = p.translate(s)
	}
	bound := false
	for _, entry := range p.agent.entries {
		for _, t := range entry.Tunnels {
			bound = bound || natted && t.Peer == netip.AddrPortFrom(natAddress, port)
		}
	}
	if !p.answers || !bound || p.down[s.Link] {
		return
	}
	p.later(50*time.Millisecond, p.node, engine.Plane{Event: forward.EchoReply{
		Key: p.node.machine.(*mn.Node).Key(), From: s.Dst, ID: e.ID, Seq: e.Seq, Received: p.now.Mono.Add(50 * time.Millisecond),
	}})
}

func (p *pair) run(d time.Duration) {
	p.t.Helper()
	p.pass(p.t, d, func(m parcel) {
		if m.done != nil {
			m.done()
			return
		}
		p.step(m.to, m.ev)
	}, func() (at time.Time, wake func()) {
		for _, h := range []*host{p.agent, p.node} {
			at, wake = sooner(at, wake, h.machine.Deadline(), func() { p.step(h, engine.Wake{}) })
		}
		return at, wake
	})
}

func (p *pair) up(name string, address netip.Addr) {
	pre := netip.PrefixFrom(address, 24)
	gw := pre.Masked().Addr().Next()
	p.step(p.node, engine.LinkChanged{Link: engine.Link{
		Name: name, Up: true, MTU: 1500, Addresses: []netip.Prefix{pre}, Gateways: []netip.Addr{gw},
		GatewayHW: engine.HardwareAddr{2, 0, 0, 0, 0, 1},
	}})
}

// upVia is up, behind another gateway.
func (p *pair) upVia(name string, address netip.Addr, gateway byte) {
	pre := netip.PrefixFrom(address, 24)
	p.step(p.node, engine.LinkChanged{Link: engine.Link{
		Name: name, Up: true, MTU: 1500, Addresses: []netip.Prefix{pre}, Gateways: []netip.Addr{pre.Masked().Addr().Next()},
		GatewayHW: engine.HardwareAddr{2, 0, 0, 0, 0, gateway},
	}})
}

func (p *pair) lose(name string) {
	p.step(p.node, engine.LinkChanged{Link: engine.Link{Name: name}})
}

func (p *pair) status() mn.Status {
	p.step(p.node, engine.Command{Ticket: 1, Value: mn.ShowStatus{}})
	return p.node.results[len(p.node.results)-1].Value.(mn.Status)
}

// agree checks that both ends send through the same tunnel.
func (p *pair) agree() {
	p.t.Helper()
	s := p.status()
	if s.State != "registered" {
		p.t.Fatalf("the node is %s: %+v\n%s", s.State, s.Problem, p.trace())
	}
	here := p.node.entries[p.node.machine.(*mn.Node).Key()]
	var there []forward.Tunnel
	for _, e := range p.agent.entries {
		for _, t := range e.Tunnels {
			if t.Mode != forward.Receive {
				there = append(there, t)
			}
		}
	}
	if len(here.Tunnels) == 0 || len(there) != 1 {
		p.t.Fatalf("tunnels %+v and %+v\n%s", here.Tunnels, there, p.trace())
	}
	a, b := here.Tunnels[0], there[0]
	peer := a.Local.Addr()
	if _, ok := p.nat[peer]; ok {
		peer = natAddress
	}
	if a.Mode != forward.Both || a.Encap != b.Encap || b.Peer.Addr() != peer || a.Peer.Addr() != b.Local.Addr() {
		p.t.Errorf("the ends disagree: %+v and %+v\n%s", a, b, p.trace())
	}
	if port := p.nat[a.Local.Addr()]; a.Encap == encap.UDP && port != 0 && b.Peer.Port() != port {
		p.t.Errorf("the home agent sends to port %d, the NAT has %d", b.Peer.Port(), port)
	}
}

func (p *pair) trace() string {
	var b strings.Builder
	for _, n := range p.node.notes {
		fmt.Fprintln(&b, "node ", n)
	}
	for _, n := range p.agent.notes {
		fmt.Fprintln(&b, "agent", n)
	}
	return b.String()
}

func (h *host) count(k note.Kind) (n int) {
	for _, t := range h.notes {
		if t.Kind == k {
			n++
		}
	}
	return n
}

// The main job: register, move without a break, move with one.
func TestNodeMoves(t *testing.T) {
	p := newPair(t, agentConfig(t), nodeConfig(t), standard.Config{})
	p.up("lte0", lte)
	p.run(time.Second)
	p.agree()
	p.up("wlan0", wifi)
	p.run(100 * time.Millisecond)
	p.agree()
	p.run(10 * time.Second)
	p.lose("wlan0")
	p.run(100 * time.Millisecond)
	p.agree()
	if n := p.agent.count(note.Denied); n != 0 {
		t.Errorf("%d denials\n%s", n, p.trace())
	}
	// Renewals go on for hours, and "a refresh costs no plane call".
	p.run(3 * time.Second)
	before := p.node.puts
	p.run(5 * time.Hour)
	p.agree()
	if p.node.puts != before {
		t.Errorf("renewals rewrote the entry %d times", p.node.puts-before)
	}
	if p.node.count(note.Lost)+p.agent.count(note.Expired)+p.agent.count(note.Denied) != 0 {
		t.Errorf("in five hours:\n%s", p.trace())
	}
}

// A pool address by NAI; nonces; loss; a restart of either end with a clock of 1970.
func TestPairUnderTrouble(t *testing.T) {
	for seed := range uint64(12) {
		rng := rand.New(rand.NewPCG(seed, 9))
		ac, nc := agentConfig(t), nodeConfig(t)
		style := assoc.Timestamps
		if seed%2 == 1 {
			style = assoc.Nonces
		}
		ac.Nodes[0].Keys = []*assoc.Association{association(t, style)}
		nc.Association = association(t, style)
		if seed%3 == 2 {
			ac.Nodes[0].HomeAddress, nc.HomeAddress = netip.Addr{}, netip.Addr{}
		}
		nc.Lifetime = time.Minute
		p := newPair(t, ac, nc, standard.Config{})
		p.answers = false
		loss := 0.3
		p.lossy = func() bool { return rng.Float64() < loss }
		p.nat[behindNAT] = 61001
		links := map[string]netip.Addr{}
		place := func(name string) {
			links[name] = [...]netip.Addr{wifi, lte, behindNAT}[rng.IntN(3)]
			p.up(name, links[name])
		}
		place("wlan0")
		for range 60 {
			switch rng.IntN(7) {
			case 0, 1:
				place([...]string{"wlan0", "lte0"}[rng.IntN(2)])
			case 2:
				p.lose([...]string{"wlan0", "lte0"}[rng.IntN(2)])
			case 3:
				p.nat[behindNAT] = uint16(1024 + rng.IntN(60000))
			case 4:
				p.bootAgent(ac, standard.Config{})
			case 5:
				p.node.skew = [...]time.Duration{0, -time.Hour, time.Hour, -p.now.Wall.Sub(time.Unix(0, 0))}[rng.IntN(4)]
				p.bootNode(nc, standard.Config{})
				for _, name := range []string{"wlan0", "lte0"} {
					if a, ok := links[name]; ok {
						p.up(name, a)
					}
				}
			case 6:
				p.node.skew = time.Duration(rng.IntN(100)-50) * time.Minute
			}
			p.run(time.Duration(rng.IntN(20000)) * time.Millisecond)
		}
		loss = 0
		p.up("wlan0", wifi)
		p.lose("lte0")
		p.run(3 * time.Minute)
		p.agree()
		if t.Failed() {
			t.Fatalf("seed %d", seed)
		}
	}
}

// Home: the home agent learns of it, and the binding is gone.
//
//rfc:5944#4.6
func TestHomeAndAwayAgain(t *testing.T) {
	ac, nc := agentConfig(t), nodeConfig(t)
	ac.Links = []string{"eth0"}
	nc.HomeNetwork = homeNetwork
	p := newPair(t, ac, nc, standard.Config{})
	p.up("lte0", lte)
	p.run(time.Second)
	p.agree()
	p.up("wlan0", netip.MustParseAddr("10.10.0.77"))
	p.run(time.Second)
	if s := p.status(); s.State != "home" {
		t.Fatalf("%s\n%s", s.State, p.trace())
	}
	for _, e := range p.agent.entries {
		t.Errorf("the home agent still has %+v", e)
	}
	p.lose("wlan0")
	p.run(time.Second)
	p.agree()
}

// The home agent's address is found by its home network's broadcast address.
//
//rfc:5944#3.6.1.2
func TestDiscoveredHomeAgent(t *testing.T) {
	nc := nodeConfig(t)
	nc.HomeAgents, nc.HomeNetwork = nil, homeNetwork
	p := newPair(t, agentConfig(t), nc, standard.Config{})
	p.up("wlan0", wifi)
	p.run(time.Second)
	p.agree()
}

// Deregistration from away ends the binding.
func TestDeregisterFromAway(t *testing.T) {
	for _, address := range []netip.Addr{wifi, behindNAT} {
		p := newPair(t, agentConfig(t), nodeConfig(t), standard.Config{})
		p.nat[behindNAT] = 61001
		p.up("wlan0", address)
		p.run(time.Second)
		p.agree()
		p.step(p.node, engine.Command{Ticket: 3, Value: mn.Deregister{}})
		p.run(10 * time.Second)
		if s := p.status(); s.State != "deregistered" || len(p.agent.entries) != 0 {
			t.Errorf("from %v: %s, %d entries\n%s", address, s.State, len(p.agent.entries), p.trace())
		}
		for _, r := range p.node.results {
			if r.Ticket == 3 && r.Err != nil {
				t.Error(r.Err)
			}
		}
	}
}
