package tun

import (
	"context"
	"io"
	"net"
	"net/netip"
	"testing"
	"time"

	"careof/internal/core/engine"
	"careof/internal/core/forward"
	"careof/internal/host/clock"
	"careof/internal/host/plane/nstest"
	"careof/internal/host/sock"
	"careof/wire/encap"
)

// The scene of these tests:
//
//	cn 10.9.0.2 ---- 10.9.0.1 ha 192.0.2.1 ---- 192.0.2.2 r 198.51.100.2 ---- 198.51.100.10 mn
//	                     home 10.10.0.0/24                                   10.10.0.5
type scene struct {
	cn, ha, r, mn       *nstest.Node
	agent, mobile       *Plane
	agentSet, mobileSet *sock.Set
	sent                *counting // by the agent, over UDP
}

var (
	haAddr   = netip.MustParseAddr("192.0.2.1")
	careOf   = netip.MustParseAddr("198.51.100.10")
	homeAddr = netip.MustParseAddr("10.10.0.5")
	cnAddr   = netip.MustParseAddr("10.9.0.2")
	network  = netip.MustParsePrefix("10.10.0.0/24")
)

const mnPort = 41000

// newScene builds the network and both planes. The devices' MTU is mtu, the
// links' 1500.
func newScene(t testing.TB, mtu int) *scene {
	t.Helper()
	s := &scene{cn: nstest.New(t, "cn"), ha: nstest.New(t, "ha"), r: nstest.New(t, "r"), mn: nstest.New(t, "mn")}
	nstest.Join(t, s.cn, "eth0", s.ha, "lan0", 1500)
	nstest.Join(t, s.ha, "wan0", s.r, "eth0", 1500)
	nstest.Join(t, s.r, "eth1", s.mn, "eth0", 1500)
	s.cn.Address("eth0", "10.9.0.2/24")
	s.cn.Route("0.0.0.0/0", "10.9.0.1", "", "")
	s.ha.Address("lan0", "10.9.0.1/24")
	s.ha.Address("wan0", "192.0.2.1/24")
	s.ha.Route("0.0.0.0/0", "192.0.2.2", "", "")
	s.ha.Sysctl("net/ipv4/ip_forward", 1)
	s.r.Address("eth0", "192.0.2.2/24")
	s.r.Address("eth1", "198.51.100.2/24")
	s.r.Sysctl("net/ipv4/ip_forward", 1)
	s.mn.Address("eth0", "198.51.100.10/24")
	s.mn.Route("192.0.2.0/24", "198.51.100.2", "", "")

	s.agent, s.agentSet, s.sent = newEnd(t, s.ha, mtu, Config{HomeNetworks: []netip.Prefix{network}})
	s.mobile, s.mobileSet, _ = newEnd(t, s.mn, mtu, Config{})
	s.ha.Route("10.10.0.0/24", "", "careof0", "")
	s.mn.Address("careof0", "10.10.0.5/32")
	s.mn.Route("10.9.0.0/24", "", "careof0", "10.10.0.5")
	s.ha.Do(func() { must(t, s.agentSet.Listen(netip.AddrPortFrom(haAddr, encap.Port))) })
	s.mn.Do(func() { must(t, s.mobileSet.Listen(netip.AddrPortFrom(careOf, mnPort))) })
	return s
}

