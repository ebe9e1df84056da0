package plane_test

import (
	"errors"
	"net"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"careof/internal/core/engine"
	"careof/internal/core/forward"
	"careof/internal/host/beside"
	"careof/internal/host/plane"
	"careof/internal/host/plane/nstest"
	"careof/internal/host/route"
	"careof/wire/encap"
)

// New flows of the mobile node take the home address and the tunnel, over the
// uplink that was registered even when the host prefers another; the local
// network stays reachable directly, and neighbours at home reach the node.
//
// The kernel's reverse path filter, in whatever mode the host has it, does not
// eat any of it (threat T28).
//
//rfc:5944#4.1
//rfc:5944#4.6
//rfc:5944#1.7-2
//rfc:5944#4.1-2
//rfc:5944#4.2.3-1
func TestAwayFromHome(t *testing.T) {
	for filter, name := range []string{"off", "strict", "loose"} {
		t.Run("rp_filter "+name, func(t *testing.T) { awayFromHome(t, filter) })
	}
}

func awayFromHome(t *testing.T, filter int) {
	s := newScene(t)
	for n, links := range map[*nstest.Node][]string{s.ha: {"all", "wan0", "lan0"}, s.mn: {"all", "eth0", "eth1"}} {
		for _, link := range links {
			n.Sysctl("net/ipv4/conf/"+link+"/rp_filter", filter)
		}
	}
	for _, kind := range []encap.Kind{encap.UDP, encap.IPIP} {
		for _, uplink := range []int{0, 1} {
			s.register(t, uplink, kind)
			direct := s.mn.Packets(uplinks[0])
			if seen := talk(t, s.mn, netip.Addr{}, s.cn, cnAddr); seen != homeAddr {
				t.Errorf("%v over uplink %d: the correspondent node sees %v, want the home address", kind, uplink, seen)
			}
			if n := from(direct, homeAddr); n != 0 {
				t.Errorf("%v: %d packets of the home address left in the clear", kind, n)
			}
			if seen := talk(t, s.cn, netip.Addr{}, s.mn, homeAddr); seen != cnAddr {
				t.Errorf("the node sees %v", seen)
			}
			if seen := talk(t, s.neighbour, netip.Addr{}, s.mn, homeAddr); seen != neighbour {
				t.Errorf("the node sees its neighbour at home as %v", seen)
			}
			for i, gw := range gateway {
				if seen := talk(t, s.mn, netip.Addr{}, s.r, gw); seen != careOf[i] {
					t.Errorf("on its own link %d the node speaks as %v, want the care-of address", i, seen)
				}
			}
			via := s.mn.Packets(uplinks[uplink])
			check(t, nstest.Program{Network: "udp4", Source: careOf[uplink], Mark: beside.Mark}.Sends(s.mn, netip.AddrPortFrom(cnAddr, 9)))
			if nstest.To(via, cnAddr) != 1 {
				t.Errorf("the node's own packets from care-of address %d do not leave by its link", uplink)
			}
		}
	}
	if s.agent.Counters("mn").SentPackets == 0 || s.mobile.Use("home").Received.IsZero() {
		t.Error("nothing was counted")
	}
}

// Whatever happens to registration and links, packets of the home address do
// not leave in the clear (threat T24).
func TestFailClosed(t *testing.T) {
	s := newScene(t)
	links := []func() []byte{s.mn.Packets("eth0"), s.mn.Packets("eth1")}
	silent := func(when string) {
		t.Helper()
		for _, dst := range []netip.Addr{cnAddr, gateway[0], neighbour} {
			speaks(t, s.mn, homeAddr, dst)
		}
		for i, l := range links {
			if n := from(l, homeAddr); n != 0 {
				t.Errorf("%s: %d packets on %s", when, n, uplinks[i])
			}
		}
	}
	silent("before the first registration")
	s.register(t, 0, encap.UDP)
	silent("registered") // in the tunnel, and so not from the home address
	apply(t, s.mobile, forward.Change{Op: forward.Put, Entry: forward.Entry{
		Key: "home", Role: forward.MobileNode, Inner: netip.PrefixFrom(homeAddr, 32), Routes: []netip.Prefix{all}}})
	silent("registration lost")
	apply(t, s.mobile, forward.Change{Op: forward.Delete, Entry: forward.Entry{Key: "home"}})
	check(t, s.mobile.Reconcile())
	silent("deregistered")
	check(t, s.mobile.Close())
	silent("the daemon is dead")
	if err := s.mn.H.LinkDel(s.mn.Link("careof0")); err != nil {
		t.Fatal(err)
	}
	silent("the device is gone")
}

