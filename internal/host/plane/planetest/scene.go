package planetest

import (
	"context"
	"errors"
	"io"
	"net"
	"net/netip"
	"os"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"careof/internal/core/engine"
	"careof/internal/core/forward"
	"careof/internal/host/plane/nstest"
	"careof/internal/host/plane/tun"
	"careof/internal/host/sock"
	"careof/wire/encap"
)

// Device is the name of the tunnel device.
const Device = "careof0"

// Config is what an [Open] makes a plane from.
type Config struct {
	MTU          int // of the device
	HomeNetworks []netip.Prefix
	Datagrams    *sock.Set
	Underlays    []string
	Secret       *tun.Secret
	Casts        *tun.Casts // nil: nothing but unicast is forwarded
}

// A Plane is what a data plane brings besides entries.
type Plane interface {
	forward.Plane
	// Deliver takes what the UDP sockets receive.
	Deliver([]sock.Data)
	// Heard takes what a home link has for many.
	Heard(link string, packet []byte)
	// Groups lists the groups that are forwarded to a home agent's node.
	Groups(forward.Key) []netip.Addr
	// Strangers counts tunnel packets that were refused.
	Strangers() uint64
}

// Open makes a plane with a device of its own on the calling thread's node.
// The suite closes it.
type Open func(t testing.TB, c Config) (Plane, error)

// Addresses of the [Scene].
var (
	Agent         = netip.MustParseAddr("192.0.2.1")
	CareOf        = netip.MustParseAddr("198.51.100.10")
	Home          = netip.MustParseAddr("10.10.0.5")
	Correspondent = netip.MustParseAddr("10.9.0.2")
	HomeNetwork   = netip.MustParsePrefix("10.10.0.0/24")
	MobileNetwork = netip.MustParsePrefix("10.20.0.0/24") // behind the node, for those who bind it

	router = netip.MustParseAddr("192.0.2.2")
)

// MobilePort is the mobile node's UDP port.
const MobilePort = 41000

// A Scene is a home agent and a mobile node with a router between them:
//
//	cn 10.9.0.2 ---- 10.9.0.1 ha 192.0.2.1 ---- 192.0.2.2 r 198.51.100.2 ---- 198.51.100.10 mn
//	                     home 10.10.0.0/24                                   10.10.0.5
type Scene struct {
	CN, HA, R, MN *nstest.Node
	Agent, Mobile Plane
	open          Open
	listen        func() // to the home link
	agentSet      *sock.Set
	mobileSet     *sock.Set
}

