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
	"careof/internal/proto/mip4/feature/natt"
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
	store   map[string][]byte
	notes   []note.Note
	results []engine.Result
	puts    int
	use     time.Time // of LastUse
	deaf    time.Time // when it last received, if that is earlier
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
	lossy   func() bool
	sent    int // requests of the node
	echoes  []time.Time
	answers bool // the home agent's data plane answers keepalives

	last    engine.Send  // of the node
	tap     func([]byte) // sees every registration message
	replies int          // of the home agent

	probes int                      // echo requests that the node sent into its tunnel
	ways   map[string]time.Duration // round trips over links, where it is not 50 ms
	losses map[string]func() bool   // of probes of either kind over links
	widths map[string]int           // the longest outer packet that gets through, where that matters
	user   int                      // packets of programs that the node's data plane has sent
}

// A parcel is what arrives at a host.
type parcel struct {
	to *host
	ev engine.Event
}

func newPair(t testing.TB, ac ha.Config, nc mn.Config, c standard.Config) *pair {
	t.Helper()
	p := &pair{t: t, timeline: newTimeline[parcel](), nat: map[netip.Addr]uint16{}, down: map[string]bool{}, lossy: func() bool { return false }, answers: true}
	p.agent = &host{entries: enginetest.Plane{}, store: map[string][]byte{}}
	p.node = &host{entries: enginetest.Plane{}, store: map[string][]byte{}}
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
	var keys []string
	for k := range h.store {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	for _, k := range keys {
		if err := m.Restore(p.clock(h), engine.Record{Key: []byte(k), Value: h.store[k]}); err != nil {
			p.t.Fatal(err)
		}
	}
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
	p.after(d, parcel{to, ev})
}

func (p *pair) execute(h *host, actions []engine.Action) {
	for _, a := range actions {
		switch a := a.(type) {
		case engine.Send:
			p.send(h, a)
		case engine.Commit:
			for _, r := range a.Records {
				if r.Value == nil {
					delete(h.store, string(r.Key))
				} else {
					h.store[string(r.Key)] = r.Value
				}
			}
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
		case engine.Ask:
			ans := engine.Answer{Ticket: a.Ticket}
			if _, ok := a.Question.(engine.LastUse); ok {
				use := forward.Use{Sent: h.use, Received: h.use}
				if !h.deaf.IsZero() {
					use.Received = h.deaf
				}
				ans.Value = use
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
		if p.down[s.Link] || p.lossy() || p.loses(s.Link) {
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
	if p.lossy() {
		return
	}
	p.later(25*time.Millisecond, p.node, engine.Packet{Src: netip.AddrPortFrom(agent, 434), Dst: dst, TTL: 60, Data: data})
}

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
	if p.forgotten(port) {
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
	if w := p.ways[link]; w != 0 {
		return w
	}
	return 50 * time.Millisecond
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
		if !p.answers || p.down[t.Link] || p.loses(t.Link) || !wide {
			return
		}
		p.later(p.way(t.Link), h, engine.Plane{Event: forward.EchoReply{
			Key: h.machine.(*mn.Node).Key(), From: t.Peer, ID: e.ID, Seq: e.Seq, Token: e.Token(), Received: p.now.Mono.Add(p.way(t.Link)),
		}})
		return
	}
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
	p.pass(p.t, d, func(m parcel) { p.step(m.to, m.ev) }, func() (at time.Time, wake func()) {
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

// Behind a NAT the tunnel goes through UDP, to the address and port that the
// home agent sees; before it and after it, it does not.
//
//rfc:3519#4.4
//rfc:3519#4.6
//rfc:3519#4.7-1
//rfc:3519#4.4-6
func TestThroughNATAndBack(t *testing.T) {
	p := newPair(t, agentConfig(t), nodeConfig(t), standard.Config{})
	p.up("wlan0", wifi)
	p.run(time.Second)
	p.agree()
	p.nat[behindNAT] = 61001
	p.up("lte0", behindNAT)
	p.run(time.Second)
	p.lose("wlan0")
	// Data go through the NAT together with the request, in UDP.
	if e := p.node.entries[p.node.machine.(*mn.Node).Key()]; e.Tunnels[0].Encap != encap.UDP || e.Tunnels[0].Mode != forward.Both {
		t.Errorf("tunnels %+v", e.Tunnels)
	}
	p.run(time.Second)
	p.agree()
	if got := p.status().Encapsulation; got != "udp" {
		t.Errorf("encapsulation %s behind the NAT", got)
	}
	p.up("wlan0", wifi)
	p.run(time.Second)
	p.agree()
	if got := p.status().Encapsulation; got != "ipip" {
		t.Errorf("encapsulation %s before the NAT", got)
	}
}

// Forced UDP, without a NAT.
//
//rfc:3519#3.1.1
func TestForcedUDP(t *testing.T) {
	c := standard.Config{NATTraversal: natt.Config{Mode: natt.Force}}
	p := newPair(t, agentConfig(t), nodeConfig(t), c)
	p.up("wlan0", wifi)
	p.run(time.Second)
	if got := p.status().Encapsulation; got != "udp" {
		t.Errorf("encapsulation %s\n%s", got, p.trace())
	}
}

// Keepalives go out when nothing else was sent for K, and only then.
//
//rfc:3519#4.9
//rfc:3519#3.2-2
//rfc:3519#4.9-2
func TestKeepalives(t *testing.T) {
	c := standard.Config{NATTraversal: natt.Config{Keepalive: 20 * time.Second}}
	p := newPair(t, agentConfig(t), nodeConfig(t), c)
	p.nat[behindNAT] = 61001
	p.up("wlan0", behindNAT)
	start := p.now.Mono
	p.run(65 * time.Second)
	if len(p.echoes) != 3 || p.echoes[0].Sub(start) != 20*time.Second || p.echoes[1].Sub(start) != 40*time.Second {
		t.Errorf("keepalives at %v\n%s", p.echoes, p.trace())
	}
	// Traffic both ways makes them needless.
	n := len(p.echoes)
	for range 60 {
		p.node.use = p.now.Mono
		p.run(5 * time.Second)
	}
	if len(p.echoes) > n+1 {
		t.Errorf("%d keepalives beside traffic", len(p.echoes)-n)
	}
	if p.node.count(natt.MappingLost) != 0 {
		t.Error("a mapping was lost")
	}
}

// The NAT forgets the mapping: no answers, so the node registers again, the
// home agent learns the new port, and the interval is halved, down to 10 s.
//
//rfc:3519#4.10
//rfc:3519#4.9-4
//rfc:3519#4.10-1
//rfc:3519#4.10-3
func TestLostMapping(t *testing.T) {
	c := standard.Config{NATTraversal: natt.Config{Keepalive: 30 * time.Second}}
	p := newPair(t, agentConfig(t), nodeConfig(t), c)
	p.narrow = true // so that nothing is learnt but by losses
	p.nat[behindNAT] = 61001
	p.up("wlan0", behindNAT)
	p.run(time.Second)
	for i, want := range []time.Duration{15, 10, 10} {
		p.nat[behindNAT]++
		// K may pass, then three tries of 1, 2 and 4 s.
		p.run(40 * time.Second)
		if got := p.node.count(natt.MappingLost); got != i+1 {
			t.Fatalf("%d mappings lost, want %d\n%s", got, i+1, p.trace())
		}
		p.agree()
		p.run(100 * time.Second)
		if k := p.echoes[len(p.echoes)-1].Sub(p.echoes[len(p.echoes)-2]); k != want*time.Second {
			t.Errorf("after loss %d the interval is %v, want %v", i+1, k, want*time.Second)
		}
	}
	// "it SHOULD return to its original keepalive interval" in a new network.
	p.step(p.node, engine.LinkChanged{Link: engine.Link{
		Name: "wlan0", Up: true, Addresses: []netip.Prefix{netip.PrefixFrom(behindNAT, 24)},
		Gateways: []netip.Addr{netip.MustParseAddr("192.168.8.1")}, GatewayHW: engine.HardwareAddr{2, 0, 0, 0, 0, 99},
	}})
	p.run(100 * time.Second)
	if k := p.echoes[len(p.echoes)-1].Sub(p.echoes[len(p.echoes)-2]); k != 30*time.Second {
		t.Errorf("in a new network the interval is %v", k)
	}
}

// Back in a network whose NAT forgets early, the node keeps its mapping there as
// it has learnt to, and loses none.
//
//rfc:3519#4.10
func TestWhatANATForgetsIsRemembered(t *testing.T) {
	c := standard.Config{NATTraversal: natt.Config{Keepalive: 40 * time.Second}}
	p := newPair(t, agentConfig(t), nodeConfig(t), c)
	p.narrow = true // so that nothing is learnt but by losses
	p.nat[behindNAT] = 61001
	network := func(last byte) {
		p.lose("wlan0")
		p.run(time.Second)
		p.step(p.node, engine.LinkChanged{Link: engine.Link{
			Name: "wlan0", Up: true, Addresses: []netip.Prefix{netip.PrefixFrom(behindNAT, 24)},
			Gateways: []netip.Addr{netip.MustParseAddr("192.168.8.1")}, GatewayHW: engine.HardwareAddr{2, 0, 0, 0, 0, last},
		}})
		p.run(150 * time.Second)
	}
	interval := func(want time.Duration) {
		t.Helper()
		if k := p.echoes[len(p.echoes)-1].Sub(p.echoes[len(p.echoes)-2]); k != want {
			t.Errorf("the interval is %v, want %v", k, want)
		}
	}
	network(1)
	interval(40 * time.Second)
	p.nat[behindNAT]++
	p.run(150 * time.Second)
	interval(20 * time.Second)
	network(2)
	interval(40 * time.Second)
	network(1)
	interval(20 * time.Second)
	if n := p.node.count(natt.MappingLost); n != 1 {
		t.Errorf("%d mappings lost", n)
	}
	// Very many networks later it has been forgotten, and the state is bounded.
	for i := range 70 {
		network(byte(10 + i))
		p.nat[behindNAT]++
		p.run(60 * time.Second)
	}
	network(1)
	interval(40 * time.Second)
}

// A node that goes on sending notices too that its mapping has changed: it
// gets nothing any more.
//
//rfc:3519#4.10
func TestLostMappingUnderTraffic(t *testing.T) {
	c := standard.Config{NATTraversal: natt.Config{Keepalive: 15 * time.Second}}
	p := newPair(t, agentConfig(t), nodeConfig(t), c)
	p.nat[behindNAT] = 61001
	p.up("wlan0", behindNAT)
	p.run(10 * time.Second)
	p.node.deaf = p.now.Mono
	p.nat[behindNAT]++
	for range 40 {
		p.node.use = p.now.Mono
		p.run(time.Second)
	}
	p.agree()
	if p.node.count(natt.MappingLost) != 1 {
		t.Errorf("not noticed\n%s", p.trace())
	}
}

// "A change in the link layer address indicates probable movement to a new
// network": equal private addresses behind two NATs.
//
//rfc:3519#5.1
func TestEqualPrivateNetworks(t *testing.T) {
	p := newPair(t, agentConfig(t), nodeConfig(t), standard.Config{})
	p.nat[behindNAT] = 61001
	p.up("wlan0", behindNAT)
	p.run(5 * time.Second)
	p.nat[behindNAT] = 7777
	n := p.sent
	l := engine.Link{
		Name: "wlan0", Up: true, MTU: 1500, Addresses: []netip.Prefix{netip.PrefixFrom(behindNAT, 24)},
		Gateways: []netip.Addr{netip.MustParseAddr("192.168.8.1")},
	}
	p.step(p.node, engine.LinkChanged{Link: l}) // not resolved yet
	l.GatewayHW = engine.HardwareAddr{2, 0, 0, 0, 0, 44}
	p.step(p.node, engine.LinkChanged{Link: l})
	if p.sent != n+1 {
		t.Fatalf("%d requests", p.sent-n)
	}
	p.run(100 * time.Millisecond)
	p.agree()
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