// A device that somebody deletes shows in the status, and Close still works.
func TestADeletedDeviceShows(t *testing.T) {
	n := nstest.New(t, "host")
	h, _ := openHost(t, n, agentConfigWithoutLink())
	if !h.Status().Up {
		t.Fatal("not up")
	}
	if err := n.H.LinkDel(n.Link("careof0")); err != nil {
		t.Fatal(err)
	}
	select {
	case <-h.Deaf():
	case <-time.After(patience):
	}
	if h.Status().Up {
		t.Fatal("still up")
	}
	// Its route is gone with it, and what is for home addresses stays here.
	if r, err := n.H.RouteGet(net.IPv4(10, 10, 0, 5)); !errors.Is(err, unix.EHOSTUNREACH) {
		t.Errorf("a packet for a home address goes by %v (%v)", r, err)
	}
}

// A home agent behind a 1:1 NAT has its identity on the device: keepalives to
// it are answered through the tunnel.
//
//rfc:3519#4.9
func TestIdentityBehindNAT(t *testing.T) {
	s := newScene(t)
	identity := netip.MustParseAddr("203.0.113.99")
	s.agentSet.Close()
	check(t, s.agent.Close())
	c := agentConfig()
	c.Identities = []netip.Addr{identity}
	s.agent, s.agentSet = openHost(t, s.ha, c)
	s.ha.Do(func() { check(t, s.agentSet.Listen(netip.AddrPortFrom(haAddr, encap.Port))) })
	s.register(t, 0, encap.UDP)
	m, err := encap.AppendKeepalive(nil, &encap.Header{Kind: encap.UDP, Src: careOf[0], Dst: haAddr},
		&encap.Echo{Type: encap.EchoRequest, Src: homeAddr, Dst: identity, ID: 1, Seq: 1}, 1)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.mobileSet.SendData(netip.AddrPortFrom(careOf[0], 40000), netip.AddrPortFrom(haAddr, encap.Port), "eth0", 0, [][]byte{m}); err != nil {
		t.Fatal(err)
	}
	for end := time.Now().Add(patience); s.mobile.Counters("home").ReceivedPackets == 0; <-time.After(2 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("no answer; the agent took %+v", s.agent.Counters("mn"))
		}
	}
}

// A daemon that had another device name, and was killed, left its route to the
// home network. The next one takes it over; somebody else's it does not.
func TestARouteOfAnotherDeviceIsTakenOver(t *testing.T) {
	n := nstest.New(t, "ha")
	network := []plane.Network{{Prefix: netip.MustParsePrefix("10.10.0.0/24")}}
	open := func(device string) (h *plane.Host, err error) {
		n.Do(func() { h, err = plane.Open(plane.Config{Device: device, HomeNetworks: network, Forward: true}) })
		return h, err
	}
	for _, device := range []string{"old0", "new0"} {
		h, err := open(device)
		if err != nil {
			t.Fatalf("with device %s: %v", device, err)
		}
		if err := h.Close(); err != nil {
			t.Fatal(err)
		}
	}
	routes, err := n.H.RouteGet(net.IPv4(10, 10, 0, 7))
	check(t, err)
	if len(routes) != 1 || routes[0].LinkIndex != n.Link("new0").Attrs().Index {
		t.Errorf("the home network's route is %v, want one to new0", routes)
	}

	n.Do(func() {
		h, err := plane.Open(plane.Config{Device: "new0", Forward: true})
		if err == nil {
			err = errors.Join(h.Reconcile(), h.Close())
		}
		if err != nil {
			t.Error(err)
		}
	})
	n.Route("10.10.0.0/24", "", "lo", "")
	if h, err := open("new0"); err == nil {
		h.Close()
		t.Error("somebody else's route to the home network was replaced")
	} else if !strings.Contains(err.Error(), "10.10.0.0/24") {
		t.Errorf("the error does not name the network: %v", err)
	}
}

