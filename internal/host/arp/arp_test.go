package arp

import (
	"net/netip"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"careof/internal/core/forward"
	"careof/internal/host/plane/nstest"
)

// pause is between two looks at the neighbour table.
const pause = 2 * time.Millisecond

var nodeHW = forward.HardwareAddr{2, 0, 0, 0, 0, 5}

// The octets of a gratuitous ARP, written out by hand from RFC 826 and RFC
// 5944 section 4.6.
//
//rfc:5944#4.6
func TestGratuitousFrame(t *testing.T) {
	own := forward.HardwareAddr{2, 0, 0, 0, 0, 1}
	got := AppendFrame(nil, Broadcast, own, Gratuitous(netip.MustParseAddr("10.10.0.5"), nodeHW))
	want := "ffffffffffff" + "020000000001" + "0806" +
		"0001" + "0800" + "06" + "04" + "0001" +
		"020000000005" + "0a0a0005" + "000000000000" + "0a0a0005"
	if hex(got) != want {
		t.Errorf("got  %s\nwant %s", hex(got), want)
	}
	p, dst, src, err := ParseFrame(append(got, make([]byte, 18)...))
	if err != nil || dst != Broadcast || src != own || p != Gratuitous(netip.MustParseAddr("10.10.0.5"), nodeHW) {
		t.Errorf("parsed %+v from %v to %v: %v", p, src, dst, err)
	}
	for n := range len(got) {
		if _, _, _, err := ParseFrame(got[:n]); err == nil {
			t.Errorf("%d octets were parsed", n)
		}
	}
}

func hex(b []byte) string {
	const digits = "0123456789abcdef"
	var s []byte
	for _, c := range b {
		s = append(s, digits[c>>4], digits[c&15])
	}
	return string(s)
}

func FuzzParseFrame(f *testing.F) {
	f.Add(AppendFrame(nil, Broadcast, nodeHW, Gratuitous(netip.MustParseAddr("10.10.0.5"), nodeHW)))
	f.Fuzz(func(t *testing.T, b []byte) {
		p, dst, src, err := ParseFrame(b)
		if err == nil && hex(AppendFrame(nil, dst, src, p)) != hex(b[:frameLen]) {
			t.Errorf("%x does not survive", b)
		}
	})
}

// lan is a home link with a home agent and a neighbour that talks to a node.
func lan(t *testing.T) (agent, neighbour *nstest.Node) {
	agent, neighbour = nstest.New(t, "agent"), nstest.New(t, "neighbour")
	nstest.Join(t, agent, "lan0", neighbour, "eth0", 1500)
	agent.Address("lan0", "10.10.0.1/24")
	neighbour.Address("eth0", "10.10.0.9/24")
	return agent, neighbour
}

// A neighbour that believes the node at one address believes it at the other
// after the announcement; a later announcement ends the repetitions of an
// earlier one.
//
//rfc:5944#4.6
func TestAnnouncementsMoveTheNeighboursBelief(t *testing.T) {
	agent, neighbour := lan(t)
	home := netip.MustParseAddr("10.10.0.5")
	ownHW := forward.HardwareAddr(agent.Link("lan0").Attrs().HardwareAddr)
	entry := &netlink.Neigh{LinkIndex: neighbour.Link("eth0").Attrs().Index, Family: unix.AF_INET, State: netlink.NUD_STALE,
		IP: home.AsSlice(), HardwareAddr: nodeHW[:]}
	if err := neighbour.H.NeighSet(entry); err != nil {
		t.Fatal(err)
	}
	var n *Neighbours
	neighbour.Do(func() { n, _ = OpenNeighbours() })
	defer n.Close()
	believes := func(want forward.HardwareAddr) {
		t.Helper()
		var got forward.HardwareAddr
		for end := time.Now().Add(20 * time.Second); time.Now().Before(end); {
			var err error
			if got, err = n.Lookup("eth0", home); err != nil {
				t.Fatal(err)
			}
			if got == want {
				return
			}
			<-time.After(pause)
		}
		t.Fatalf("the neighbour believes %v, want %v", got, want)
	}
	believes(nodeHW)

	// A kernel keeps an entry for a second against being changed back and
	// forth (net.ipv4.neigh.*.locktime).
	neighbour.Sysctl("net/ipv4/neigh/eth0/locktime", 0)
	var a *Announcer
	agent.Do(func() { a, _ = NewAnnouncer() })
	defer a.Close()
	if err := a.Announce("lan0", home, forward.HardwareAddr{}); err != nil {
		t.Fatal(err)
	}
	believes(ownHW)

	frames := neighbour.Packets("eth0")
	if err := a.Announce("lan0", home, nodeHW); err != nil {
		t.Fatal(err)
	}
	believes(nodeHW)
	seen := 0
	announced := func(within time.Duration, enough int) {
		t.Helper()
		for end := time.Now().Add(within); seen < enough && time.Now().Before(end); {
			if p := frames(); len(p) >= packetLen && p[7] == byte(Request) && netip.AddrFrom4([4]byte(p[14:18])) == home {
				seen++
				if got := forward.HardwareAddr(p[8:14]); got != nodeHW {
					t.Fatalf("%v is still announced", got)
				}
			}
		}
	}
	announced(20*time.Second, 3)
	announced(300*time.Millisecond, 4)
	if seen != 3 {
		t.Errorf("%d announcements, want 3", seen)
	}
	if err := a.Announce("nowhere", home, nodeHW); err == nil {
		t.Error("announced on a link that is not there")
	}
}