// NewScene builds the network and both planes. The devices' MTU is mtu, the
// links' 1500.
func NewScene(t testing.TB, open Open, mtu int) *Scene {
	t.Helper()
	s := &Scene{CN: nstest.New(t, "cn"), HA: nstest.New(t, "ha"), R: nstest.New(t, "r"), MN: nstest.New(t, "mn"), open: open}
	nstest.Join(t, s.CN, "eth0", s.HA, "lan0", 1500)
	nstest.Join(t, s.HA, "wan0", s.R, "eth0", 1500)
	nstest.Join(t, s.R, "eth1", s.MN, "eth0", 1500)
	s.CN.Address("eth0", "10.9.0.2/24")
	s.CN.Route("0.0.0.0/0", "10.9.0.1", "", "")
	s.HA.Address("lan0", "10.9.0.1/24")
	s.HA.Address("wan0", "192.0.2.1/24")
	s.HA.Route("0.0.0.0/0", "192.0.2.2", "", "")
	s.HA.Sysctl("net/ipv4/ip_forward", 1)
	s.R.Address("eth0", "192.0.2.2/24")
	s.R.Address("eth1", "198.51.100.2/24")
	s.R.Route("10.9.0.0/24", "192.0.2.1", "", "")
	s.R.Sysctl("net/ipv4/ip_forward", 1)
	s.MN.Address("eth0", "198.51.100.10/24")
	s.MN.Route("192.0.2.0/24", "198.51.100.2", "", "")

	// Somebody takes the suite's datagrams, so that no kernel answers them.
	for _, n := range []*nstest.Node{s.CN, s.MN} {
		n.In(func() {
			c, err := net.ListenPacket("udp4", "0.0.0.0:2000")
			must(t, err)
			t.Cleanup(func() { c.Close() })
		})
	}
	s.Agent, s.agentSet = s.NewEnd(t, s.HA, Config{MTU: mtu, HomeNetworks: []netip.Prefix{HomeNetwork}, Underlays: []string{"wan0"}, Casts: s.homeLink(t), Secret: &agentSecret})
	s.Mobile, s.mobileSet = s.NewEnd(t, s.MN, Config{MTU: mtu, Underlays: []string{"eth0"}, Secret: &mobileSecret})
	s.HA.Route("10.10.0.0/24", "", Device, "")
	s.HA.Route("10.20.0.0/24", "", Device, "")
	s.MN.Address(Device, "10.10.0.5/32")
	s.MN.Route("10.9.0.0/24", "", Device, "10.10.0.5")
	s.HA.Do(func() { must(t, s.agentSet.Listen(netip.AddrPortFrom(Agent, encap.Port))) })
	s.MN.Do(func() { must(t, s.mobileSet.Listen(netip.AddrPortFrom(CareOf, MobilePort))) })
	return s
}