// IPv6 does not pass beside a full tunnel that carries IPv4 only, and does
// again when the tunnel is gone.
func TestIPv6DoesNotLeak(t *testing.T) {
	s := newScene(t)
	if s.mobile.Status().Routes.IPv6 == "absent" {
		t.Skip("the kernel has no IPv6")
	}
	s.mn.Address("eth0", "2001:db8:1::10/64")
	s.mn.Route("::/0", "2001:db8:1::2", "eth0", "")
	leaks := func() bool {
		_, err := s.mn.H.RouteGet(net.ParseIP("2001:db8:9::9"))
		if err != nil && !errors.Is(err, unix.EHOSTUNREACH) && !errors.Is(err, unix.ENETUNREACH) {
			t.Error(err)
		}
		return err == nil
	}
	if !leaks() {
		t.Fatal("IPv6 has no way even without a tunnel: this test shows nothing")
	}
	s.register(t, 0, encap.UDP)
	if leaks() {
		t.Error("IPv6 passes beside the tunnel")
	}
	if got := s.mobile.Status().Routes.IPv6; got != "blocked" {
		t.Errorf("status says %q", got)
	}
	if _, err := s.mn.H.RouteGet(net.ParseIP("2001:db8:1::77")); err != nil {
		t.Errorf("the local network is blocked too: %v", err)
	}
	apply(t, s.mobile, forward.Change{Op: forward.Delete, Entry: forward.Entry{Key: "home"}})
	if !leaks() {
		t.Error("IPv6 is blocked for ever")
	}
}

// A node that returns home: the home agent stops answering for it, then tells
// everybody where it is.
//
//rfc:5944#4.6
//rfc:5944#4.2.3-2
func TestReturningHome(t *testing.T) {
	s := newScene(t)
	s.register(t, 0, encap.UDP)
	seen := s.neighbour.Packets("eth0")
	hw := forward.HardwareAddr{2, 0, 0, 0, 0, 5}
	apply(t, s.agent, forward.Change{Op: forward.Delete, ReturnedTo: hw,
		Entry: forward.Entry{Key: "mn", Role: forward.HomeAgent, Inner: netip.PrefixFrom(homeAddr, 32), Intercept: "lan0"}})
	announced := false
	for end := time.Now().Add(patience); !announced && time.Now().Before(end); {
		if p := seen(); len(p) >= 28 && p[7] == 1 && netip.AddrFrom4([4]byte(p[14:18])) == homeAddr {
			announced = true
			if got := forward.HardwareAddr(p[8:14]); got != hw {
				t.Errorf("announced at %v", got)
			}
		}
	}
	if !announced {
		t.Error("no gratuitous ARP for the node")
	}
	list, err := s.ha.H.NeighProxyList(s.ha.Link("lan0").Attrs().Index, unix.AF_INET)
	if err != nil || len(list) != 0 {
		t.Errorf("the home agent still answers for %v, %v", list, err)
	}
}

