package world

import (
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"
	"time"

	"careof/internal/core/engine"
	"careof/internal/core/forward"
	"careof/internal/core/note"
	"careof/internal/lab/nat"
	"careof/wire/encap"
)

var (
	addr     = netip.MustParseAddr
	prefix   = netip.MustParsePrefix
	addrPort = netip.MustParseAddrPort
)

// A rig is the world that the tests of this package share: a correspondent, a
// home agent, a core router, and two access networks, the second behind a
// translator; 25 ms each way.
type rig struct {
	*World
	cn, ha, core, gate, mn *Node
	access1, access2       *Segment
	home                   *toyHome
	eth                    *Interface
}

var (
	homeAddress = addr("10.10.0.5")
	agent       = addrPort("198.51.100.1:434")
	cnAddress   = addr("192.0.2.10")
)

func newRig(t *testing.T, seed uint64) *rig {
	t.Helper()
	w := New(seed)
	w.KeepTrace()
	r := &rig{World: w}
	site := w.AddSegment("site", Properties{Delay: 100 * time.Microsecond})
	haLink := w.AddSegment("ha-link", Properties{Delay: 100 * time.Microsecond})
	r.access1 = w.AddSegment("access1", Properties{Delay: 25 * time.Millisecond})
	isp := w.AddSegment("isp", Properties{Delay: 25 * time.Millisecond})
	r.access2 = w.AddSegment("access2", Properties{Delay: time.Millisecond})

	plug := func(n *Node, name string, s *Segment, a, gateway string) *Interface {
		i := n.AddInterface(name)
		i.Plug(s)
		var via netip.Addr
		if gateway != "" {
			via = addr(gateway)
		}
		i.Configure(prefix(a), via)
		return i
	}
	r.cn = w.AddNode("cn")
	plug(r.cn, "eth0", site, "192.0.2.10/24", "192.0.2.1")
	r.core = w.AddNode("core")
	r.core.Forward = true
	plug(r.core, "site", site, "192.0.2.1/24", "")
	toHA := plug(r.core, "ha", haLink, "198.51.100.254/24", "")
	plug(r.core, "a1", r.access1, "203.0.113.1/24", "")
	plug(r.core, "isp", isp, "100.64.0.1/24", "")
	r.core.AddRoute(Route{prefix("10.10.0.0/24"), agent.Addr(), toHA})
	r.ha = w.AddNode("ha")
	r.ha.Forward = true
	plug(r.ha, "eth0", haLink, "198.51.100.1/24", "198.51.100.254")
	r.gate = w.AddNode("gate")
	r.gate.Forward = true
	outside := plug(r.gate, "wan", isp, "100.64.0.2/24", "100.64.0.1")
	plug(r.gate, "lan", r.access2, "192.168.8.1/24", "")
	if err := r.gate.Translate(outside, nat.Config{External: addr("100.64.0.2"), Inside: prefix("192.168.8.0/24"), Rand: w.Luck("nat")}); err != nil {
		t.Fatal(err)
	}
	r.mn = w.AddNode("mn")
	r.eth = r.mn.AddInterface("eth0")

	r.ha.AddPlane().RouteHome(prefix("10.10.0.0/24"))
	r.ha.AddDaemon(Setup{Port: 434, Make: func(int, *rand.Rand) (engine.Machine, error) {
		r.home = newToyHome(agent.Addr())
		return r.home, nil
	}})
	r.mn.AddDaemon(Setup{Make: func(_ int, luck *rand.Rand) (engine.Machine, error) {
		return newToyMobile(homeAddress, agent, luck), nil
	}})
	r.mn.Plane().KeepHome(homeAddress)
	for _, d := range w.Daemons() {
		if err := d.Start(); err != nil {
			t.Fatal(err)
		}
	}
	return r
}

func (r *rig) move(where *Segment) {
	r.eth.Plug(where)
	if where == r.access1 {
		r.eth.Configure(prefix("203.0.113.50/24"), addr("203.0.113.1"))
	} else {
		r.eth.Configure(prefix("192.168.8.100/24"), addr("192.168.8.1"))
	}
}

func (r *rig) fatal(t *testing.T, format string, args ...any) {
	t.Helper()
	t.Fatalf(format+"\n%s", append(args, r.TraceTail(40))...)
}

// registered waits for the next registration.
func (r *rig) registered(t *testing.T) {
	t.Helper()
	seen := len(r.mn.daemon.notes)
	if !r.RunUntil(10*time.Second, func() bool {
		return slices.ContainsFunc(r.mn.daemon.notes[seen:], func(n Told) bool { return n.Kind == note.Registered })
	}) {
		r.fatal(t, "the mobile node does not register")
	}
}

