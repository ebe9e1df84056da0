package planetest

import (
	"bytes"
	"context"
	"net"
	"net/netip"
	"slices"
	"syscall"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"careof/internal/core/engine"
	"careof/internal/core/forward"
	"careof/internal/host/broadcast"
	"careof/internal/host/plane/nstest"
	"careof/internal/host/plane/tun"
	"careof/wire/encap"
)

var (
	limited  = netip.MustParseAddr("255.255.255.255")
	directed = netip.MustParseAddr("10.10.0.255")
	group    = netip.MustParseAddr("239.1.2.3")
	neighbor = netip.MustParseAddr("10.10.0.77") // of the home network, at the correspondent's
)

// homeLink makes lan0 a home link of the agent: once the scene listens, what is
// for many there goes to the plane. The correspondent is then on it with an
// address of the home network.
func (s *Scene) homeLink(t testing.TB) *tun.Casts {
	var set *broadcast.Set
	s.HA.In(func() {
		var err error
		set, err = broadcast.New([]string{"lan0"}, func(link string, packet []byte) { s.Agent.Heard(link, packet) })
		must(t, err)
	})
	s.listen = func() {
		s.CN.Address("eth0", neighbor.String()+"/24")
		s.HA.Do(func() { must(t, set.LinkChanged(engine.Link{Name: "lan0", Up: true})) })
		// As package route does for a home network that is known.
		index := s.MN.Link(Device).Attrs().Index
		must(t, s.MN.H.RouteAdd(&netlink.Route{
			Table: unix.RT_TABLE_LOCAL, Type: unix.RTN_BROADCAST, Scope: netlink.SCOPE_LINK, LinkIndex: index,
			Dst: netlink.NewIPNet(directed.AsSlice()), Src: Home.AsSlice(),
		}))
	}
	t.Cleanup(func() { set.Close() })
	return &tun.Casts{Links: set, Directed: true, Limited: true, Multicast: true}
}

// socket is a kernel's UDP socket on one interface, which may speak to many.
func socket(t testing.TB, n *nstest.Node, link, local string) *net.UDPConn {
	t.Helper()
	var conn *net.UDPConn
	n.In(func() {
		c := net.ListenConfig{Control: func(_, _ string, raw syscall.RawConn) error {
			var err error
			raw.Control(func(fd uintptr) {
				for _, o := range [][3]int{
					{unix.SOL_SOCKET, unix.SO_BROADCAST, 1}, {unix.SOL_SOCKET, unix.SO_REUSEADDR, 1},
					{unix.IPPROTO_IP, unix.IP_MULTICAST_TTL, 8},
				} {
					if err == nil {
						err = unix.SetsockoptInt(int(fd), o[0], o[1], o[2])
					}
				}
				if err == nil {
					err = unix.BindToDevice(int(fd), link)
				}
			})
			return err
		}}
		p, err := c.ListenPacket(context.Background(), "udp4", local)
		if err != nil {
			t.Error(err)
			return
		}
		conn = p.(*net.UDPConn)
	})
	if conn == nil {
		t.Fatal("no socket")
	}
	t.Cleanup(func() { conn.Close() })
	return conn
}

// member joins or leaves a group on an interface.
func member(t testing.TB, c *net.UDPConn, n *nstest.Node, link string, option int) {
	t.Helper()
	index := n.Link(link).Attrs().Index
	raw, err := c.SyscallConn()
	must(t, err)
	raw.Control(func(fd uintptr) {
		must(t, unix.SetsockoptIPMreqn(int(fd), unix.IPPROTO_IP, option, &unix.IPMreqn{Multiaddr: group.As4(), Ifindex: int32(index)}))
	})
}

// say sends a datagram from a kernel's socket.
func say(t testing.TB, c *net.UDPConn, to netip.Addr, what string) {
	t.Helper()
	_, err := c.WriteToUDPAddrPort([]byte(what), netip.AddrPortFrom(to, 2100))
	must(t, err)
}

// hear waits for a datagram that must come; "" when none did.
func hear(c *net.UDPConn) (string, netip.Addr) {
	buf := make([]byte, 2000)
	c.SetReadDeadline(time.Now().Add(patience))
	n, from, err := c.ReadFromUDPAddrPort(buf)
	if err != nil {
		return "", netip.Addr{}
	}
	return string(buf[:n]), from.Addr()
}

