package plane_test

import (
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"careof/internal/core/engine"
	"careof/internal/core/forward"
	"careof/internal/host/plane"
	"careof/internal/host/plane/nstest"
	"careof/wire/encap"
)

// visited is a mobile node with one interface, on a link where another node is.
func visited(t *testing.T) (other, mn *nstest.Node, h *plane.Host) {
	t.Helper()
	other, mn = nstest.New(t, "other"), nstest.New(t, "mn")
	nstest.Join(t, other, "eth0", mn, "wlan0", 1500)
	other.Address("eth0", "198.51.100.2/24")
	other.Address("eth0", "198.51.100.3/24")
	mn.Address("wlan0", "198.51.100.10/24")
	h, _ = openHost(t, mn, plane.Config{HomeAddresses: []netip.Addr{homeAddr}, Uplinks: []string{"wlan0"}})
	check(t, h.LinkChanged(engine.Link{Name: "wlan0", Up: true, MTU: 1500, Addresses: []netip.Prefix{netip.MustParsePrefix("198.51.100.10/24")}}))
	return other, mn, h
}

// A node that announces itself at home, and then leaves with the same
// interface, does not go on with that on the next link: "While the mobile node
// is away from home, it MUST NOT transmit any broadcast ARP Request or ARP Reply
// messages".
//
//rfc:5944#4.6
func TestAnAnnouncementEndsWhenTheNodeLeavesHome(t *testing.T) {
	other, _, h := visited(t)
	frames := other.Packets("eth0")
	announced := func(within time.Duration, enough int) (n int) {
		for end := time.Now().Add(within); n < enough && time.Now().Before(end); {
			if p := frames(); len(p) >= 28 && p[0] == 0 && p[1] == 1 && netip.AddrFrom4([4]byte(p[14:18])) == homeAddr {
				n++
			}
		}
		return n
	}
	entry := forward.Entry{Key: "home", Role: forward.MobileNode, Inner: netip.PrefixFrom(homeAddr, 32), HomeLink: "wlan0", Routes: []netip.Prefix{all}}
	apply(t, h, forward.Change{Op: forward.Put, Entry: entry})
	check(t, h.Announce(engine.Announce{Link: "wlan0", Address: homeAddr}))
	if announced(patience, 1) == 0 {
		t.Fatal("not announced at home")
	}
	entry.HomeLink = ""
	apply(t, h, forward.Change{Op: forward.Put, Entry: entry})
	for frames() != nil { // what was announced until then
	}
	if n := announced(1300*time.Millisecond, 1); n != 0 {
		t.Errorf("announced %d times more, away from home", n)
	}
}

// Through a foreign agent, "the mobile node MUST ignore redirects to other
// routers on foreign networks"; also where the host takes them by default.
//
//rfc:5944#4.2.1
func TestRedirectsOnAVisitedLinkAreIgnored(t *testing.T) {
	agent, another := netip.MustParseAddr("198.51.100.2"), netip.MustParseAddr("198.51.100.3")
	other, mn, h := visited(t)
	mn.Sysctl("net/ipv4/conf/all/accept_redirects", 1)
	mn.Sysctl("net/ipv4/conf/wlan0/accept_redirects", 1)
	hw := forward.HardwareAddr(other.Link("eth0").Attrs().HardwareAddr)
	neighbor := &netlink.Neigh{LinkIndex: mn.Link("wlan0").Attrs().Index, Family: unix.AF_INET, State: netlink.NUD_PERMANENT, IP: another.AsSlice(), HardwareAddr: hw[:]}
	check(t, mn.H.NeighSet(neighbor))
	router := func() netip.Addr {
		t.Helper()
		routes, err := mn.H.RouteGetWithOptions(cnAddr.AsSlice(), &netlink.RouteGetOptions{SrcAddr: homeAddr.AsSlice()})
		if err != nil || len(routes) != 1 {
			t.Fatalf("routes %v, %v", routes, err)
		}
		a, _ := netip.AddrFromSlice(routes[0].Gw)
		return a.Unmap()
	}
	// The agent names another router for a packet of the home address; what it
	// sends next is heard when the kernel is done with that.
	redirect := func() {
		echo, err := encap.AppendIPv4(nil, &encap.IPv4{Src: homeAddr, Dst: cnAddr, TTL: 64, Protocol: unix.IPPROTO_ICMP}, 8)
		check(t, err)
		echo = append(echo, 8, 0, 0xf7, 0xff, 0, 0, 0, 0)
		icmp := append([]byte{5, 1, 0, 0}, another.AsSlice()...)
		icmp = append(icmp, echo...)
		sum := encap.Checksum(icmp)
		icmp[2], icmp[3] = byte(sum>>8), byte(sum)
		var heard *net.UDPConn
		mn.Do(func() {
			heard, err = net.ListenUDP("udp4", net.UDPAddrFromAddrPort(netip.MustParseAddrPort("198.51.100.10:9")))
		})
		check(t, err)
		defer heard.Close()
		other.Do(func() {
			raw, err := net.DialIP("ip4:icmp", &net.IPAddr{IP: agent.AsSlice()}, &net.IPAddr{IP: homeAddr.AsSlice()})
			if err != nil {
				t.Error(err)
				return
			}
			defer raw.Close()
			_, err = raw.Write(icmp)
			check(t, err)
			after, err := net.DialUDP("udp4", net.UDPAddrFromAddrPort(netip.AddrPortFrom(agent, 0)), heard.LocalAddr().(*net.UDPAddr))
			if err != nil {
				t.Error(err)
				return
			}
			defer after.Close()
			_, err = after.Write([]byte("x"))
			check(t, err)
		})
		heard.SetReadDeadline(time.Now().Add(patience))
		if _, err := heard.Read(make([]byte, 1)); err != nil {
			t.Fatal(err)
		}
	}
	other.Route("10.20.0.5/32", "198.51.100.10", "", "")
	apply(t, h, forward.Change{Op: forward.Put, Entry: forward.Entry{
		Key: "home", Role: forward.MobileNode, Inner: netip.PrefixFrom(homeAddr, 32), Routes: []netip.Prefix{all},
		Deliver: forward.Deliver{Link: "wlan0", HW: hw, Via: agent},
	}})
	if via := router(); via != agent {
		t.Fatalf("the default router is %v, want the foreign agent", via)
	}
	redirect()
	if via := router(); via != agent {
		t.Errorf("redirected to %v", via)
	}
	// The same redirect moves a host that takes redirects.
	mn.Sysctl("net/ipv4/conf/all/accept_redirects", 1)
	redirect()
	if via := router(); via != another {
		t.Errorf("a host that takes redirects uses %v: the test proves nothing", via)
	}
}
