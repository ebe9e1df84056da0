package plane_test

import (
	"context"
	"io"
	"net"
	"net/netip"
	"testing"
	"time"

	"careof/internal/core/engine"
	"careof/internal/core/forward"
	"careof/internal/host/beside"
	"careof/internal/host/plane"
	"careof/internal/host/plane/nstest"
	"careof/internal/host/sock"
	"careof/wire/encap"
)

// The scene: a home agent between the Internet and a home link with a
// neighbour on it, and a mobile node with two uplinks.
//
//	cn 10.9.0.2 --- r --- 192.0.2.1 ha 10.20.0.1 --- lan --- 10.20.0.9 neighbour
//	                |
//	                +---- 198.51.100.10 mn (eth0, preferred)
//	                +---- 203.0.113.10 mn (eth1)
//
// Node 10.20.0.5 is at home on lan, 10.10.0.0/24 is a virtual home network.
type scene struct {
	cn, r, ha, neighbour, mn *nstest.Node
	agent, mobile            *plane.Host
	agentSet, mobileSet      *sock.Set
}

var (
	all       = netip.MustParsePrefix("0.0.0.0/0")
	haAddr    = netip.MustParseAddr("192.0.2.1")
	cnAddr    = netip.MustParseAddr("10.9.0.2")
	careOf    = []netip.Addr{netip.MustParseAddr("198.51.100.10"), netip.MustParseAddr("203.0.113.10")}
	gateway   = []netip.Addr{netip.MustParseAddr("198.51.100.2"), netip.MustParseAddr("203.0.113.2")}
	uplinks   = []string{"eth0", "eth1"}
	homeAddr  = netip.MustParseAddr("10.20.0.5")
	neighbour = netip.MustParseAddr("10.20.0.9")
)

// patience is how long what must come may take on a busy machine.
const patience = 20 * time.Second

func newScene(t *testing.T) *scene {
	t.Helper()
	s := &scene{cn: nstest.New(t, "cn"), r: nstest.New(t, "r"), ha: nstest.New(t, "ha"), neighbour: nstest.New(t, "neighbour"), mn: nstest.New(t, "mn")}
	nstest.Join(t, s.cn, "eth0", s.r, "cn", 1500)
	nstest.Join(t, s.ha, "wan0", s.r, "ha", 1500)
	nstest.Join(t, s.ha, "lan0", s.neighbour, "eth0", 1500)
	nstest.Join(t, s.mn, "eth0", s.r, "mn0", 1500)
	nstest.Join(t, s.mn, "eth1", s.r, "mn1", 1500)
	s.cn.Address("eth0", "10.9.0.2/24")
	s.cn.Route("0.0.0.0/0", "10.9.0.1", "", "")
	s.r.Address("cn", "10.9.0.1/24")
	s.r.Address("ha", "192.0.2.2/24")
	s.r.Address("mn0", "198.51.100.2/24")
	s.r.Address("mn1", "203.0.113.2/24")
	s.r.Route("10.20.0.0/24", "192.0.2.1", "", "")
	s.r.Sysctl("net/ipv4/ip_forward", 1)
	s.ha.Address("wan0", "192.0.2.1/24")
	s.ha.Address("lan0", "10.20.0.1/24")
	s.ha.Route("0.0.0.0/0", "192.0.2.2", "", "")
	s.neighbour.Address("eth0", "10.20.0.9/24")
	s.neighbour.Route("0.0.0.0/0", "10.20.0.1", "", "")
	s.mn.Address("eth0", "198.51.100.10/24")
	s.mn.Address("eth1", "203.0.113.10/24")
	// As DHCP clients do it: a default route for each, by preference.
	for i, link := range uplinks {
		r := s.mn.HostRoute("0.0.0.0/0")
		r.Gw, r.LinkIndex, r.Priority = gateway[i].AsSlice(), s.mn.Link(link).Attrs().Index, 100*(i+1)
		if err := s.mn.H.RouteAdd(r); err != nil {
			t.Fatal(err)
		}
	}
	s.agent, s.agentSet = openHost(t, s.ha, agentConfig())
	s.mobile, s.mobileSet = openHost(t, s.mn, mobileConfig())
	s.ha.Do(func() { check(t, s.agentSet.Listen(netip.AddrPortFrom(haAddr, encap.Port))) })
	for i := range uplinks {
		s.mn.Do(func() { check(t, s.mobileSet.Listen(netip.AddrPortFrom(careOf[i], 40000))) })
	}
	s.linksUp(t)
	return s
}

func agentConfig() plane.Config {
	return plane.Config{
		HomeNetworks: []plane.Network{{Prefix: netip.MustParsePrefix("10.20.0.0/24"), Link: "lan0"}, {Prefix: netip.MustParsePrefix("10.10.0.0/24")}},
		Forward:      true,
	}
}