// saying fits packets that carry a text.
func saying(what string) func([]byte) bool {
	return func(p []byte) bool { return bytes.Contains(p, []byte(what)) }
}

// reaches returns what leaves the agent for the node's care-of address of
// something that a neighbor says, nil when that is nothing: what is said behind
// it to everybody reaches another node, which has asked for it.
func (s *Scene) reaches(t testing.TB, shape forward.Tunnel, wire func() []byte, from *net.UDPConn, dst netip.Addr, what string) []byte {
	t.Helper()
	other := AtAgent(shape)
	other.Peer = netip.AddrPortFrom(laterCareOf, MobilePort)
	e := asking(other)
	e.Key, e.Inner = "later", netip.PrefixFrom(laterHome, 32)
	Put(t, s.Agent, e)
	defer Apply(t, s.Agent, forward.Change{Op: forward.Delete, Entry: e})
	say(t, from, dst, what)
	say(t, from, limited, "behind "+what)
	return before(t, wire,
		func(p []byte) bool { return addr4(p[16:]) == CareOf && saying(what)(p) },
		func(p []byte) bool { return addr4(p[16:]) == laterCareOf && saying("behind "+what)(p) })
}

// asking is a home agent's entry with the B bit, on the home link.
func asking(tunnels ...forward.Tunnel) forward.Entry {
	e := AgentEntry(tunnels...)
	e.Intercept, e.Broadcast = "lan0", true
	return e
}

func listening(tunnels ...forward.Tunnel) forward.Entry {
	e := MobileEntry(tunnels...)
	e.Broadcast, e.HomeNetwork = true, HomeNetwork
	return e
}

// Broadcasts of the home network reach the socket of a node that asked, in
// every encapsulation, and no node that did not ask. With a foreign agent's
// care-of address they travel in a packet for the home address, which the node
// takes off.
//
//rfc:5944#4.3
//rfc:5944#3.6.1.2-3
//rfc:5944#3.6.1.2-4
//rfc:5944#3.6.1.2-6
func testBroadcasts(t *testing.T, open Open) {
	s := NewScene(t, open, 1420)
	s.listen()
	from := socket(t, s.CN, "eth0", neighbor.String()+":2200")
	to := socket(t, s.MN, Device, "0.0.0.0:2100")
	wire := tap(t, s.R, "eth0")
	for _, shape := range Shapes {
		t.Run(shape.Name, func(t *testing.T) {
			Put(t, s.Mobile, listening(AtMobile(shape.T)))
			Put(t, s.Agent, asking(AtAgent(shape.T)))
			for _, dst := range []netip.Addr{limited, directed} {
				say(t, from, dst, dst.String()+shape.Name)
				if got, src := hear(to); got != dst.String()+shape.Name || src != neighbor {
					t.Errorf("%v: heard %q from %v", dst, got, src)
				}
			}
			quiet := asking(AtAgent(shape.T))
			quiet.Broadcast = false
			Put(t, s.Agent, quiet)
			if p := s.reaches(t, shape.T, wire, from, limited, "not for you"); p != nil {
				t.Errorf("to a node that did not ask: % x", p)
			}
		})
	}
	t.Run("wrapped", func(t *testing.T) {
		// The foreign agent is the router in the middle: it takes the outer
		// header off and hands on what is inside.
		shape := forward.Tunnel{Encap: encap.GRE}
		far := AtAgent(shape)
		far.Wrap = Agent
		Put(t, s.Agent, asking(far))
		inner := forward.Tunnel{Encap: encap.IPIP, Local: netip.AddrPortFrom(Home, 0), Peer: netip.AddrPortFrom(Agent, 0), Mode: forward.Receive}
		Put(t, s.Mobile, listening(inner))
		say(t, from, directed, "wrapped")
		p := await(wire, saying("wrapped"))
		if p == nil {
			t.Fatal("nothing on the wire")
		}
		h, once, err := pull(p)
		if err != nil || h.Kind != encap.GRE || addr4(once[12:]) != Agent || addr4(once[16:]) != Home || once[9] != uint8(encap.IPIP) {
			t.Fatalf("%+v, %v: % x", h, err, once)
		}
		s.R.Route(Home.String()+"/32", "198.51.100.10", "", "")
		SendRaw(t, s.R, once)
		if got, src := hear(to); got != "wrapped" || src != neighbor {
			t.Errorf("heard %q from %v", got, src)
		}
	})
}

