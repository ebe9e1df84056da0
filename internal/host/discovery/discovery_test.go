package discovery

import (
	"errors"
	"net"
	"net/netip"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"

	"careof/internal/core/engine"
	"careof/internal/host/plane/nstest"
	"careof/wire/adv4"
	"careof/wire/encap"
)

// patience is how long a test waits for what must come.
const patience = 20 * time.Second

// ear collects what a set hears.
type ear struct {
	discoveries chan engine.Discovery
	signals     chan engine.Packet
}

func newEar() *ear {
	return &ear{make(chan engine.Discovery, 100), make(chan engine.Packet, 100)}
}

func (e *ear) receiver() Receiver {
	return Receiver{
		Discovery: func(d engine.Discovery) { d.Data = append([]byte(nil), d.Data...); e.discoveries <- d },
		Signal:    func(p engine.Packet) { p.Data = append([]byte(nil), p.Data...); e.signals <- p },
	}
}

func next[T any](t *testing.T, c <-chan T) (v T) {
	t.Helper()
	select {
	case v = <-c:
	case <-time.After(patience):
		t.Fatal("nothing came")
	}
	return v
}

// pair is an agent and a mobile node on one link, each with a set.
func pair(t *testing.T) (agent, node *nstest.Node, atAgent, atNode *Set, agentHears, nodeHears *ear) {
	t.Helper()
	agent, node = nstest.New(t, "agent"), nstest.New(t, "node")
	nstest.Join(t, agent, "lan0", node, "eth0", 1500)
	agent.Address("lan0", "192.168.1.1/24")
	agentHears, nodeHears = newEar(), newEar()
	atAgent = set(t, agent, "lan0", 434, agentHears)
	atNode = set(t, node, "eth0", 0, nodeHears)
	return
}

func set(t *testing.T, n *nstest.Node, link string, port uint16, e *ear) (s *Set) {
	t.Helper()
	n.Do(func() {
		var err error
		if s, err = New([]string{link}, port, e.receiver()); err != nil {
			t.Error(err)
			return
		}
		t.Cleanup(func() { s.Close() })
		if err := s.LinkChanged(engine.Link{Name: link, Up: true}); err != nil {
			t.Error(err)
		}
	})
	return s
}

func hardwareOf(n *nstest.Node, link string) engine.HardwareAddr {
	return engine.HardwareAddr(n.Link(link).Attrs().HardwareAddr)
}

var (
	agentAddr = netip.MustParseAddr("192.168.1.1")
	home      = netip.MustParseAddr("10.10.0.5")
)

