package plane_test

import (
	"errors"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"careof/internal/core/forward"
	"careof/internal/host/beside"
	"careof/internal/host/plane/nstest"
	"careof/internal/host/route"
	"careof/wire/encap"
)

// beyond is an IPv6 host that is reached over the uplinks' gateways.
var (
	cn6Addr  = netip.MustParseAddr("2001:db8:9::9")
	careOf6  = netip.MustParseAddr("2001:db8:1::10")
	gateway6 = netip.MustParseAddr("2001:db8:1::2")
)

// programs are all the ways to bind to the first uplink.
func programs() (out []nstest.Program) {
	for _, network := range []string{"udp4", "tcp4"} {
		out = append(out, nstest.Program{Network: network, Source: careOf[0]}, nstest.Program{Network: network, Link: "eth0"},
			nstest.Program{Network: network, Source: careOf[0], Link: "eth0"}, nstest.Program{Network: network, Source: homeAddr, Link: "eth0"})
	}
	for _, network := range []string{"udp6", "tcp6"} {
		out = append(out, nstest.Program{Network: network, Source: careOf6}, nstest.Program{Network: network, Link: "eth0"},
			nstest.Program{Network: network, Source: careOf6, Link: "eth0"}, nstest.Program{Network: network})
	}
	return out
}

// far is where a program wants to go: beyond the visited link.
func far(b nstest.Program) netip.AddrPort {
	if b.Network[3] == '6' {
		return netip.AddrPortFrom(cn6Addr, 7)
	}
	return netip.AddrPortFrom(cnAddr, 7)
}

// leaks lists the programs that get something out to beyond the visited link
// past the tunnel.
func (s *scene) leaks(t *testing.T, list []nstest.Program) (out []nstest.Program) {
	t.Helper()
	links := []func() []byte{s.mn.Packets("eth0"), s.mn.Packets("eth1")}
	var sending sync.WaitGroup
	for _, b := range list {
		sending.Go(func() { _ = b.Sends(s.mn, far(b)) }) // what counts is what the links see
	}
	sending.Wait()
	seen := 0
	for _, l := range links {
		seen += nstest.To(l, cnAddr, cn6Addr)
	}
	switch {
	case seen == 0:
		return nil
	case len(list) == 1:
		return list
	}
	for i := range list { // which of them was it?
		out = append(out, s.leaks(t, list[i:i+1])...)
	}
	if out == nil {
		t.Errorf("%d packets left by an uplink, and by none of the programs alone", seen)
	}
	return out
}

// passes tells whether a program gets something out: once the neighbours are known,
// which a busy machine takes its time for.
func (s *scene) passes(t *testing.T, b nstest.Program) bool {
	t.Helper()
	for end := time.Now().Add(patience); time.Now().Before(end); {
		if len(s.leaks(t, []nstest.Program{b})) == 1 {
			return true
		}
	}
	return false
}

func withIPv6(t *testing.T, s *scene) {
	t.Helper()
	if s.mobile.Status().Routes.IPv6 == "absent" {
		t.Skip("the kernel has no IPv6")
	}
	for _, n := range []*nstest.Node{s.mn, s.r} {
		n.Sysctl("net/ipv6/conf/all/accept_dad", 0)
		n.Sysctl("net/ipv6/conf/default/accept_dad", 0)
	}
	s.mn.Sysctl("net/ipv6/conf/eth0/accept_dad", 0)
	s.r.Sysctl("net/ipv6/conf/mn0/accept_dad", 0)
	s.mn.Address("eth0", careOf6.String()+"/64")
	s.r.Address("mn0", gateway6.String()+"/64")
	s.mn.Route("::/0", gateway6.String(), "eth0", "")
}

