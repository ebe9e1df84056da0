package daemon

import (
	"context"
	"net"
	"net/netip"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"careof/internal/host/plane/nstest"
	"careof/wire/encap"
)

// What is for many, between the sockets of kernels: a host on the home link, and
// a mobile node behind a foreign agent, with three daemons between them.
//
//	neighbour 10.10.0.77 ---- 10.10.0.1 ha 198.51.100.1 ---- r ---- 203.0.113.1 fa 192.168.1.1 ---- mn
var castsHome = with(pairHomeText, "home-agent", `interfaces = ["lan0"]`)

// castsNode wants broadcasts, in a style of delivery.
func castsNode(style string) string {
	return with(pairMobileText, "mobile-node", "home-network = \"10.10.0.0/24\"\nbroadcasts = \"on\"\ndelivery = %q", style)
}

var (
	castsGroup     = netip.MustParseAddr("239.1.2.3")
	castsNeighbour = netip.MustParseAddr("10.10.0.77")
)

// castSocket is a kernel's UDP socket on one interface that may speak to many.
func castSocket(t *testing.T, n *nstest.Node, link, local string) *net.UDPConn {
	t.Helper()
	var conn *net.UDPConn
	n.Do(func() {
		c := net.ListenConfig{Control: func(_, _ string, raw syscall.RawConn) error {
			var err error
			raw.Control(func(fd uintptr) {
				for _, o := range [][3]int{{unix.SOL_SOCKET, unix.SO_BROADCAST, 1}, {unix.IPPROTO_IP, unix.IP_MULTICAST_TTL, 8}} {
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
		t.FailNow()
	}
	t.Cleanup(func() { conn.Close() })
	return conn
}

func joinGroup(t *testing.T, c *net.UDPConn, n *nstest.Node, link string) {
	t.Helper()
	index := n.Link(link).Attrs().Index
	raw, err := c.SyscallConn()
	if err == nil {
		raw.Control(func(fd uintptr) {
			err = unix.SetsockoptIPMreqn(int(fd), unix.IPPROTO_IP, unix.IP_ADD_MEMBERSHIP, &unix.IPMreqn{Multiaddr: castsGroup.As4(), Ifindex: int32(index)})
		})
	}
	if err != nil {
		t.Fatal(err)
	}
}

// castSocketAnywhere is one with the home address, on no interface in particular.
func castSocketAnywhere(t *testing.T, n *nstest.Node) (c *net.UDPConn) {
	t.Helper()
	n.Do(func() {
		var err error
		if c, err = net.ListenUDP("udp4", net.UDPAddrFromAddrPort(netip.AddrPortFrom(visitorHome, 2200))); err != nil {
			t.Error(err)
		}
	})
	if c == nil {
		t.FailNow()
	}
	t.Cleanup(func() { c.Close() })
	return c
}

// passes says something until it is heard, from where it should be.
func (n *foreignNet) passes(from *net.UDPConn, dst netip.Addr, to *net.UDPConn, src netip.Addr, what string) {
	n.t.Helper()
	buf := make([]byte, 2000)
	n.until(what+" is heard", func() bool {
		if _, err := from.WriteToUDPAddrPort([]byte(what), netip.AddrPortFrom(dst, 2100)); err != nil {
			return false // there may be no way yet
		}
		for {
			to.SetReadDeadline(time.Now().Add(200 * time.Millisecond))
			c, by, err := to.ReadFromUDPAddrPort(buf)
			if err != nil {
				return false
			}
			if string(buf[:c]) == what {
				if by.Addr() != src {
					n.t.Errorf("%s: heard from %v, not from %v", what, by, src)
				}
				return true
			}
		}
	})
}

// Broadcasts and multicasts both ways through a foreign agent's care-of address,
// and unicast beside them, as each style of delivery has it.
//
//rfc:5944#4.3
//rfc:5944#4.4
//rfc:3024#5.2
//rfc:3024#5.3
func TestBroadcastsAndMulticast(t *testing.T) {
	for _, style := range []string{"encapsulating", "mixed"} {
		t.Run(style, func(t *testing.T) {
			n := wireVisited(t)
			nstest.Join(t, n.ha, "lan0", n.cn, "eth0", 1500)
			n.ha.Address("lan0", "10.10.0.1/24")
			n.cn.Address("eth0", "10.10.0.77/24")
			n.daemon(n.ha, "ha", castsHome)
			n.control = n.daemon(n.fa, "fa", openForeignText)
			n.daemon(n.mn, "mn", castsNode(style))
			n.until("registered", func() bool {
				list := n.listed()
				return len(list) == 1 && list[0].State == "accepted" && list[0].Delivery == style
			})

			near, far := castSocket(t, n.mn, "careof0", "0.0.0.0:2100"), castSocket(t, n.cn, "eth0", "0.0.0.0:2100")
			joinGroup(t, near, n.mn, "careof0")
			joinGroup(t, far, n.cn, "eth0")
			everybody, network := netip.MustParseAddr("255.255.255.255"), netip.MustParseAddr("10.10.0.255")
			for _, dst := range []netip.Addr{everybody, network, castsGroup} {
				n.passes(far, dst, near, castsNeighbour, "from home to "+dst.String())
				n.passes(near, dst, far, visitorHome, "from the node to "+dst.String())
			}
			link := n.fa.Packets("lan0")
			n.passes(castSocketAnywhere(t, n.mn), castsNeighbour, far, visitorHome, "unicast")
			plain := seen(link, func(ip encap.IPv4) bool { return ip.Src == visitorHome && ip.Dst == castsNeighbour })
			if plain != (style == "mixed") {
				t.Errorf("unicast is plain between the node and the foreign agent: %v", plain)
			}
		})
	}
}

// seen tells whether a packet between two hosts, as it is on the link, comes by.
func seen(next func() []byte, want func(ip encap.IPv4) bool) bool {
	for p := next(); p != nil; p = next() {
		if ip, err := encap.ParseIPv4(p); err == nil && want(ip) {
			return true
		}
	}
	return false
}
