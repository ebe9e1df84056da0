package lan_test

import (
	"fmt"
	"net"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/google/nftables"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"careof/internal/core/forward"
	"careof/internal/host/lan"
	"careof/internal/host/plane/nstest"
)

const lan0 = "lan0"

// A router has a network behind lan0, and a way out that is its tunnel device
// or is not.
type router struct {
	t              *testing.T
	host, r, there *nstest.Node
	keeper         *lan.Keeper
	entry          forward.Entry
	said           int
}

func newRouter(t *testing.T, device string) *router {
	t.Helper()
	n := &router{t: t, host: nstest.New(t, "host"), r: nstest.New(t, "router"), there: nstest.New(t, "there")}
	nstest.Join(t, n.host, "eth0", n.r, lan0, 1500)
	nstest.Join(t, n.there, "eth0", n.r, device, 1500)
	n.host.Address("eth0", "10.20.7.10/24")
	n.r.Address(lan0, "10.20.7.1/24")
	n.r.Address(device, "192.0.2.1/24")
	n.there.Address("eth0", "192.0.2.9/24")
	n.host.Route("0.0.0.0/0", "10.20.7.1", "", "")
	n.there.Route("0.0.0.0/0", "192.0.2.1", "", "")
	n.r.Sysctl("net/ipv4/ip_forward", 1)
	n.r.Do(func() {
		var err error
		if n.keeper, err = lan.Open("careof0", []string{"radio0"}); err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(func() { n.keeper.Close() })
	n.entry = forward.Entry{
		Key: "lan", Role: forward.MobileNode, Inner: netip.MustParsePrefix("10.20.7.0/24"), Network: lan0,
	}
	if err := n.keeper.Put(&n.entry); err != nil {
		t.Fatal(err)
	}
	return n
}

// crosses says whether a datagram from one node's address reaches the other, soon:
// for what must not.
func (n *router) crosses(from *nstest.Node, src string, to *nstest.Node, dst string) bool {
	n.t.Helper()
	n.said++
	word := fmt.Sprint(src, " ", n.said) // none of an earlier question's
	var in *net.UDPConn
	to.Do(func() {
		var err error
		if in, err = net.ListenUDP("udp4", &net.UDPAddr{Port: 9}); err != nil {
			n.t.Error(err)
		}
	})
	defer in.Close()
	from.Do(func() {
		a := netip.MustParseAddr(src).As4()
		fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			n.t.Error(err)
			return
		}
		defer unix.Close(fd)
		// A host that lies binds to an address that is not its own.
		unix.SetsockoptInt(fd, unix.SOL_IP, unix.IP_TRANSPARENT, 1)
		if err := unix.Bind(fd, &unix.SockaddrInet4{Addr: a}); err != nil {
			n.t.Errorf("%s: %v", src, err)
			return
		}
		b := netip.MustParseAddr(dst).As4()
		for range 3 {
			unix.Sendto(fd, []byte(word), 0, &unix.SockaddrInet4{Port: 9, Addr: b})
		}
	})
	in.SetReadDeadline(time.Now().Add(300 * time.Millisecond))
	for buf := make([]byte, 100); ; {
		c, _, err := in.ReadFromUDP(buf)
		if err != nil || string(buf[:c]) == word {
			return err == nil
		}
	}
}

// comes is [router.crosses] for what must come, however busy the machine is.
func (n *router) comes(from *nstest.Node, src string, to *nstest.Node, dst string) bool {
	n.t.Helper()
	for end := time.Now().Add(20 * time.Second); time.Now().Before(end); {
		if n.crosses(from, src, to, dst) {
			return true
		}
	}
	return false
}

// "The Mobile Router MUST drop any packets that do not have a source address
// belonging to the Mobile Network", and those with an address of its own.
//
//rfc:5177#10
//rfc:5177#10-7
//rfc:5177#10-8
func TestOnlyTheNetworksOwnSourcesGoOut(t *testing.T) {
	n := newRouter(t, "careof0")
	if !n.comes(n.host, "10.20.7.10", n.there, "192.0.2.9") {
		t.Error("the network's own packets do not go out")
	}
	if !n.comes(n.there, "192.0.2.9", n.host, "10.20.7.10") {
		t.Error("packets from the tunnel do not come in")
	}
	for _, liar := range []string{"10.99.0.1", "192.0.2.1", "10.20.7.1"} {
		if n.crosses(n.host, liar, n.there, "192.0.2.9") {
			t.Errorf("a packet from %s went out", liar)
		}
	}
	if err := n.keeper.Delete("lan"); err != nil {
		t.Fatal(err)
	}
	if !n.comes(n.host, "10.99.0.1", n.there, "192.0.2.9") {
		t.Error("the test's own lies are not told: it cannot fail")
	}
}

// Whatever the routes say, a network's packets take no way but the tunnel's, or
// the home link's while the router is at home; and nobody on a visited network
// gets in.
//
//rfc:5177#10
func TestNothingPassesBesideTheTunnel(t *testing.T) {
	n := newRouter(t, "radio0")
	if n.crosses(n.host, "10.20.7.10", n.there, "192.0.2.9") {
		t.Error("a packet went out over the visited network")
	}
	if n.crosses(n.there, "192.0.2.9", n.host, "10.20.7.10") {
		t.Error("a packet came in from the visited network")
	}
	n.entry.HomeLink = "radio0"
	if err := n.keeper.Put(&n.entry); err != nil {
		t.Fatal(err)
	}
	if !n.comes(n.host, "10.20.7.10", n.there, "192.0.2.9") {
		t.Error("at home nothing goes out")
	}
}

// Whoever shares a visited link with a router reaches none of its addresses in a
// mobile network, whatever he makes the next hop; the network's hosts do, and the
// home network, over the home link, while the router is at home. The router's
// address on that link is not concerned.
func TestNobodyOnAVisitedLinkReachesTheRouterInItsNetwork(t *testing.T) {
	n := newRouter(t, "radio0")
	if n.crosses(n.there, "192.0.2.9", n.r, "10.20.7.1") {
		t.Error("reached from the visited network")
	}
	if !n.comes(n.there, "192.0.2.9", n.r, "192.0.2.1") {
		t.Error("the care-of address is not reached")
	}
	if !n.comes(n.host, "10.20.7.10", n.r, "10.20.7.1") {
		t.Error("not reached from its own network")
	}
	// A visited network may have the same prefix.
	n.r.Address("radio0", "10.20.7.50/24")
	if !n.comes(n.there, "192.0.2.9", n.r, "10.20.7.50") {
		t.Error("a care-of address in the network's own prefix is not reached")
	}
	if n.crosses(n.there, "192.0.2.9", n.r, "10.20.7.1") {
		t.Error("reached from a visited network with the same prefix")
	}
	n.entry.HomeLink = "radio0"
	if err := n.keeper.Put(&n.entry); err != nil {
		t.Fatal(err)
	}
	if !n.comes(n.there, "192.0.2.9", n.r, "10.20.7.1") {
		t.Error("at home it is not reached over the home link")
	}
	n.entry.HomeLink = ""
	if err := n.keeper.Put(&n.entry); err != nil {
		t.Fatal(err)
	}
	if err := n.keeper.Reconfigure([]string{"other0"}); err != nil {
		t.Fatal(err)
	}
	if !n.comes(n.there, "192.0.2.9", n.r, "10.20.7.1") {
		t.Error("what is no uplink any more is filtered")
	}
}

// A home address to which everything comes through an encrypted tunnel takes nothing
// from a visited link, where anybody could write any source; also while there is no
// tunnel. With other tunnels it does: a foreign agent delivers there.
func TestAnEncryptedNodeTakesNothingBesideItsTunnel(t *testing.T) {
	n := newRouter(t, "radio0")
	n.r.Address(lan0, "10.10.0.5/32")
	secured := []forward.Tunnel{{PeerKey: forward.KeyOf([32]byte{9})}}
	for _, c := range []struct {
		what    string
		entry   forward.Entry
		reaches bool
	}{
		{"no tunnel yet", forward.Entry{}, true},
		{"a tunnel in the clear", forward.Entry{Tunnels: []forward.Tunnel{{}}}, true},
		{"an encrypted tunnel", forward.Entry{Tunnels: secured}, false},
		{"a moment without any", forward.Entry{}, false},
		{"at home", forward.Entry{HomeLink: "radio0"}, true},
		{"away again", forward.Entry{Tunnels: secured}, false},
		{"a foreign agent", forward.Entry{Tunnels: []forward.Tunnel{{}}}, true},
	} {
		e := c.entry
		e.Key, e.Role, e.Inner = "home", forward.MobileNode, netip.MustParsePrefix("10.10.0.5/32")
		if err := n.keeper.Put(&e); err != nil {
			t.Fatal(err)
		}
		way := n.crosses
		if c.reaches {
			way = n.comes
		}
		if got := way(n.there, "192.0.2.9", n.r, "10.10.0.5"); got != c.reaches {
			t.Errorf("%s: reached %v", c.what, got)
		}
	}
}

// An assigned prefix brings its first address, and takes it along; the table
// that somebody flushes comes back, and an earlier process's goes.
func TestWhatIsOursIsRepairedAndRemoved(t *testing.T) {
	n := newRouter(t, "careof0")
	own := func() (list []string) {
		addrs, err := n.r.H.AddrList(n.r.Link(lan0), netlink.FAMILY_V4)
		if err != nil {
			t.Fatal(err)
		}
		for _, a := range addrs {
			list = append(list, a.IPNet.String())
		}
		slices.Sort(list)
		return list
	}
	second := n.entry
	second.Key, second.Inner, second.Gateway = "assigned", netip.MustParsePrefix("10.30.1.0/24"), netip.MustParseAddr("10.30.1.1")
	if err := n.keeper.Put(&second); err != nil {
		t.Fatal(err)
	}
	if got := own(); !slices.Equal(got, []string{"10.20.7.1/24", "10.30.1.1/24"}) {
		t.Errorf("addresses %v", got)
	}
	var next *lan.Keeper
	n.r.Do(func() {
		var err error
		if next, err = lan.Open("careof0", []string{"radio0"}); err != nil {
			t.Error(err)
		}
	})
	defer next.Close()
	// The next process wants the first network alone.
	if err := next.Put(&n.entry); err != nil {
		t.Fatal(err)
	}
	if err := next.Reconcile(); err != nil {
		t.Fatal(err)
	}
	if got := own(); !slices.Equal(got, []string{"10.20.7.1/24"}) {
		t.Errorf("addresses %v", got)
	}
	n.tables(t, true)
	n.flush(t)
	if err := next.Reconcile(); err != nil {
		t.Fatal(err)
	}
	n.tables(t, true)
	if err := next.Withdraw(); err != nil {
		t.Fatal(err)
	}
	n.tables(t, false)
	if got := own(); !slices.Equal(got, []string{"10.20.7.1/24"}) {
		t.Errorf("addresses %v", got)
	}
}

// tables checks that the filter drops, or that there is none.
func (n *router) tables(t *testing.T, want bool) {
	t.Helper()
	way := n.comes
	if want {
		way = n.crosses
	}
	if drops := !way(n.host, "10.99.0.1", n.there, "192.0.2.9"); drops != want {
		t.Errorf("filtered %v, want %v", drops, want)
	}
}

// flush deletes every nftables table, as a firewall script does.
func (n *router) flush(t *testing.T) {
	t.Helper()
	n.r.Do(func() {
		c, err := nftables.New()
		if err != nil {
			t.Error(err)
			return
		}
		c.FlushRuleset()
		if err := c.Flush(); err != nil {
			t.Error(err)
		}
	})
	n.tables(t, false)
}