// Whatever a program binds its socket to, what it sends does not leave with the
// visited address: while the node is registered, has lost its registration, is
// not there any more, and after the device has been taken away (threat T24).
func TestWhatBindsToAnUplinkDoesNotLeak(t *testing.T) {
	s := newScene(t)
	withIPv6(t, s)
	list := programs()
	// But for the home address, all of them get out of a host without a tunnel.
	for _, b := range list {
		if b.Source != homeAddr && !s.passes(t, b) {
			t.Errorf("%v does not get out of a host without a tunnel: this test shows nothing of it", b)
		}
	}
	silent := func(when string) {
		t.Helper()
		for _, b := range s.leaks(t, list) {
			t.Errorf("%s: leaves by the upLink: %v", when, b)
		}
	}
	s.register(t, 0, encap.UDP)
	silent("registered")
	if seen := talk(t, s.mn, netip.Addr{}, s.cn, cnAddr); seen != homeAddr {
		t.Errorf("what is not bound speaks as %v, want the home address", seen)
	}
	apply(t, s.mobile, forward.Change{Op: forward.Put, Entry: forward.Entry{
		Key: "home", Role: forward.MobileNode, Inner: netip.PrefixFrom(homeAddr, 32), Routes: []netip.Prefix{all}}})
	silent("registration lost")
	s.mn.Do(func() { s.mobileSet.Close() })
	check(t, s.mobile.Close())
	silent("the daemon is dead")
	if err := s.mn.H.LinkDel(s.mn.Link("careof0")); err != nil {
		t.Fatal(err)
	}
	silent("the device is gone")
}

// A program learns at once that it cannot go there, and is not left waiting.
func TestWhoBindsToAnUplinkIsTold(t *testing.T) {
	s := newScene(t)
	s.register(t, 0, encap.UDP)
	for _, c := range []struct {
		program nstest.Program
		want    error
	}{
		{nstest.Program{Network: "udp4", Source: careOf[0]}, unix.EPERM},
		{nstest.Program{Network: "tcp4", Source: careOf[0]}, unix.EHOSTUNREACH},
		{nstest.Program{Network: "tcp4", Link: "eth0"}, unix.EHOSTUNREACH},
	} {
		c.program.Patience = patience
		if err := c.program.Sends(s.mn, far(c.program)); !errors.Is(err, c.want) {
			t.Errorf("%v: %v, want %v", c.program, err, c.want)
		}
	}
}

// What stays: the visited link itself, what carries a mark (the daemon's own, for
// one), the renewal of a lease, and the kernel's answers to who has asked.
func TestWhatMayLeaveBesideTheTunnel(t *testing.T) {
	s := newScene(t)
	s.register(t, 0, encap.UDP)
	if seen := talk(t, s.mn, careOf[0], s.r, gateway[0]); seen != careOf[0] {
		t.Errorf("the gateway sees %v, want the care-of address", seen)
	}
	if !s.passes(t, nstest.Program{Network: "udp4", Link: "eth0", Source: careOf[0], Mark: beside.Mark}) {
		t.Error("the daemon's own messages do not leave")
	}

	links := s.mn.Packets("eth0")
	s.mn.Do(func() {
		c, err := net.ListenUDP("udp4", net.UDPAddrFromAddrPort(netip.AddrPortFrom(careOf[0], 68)))
		if err != nil {
			t.Error(err)
			return
		}
		defer c.Close()
		_, err = c.WriteToUDPAddrPort([]byte("renew"), netip.AddrPortFrom(cnAddr, 67))
		check(t, err)
		if _, err = c.WriteToUDPAddrPort([]byte("else"), netip.AddrPortFrom(cnAddr, 9)); !errors.Is(err, unix.EPERM) {
			t.Errorf("from port 68 to another port: %v", err)
		}
	})
	if n := nstest.To(links, cnAddr); n != 1 {
		t.Errorf("%d packets left, want the renewal of the lease alone", n)
	}

	// A login from beyond the link: at a port that takes a privilege, from which
	// nobody connects, and at another one as docs/uplinks.md allows it.
	for _, port := range []uint16{22, 2222} {
		s.mn.Do(func() {
			l, err := net.Listen("tcp4", netip.AddrPortFrom(careOf[0], port).String())
			if err != nil {
				t.Error(err)
				return
			}
			t.Cleanup(func() { l.Close() })
		})
	}
	login := nstest.Program{Network: "tcp4", Source: cnAddr}
	logsIn := func(port uint16) (reached bool) {
		for end := time.Now().Add(patience); !reached && time.Now().Before(end); {
			reached = login.Sends(s.cn, netip.AddrPortFrom(careOf[0], port)) == nil
		}
		return reached
	}
	if !logsIn(22) {
		t.Error("a login at the care-of address is not answered")
	}
	s.mn.Do(func() {
		d := net.Dialer{LocalAddr: net.TCPAddrFromAddrPort(netip.AddrPortFrom(careOf[0], 900)), Timeout: patience}
		if _, err := d.Dial("tcp4", netip.AddrPortFrom(cnAddr, 7).String()); !errors.Is(err, unix.EHOSTUNREACH) {
			t.Errorf("a connection from port 900: %v", err)
		}
	})
	if _, err := exec.LookPath("nft"); err == nil {
		if err := login.Sends(s.cn, netip.AddrPortFrom(careOf[0], 2222)); err == nil {
			t.Error("a service at the care-of address answers to beyond the link")
		}
		s.mn.Do(func() {
			nft := exec.Command("nft", "-f", "-")
			nft.Stdin = strings.NewReader(rescue(t))
			if out, err := nft.CombinedOutput(); err != nil {
				t.Errorf("%v: %s", err, out)
			}
		})
		if !logsIn(2222) {
			t.Error("with the rescue table it does not either")
		}
	}

	// An echo request from beyond the link.
	var raw net.PacketConn
	s.cn.Do(func() {
		var err error
		if raw, err = net.ListenPacket("ip4:icmp", cnAddr.String()); err != nil {
			t.Error(err)
		}
	})
	defer raw.Close()
	echo := []byte{8, 0, 0xf7, 0xfe, 0, 0, 0, 1}
	_, err := raw.WriteTo(echo, &net.IPAddr{IP: careOf[0].AsSlice()})
	check(t, err)
	raw.SetReadDeadline(time.Now().Add(patience))
	buf := make([]byte, 1500)
	if n, _, err := raw.ReadFrom(buf); err != nil || n == 0 || buf[0] != 0 {
		t.Errorf("the care-of address does not answer an echo: % x, %v", buf[:n], err)
	}
}