func TestStreamSurvivesMoves(t *testing.T) {
	r := newRig(t, 1)
	r.cn.Listen(80, Traffic{Total: 300_000, Chunk: 3000, Every: 50 * time.Millisecond}, nil)
	r.move(r.access1)
	r.registered(t)
	c := r.mn.Dial(netip.AddrPortFrom(homeAddress, 5000), netip.AddrPortFrom(cnAddress, 80), Traffic{Total: 200_000, Chunk: 2000, Every: 50 * time.Millisecond})
	for range 3 {
		r.Run(2 * time.Second)
		r.move(r.access2)
		r.registered(t)
		r.Run(2 * time.Second)
		r.move(r.access1)
		r.registered(t)
	}
	if !r.RunUntil(20*time.Second, func() bool { return c.Done() && c.Received == 300_000 }) {
		r.fatal(t, "sent %d, received %d, %q", c.Acknowledged, c.Received, c.Broken)
	}
}

func TestSameSeedSameTrace(t *testing.T) {
	run := func(seed uint64) uint64 {
		r := newRig(t, seed)
		for _, s := range r.Segments() {
			s.Loss, s.Duplicate, s.Corrupt, s.Jitter = 0.1, 0.05, 0.02, 3*time.Millisecond
		}
		f := r.StartFlow(r.cn, netip.AddrPort{}, r.mn, netip.AddrPortFrom(homeAddress, 7000), 20*time.Millisecond, 200)
		_ = f
		r.move(r.access1)
		r.Run(5 * time.Second)
		r.move(r.access2)
		r.Run(5 * time.Second)
		return r.TraceHash()
	}
	first, second, other := run(7), run(7), run(8)
	if first != second {
		t.Errorf("the same seed gave the traces %x and %x", first, second)
	}
	if first == other {
		t.Errorf("two seeds gave the same trace %x", first)
	}
}

func TestGapOfAMoveIsItsRoundTrip(t *testing.T) {
	r := newRig(t, 3)
	r.move(r.access1)
	r.registered(t)
	down := r.StartFlow(r.cn, netip.AddrPortFrom(netip.Addr{}, 7001), r.mn, netip.AddrPortFrom(homeAddress, 7000), 5*time.Millisecond, 200)
	r.Run(2 * time.Second)
	begin := r.Now()
	r.move(r.access2)
	r.Run(2 * time.Second)
	got := down.Report(begin, begin+time.Second)
	// ARP to the gateway costs one local round trip (2 ms), the path to the
	// home agent 52.4 ms, the daemons some milliseconds.
	if got.Gap < 50*time.Millisecond || got.Gap > 130*time.Millisecond {
		r.fatal(t, "gap of %v: %+v", got.Gap, got)
	}
	if got.Lost == 0 || got.Duplicates != 0 {
		t.Errorf("a break before make loses what is under way and delivers nothing twice: %+v", got)
	}
}

func TestRestartKeepsWhatWasAnswered(t *testing.T) {
	for _, inside := range []bool{false, true} {
		r := newRig(t, 4)
		r.ha.daemon.PlaneInside = inside
		r.move(r.access1)
		r.registered(t)
		f := r.StartFlow(r.cn, netip.AddrPortFrom(netip.Addr{}, 7001), r.mn, netip.AddrPortFrom(homeAddress, 7000), 10*time.Millisecond, 100)
		r.Run(time.Second)
		r.ha.daemon.Kill()
		died := r.Now()
		r.Run(2 * time.Second)
		dead := f.Report(died, died+time.Second)
		if inside && dead.Received != 0 || !inside && dead.Lost != 0 {
			t.Errorf("while the daemon is dead (plane inside: %v): %+v", inside, dead)
		}
		if err := r.ha.daemon.Start(); err != nil {
			t.Fatal(err)
		}
		if len(r.home.bound) != 1 {
			r.fatal(t, "the binding did not come back")
		}
		back := r.Now()
		r.Run(time.Second)
		if got := f.Report(back, back+900*time.Millisecond); got.Lost != 0 {
			t.Errorf("after the restart (plane inside: %v): %+v", inside, got)
		}
	}
}

