package homedhcp

import (
	"errors"
	"net"
	"net/netip"
	"testing"
	"time"

	"careof/internal/host/netspace"
	"careof/internal/host/plane/nstest"
)

// The port hears what comes in by the tunnel's device. The same from a host on the visited
// link, which has the home address for its neighbour's, is passed over; through a foreign
// agent that link is where packets come in.
func TestAStrangerOnTheVisitedLinkIsNotHeard(t *testing.T) {
	mn, tunnel, stranger := nstest.New(t, "mn"), nstest.New(t, "tunnel"), nstest.New(t, "stranger")
	nstest.Join(t, mn, "careof0", tunnel, "eth0", 1500)
	nstest.Join(t, mn, "wlan0", stranger, "eth0", 1500)
	mn.Address("careof0", "10.10.0.5/24")
	tunnel.Address("eth0", "10.10.0.1/24")
	stranger.Address("eth0", "10.10.0.1/24")
	for _, link := range []string{"all", "careof0", "wlan0"} {
		mn.Sysctl("net/ipv4/conf/"+link+"/rp_filter", 0)
	}
	open := func(node *nstest.Node, at, link string) (c *Conn) {
		t.Helper()
		node.Do(func() {
			space, err := netspace.Here()
			if err != nil {
				t.Error(err)
				return
			}
			defer space.Close()
			if c, err = Listen(t.Context(), space, netip.MustParseAddr(at), link); err != nil {
				t.Error(err)
			}
		})
		if c == nil {
			t.FailNow()
		}
		t.Cleanup(func() { c.Close() })
		return c
	}
	for _, c := range []struct{ link, heard string }{{"careof0", "tunnel of careof0"}, {"wlan0", "stranger of wlan0"}} {
		conn := open(mn, "10.10.0.5", c.link)
		// What waited for a neighbour's answer in the first round may come in the second.
		for name, from := range map[string]*nstest.Node{"tunnel of ": tunnel, "stranger of ": stranger} {
			said := open(from, "10.10.0.1", "eth0")
			if _, err := said.p.WriteTo([]byte(name+c.link), nil, udp("10.10.0.5:68")); err != nil {
				t.Fatal(err)
			}
			said.Close()
		}
		b := make([]byte, 64)
		var heard []string
		for wait := 20 * time.Second; ; wait = 200 * time.Millisecond {
			if err := conn.SetReadDeadline(time.Now().Add(wait)); err != nil {
				t.Fatal(err)
			}
			n, _, err := conn.Receive(b)
			if err != nil {
				break
			}
			if text := string(b[:n]); text != "stranger of careof0" || c.link == "careof0" {
				heard = append(heard, text)
			}
		}
		if len(heard) != 1 || heard[0] != c.heard {
			t.Errorf("by %s it heard %q, want %q", c.link, heard, c.heard)
		}
		conn.Close()
		if _, _, err := conn.Receive(b); !errors.Is(err, net.ErrClosed) {
			t.Errorf("a closed port says %v", err)
		}
	}
}

func udp(s string) *net.UDPAddr { return net.UDPAddrFromAddrPort(netip.MustParseAddrPort(s)) }