func mobileConfig() plane.Config {
	return plane.Config{HomeAddresses: []netip.Addr{homeAddr}, Uplinks: uplinks, Mark: beside.Mark}
}

func openHost(t *testing.T, n *nstest.Node, c plane.Config) (h *plane.Host, set *sock.Set) {
	t.Helper()
	n.Do(func() {
		set = sock.New(sock.Receiver{
			Signal: func(engine.Packet) {},
			Data:   func(d []sock.Data) { h.Tunnels().Deliver(d) },
		}, c.Mark)
		c.Datagrams, c.Port = set, set.Port
		c.Kind, c.Pins, c.Capacity = kind, pins, 64
		var err error
		if h, err = plane.Open(c); err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(func() {
		set.Close()
		if err := h.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
	})
	return h, set
}

func (s *scene) linksUp(t *testing.T) {
	t.Helper()
	for _, link := range []string{"wan0", "lan0"} {
		check(t, s.agent.LinkChanged(engine.Link{Name: link, Up: true, MTU: 1500}))
	}
	for i, link := range uplinks {
		check(t, s.mobile.LinkChanged(engine.Link{
			Name: link, Up: true, MTU: 1500, Addresses: []netip.Prefix{netip.PrefixFrom(careOf[i], 24)}, Gateways: gateway[i : i+1],
		}))
	}
}

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Error(err)
	}
}

// register binds the home address through an uplink, at both ends.
func (s *scene) register(t *testing.T, uplink int, kind encap.Kind) {
	t.Helper()
	mn, ha := netip.AddrPortFrom(careOf[uplink], 40000), netip.AddrPortFrom(haAddr, encap.Port)
	apply(t, s.mobile, forward.Change{Op: forward.Put, Entry: forward.Entry{
		Key: "home", Role: forward.MobileNode, Inner: netip.PrefixFrom(homeAddr, 32), Routes: []netip.Prefix{all},
		Tunnels: []forward.Tunnel{{Local: mn, Peer: ha, Link: uplinks[uplink], Encap: kind}},
	}})
	apply(t, s.agent, forward.Change{Op: forward.Put, Entry: forward.Entry{
		Key: "mn", Role: forward.HomeAgent, Inner: netip.PrefixFrom(homeAddr, 32), Intercept: "lan0",
		Tunnels: []forward.Tunnel{{Local: ha, Peer: mn, Encap: kind}},
	}})
}

func apply(t *testing.T, p forward.Plane, changes ...forward.Change) {
	t.Helper()
	if err := p.Apply(context.Background(), changes); err != nil {
		t.Fatal(err)
	}
}

// talk exchanges a megabyte over TCP and returns the address that the
// listener saw.
func talk(t *testing.T, from *nstest.Node, source netip.Addr, to *nstest.Node, dst netip.Addr) (seen netip.Addr) {
	t.Helper()
	const octets = 1 << 20
	var l net.Listener
	to.Do(func() {
		var err error
		if l, err = net.Listen("tcp4", netip.AddrPortFrom(dst, 0).String()); err != nil {
			t.Error(err)
		}
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
		seen = c.RemoteAddr().(*net.TCPAddr).AddrPort().Addr().Unmap()
		c.SetDeadline(time.Now().Add(patience))
		n, _ := io.Copy(io.Discard, c)
		got <- n
	}()
	from.Do(func() {
		d := net.Dialer{Timeout: patience}
		if source.IsValid() {
			d.LocalAddr = &net.TCPAddr{IP: source.AsSlice()}
		}
		c, err := d.Dial("tcp4", l.Addr().String())
		if err != nil {
			t.Error(err)
			l.Close()
			return
		}
		defer c.Close()
		c.SetDeadline(time.Now().Add(patience))
		_, err = c.Write(make([]byte, octets))
		check(t, err)
	})
	if n := <-got; n != octets {
		t.Fatalf("%d octets arrived", n)
	}
	return seen
}

// speaks sends a few datagrams from an address of a node.
func speaks(t *testing.T, n *nstest.Node, source, dst netip.Addr) {
	t.Helper()
	n.Do(func() {
		c, err := net.ListenPacket("udp4", netip.AddrPortFrom(source, 0).String())
		if err != nil {
			return // the address is gone: even better
		}
		defer c.Close()
		for range 5 {
			c.WriteTo([]byte("x"), net.UDPAddrFromAddrPort(netip.AddrPortFrom(dst, 9)))
		}
	})
}

// from counts what a link has seen of an address.
func from(next func() []byte, a netip.Addr) (n int) {
	for p := next(); p != nil; p = next() {
		if len(p) >= 20 && p[0]>>4 == 4 && netip.AddrFrom4([4]byte(p[12:16])) == a {
			n++
		}
	}
	return n
}

func agentConfigWithoutLink() plane.Config {
	return plane.Config{HomeNetworks: []plane.Network{{Prefix: netip.MustParsePrefix("10.10.0.0/24")}}, Forward: true}
}