func TestFailedCommitAnswersNothing(t *testing.T) {
	for _, faults := range []Faults{{DiskFull: 1}, {Refused: 1}} {
		r := newRig(t, 5)
		r.ha.daemon.Faults = faults
		r.move(r.access1)
		r.Run(5 * time.Second)
		for _, n := range r.mn.daemon.notes {
			if n.Kind == note.Registered {
				r.fatal(t, "registered in spite of %+v", faults)
			}
		}
		if r.home.failures == 0 {
			r.fatal(t, "the machine was not told of %+v", faults)
		}
		r.ha.daemon.Faults = Faults{}
		r.registered(t)
	}
}

// A stranger's tunnel packets are neither forwarded nor answered, in any form.
func TestStrangersGetSilence(t *testing.T) {
	r := newRig(t, 6)
	r.move(r.access1)
	r.registered(t)
	r.Run(time.Second)
	stranger := r.AddNode("stranger")
	eth := stranger.AddInterface("eth0")
	eth.Plug(r.Segment("site"))
	eth.Configure(prefix("192.0.2.66/24"), addr("192.0.2.1"))
	silence := &silenceCheck{to: addr("192.0.2.66")}
	r.Observe(silence)
	inner, err := encap.AppendUDP(nil, encap.IPv4{}, netip.AddrPortFrom(homeAddress, 9999), netip.AddrPortFrom(cnAddress, 9999), []byte("stranger"))
	if err != nil {
		t.Fatal(err)
	}
	r.cn.ListenUDP(9999, func(encap.UDPDatagram) { t.Error("a stranger's packet was forwarded") })
	sent := 0
	for _, kind := range encap.Kinds() {
		for _, target := range []netip.Addr{agent.Addr(), addr("203.0.113.50")} {
			h := encap.Header{Kind: kind, Src: addr("192.0.2.66"), Dst: target, SrcPort: 434, DstPort: 434}
			for _, payload := range [][]byte{inner, mustNest(t, inner)} {
				p, err := encap.Append(nil, &h, payload)
				if err != nil {
					t.Fatal(err)
				}
				if err := stranger.Inject("eth0", p); err != nil {
					t.Fatal(err)
				}
				sent++
			}
		}
	}
	before := r.ha.plane.Counts.Received
	r.Run(2 * time.Second)
	if silence.got != 0 {
		t.Errorf("%d of %d packets of a stranger were answered", silence.got, sent)
	}
	if r.ha.plane.Counts.Received != before {
		t.Errorf("a stranger's packet left a tunnel")
	}
	if r.ha.plane.Counts.Stranger+r.mn.plane.Counts.Stranger+r.mn.plane.Counts.Malformed == 0 {
		t.Errorf("the packets of the stranger did not arrive: the test is worth nothing")
	}
}