// NewEnd opens a plane on a node.
func (s *Scene) NewEnd(t testing.TB, n *nstest.Node, c Config) (p Plane, set *sock.Set) {
	t.Helper()
	n.In(func() {
		set = sock.New(sock.Receiver{
			Signal: func(engine.Packet) {},
			Data:   func(d []sock.Data) { p.Deliver(d) },
		}, 0)
		c.Datagrams = set
		var err error
		if p, err = s.open(t, c); err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(func() {
		set.Close()
		if p == nil {
			return
		}
		if err := p.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
	})
	return p, set
}

// Keys of the entries that [Scene.Bind] makes.
const (
	AgentKey  forward.Key = "mn"
	MobileKey forward.Key = "home"
)

// AtAgent is the home agent's end of a tunnel, AtMobile the mobile node's.
func AtAgent(shape forward.Tunnel) forward.Tunnel {
	shape.Local, shape.Peer = netip.AddrPortFrom(Agent, encap.Port), netip.AddrPortFrom(CareOf, MobilePort)
	return shape
}

// AtMobile is the mobile node's end.
func AtMobile(shape forward.Tunnel) forward.Tunnel {
	shape.Local, shape.Peer = netip.AddrPortFrom(CareOf, MobilePort), netip.AddrPortFrom(Agent, encap.Port)
	shape.Link = "eth0"
	return shape
}

// AgentEntry is the home agent's for the home address.
func AgentEntry(tunnels ...forward.Tunnel) forward.Entry {
	return forward.Entry{Key: AgentKey, Role: forward.HomeAgent, Inner: netip.PrefixFrom(Home, 32), Tunnels: tunnels}
}

// MobileEntry is the mobile node's for its home address.
func MobileEntry(tunnels ...forward.Tunnel) forward.Entry {
	return forward.Entry{Key: MobileKey, Role: forward.MobileNode, Inner: netip.PrefixFrom(Home, 32), Tunnels: tunnels}
}

// Bind installs the same tunnel at both ends.
func (s *Scene) Bind(t testing.TB, shape forward.Tunnel) {
	t.Helper()
	Put(t, s.Agent, AgentEntry(AtAgent(shape)))
	Put(t, s.Mobile, MobileEntry(AtMobile(shape)))
}

// Put applies an entry.
func Put(t testing.TB, p forward.Plane, e forward.Entry) {
	t.Helper()
	Apply(t, p, forward.Change{Op: forward.Put, Entry: e})
}

// Apply applies changes.
func Apply(t testing.TB, p forward.Plane, changes ...forward.Change) {
	t.Helper()
	if err := p.Apply(context.Background(), changes); err != nil {
		t.Fatal(err)
	}
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Error(err)
	}
}

// A Shape is a form of tunnel without its ends.
type Shape struct {
	Name string
	T    forward.Tunnel
}

// Shapes are the tunnels of the four encapsulations.
var Shapes = []Shape{
	{"ipip", forward.Tunnel{Encap: encap.IPIP}},
	{"gre", forward.Tunnel{Encap: encap.GRE}},
	{"gre-key", forward.Tunnel{Encap: encap.GRE, HasKey: true, Key: 0xfeedface}},
	{"minimal", forward.Tunnel{Encap: encap.Minimal}},
	{"udp", forward.Tunnel{Encap: encap.UDP}},
	{"udp-gre", forward.Tunnel{Encap: encap.UDP, Inside: encap.GRE}},
	{"udp-gre-key", forward.Tunnel{Encap: encap.UDP, Inside: encap.GRE, HasKey: true, Key: 7}},
	{"udp-minimal", forward.Tunnel{Encap: encap.UDP, Inside: encap.Minimal}},
}

// Transfer moves n octets over a kernel TCP connection from one node to
// another and returns how long that took.
func Transfer(t testing.TB, from *nstest.Node, fromAddr netip.Addr, to *nstest.Node, toAddr netip.Addr, n int64) time.Duration {
	t.Helper()
	var l net.Listener
	to.In(func() {
		var err error
		l, err = net.Listen("tcp4", netip.AddrPortFrom(toAddr, 0).String())
		must(t, err)
	})
	defer l.Close()
	got := make(chan int64, 1)
	go func() {
		c, err := l.Accept()
		if err != nil {
			got <- -1
			return
		}
		defer c.Close()
		c.SetDeadline(time.Now().Add(patience))
		k, _ := io.Copy(io.Discard, c)
		// The last acknowledgment would come after this has returned, and be
		// counted by whoever counts packets next: a reset asks for none.
		must(t, errors.Join(c.(*net.TCPConn).SetLinger(0), c.Close()))
		got <- k
	}()
	start := time.Now()
	from.In(func() {
		d := net.Dialer{Timeout: patience, LocalAddr: &net.TCPAddr{IP: fromAddr.AsSlice()}}
		c, err := d.Dial("tcp4", l.Addr().String())
		if err != nil {
			t.Error(err)
			l.Close()
			return
		}
		defer c.Close()
		c.SetDeadline(time.Now().Add(patience))
		_, err = io.CopyN(c, zeros{}, n)
		must(t, err)
	})
	if k := <-got; k != n {
		t.Fatalf("%d octets of %d arrived", k, n)
	}
	return time.Since(start)
}

type zeros struct{}

func (zeros) Read(b []byte) (int, error) { return len(b), nil }

// forgetPaths makes a node's kernel forget what it was told about paths.
func forgetPaths(t testing.TB, n *nstest.Node) {
	n.In(func() { must(t, os.WriteFile("/proc/sys/net/ipv4/route/flush", []byte("1"), 0)) })
}

// SendRaw sends whole IPv4 packets from a node, whatever they say about
// themselves.
func SendRaw(t testing.TB, n *nstest.Node, packets ...[]byte) {
	t.Helper()
	n.In(func() {
		fd, err := unix.Socket(unix.AF_INET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.IPPROTO_RAW)
		if err != nil {
			t.Error(err)
			return
		}
		defer unix.Close(fd)
		for _, p := range packets {
			to := &unix.SockaddrInet4{Addr: [4]byte(p[16:20])}
			if err := unix.Sendto(fd, p, 0, to); err != nil && !errors.Is(err, unix.ENOBUFS) {
				t.Error(err)
				return
			}
		}
	})
}

// UDPPacket is an IPv4 packet with n octets in a UDP datagram.
func UDPPacket(src, dst netip.Addr, n int, change ...func(*encap.IPv4)) []byte {
	h := encap.IPv4{TTL: 64, ID: 77}
	for _, c := range change {
		c(&h)
	}
	p, err := encap.AppendUDP(nil, h, netip.AddrPortFrom(src, 1000), netip.AddrPortFrom(dst, 2000), make([]byte, n))
	if err != nil {
		panic(err)
	}
	return p
}

func addr4(b []byte) netip.Addr { return netip.AddrFrom4([4]byte(b[:4])) }

// patience bounds how long a packet that must come may take on a busy machine.
const patience = 20 * time.Second

// await is first for a packet that must come: silence alone does not end it.
func await(next func() []byte, fits func([]byte) bool) (p []byte) {
	for end := time.Now().Add(patience); p == nil && time.Now().Before(end); {
		p = first(next, fits)
	}
	return p
}

// first returns a copy of the first packet that fits, nil when it was silent
// before one came.
func first(next func() []byte, fits func([]byte) bool) []byte {
	for p := next(); p != nil; p = next() {
		if len(p) >= 20 && p[0]>>4 == 4 && fits(p) {
			return append([]byte(nil), p...)
		}
	}
	return nil
}

// pull decapsulates a captured packet. Between two virtual interfaces UDP
// checksums are not filled in; without one it is not looked at.
func pull(p []byte) (encap.Header, []byte, error) {
	p = append([]byte(nil), p...)
	if p[9] == uint8(encap.UDP) && len(p) > 28 {
		p[26], p[27] = 0, 0
	}
	return encap.Pull(p)
}

// count counts the packets that fit, until it is silent.
func count(next func() []byte, fits func([]byte) bool) (n int) {
	for p := next(); p != nil; p = next() {
		if len(p) >= 20 && p[0]>>4 == 4 && fits(p) {
			n++
		}
	}
	return n
}

// countTo is count for packets of which so many must come: before that, silence
// does not end it.
func countTo(want int, next func() []byte, fits func([]byte) bool) (n int) {
	n = count(next, fits)
	for end := time.Now().Add(patience); n < want && time.Now().Before(end); {
		n += count(next, fits)
	}
	return n
}

// between fits packets from src to dst that are no ICMP.
func between(src, dst netip.Addr) func([]byte) bool {
	return func(p []byte) bool { return addr4(p[12:]) == src && addr4(p[16:]) == dst && p[9] != 1 }
}

// header is the outer header of a packet that a peer would send: from the
// mobile node to the home agent, or back.
func header(shape forward.Tunnel, src, dst netip.Addr) encap.Header {
	h := encap.Header{Kind: shape.Encap, Inner: shape.Inside, Src: src, Dst: dst, HasKey: shape.HasKey, Key: shape.Key}
	if h.Kind == encap.UDP {
		h.Checksum = true
		h.SrcPort, h.DstPort = MobilePort, encap.Port
		if dst == CareOf {
			h.SrcPort, h.DstPort = encap.Port, MobilePort
		}
	}
	return h
}

func forge(t testing.TB, h encap.Header, inner []byte) []byte {
	t.Helper()
	p, err := encap.Append(nil, &h, inner)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// tap reads the packets of a node's link, until it is silent.
func tap(t testing.TB, n *nstest.Node, link string) (next func() []byte) {
	t.Helper()
	return n.Tap(t, link, 80*time.Millisecond)
}

// waitFor reads events until one fits.
func waitFor[E forward.Event](t testing.TB, p forward.Plane) E {
	t.Helper()
	end := time.After(patience)
	for {
		select {
		case e := <-p.Events():
			if want, ok := e.(E); ok {
				return want
			}
		case <-end:
			t.Fatalf("no %T", *new(E))
		}
	}
}
