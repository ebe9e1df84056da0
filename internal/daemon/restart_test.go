package daemon

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"careof/internal/control"
	"careof/internal/core/forward"
	"careof/internal/host/plane/nstest"
)

// otherBinary is this program as another file: what an upgrade installs.
func otherBinary(t *testing.T) string {
	t.Helper()
	name := filepath.Join(t.TempDir(), "careof-next")
	in, err := os.Open("/proc/self/exe")
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	out, err := os.OpenFile(name, os.O_CREATE|os.O_WRONLY, 0o700)
	if err != nil {
		t.Fatal(err)
	}
	_, err = io.Copy(out, in)
	if err = errors.Join(err, out.Close()); err != nil {
		t.Fatal(err)
	}
	return name
}

// A home agent with one interface, over which everything comes and goes:
//
//	ha, cn, r --- one Ethernet; r --- mn
//
// The home network is virtual, or that Ethernet.
func newOneArmed(t *testing.T, home, ha, cn, r, text string) *pairNet {
	t.Helper()
	n := newPairNodes(t)
	sw := nstest.New(t, "sw")
	sw.Bridge("br0")
	for _, x := range []struct {
		node *nstest.Node
		name string
		at   string
	}{{n.ha, "eth0", ha}, {n.cn, "eth0", cn}, {n.r, "tolan", r}} {
		nstest.Join(t, x.node, x.name, sw, "to"+x.node.Name, 1500)
		sw.Enslave("to"+x.node.Name, "br0")
		x.node.Address(x.name, x.at)
	}
	nstest.Join(t, n.mn, "eth0", n.r, "tomn", 1500)
	n.mn.Address("eth0", "203.0.113.9/24")
	n.r.Address("tomn", "203.0.113.254/24")
	n.r.Sysctl("net/ipv4/ip_forward", 1)
	via := netip.MustParsePrefix(r).Addr().String()
	n.ha.Route("0.0.0.0/0", via, "", "")
	n.cn.Route("203.0.113.0/24", via, "", "")
	n.mn.Route("0.0.0.0/0", "203.0.113.254", "", "")
	agent := netip.MustParsePrefix(ha).Addr()
	if !netip.MustParsePrefix(ha).Contains(netip.MustParsePrefix(home).Addr()) {
		n.cn.Route(home, agent.String(), "", "")
		n.r.Route(home, agent.String(), "", "")
	}
	n.correspondent, n.agent = netip.MustParsePrefix(cn).Addr(), agent
	n.home = n.daemon(n.ha, "ha", text)
	n.mobile = n.daemon(n.mn, "mn", strings.Replace(pairMobileText, "198.51.100.1", agent.String(), 1))
	n.registered()
	return n
}

// A home agent on the eBPF plane ends, is killed and is upgraded, and stays
// away for a while; nobody notices. Programs and maps are pinned, and the
// device forwards without a carrier.
func TestARestartLosesNoPacket(t *testing.T) {
	for _, c := range []struct {
		name, kind string
		make       func(t *testing.T, plane string) *pairNet
	}{
		{"virtual network, one interface", "bpf", func(t *testing.T, plane string) *pairNet {
			return newOneArmed(t, "10.10.0.0/24", "198.51.100.1/24", "198.51.100.9/24", "198.51.100.254/24", pairHomeText+plane)
		}},
		{"home link, one interface", "bpf", homeLink},
		// These links are virtual Ethernet, on which auto sends from user space
		// while there is a daemon.
		{"home link, one interface, auto", "auto", homeLink},
	} {
		t.Run(c.name, func(t *testing.T) {
			n := c.make(t, fmt.Sprintf("[plane]\nkind = %q\nbpffs = %q\n", c.kind, nstest.BPFFS(t)))
			next := otherBinary(t)
			for _, end := range []struct {
				name    string
				how     syscall.Signal
				program string
			}{
				{"stopped", syscall.SIGTERM, "/proc/self/exe"},
				{"killed", syscall.SIGKILL, "/proc/self/exe"},
				{"upgraded", syscall.SIGTERM, next},
			} {
				f := n.flow()
				before := n.forwarded()
				n.end("ha", end.how)
				<-time.After(300 * time.Millisecond) // nobody is there
				if err := n.speaks(); err != nil {
					t.Errorf("%s: what the home agent's host sends by itself is lost: %v", end.name, err)
				}
				dead := f.sent.Load()
				n.start(n.ha, "ha", end.program)
				n.answers("ha")
				if len(n.bindings()) != 1 {
					t.Errorf("%s: the binding is gone", end.name)
				}
				if after := n.forwarded(); after.SentPackets < before.SentPackets || after.ReceivedPackets < before.ReceivedPackets {
					t.Errorf("%s: %+v were counted before, %+v after", end.name, before, after)
				}
				// What a killed daemon was about to send, or did not read any
				// more while its threads ended one by one, is lost.
				if c.kind != "auto" || end.how != syscall.SIGKILL {
					dead = 0
				}
				if lost, sent := f.stop(dead); len(lost) > 0 {
					t.Errorf("%s: %d of %d packets were lost, though only those before %d may be: %v", end.name, len(lost), sent, dead, lost)
				}
			}
		})
	}
}