// rescue is the table that docs/uplinks.md shows.
func rescue(t *testing.T) string {
	t.Helper()
	text, err := os.ReadFile("../../../docs/uplinks.md")
	if err != nil {
		t.Fatal(err)
	}
	_, after, _ := strings.Cut(string(text), "```\ntable inet rescue")
	table, _, found := strings.Cut(after, "```")
	if !found {
		t.Fatal("docs/uplinks.md shows no rescue table")
	}
	return "table inet rescue" + table
}

// With a list of prefixes only these are for the tunnel, and a portal that
// programs may reach is reached; both ends without a rest.
func TestOnlyWhatIsForTheTunnelIsRefused(t *testing.T) {
	s := newScene(t)
	register := func(routes ...netip.Prefix) {
		t.Helper()
		apply(t, s.mobile, forward.Change{Op: forward.Put, Entry: forward.Entry{
			Key: "home", Role: forward.MobileNode, Inner: netip.PrefixFrom(homeAddr, 32), Routes: routes}})
	}
	program := nstest.Program{Network: "udp4", Source: careOf[0]}
	leaks := func() bool { return len(s.leaks(t, []nstest.Program{program})) == 1 }
	register(netip.MustParsePrefix("10.20.0.0/24"))
	if !s.passes(t, program) {
		t.Error("what is not for the tunnel is refused")
	}
	register(netip.PrefixFrom(cnAddr, 24))
	if leaks() {
		t.Error("what is for the tunnel by a list passes beside it")
	}
	register(all)
	if leaks() {
		t.Error("with everything in the tunnel something passes beside it")
	}
	check(t, s.mobile.Pass("eth0", []route.Passage{{To: cnAddr, Protocol: unix.IPPROTO_UDP, Port: 8}}))
	if leaks() {
		t.Error("another port of the portal is reached")
	}
	check(t, s.mobile.Pass("eth0", []route.Passage{{To: cnAddr, Protocol: unix.IPPROTO_UDP, Port: 7}}))
	if !s.passes(t, program) {
		t.Error("the portal is not reached")
	}
	check(t, s.mobile.Pass("eth0", nil))
	if leaks() {
		t.Error("the portal is reached for ever")
	}
	apply(t, s.mobile, forward.Change{Op: forward.Delete, Entry: forward.Entry{Key: "home"}})
	check(t, s.mobile.Reconcile())
	if !s.passes(t, program) {
		t.Error("refused for ever")
	}
}