// At home the node's home address speaks over the home link itself, answers ARP
// there, and not on the links where it is a guest.
//
//rfc:5944#4.6
func TestAtHome(t *testing.T) {
	lan, mn := nstest.New(t, "lan"), nstest.New(t, "mn")
	nstest.Join(t, lan, "eth0", mn, "home0", 1500)
	nstest.Join(t, lan, "eth1", mn, "guest0", 1500)
	lan.Address("eth0", "10.20.0.9/24")
	lan.Address("eth1", "198.51.100.2/24")
	mn.Address("home0", "10.20.0.50/24")
	mn.Address("guest0", "198.51.100.10/24")
	mn.Route("0.0.0.0/0", "198.51.100.2", "", "")
	h, _ := openHost(t, mn, plane.Config{HomeAddresses: []netip.Addr{homeAddr}, Uplinks: []string{"home0", "guest0"}})
	for link, a := range map[string]string{"home0": "10.20.0.50/24", "guest0": "198.51.100.10/24"} {
		check(t, h.LinkChanged(engine.Link{Name: link, Up: true, MTU: 1500, Addresses: []netip.Prefix{netip.MustParsePrefix(a)}}))
	}
	answers := func(link string, within time.Duration) bool {
		index := lan.Link(link).Attrs().Index
		lan.Do(func() {
			// Neighbour discovery on exactly this link.
			c, err := net.ListenPacket("udp4", "0.0.0.0:0")
			if err != nil {
				t.Error(err)
				return
			}
			defer c.Close()
			sc, _ := c.(*net.UDPConn).SyscallConn()
			sc.Control(func(fd uintptr) { unix.BindToDevice(int(fd), link) })
			c.WriteTo([]byte("x"), net.UDPAddrFromAddrPort(netip.AddrPortFrom(homeAddr, 9)))
		})
		for end := time.Now().Add(within); time.Now().Before(end); <-time.After(5 * time.Millisecond) {
			list, err := lan.H.NeighList(index, unix.AF_INET)
			check(t, err)
			for _, e := range list {
				if e.IP.Equal(homeAddr.AsSlice()) && e.State&(netlink.NUD_REACHABLE|netlink.NUD_STALE|netlink.NUD_DELAY) != 0 {
					return true
				}
			}
		}
		return false
	}
	lan.Route("10.20.0.5/32", "", "eth1", "") // somebody on the visited link asks
	apply(t, h, forward.Change{Op: forward.Put, Entry: forward.Entry{
		Key: "home", Role: forward.MobileNode, Inner: netip.PrefixFrom(homeAddr, 32), HomeLink: "home0", Routes: []netip.Prefix{all}}})
	if answers("eth1", 300*time.Millisecond) {
		t.Error("the node answers ARP for its home address where it is a guest")
	}
	if err := lan.H.RouteDel(lan.HostRoute("10.20.0.5/32")); err != nil {
		t.Fatal(err)
	}
	if !answers("eth0", patience) {
		t.Error("the node does not answer ARP for its home address at home")
	}
	if seen := talk(t, mn, homeAddr, lan, neighbour); seen != homeAddr {
		t.Errorf("at home the node speaks as %v", seen)
	}
	guest := mn.Packets("guest0")
	speaks(t, mn, homeAddr, netip.MustParseAddr("198.51.100.2"))
	speaks(t, mn, homeAddr, cnAddr)
	if n := from(guest, homeAddr); n != 0 {
		t.Errorf("%d packets of the home address left on a foreign link", n)
	}
}