// Somebody removes what the programs need to go on without the daemon, while it
// runs. It is there again soon after, and a kill loses nothing.
func TestAKillAfterPinsWereRemovedLosesNoPacket(t *testing.T) {
	base := nstest.BPFFS(t)
	n := homeLink(t, fmt.Sprintf("[plane]\nkind = \"bpf\"\nbpffs = %q\n", base))
	f := n.flow()
	dirs, err := filepath.Glob(filepath.Join(base, "careof0_*"))
	if err != nil || len(dirs) != 1 {
		t.Fatalf("pins in %q, %v", dirs, err)
	}
	pins, err := os.ReadDir(dirs[0])
	if err != nil {
		t.Fatal(err)
	}
	if err := os.RemoveAll(dirs[0]); err != nil {
		t.Fatal(err)
	}
	// All but the word that the programs work.
	for end := time.Now().Add(time.Minute); ; <-time.After(10 * time.Millisecond) {
		if again, _ := os.ReadDir(dirs[0]); len(again) >= len(pins)-1 {
			break
		}
		if time.Now().After(end) {
			t.Fatal("what was pinned is not pinned again")
		}
	}
	n.end("ha", syscall.SIGKILL)
	<-time.After(300 * time.Millisecond) // nobody is there
	n.start(n.ha, "ha", "/proc/self/exe")
	n.answers("ha")
	f.whole("killed")
}

// speaks has the home agent's host ask the node something, for which the kernel
// is to choose the home agent's address and no network's. The echo replies by which nodes with several uplinks see that a path
// is alive come from there too: without them each would leave its path.
func (n *pairNet) speaks() (err error) {
	n.ha.Do(func() {
		var c *net.UDPConn
		if c, err = net.DialUDP("udp4", nil, net.UDPAddrFromAddrPort(netip.MustParseAddrPort("10.10.0.5:7"))); err != nil {
			return
		}
		defer c.Close()
		if from := c.LocalAddr().(*net.UDPAddr).AddrPort().Addr(); from != n.agent {
			err = fmt.Errorf("it speaks from %v", from)
			return
		}
		// A question may be lost while a killed daemon's threads end one by one.
		for end := time.Now().Add(patience); ; {
			c.SetReadDeadline(time.Now().Add(100 * time.Millisecond))
			if _, err = c.Write([]byte("alive?")); err == nil {
				_, err = c.Read(make([]byte, 100))
			}
			if err == nil || time.Now().After(end) {
				return
			}
		}
	})
	return err
}

// forwarded is what the home agent has counted for the node.
func (n *pairNet) forwarded() forward.Counters {
	n.t.Helper()
	var list []control.Entry
	if err := n.home.Show(n.t.Context(), "plane", "", &list); err != nil {
		n.t.Fatal(err)
	}
	for _, e := range list {
		if e.Inner.Addr() == netip.MustParseAddr("10.10.0.5") {
			return e.Counters
		}
	}
	return forward.Counters{}
}

// homeLink has its home agent on the home link, where the correspondent is too.
func homeLink(t *testing.T, plane string) *pairNet {
	text := strings.Replace(pairHomeText, `address = "198.51.100.1"`, "address = \"10.10.0.1\"\ninterfaces = [\"eth0\"]", 1)
	return newOneArmed(t, "10.10.0.0/24", "10.10.0.1/24", "10.10.0.9/24", "10.10.0.254/24", text+plane)
}