// While it is a proxy, the home agent answers for the node and not for others,
// at once.
//
//rfc:5944#4.6
func TestProxy(t *testing.T) {
	agent, neighbour := lan(t)
	home := netip.MustParseAddr("10.10.0.5")
	agent.Sysctl("net/ipv4/ip_forward", 1)
	agent.Sysctl("net/ipv4/neigh/lan0/proxy_delay", 0)
	// Where the route for the address leads does not matter, but that it is
	// another link.
	agent.Route("10.10.0.5/32", "", "lo", "")
	agent.Route("10.10.0.6/32", "", "lo", "")
	ownHW := forward.HardwareAddr(agent.Link("lan0").Attrs().HardwareAddr)
	var n, theirs *Neighbours
	agent.Do(func() { n, _ = OpenNeighbours() })
	neighbour.Do(func() { theirs, _ = OpenNeighbours() })
	defer n.Close()
	defer theirs.Close()
	ask := func(a string, within time.Duration) forward.HardwareAddr {
		t.Helper()
		at := netip.MustParseAddr(a)
		neighbour.Do(func() {
			fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM, 0)
			if err != nil {
				t.Error(err)
				return
			}
			defer unix.Close(fd)
			unix.Sendto(fd, []byte("x"), 0, &unix.SockaddrInet4{Port: 9, Addr: at.As4()})
		})
		for end := time.Now().Add(within); time.Now().Before(end); {
			if hw, err := theirs.Lookup("eth0", at); err != nil || hw != (forward.HardwareAddr{}) {
				return hw
			}
			<-time.After(pause)
		}
		return forward.HardwareAddr{}
	}
	for range 2 {
		if err := n.Proxy("lan0", home); err != nil {
			t.Fatal(err)
		}
	}
	if got, err := n.Proxied("lan0"); err != nil || len(got) != 1 || got[0] != home {
		t.Errorf("proxied %v, %v", got, err)
	}
	if hw := ask("10.10.0.5", 20*time.Second); hw != ownHW {
		t.Errorf("the node is at %v, want the home agent's %v", hw, ownHW)
	}
	if hw := ask("10.10.0.6", 500*time.Millisecond); hw != (forward.HardwareAddr{}) {
		t.Errorf("the home agent answers for a node at home: %v", hw)
	}
	for range 2 {
		if err := n.Unproxy("lan0", home); err != nil {
			t.Fatal(err)
		}
	}
	if got, err := n.Proxied("lan0"); err != nil || len(got) != 0 {
		t.Errorf("proxied %v after the end, %v", got, err)
	}
}

// What the kernel keeps for a neighbour that does not answer is gone at once when
// somebody says so: TCP would not send it again until then.
func TestNobodyIsWaitedFor(t *testing.T) {
	agent, _ := lan(t)
	var n *Neighbours
	agent.Do(func() {
		var err error
		if n, err = OpenNeighbours(); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { n.Close() })
		fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			t.Fatal(err)
		}
		defer unix.Close(fd)
		kept := func() int {
			kept, err := unix.IoctlGetInt(fd, unix.SIOCOUTQ)
			if err != nil {
				t.Fatal(err)
			}
			return kept
		}
		nobody := netip.MustParseAddr("10.10.0.77")
		if err := unix.Sendto(fd, []byte("hello"), 0, &unix.SockaddrInet4{Port: 9, Addr: nobody.As4()}); err != nil {
			t.Fatal(err)
		}
		if err := n.LetGo("lan0", netip.MustParseAddr("10.10.0.78")); err != nil || kept() == 0 {
			t.Errorf("another's packet is gone, or was not kept at all: %v", err)
		}
		if err := n.LetGo("lan0", nobody); err != nil || kept() != 0 {
			t.Errorf("%d octets are kept: %v", kept(), err)
		}
		if err := n.LetGo("gone0", netip.Addr{}); err != nil {
			t.Error(err)
		}
	})
}