// Advertisements and solicitations with their addresses, TTL 1, by multicast,
// broadcast and unicast; a source that is no neighbour's is as good as any.
//
//rfc:5944#2.1
//rfc:5944#2.2
//rfc:5944#2.3
//rfc:5944#2-1
//rfc:5944#2.1-2
//rfc:5944#2.3-3
//rfc:1256#4.3-7
func TestDiscoveryMessages(t *testing.T) {
	agent, node, atAgent, atNode, agentHears, nodeHears := pair(t)
	solicitation := adv4.AppendSolicitation(nil)
	for _, dst := range []string{"224.0.0.2", "224.0.0.11", "255.255.255.255"} {
		m := engine.SendDiscovery{Link: "eth0", Src: home, Dst: netip.MustParseAddr(dst), Data: solicitation}
		if err := atNode.SendDiscovery(m); err != nil {
			t.Fatal(err)
		}
		got := next(t, agentHears.discoveries)
		if got.Link != "lan0" || got.Src != home || got.Dst != m.Dst || got.TTL != 1 || got.HW != hardwareOf(node, "eth0") || string(got.Data) != string(solicitation) {
			t.Errorf("heard %+v", got)
		}
	}
	d := adv4.Draft{Lifetime: 30, Agent: adv4.MobilityAgent{Flags: adv4.FlagH}}
	advertisement, err := d.Append(nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range []engine.SendDiscovery{
		{Dst: netip.MustParseAddr("224.0.0.1")},
		{Dst: netip.MustParseAddr("255.255.255.255")},
		{Dst: home, HW: hardwareOf(node, "eth0")},
	} {
		m.Link, m.Src, m.Data = "lan0", agentAddr, advertisement
		if err := atAgent.SendDiscovery(m); err != nil {
			t.Fatal(err)
		}
		got := next(t, nodeHears.discoveries)
		if got.Src != agentAddr || got.Dst != m.Dst || got.TTL != 1 || got.HW != hardwareOf(agent, "lan0") || string(got.Data) != string(advertisement) {
			t.Errorf("heard %+v", got)
		}
	}
	if err := atAgent.SendDiscovery(engine.SendDiscovery{Link: "lan0", Src: agentAddr, Dst: home, Data: advertisement}); err == nil {
		t.Error("sent to a node without its link-layer address")
	}
	if err := atAgent.SendDiscovery(engine.SendDiscovery{Link: "lan1", Dst: home}); !errors.Is(err, ErrNoLink) {
		t.Errorf("on a link that is not there: %v", err)
	}
}

// A visitor's request comes up with its link-layer source, from a home address
// that the kernel would drop as martian, and from 0.0.0.0; the reply reaches it
// without a single ARP packet.
//
//rfc:5944#3.7.1
//rfc:5944#4.2.2
//rfc:5944#1.7-3
//rfc:5944#2.3-3
func TestRegistrationMessagesOfVisitors(t *testing.T) {
	agent, node, atAgent, _, agentHears, _ := pair(t)
	agent.Sysctl("net/ipv4/conf/all/rp_filter", 1)
	agent.Sysctl("net/ipv4/conf/lan0/rp_filter", 1)
	frames := node.Packets("eth0")
	for _, c := range []struct{ src, dst string }{
		{"10.10.0.5:40000", "192.168.1.1:434"},
		{"0.0.0.0:40000", "192.168.1.1:434"},
		{"10.10.0.5:40000", "224.0.0.11:434"},
		{"10.10.0.5:40000", "255.255.255.255:434"},
	} {
		src, dst := netip.MustParseAddrPort(c.src), netip.MustParseAddrPort(c.dst)
		send := engine.Send{Link: "eth0", Src: src, Dst: dst, TTL: 255, HW: hardwareOf(agent, "lan0"), Data: []byte{1, 2, 3}}
		if !dst.Addr().IsPrivate() {
			send.HW = engine.HardwareAddr{}
		}
		sender := set(t, node, "eth0", 0, newEar())
		if err := sender.SendTo(send); err != nil {
			t.Fatal(err)
		}
		got := next(t, agentHears.signals)
		if got.Src != src || got.Dst != dst || got.TTL != 255 || got.Link != "lan0" || got.HW != hardwareOf(node, "eth0") || string(got.Data) != "\x01\x02\x03" {
			t.Errorf("%v: heard %+v", c, got)
		}
	}
	reply := engine.Send{
		Link: "lan0", Src: netip.AddrPortFrom(agentAddr, 434), Dst: netip.AddrPortFrom(home, 40000),
		HW: hardwareOf(node, "eth0"), Data: []byte("reply"),
	}
	if err := atAgent.SendTo(reply); err != nil {
		t.Fatal(err)
	}
	for {
		f := frames()
		if f == nil {
			t.Fatal("the reply did not arrive")
		}
		if len(f) >= 8 && f[0] == 0 && f[1] == 1 && f[2] == 8 {
			t.Fatal("somebody asked by ARP")
		}
		if ip, u, err := encap.ParseUDP(f); err == nil && string(u.Payload) == "reply" {
			if u.Src != reply.Src || u.Dst != reply.Dst || ip.TTL != 64 {
				t.Errorf("arrived as %v %+v", ip, u)
			}
			return
		}
	}
}

// A datagram of an ordinary socket over a veth pair, whose checksum the kernel
// has left to the network card, is heard; one that is wrong on the wire is not.
//
//rfc:5944#3.1
//rfc:5944#3.7.2.1-1
func TestChecksums(t *testing.T) {
	agent, node, _, atNode, agentHears, _ := pair(t)
	node.Address("eth0", "192.168.1.5/24")
	node.Do(func() {
		c, err := net.DialUDP("udp4", nil, net.UDPAddrFromAddrPort(netip.AddrPortFrom(agentAddr, 434)))
		if err != nil {
			t.Error(err)
			return
		}
		defer c.Close()
		if _, err := c.Write([]byte("from a socket")); err != nil {
			t.Error(err)
		}
	})
	if got := next(t, agentHears.signals); string(got.Data) != "from a socket" {
		t.Errorf("heard %q", got.Data)
	}
	packet, err := encap.AppendUDP(nil, encap.IPv4{}, netip.MustParseAddrPort("10.10.0.5:40000"), netip.AddrPortFrom(agentAddr, 434), []byte("wrong"))
	if err != nil {
		t.Fatal(err)
	}
	packet[len(packet)-1] ^= 1
	sk, _, err := atNode.socket("eth0")
	if err != nil {
		t.Fatal(err)
	}
	if err := sk.send(hardwareOf(agent, "lan0"), packet); err != nil {
		t.Fatal(err)
	}
	packet[len(packet)-1] ^= 1
	if err := sk.send(hardwareOf(agent, "lan0"), packet); err != nil {
		t.Fatal(err)
	}
	next(t, agentHears.signals) // the right one
	select {
	case p := <-agentHears.signals:
		t.Errorf("heard %q too", p.Data)
	default:
	}
}

// The filter lets nothing else up.
func TestTheFilter(t *testing.T) {
	agent, _, _, atNode, agentHears, _ := pair(t)
	sk, _, err := atNode.socket("eth0")
	if err != nil {
		t.Fatal(err)
	}
	to := hardwareOf(agent, "lan0")
	give := func(ip encap.IPv4, payload []byte) {
		t.Helper()
		ip.Src, ip.Dst, ip.TTL = home, agentAddr, 64
		p, err := encap.AppendIPv4(nil, &ip, len(payload))
		if err != nil {
			t.Fatal(err)
		}
		if err := sk.send(to, append(p, payload...)); err != nil {
			t.Fatal(err)
		}
	}
	udp := []byte{0x9c, 0x40, 0x01, 0xb2, 0, 9, 0, 0, 7} // port 434, without checksum
	other := append([]byte(nil), udp...)
	other[3]++
	give(encap.IPv4{Protocol: unix.IPPROTO_ICMP}, []byte{8, 0, 0xf7, 0xff, 0, 0, 0, 0})
	give(encap.IPv4{Protocol: unix.IPPROTO_UDP}, other)
	give(encap.IPv4{Protocol: unix.IPPROTO_TCP}, udp)
	give(encap.IPv4{Protocol: unix.IPPROTO_UDP, MF: true}, append(udp[:8:8], make([]byte, 8)...))
	give(encap.IPv4{Protocol: unix.IPPROTO_UDP}, udp)
	give(encap.IPv4{Protocol: unix.IPPROTO_ICMP}, adv4.AppendSolicitation(nil))
	if p := next(t, agentHears.signals); len(p.Data) != 1 || p.Data[0] != 7 {
		t.Errorf("heard %+v first", p)
	}
	if d := next(t, agentHears.discoveries); d.Data[0] != 10 {
		t.Errorf("heard %+v first", d)
	}
}

// A link that goes and comes back has a socket again.
func TestALinkComesAndGoes(t *testing.T) {
	agent, node, atAgent, _, agentHears, _ := pair(t)
	if err := agent.H.LinkDel(agent.Link("lan0")); err != nil {
		t.Fatal(err)
	}
	atAgent.LinkChanged(engine.Link{Name: "lan0", Gone: true})
	if err := atAgent.SendDiscovery(engine.SendDiscovery{Link: "lan0"}); !errors.Is(err, ErrNoLink) {
		t.Errorf("on a link that is gone: %v", err)
	}
	nstest.Join(t, agent, "lan0", node, "eth1", 1500)
	if err := atAgent.LinkChanged(engine.Link{Name: "lan0", Up: true}); err != nil {
		t.Fatal(err)
	}
	if err := atAgent.LinkChanged(engine.Link{Name: "other"}); err != nil {
		t.Errorf("another link: %v", err)
	}
	sender := set(t, node, "eth1", 0, newEar())
	if err := sender.SendDiscovery(engine.SendDiscovery{Link: "eth1", Dst: netip.MustParseAddr("224.0.0.11"), Data: adv4.AppendSolicitation(nil)}); err != nil {
		t.Fatal(err)
	}
	if got := next(t, agentHears.discoveries); got.Src != netip.IPv4Unspecified() {
		t.Errorf("heard %+v", got)
	}
}

// A real kernel's "port unreachable" about a registration message.
//
//rfc:5944#3.7.3
func TestBouncedRequests(t *testing.T) {
	agent, peer := nstest.New(t, "agent"), nstest.New(t, "peer")
	nstest.Join(t, agent, "wan0", peer, "eth0", 1500)
	agent.Address("wan0", "203.0.113.1/24")
	peer.Address("eth0", "203.0.113.9/24")
	heard := make(chan engine.Bounced, 10)
	var b *Bouncer
	agent.Do(func() {
		var err error
		if b, err = Bounces(434, func(ev engine.Bounced) { ev.Data = append([]byte(nil), ev.Data...); heard <- ev }); err != nil {
			t.Error(err)
			return
		}
		for _, local := range []uint16{435, 434} { // the first is nobody's business
			c, err := net.DialUDP("udp4", &net.UDPAddr{Port: int(local)}, net.UDPAddrFromAddrPort(netip.MustParseAddrPort("203.0.113.9:434")))
			if err != nil {
				t.Error(err)
				return
			}
			defer c.Close()
			if _, err := c.Write([]byte("a request of a mobile node")); err != nil {
				t.Error(err)
			}
		}
	})
	got := next(t, heard)
	want := engine.Bounced{
		From: netip.MustParseAddr("203.0.113.9"), Src: netip.MustParseAddrPort("203.0.113.1:434"),
		Dst: netip.MustParseAddrPort("203.0.113.9:434"), Type: 3, Code: 3,
	}
	if got.From != want.From || got.Src != want.Src || got.Dst != want.Dst || got.Type != 3 || got.Code != 3 || string(got.Data) != "a request of a mobile node" {
		t.Errorf("heard %+v, want %+v", got, want)
	}
	if err := b.Close(); err != nil {
		t.Error(err)
	}
}

// Errors cut short, quotations of something else, and noise.
func FuzzBounced(f *testing.F) {
	request, err := encap.AppendUDP(nil, encap.IPv4{}, netip.MustParseAddrPort("203.0.113.1:434"), netip.MustParseAddrPort("203.0.113.9:434"), []byte("request"))
	if err != nil {
		f.Fatal(err)
	}
	whole := encap.ICMPError(encap.ICMP{Type: encap.DestinationUnreachable, Code: 1}, netip.MustParseAddr("203.0.113.9"), request)
	if ev, ok := bounced(whole, 434); !ok || string(ev.Data) != "request" || ev.Code != 1 {
		f.Fatalf("the whole error was read as %+v, %v", ev, ok)
	}
	for n := range whole {
		f.Add(whole[:n])
	}
	f.Add(whole)
	f.Fuzz(func(t *testing.T, b []byte) {
		if ev, ok := bounced(b, 434); ok && (ev.Src.Port() != 434 || !ev.From.Is4() || len(ev.Data) > len(b)) {
			t.Errorf("read %+v", ev)
		}
	})
}

// What a familiar station sends is heard while a flood fills the socket of the
// others, whose reader has stopped: its requests have a way of their own.
//
//rfc:5944#5.4
func TestAFloodLosesNothingOfFamiliarStations(t *testing.T) {
	agent, node := nstest.New(t, "agent"), nstest.New(t, "node")
	nstest.Join(t, agent, "lan0", node, "eth0", 1500)
	agent.Address("lan0", "192.168.1.1/24")
	strange, held := engine.HardwareAddr{2, 0x66, 0, 0, 0, 1}, make(chan struct{})
	release := sync.OnceFunc(func() { close(held) })
	defer release()
	familiar := make(chan engine.Packet, 1)
	var atAgent *Set
	agent.Do(func() {
		var err error
		atAgent, err = New([]string{"lan0"}, 434, Receiver{Signal: func(p engine.Packet) {
			if p.HW == strange {
				<-held // a reader that is behind
				return
			}
			familiar <- p
		}})
		if err == nil {
			t.Cleanup(func() { release(); atAgent.Close() })
			err = atAgent.LinkChanged(engine.Link{Name: "lan0", Up: true})
		}
		if err != nil {
			t.Fatal(err)
		}
	})
	atNode := set(t, node, "eth0", 0, newEar())
	us := hardwareOf(node, "eth0")
	request := engine.Send{Link: "eth0", Src: netip.AddrPortFrom(home, 434), Dst: netip.MustParseAddrPort("192.168.1.1:434"), TTL: 1, HW: hardwareOf(agent, "lan0"), Data: []byte{1}}
	send := func() {
		if err := atNode.SendTo(request); err != nil {
			t.Error(err)
		}
	}
	become := func(hw engine.HardwareAddr) {
		node.Do(func() {
			if err := netlink.LinkSetHardwareAddr(node.Link("eth0"), hw[:]); err != nil {
				t.Error(err)
			}
		})
	}
	send()
	next(t, familiar)
	atAgent.Favour("lan0", us)
	for deadline := time.Now().Add(patience); ; <-time.After(time.Millisecond) { // until the filters are made anew
		atAgent.mu.Lock()
		gathering := atAgent.listeners["lan0"].gathering
		atAgent.mu.Unlock()
		if !gathering {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal("the filters are not made")
		}
	}
	become(strange)
	for range 20000 {
		send()
	}
	become(us)
	send()
	if p := next(t, familiar); p.HW != us {
		t.Errorf("heard %v", p.HW)
	}
}

// The filter finds exactly the stations that it was made for, also when their
// addresses are alike.
func TestStationsAreFoundByTheirWholeAddress(t *testing.T) {
	var stations []engine.HardwareAddr
	for i := range maxFamiliar {
		stations = append(stations, engine.HardwareAddr{2, byte(i % 3), 0, byte(i), byte(i >> 8), byte(i / 3)})
	}
	program := filter(434, from(stations, accept, drop))
	if _, err := bpf.Assemble(program); err != nil || len(program) > 4096 {
		t.Fatalf("%d instructions, and the kernel takes 4096: %v", len(program), err)
	}
	vm, err := bpf.NewVM(readable(from(stations, accept, drop)))
	if err != nil {
		t.Fatal(err)
	}
	for _, hw := range stations {
		other := hw
		other[1] ^= 8
		far := hw
		far[5] ^= 0x80
		for _, c := range []struct {
			hw   engine.HardwareAddr
			want bool
		}{{hw, true}, {other, false}, {far, slices.Contains(stations, far)}} {
			got, err := vm.Run(append([]byte{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}, c.hw[:]...))
			if err != nil || (got > 0) != c.want {
				t.Fatalf("%v: %d, %v", c.hw, got, err)
			}
		}
	}
}

// readable is the program with the link-layer source where a virtual machine
// without the kernel's extensions finds it: at the frame's start.
func readable(program []bpf.Instruction) []bpf.Instruction {
	out := slices.Clone(program)
	for i, p := range out {
		if l, ok := p.(bpf.LoadAbsolute); ok {
			l.Off -= linkSource - 6
			out[i] = l
		}
	}
	return out
}
