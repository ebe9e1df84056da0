package daemon

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"syscall"
	"testing"
	"time"

	"careof/internal/control"
	"careof/internal/host/plane/nstest"
)

// A second mobile node on the same host, at home with another home agent.
const (
	besideHome  = "10.20.0.5"
	besideAgent = "198.51.101.1"
)

// twoNodes are two mobile nodes on one host, over one uplink, with everything in
// the tunnels of both:
//
//	ha 198.51.100.1 ----- r --- 203.0.113.9 mn (10.10.0.5 and 10.20.0.5)
//	other 198.51.101.1 ---+
//	                      +---- cn 192.0.2.9
type twoNodes struct {
	*pairNet
	otherHome, otherMobile *control.Client
}

func newTwoNodes(t *testing.T, kind string) *twoNodes {
	t.Helper()
	n := &twoNodes{pairNet: newPairNodes(t)}
	n.correspondent = netip.MustParseAddr("192.0.2.9")
	other := nstest.New(t, "other")
	for _, end := range []struct {
		node                         *nstest.Node
		link, port, address, gateway string
	}{
		{n.ha, "wan0", "toha", "198.51.100.1/24", "198.51.100.254"}, {other, "wan0", "toother", besideAgent + "/24", "198.51.101.254"},
		{n.mn, "eth0", "tomn", "203.0.113.9/24", "203.0.113.254"}, {n.cn, "eth0", "tocn", "192.0.2.9/24", "192.0.2.254"},
	} {
		nstest.Join(t, end.node, end.link, n.r, end.port, 1500)
		end.node.Address(end.link, end.address)
		n.r.Address(end.port, end.gateway+"/24")
		end.node.Route("0.0.0.0/0", end.gateway, "", "")
	}
	n.r.Sysctl("net/ipv4/ip_forward", 1)
	n.r.Route("10.10.0.0/24", "198.51.100.1", "", "")
	n.r.Route("10.20.0.0/24", besideAgent, "", "")
	plane := func(device string) string {
		return fmt.Sprintf("[plane]\ndevice = %q\nkind = %q\nbpffs = %q\n", device, kind, nstest.BPFFS(t))
	}
	another := strings.NewReplacer("198.51.100.1", besideAgent, "10.10.0.", "10.20.0.")
	n.home = n.daemon(n.ha, "ha", pairHomeText+plane("careof0"))
	n.otherHome = n.daemon(other, "other", another.Replace(pairHomeText)+plane("careof0"))
	n.mobile = n.daemon(n.mn, "mn", pairMobileText+plane("careof0"))
	n.otherMobile = n.daemon(n.mn, "beside", another.Replace(pairMobileText)+plane("careof1"))
	n.registered()
	n.besideRegistered()
	n.echo()
	return n
}

func (n *twoNodes) besideRegistered() {
	n.t.Helper()
	n.until("the other mobile node is registered", func() bool {
		var list []control.Registration
		return n.otherMobile.Show(n.t.Context(), "registrations", "", &list) == nil && len(list) == 1 && list[0].Active
	})
}

// echo has the correspondent answer.
func (n *twoNodes) echo() {
	n.t.Helper()
	n.cn.Do(func() {
		c, err := net.ListenUDP("udp4", net.UDPAddrFromAddrPort(netip.AddrPortFrom(n.correspondent, 7)))
		if err != nil {
			n.t.Fatal(err)
		}
		n.t.Cleanup(func() { c.Close() })
		go func() {
			buf := make([]byte, 100)
			for {
				size, from, err := c.ReadFromUDPAddrPort(buf)
				if err != nil {
					return
				}
				c.WriteToUDPAddrPort(buf[:size], from)
			}
		}()
	})
}

// asks has a home address, or any of the host's, ask the correspondent until it
// answers, and tells from where it was asked.
func (n *twoNodes) asks(from string) (source netip.Addr) {
	n.t.Helper()
	var c *net.UDPConn
	n.mn.Do(func() {
		var local *net.UDPAddr
		if from != "" {
			local = net.UDPAddrFromAddrPort(netip.AddrPortFrom(netip.MustParseAddr(from), 0))
		}
		var err error
		if c, err = net.DialUDP("udp4", local, net.UDPAddrFromAddrPort(netip.AddrPortFrom(n.correspondent, 7))); err != nil {
			n.t.Fatal(err)
		}
	})
	defer c.Close()
	buf := make([]byte, 100)
	for end := time.Now().Add(patience); time.Now().Before(end); {
		c.Write([]byte("well?"))
		c.SetReadDeadline(time.Now().Add(300 * time.Millisecond))
		if _, err := c.Read(buf); err == nil {
			return c.LocalAddr().(*net.UDPAddr).AddrPort().Addr()
		}
	}
	n.t.Errorf("no answer to %q", from)
	return source
}

// came is how many packets a home agent had of its mobile node.
func (n *twoNodes) came(agent *control.Client) (packets uint64) {
	n.t.Helper()
	var list []control.Binding
	if err := agent.Show(context.Background(), "bindings", "", &list); err != nil {
		n.t.Fatal(err)
	}
	for _, b := range list {
		packets += b.Counters.ReceivedPackets
	}
	return packets
}

// Each of two mobile nodes on one host reaches the world through its own home
// agent, and notices nothing when the other is killed or stopped; what is bound
// to no address goes through the first one's tunnel.
func TestTwoMobileNodesOnOneHost(t *testing.T) {
	for _, kind := range []string{"tun", "bpf"} {
		t.Run(kind, func(t *testing.T) {
			n := newTwoNodes(t, kind)
			nodes := []struct {
				daemon, home string
				agent        *control.Client
			}{{"mn", "10.10.0.5", n.home}, {"beside", besideHome, n.otherHome}}
			for _, node := range nodes {
				before := n.came(node.agent)
				n.asks(node.home)
				if n.came(node.agent) == before {
					t.Errorf("what %s says did not pass its home agent", node.home)
				}
			}
			if got := n.asks(""); got != netip.MustParseAddr("10.10.0.5") {
				t.Errorf("what is bound to nothing is sent by %v", got)
			}
			for i, node := range nodes {
				other := nodes[1-i]
				for _, how := range []syscall.Signal{syscall.SIGKILL, syscall.SIGTERM} {
					n.end(node.daemon, how)
					before := n.came(other.agent)
					n.asks(other.home)
					if n.came(other.agent) == before {
						t.Errorf("without %s what %s says did not pass its home agent", node.home, other.home)
					}
					n.start(n.mn, node.daemon, "/proc/self/exe")
					n.answers(node.daemon)
					n.asks(other.home)
					n.registered()
					n.besideRegistered()
					n.asks(node.home)
				}
			}
		})
	}
}