// A node that joins a group on the device hears what is sent to it on the home
// link, until it leaves.
//
//rfc:5944#4.4
func testMulticast(t *testing.T, open Open) {
	s := NewScene(t, open, 1420)
	s.listen()
	from := socket(t, s.CN, "eth0", neighbor.String()+":2200")
	to := socket(t, s.MN, Device, "0.0.0.0:2100")
	wire := tap(t, s.R, "eth0")
	for _, shape := range Shapes {
		t.Run(shape.Name, func(t *testing.T) {
			entry := asking(AtAgent(shape.T))
			entry.Broadcast = false
			Put(t, s.Mobile, MobileEntry(AtMobile(shape.T)))
			Put(t, s.Agent, entry)
			member(t, to, s.MN, Device, unix.IP_ADD_MEMBERSHIP)
			until(t, "membership", func() bool { return slices.Contains(s.Agent.Groups(AgentKey), group) })
			say(t, from, group, shape.Name)
			if got, src := hear(to); got != shape.Name || src != neighbor {
				t.Errorf("heard %q from %v", got, src)
			}
			// A member of a group has not asked for broadcasts, nor for other groups.
			for what, dst := range map[string]netip.Addr{"another group": group.Next(), "a broadcast": limited} {
				if p := s.reaches(t, shape.T, wire, from, dst, what); p != nil {
					t.Errorf("the node did not ask for %s: % x", what, p)
				}
			}
			member(t, to, s.MN, Device, unix.IP_DROP_MEMBERSHIP)
			until(t, "end of the membership", func() bool { return len(s.Agent.Groups(AgentKey)) == 0 })
			if p := s.reaches(t, shape.T, wire, from, group, "too late"); p != nil {
				t.Errorf("for a group that was left: % x", p)
			}
			Apply(t, s.Agent, forward.Change{Op: forward.Delete, Entry: AgentEntry()})
		})
	}
}

// What a node sends to everybody, or to a group, is heard on the home link as if
// it were there, with its home address for the source; but not what it sends
// into groups that stay on their link, nor too often.
//
//rfc:5944#4.4
//rfc:3024#5.3
func testCastsFromNode(t *testing.T, open Open) {
	s := NewScene(t, open, 1420)
	s.listen()
	from := socket(t, s.MN, Device, Home.String()+":2200")
	to := socket(t, s.CN, "eth0", "0.0.0.0:2100")
	member(t, to, s.CN, "eth0", unix.IP_ADD_MEMBERSHIP)
	link := tap(t, s.CN, "eth0")
	for _, shape := range Shapes {
		t.Run(shape.Name, func(t *testing.T) {
			Put(t, s.Mobile, listening(AtMobile(shape.T)))
			Put(t, s.Agent, asking(AtAgent(shape.T)))
			for _, dst := range []netip.Addr{group, limited, directed} {
				say(t, from, dst, dst.String()+shape.Name)
				if got, src := hear(to); got != dst.String()+shape.Name || src != Home {
					t.Errorf("%v: heard %q from %v", dst, got, src)
				}
			}
			say(t, from, netip.MustParseAddr("224.0.0.99"), "stays on its link")
			say(t, from, group, "goes behind it")
			if p := before(t, link, saying("stays on its link"), saying("goes behind it")); p != nil {
				t.Errorf("on the home link: % x", p)
			}
			if got, _ := hear(to); got != "goes behind it" {
				t.Errorf("heard %q", got)
			}
		})
	}
	for range 1000 {
		say(t, from, limited, "flood")
	}
	if n := countTo(1, link, saying("flood")); n == 0 || n > 700 {
		t.Errorf("%d of a flood of 1000 broadcasts are on the home link", n)
	}
}