// A daemon that is killed leaves its kernel state, and the next one makes it
// right: with the same entries nothing changes on the way, with others nothing
// stale is left.
func TestRestartAfterAKill(t *testing.T) {
	s := newScene(t)
	s.register(t, 0, encap.UDP)
	stranger := netip.MustParseAddr("10.20.0.77")
	index := s.ha.Link("lan0").Attrs().Index
	proxied := func() (out []netip.Addr) {
		list, err := s.ha.H.NeighProxyList(index, unix.AF_INET)
		check(t, err)
		for _, n := range list {
			a, _ := netip.AddrFromSlice(n.IP)
			out = append(out, a.Unmap())
		}
		slices.SortFunc(out, netip.Addr.Compare)
		return out
	}
	rules := func() int {
		list, err := s.mn.H.RuleList(unix.AF_INET)
		check(t, err)
		n := 0
		for _, r := range list {
			if r.Protocol == route.Protocol {
				n++
			}
		}
		return n
	}
	// What an even earlier life left behind.
	check(t, s.ha.H.NeighSet(&netlink.Neigh{LinkIndex: index, Family: unix.AF_INET, Flags: netlink.NTF_PROXY, State: netlink.NUD_PERMANENT, IP: stranger.AsSlice()}))
	stale := s.ha.HostRoute("10.20.0.77/32")
	stale.LinkIndex, stale.Protocol, stale.Scope = s.ha.Link("careof0").Attrs().Index, route.Protocol, netlink.SCOPE_LINK
	check(t, s.ha.H.RouteAdd(stale))

	had := rules()
	s.agentSet.Close()
	s.mobileSet.Close()
	check(t, s.agent.Close())
	check(t, s.mobile.Close())
	if got := rules(); got != had || had == 0 {
		t.Fatalf("%d rules after the end, %d before", got, had)
	}
	s.agent, s.agentSet = openHost(t, s.ha, agentConfig())
	s.mobile, s.mobileSet = openHost(t, s.mn, mobileConfig())
	s.ha.Do(func() { check(t, s.agentSet.Listen(netip.AddrPortFrom(haAddr, encap.Port))) })
	s.mn.Do(func() { check(t, s.mobileSet.Listen(netip.AddrPortFrom(careOf[0], 40000))) })
	s.linksUp(t)
	s.register(t, 0, encap.UDP)
	if got := proxied(); !slices.Equal(got, []netip.Addr{homeAddr, stranger}) {
		t.Errorf("before reconciliation the agent answers for %v", got)
	}
	check(t, s.agent.Reconcile())
	check(t, s.mobile.Reconcile())
	if got := rules(); got != had {
		t.Errorf("%d rules, want %d as before", got, had)
	}
	if got := proxied(); !slices.Equal(got, []netip.Addr{homeAddr}) {
		t.Errorf("the agent answers for %v", got)
	}
	if err := s.ha.H.RouteDel(stale); !errors.Is(err, unix.ESRCH) {
		t.Errorf("the stale route was still there: %v", err)
	}
	if seen := talk(t, s.mn, netip.Addr{}, s.cn, cnAddr); seen != homeAddr {
		t.Errorf("the correspondent node sees %v", seen)
	}
	talk(t, s.neighbour, netip.Addr{}, s.mn, homeAddr)

	check(t, s.mobile.Withdraw())
	check(t, s.agent.Withdraw())
	if got := rules(); got != 0 {
		t.Errorf("%d rules are left after withdrawal", got)
	}
	if got := proxied(); len(got) != 0 {
		t.Errorf("the agent answers for %v after withdrawal", got)
	}
	left, err := s.ha.H.RouteListFiltered(unix.AF_INET, &netlink.Route{Protocol: route.Protocol}, netlink.RT_FILTER_PROTOCOL|netlink.RT_FILTER_TABLE)
	check(t, err)
	if len(left) != 0 {
		t.Errorf("the agent's routes after withdrawal: %v", left)
	}
}

// A node whose care-of address is like one of a mobile network is reached by the
// link that its tunnel names, although routing leads the address into the tunnel of
// the mobile router.
//
//rfc:5177#8
func TestACareOfAddressLikeAMobileNetworks(t *testing.T) {
	s := newScene(t)
	mn, ha := netip.AddrPortFrom(careOf[0], 40000), netip.AddrPortFrom(haAddr, encap.Port)
	network := netip.PrefixFrom(careOf[0], 24).Masked()
	apply(t, s.agent, forward.Change{Op: forward.Put, Entry: forward.Entry{
		Key: "router", Role: forward.HomeAgent, Inner: network, Router: netip.MustParseAddr("10.10.0.9"),
		Tunnels: []forward.Tunnel{{Local: ha, Peer: netip.AddrPortFrom(careOf[1], 40001), Encap: encap.UDP}},
	}})
	for _, kind := range []encap.Kind{encap.UDP, encap.IPIP} {
		s.register(t, 0, kind)
		apply(t, s.agent, forward.Change{Op: forward.Put, Entry: forward.Entry{
			Key: "mn", Role: forward.HomeAgent, Inner: netip.PrefixFrom(homeAddr, 32), Intercept: "lan0",
			Tunnels: []forward.Tunnel{{Local: ha, Peer: mn, Encap: kind, Link: "wan0"}},
		}})
		if seen := talk(t, s.mn, netip.Addr{}, s.cn, cnAddr); seen != homeAddr {
			t.Errorf("%v: the correspondent node saw %v", kind, seen)
		}
		talk(t, s.cn, netip.Addr{}, s.mn, homeAddr)
	}
	if c := s.agent.Counters("router"); c.SentPackets != 0 {
		t.Errorf("%d packets for the care-of address went to the mobile router", c.SentPackets)
	}
}