func mustNest(t *testing.T, inner []byte) []byte {
	p, err := encap.Append(nil, &encap.Header{Kind: encap.IPIP, Src: homeAddress, Dst: agent.Addr()}, inner)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

type silenceCheck struct {
	to  netip.Addr
	got int
}

func (s *silenceCheck) Observe(o Observation) {
	if d, ok := o.(Delivered); ok {
		if ip, err := encap.ParseIPv4(d.Packet); err == nil && ip.Dst == s.to {
			s.got++
		}
	}
}

// The plane stops at Until by itself, also while the daemon is dead.
func TestPlaneEnforcesUntil(t *testing.T) {
	r := newRig(t, 9)
	r.move(r.access1)
	r.registered(t)
	f := r.StartFlow(r.cn, netip.AddrPortFrom(netip.Addr{}, 7001), r.mn, netip.AddrPortFrom(homeAddress, 7000), 100*time.Millisecond, 100)
	r.ha.daemon.Kill()
	r.Run(toyLifetime - time.Second)
	if !f.Flowing(r.Now() - time.Second) {
		t.Errorf("nothing arrives although the lifetime has not run out")
	}
	r.Run(2 * time.Second)
	if since := r.Now(); true {
		r.Run(3 * time.Second)
		if f.Flowing(since) {
			t.Errorf("packets still arrive after the lifetime has run out")
		}
	}
}

func TestNATRebindingIsSeen(t *testing.T) {
	r := newRig(t, 10)
	r.move(r.access2)
	r.registered(t)
	r.Run(time.Second)
	r.gate.NAT().Rebind()
	if err := r.mn.Ping(homeAddress, cnAddress, 1, 1, func(encap.Echo) { t.Error("the packet came through another port than the binding's") }); err != nil {
		t.Fatal(err)
	}
	r.Run(time.Second)
	select {
	case ev := <-r.ha.plane.Events():
		if seen, ok := ev.(forward.EndpointSeen); !ok || seen.From.Addr() != addr("100.64.0.2") {
			t.Errorf("got %+v", ev)
		}
	default:
		t.Error("the plane did not tell that the endpoint changed")
	}
}

func TestTunnelMTU(t *testing.T) {
	r := newRig(t, 11)
	r.move(r.access1)
	r.access1.MTU = 900
	r.registered(t)
	r.cn.Listen(80, Traffic{Total: 50_000, Chunk: 5000, Every: 10 * time.Millisecond}, nil)
	c := r.mn.Dial(netip.AddrPortFrom(homeAddress, 5000), netip.AddrPortFrom(cnAddress, 80), Traffic{Total: 50_000, Chunk: 5000, Every: 10 * time.Millisecond})
	if !r.RunUntil(15*time.Second, func() bool { return c.Done() && c.Received == 50_000 }) {
		r.fatal(t, "sent %d, received %d, %q", c.Acknowledged, c.Received, c.Broken)
	}
	// What may be fragmented is, and is put together again.
	got := 0
	r.mn.ListenUDP(7000, func(d encap.UDPDatagram) { got = len(d.Payload) })
	if err := r.cn.SendUDP(addrPort("192.0.2.10:7001"), netip.AddrPortFrom(homeAddress, 7000), make([]byte, 3000)); err != nil {
		t.Fatal(err)
	}
	r.Run(time.Second)
	if got != 3000 {
		t.Errorf("a datagram of 3000 octets arrived with %d", got)
	}
}

func TestWallClockJumps(t *testing.T) {
	w := New(1)
	n := w.AddNode("n")
	c := n.Clock()
	before := c.Now()
	w.Run(time.Minute)
	c.Jump(-time.Hour)
	after := c.Now()
	if d := after.Mono.Sub(before.Mono); d != time.Minute {
		t.Errorf("the monotonic clock went on by %v", d)
	}
	if d := after.Wall.Sub(before.Wall); d != time.Minute-time.Hour {
		t.Errorf("the wall clock went on by %v", d)
	}
	c.SetWall(time.Unix(0, 0))
	if got := c.Now().Wall; !got.Equal(time.Unix(0, 0)) {
		t.Errorf("the wall clock says %v", got)
	}
	c.Correct()
	if got := c.Now().Wall; !got.Equal(w.Time()) {
		t.Errorf("the corrected clock says %v at %v", got, w.Time())
	}
}

// Gratuitous ARP comes before proxying, and neighbours believe it.
func TestInterceptionOnAHomeLink(t *testing.T) {
	w := New(1)
	lan := w.AddSegment("home", Properties{Delay: time.Millisecond})
	node := func(name, a string) *Node {
		n := w.AddNode(name)
		i := n.AddInterface("eth0")
		i.Plug(lan)
		i.Configure(prefix(a), netip.Addr{})
		return n
	}
	ha, neighbour, mobile := node("ha", "10.10.0.1/24"), node("neighbour", "10.10.0.7/24"), node("mobile", "10.10.0.5/24")
	neighbour.SendUDP(addrPort("10.10.0.7:1"), addrPort("10.10.0.5:9"), []byte("x"))
	w.Run(time.Second)
	believes := func() forward.HardwareAddr { return neighbour.Interface("eth0").Neighbor(homeAddress) }
	if believes() != mobile.Interface("eth0").HW {
		t.Fatalf("the neighbour believes %v", believes())
	}
	hw := mobile.Interface("eth0").HW
	mobile.Interface("eth0").Unplug()
	entry := forward.Entry{Key: "x", Role: forward.HomeAgent, Inner: netip.PrefixFrom(homeAddress, 32), Intercept: "eth0"}
	ha.AddPlane().Apply(t.Context(), []forward.Change{{Op: forward.Put, Entry: entry}})
	w.Run(time.Second)
	if believes() != ha.Interface("eth0").HW {
		t.Errorf("the gratuitous ARP did not reach the neighbour: it believes %v", believes())
	}
	neighbour.Interface("eth0").forget()
	neighbour.SendUDP(addrPort("10.10.0.7:1"), addrPort("10.10.0.5:9"), []byte("x"))
	w.Run(time.Second)
	if believes() != ha.Interface("eth0").HW {
		t.Errorf("the home agent does not proxy: the neighbour believes %v", believes())
	}
	ha.plane.Apply(t.Context(), []forward.Change{{Op: forward.Delete, Entry: entry, ReturnedTo: hw}})
	w.Run(time.Second)
	if believes() != hw {
		t.Errorf("after the return the neighbour believes %v", believes())
	}
}