func newEnd(t testing.TB, n *nstest.Node, mtu int, c Config) (p *Plane, set *sock.Set, sent *counting) {
	t.Helper()
	n.Do(func() {
		var err error
		if c.Device, err = OpenDevice("careof0", mtu, false); err != nil {
			t.Error(err)
			return
		}
		set = sock.New(sock.Receiver{
			Signal: func(engine.Packet) {},
			Data:   func(d []sock.Data) { p.Deliver(d) },
		}, 0)
		sent = &counting{Datagrams: set}
		c.Datagrams = sent
		if p, err = New(c); err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(func() {
		set.Close()
		if err := p.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
	})
	return p, set, sent
}

// bind installs the same tunnel at both ends.
func (s *scene) bind(t testing.TB, shape forward.Tunnel) {
	t.Helper()
	at, from := shape, shape
	at.Local, at.Peer = netip.AddrPortFrom(haAddr, encap.Port), netip.AddrPortFrom(careOf, mnPort)
	from.Local, from.Peer = at.Peer, at.Local
	from.Link = "eth0"
	put(t, s.agent, forward.Entry{Key: "mn", Role: forward.HomeAgent, Inner: netip.PrefixFrom(homeAddr, 32), Tunnels: []forward.Tunnel{at}})
	put(t, s.mobile, forward.Entry{Key: "home", Role: forward.MobileNode, Inner: netip.PrefixFrom(homeAddr, 32), Tunnels: []forward.Tunnel{from}})
}

func put(t testing.TB, p *Plane, e forward.Entry) {
	t.Helper()
	must(t, p.Apply(context.Background(), []forward.Change{{Op: forward.Put, Entry: e}}))
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Error(err)
	}
}

// shapes are the tunnels of the four encapsulations.
var shapes = []struct {
	name string
	t    forward.Tunnel
}{
	{"ipip", forward.Tunnel{Encap: encap.IPIP}},
	{"gre", forward.Tunnel{Encap: encap.GRE}},
	{"gre-key", forward.Tunnel{Encap: encap.GRE, HasKey: true, Key: 0xfeedface}},
	{"minimal", forward.Tunnel{Encap: encap.Minimal}},
	{"udp", forward.Tunnel{Encap: encap.UDP}},
	{"udp-gre-key", forward.Tunnel{Encap: encap.UDP, Inside: encap.GRE, HasKey: true, Key: 7}},
	{"udp-minimal", forward.Tunnel{Encap: encap.UDP, Inside: encap.Minimal}},
}

// transfer moves n bytes over a kernel TCP connection from one node to another
// and returns how long that took.
func transfer(t testing.TB, from *nstest.Node, fromAddr netip.Addr, to *nstest.Node, toAddr netip.Addr, n int64) time.Duration {
	t.Helper()
	var l net.Listener
	to.Do(func() {
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
		c.SetDeadline(time.Now().Add(20 * time.Second))
		k, _ := io.Copy(io.Discard, c)
		got <- k
	}()
	start := time.Now()
	from.Do(func() {
		d := net.Dialer{Timeout: 5 * time.Second, LocalAddr: &net.TCPAddr{IP: fromAddr.AsSlice()}}
		c, err := d.Dial("tcp4", l.Addr().String())
		if err != nil {
			t.Error(err)
			return
		}
		defer c.Close()
		c.SetDeadline(time.Now().Add(20 * time.Second))
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

// A kernel's own TCP runs through every encapsulation, both ways.
//
//rfc:2003#3.1
//rfc:2004#3
//rfc:2784#2
//rfc:3519#3.3
func TestTCPThroughEveryEncapsulation(t *testing.T) {
	for _, shape := range shapes {
		t.Run(shape.name, func(t *testing.T) {
			s := newScene(t, 1420)
			s.bind(t, shape.t)
			transfer(t, s.cn, cnAddr, s.mn, homeAddr, 4<<20)
			transfer(t, s.mn, homeAddr, s.cn, cnAddr, 4<<20)
			if c := s.agent.Counters("mn"); c.SentBytes < 4<<20 || c.ReceivedBytes < 4<<20 {
				t.Errorf("%d octets went into the tunnel, %d came out", c.SentBytes, c.ReceivedBytes)
			}
			use := s.agent.Use("mn")
			if age := clock.Mono().Sub(use.Sent); age < 0 || age > 10*time.Second {
				t.Errorf("last sent %v ago", age)
			}
			if strangers := s.agent.Totals().Strangers; strangers != 0 {
				t.Errorf("%d packets of the tunnel were taken for strangers'", strangers)
			}
		})
	}
}
