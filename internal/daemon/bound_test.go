package daemon

import (
	"fmt"
	"net/netip"
	"os"
	"strings"
	"syscall"
	"testing"

	"careof/internal/host/plane/nstest"
)

// With routes = "full", which is the default, what a program binds to an uplink
// or to its address does not leave with the visited address: not while the
// daemon runs, not after kill -9, and not after it was stopped. The daemon's own
// messages leave, and after a new start it is as it was (threat T24).
func TestNoProgramLeaksBesideADaemon(t *testing.T) {
	n := wirePair(t)
	n.settle()
	silent := n.programs()
	n.home = n.daemon(n.ha, "ha", pairHomeText)
	n.mobile = n.daemon(n.mn, "mn", pairMobileText)
	n.registered()
	silent("registered")
	n.end("mn", syscall.SIGKILL)
	silent("killed")
	n.start(n.mn, "mn", "/proc/self/exe")
	n.mobile = n.answers("mn")
	n.registered()
	silent("started again")
	n.end("mn", syscall.SIGTERM)
	silent("stopped")
}

// Whoever deletes the device ends the daemon, which says so; nothing leaves beside the
// tunnel until the next start, which makes the device anew (threat T24).
func TestADeletedDeviceLetsNothingOut(t *testing.T) {
	n := wirePair(t)
	n.settle()
	silent := n.programs()
	n.home = n.daemon(n.ha, "ha", pairHomeText)
	n.mobile = n.daemon(n.mn, "mn", pairMobileText)
	n.registered()
	mobile := n.process["mn"]
	delete(n.process, "mn")
	if err := n.mn.H.LinkDel(n.mn.Link("careof0")); err != nil {
		t.Fatal(err)
	}
	silent("while the daemon ends")
	if err := mobile.Wait(); err == nil || !strings.Contains(fmt.Sprint(mobile.Stderr), "careof0: the tunnel device was deleted") {
		t.Errorf("it ended with %v and said\n%s", err, mobile.Stderr)
	}
	silent("without a device")
	n.start(n.mn, "mn", "/proc/self/exe")
	n.mobile = n.answers("mn")
	n.registered()
	silent("started again")
	n.end("mn", syscall.SIGTERM)
}

// programs finds the ways past a tunnel by which programs of the mobile node get out
// while there is none. The function that it returns tells of those by which they
// still do, and how many these are.
func (n *pairNet) programs() (silent func(when string)) {
	n.t.Helper()
	var programs []nstest.Program
	for _, network := range []string{"udp4", "tcp4"} {
		programs = append(programs, nstest.Program{Network: network, Source: netip.MustParseAddr("203.0.113.9")},
			nstest.Program{Network: network, Link: "eth0"}, nstest.Program{Network: network})
	}
	beyond := netip.MustParseAddr("2001:db8:9::9")
	if _, err := os.Stat("/proc/net/if_inet6"); err == nil {
		for node, link := range map[*nstest.Node]string{n.mn: "eth0", n.r: "tomn"} {
			node.Sysctl("net/ipv6/conf/"+link+"/accept_dad", 0)
		}
		n.mn.Address("eth0", "2001:db8:1::10/64")
		n.r.Address("tomn", "2001:db8:1::2/64")
		n.mn.Route("::/0", "2001:db8:1::2", "eth0", "")
		for _, network := range []string{"udp6", "tcp6"} {
			programs = append(programs, nstest.Program{Network: network, Link: "eth0"}, nstest.Program{Network: network})
		}
	}
	leaks := func() (out []nstest.Program) {
		n.t.Helper()
		for _, p := range programs {
			to := n.correspondent
			if strings.HasSuffix(p.Network, "6") {
				to = beyond
			}
			seen := n.mn.Packets("eth0")
			_ = p.Sends(n.mn, netip.AddrPortFrom(to, 9)) // what counts is what the link sees
			if nstest.To(seen, to) > 0 {
				out = append(out, p)
			}
		}
		return out
	}
	// Else a test would show nothing.
	n.until("without a daemon all programs get out", func() bool { return len(leaks()) == len(programs) })
	return func(when string) {
		n.t.Helper()
		for _, p := range leaks() {
			n.t.Errorf("%s: leaves by the uplink: %v", when, p)
		}
	}
}
