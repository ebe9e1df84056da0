package dhcp

import (
	"context"
	"net/netip"
	"os/exec"
	"path/filepath"
	"slices"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"careof/internal/core/engine"
	"careof/internal/host/link"
	"careof/internal/host/netspace"
	"careof/internal/host/plane/nstest"
)

const up0 = "up0"

// A site is a node's uplink in a network with dnsmasq.
type site struct {
	t          *testing.T
	mn, server *nstest.Node
	dir        string
	client     *Client
	events     chan Event
	reports    atomic.Int64 // of the link watcher
	latest     atomic.Pointer[engine.Link]
	stop       func() // dnsmasq
}

func newSite(t *testing.T, auto bool) *site {
	t.Helper()
	if _, err := exec.LookPath("dnsmasq"); err != nil {
		t.Skip("needs dnsmasq")
	}
	s := &site{t: t, dir: t.TempDir(), mn: nstest.New(t, "mn"), server: nstest.New(t, "server"), events: make(chan Event, 64)}
	nstest.Join(t, s.mn, up0, s.server, "eth0", 1500)
	s.open(auto)
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	var space *netspace.Space
	s.mn.Do(func() {
		var err error
		if space, err = netspace.Here(); err != nil {
			t.Error(err)
		}
	})
	go func() {
		defer close(ended)
		err := space.Do(func() error {
			return link.Watch(ctx, func(string, bool) bool { return false }, func(l engine.Link, _ bool) {
				if l.Name == up0 {
					s.reports.Add(1)
					s.latest.Store(&l)
				}
				s.client.LinkChanged(l)
			})
		})
		if err != nil {
			t.Error(err)
		}
	}()
	t.Cleanup(func() {
		cancel()
		<-ended
		space.Close()
		s.client.Close()
	})
	return s
}

func (s *site) open(auto bool) {
	s.t.Helper()
	s.mn.Do(func() {
		var err error
		s.client, err = Open(Config{
			Memory: filepath.Join(s.dir, "leases.json"), Links: []Link{{Name: up0, Auto: auto, Metric: 2048}},
			Tell: func(ev Event) {
				s.t.Logf("event %+v", ev)
				s.events <- ev
			},
		})
		if err != nil {
			s.t.Error(err)
			return
		}
		s.client.patience = 300 * time.Millisecond
	})
}

// serve starts dnsmasq with leases that are renewed after three seconds.
func (s *site) serve(address string, first, last string) {
	s.t.Helper()
	s.server.Address("eth0", address)
	cmd := exec.Command("dnsmasq", "--keep-in-foreground", "--conf-file=/dev/null", "--port=0", "--interface=eth0", "--bind-interfaces", "--user=root",
		"--dhcp-range="+first+","+last+",2m", "--dhcp-option=58,3", "--dhcp-authoritative", "--no-ping", "--dhcp-leasefile="+filepath.Join(s.dir, "dnsmasq"), "--pid-file=",
		"--log-facility=-")
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: 0}
	s.server.Do(func() {
		if err := cmd.Start(); err != nil {
			s.t.Error(err)
		}
	})
	s.stop = func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	}
	s.t.Cleanup(s.stop)
}

func (s *site) await(what string, ok func() bool) {
	s.t.Helper()
	for end := time.Now().Add(20 * time.Second); !ok(); {
		if time.Now().After(end) {
			st, _ := s.client.Status(up0)
			s.t.Fatalf("not %s; the client is %v, addresses %v", what, st, s.addresses())
		}
		select {
		case <-s.events:
		case <-time.After(50 * time.Millisecond):
		}
	}
}

func (s *site) addresses() (list []netip.Prefix) {
	s.t.Helper()
	addrs, err := netspace.Dump(func() ([]netlink.Addr, error) { return s.mn.H.AddrList(s.mn.Link(up0), netlink.FAMILY_V4) })
	if err != nil {
		s.t.Fatal(err)
	}
	for _, a := range addrs {
		p, _ := netip.ParsePrefix(a.IPNet.String())
		list = append(list, p)
	}
	return list
}

func (s *site) bound(network string) func() bool {
	return func() bool {
		st, _ := s.client.Status(up0)
		return st.State == Bound && st.Has && netip.MustParsePrefix(network).Contains(st.Lease.Address.Addr()) &&
			slices.Equal(s.addresses(), []netip.Prefix{st.Lease.Address})
	}
}

func (s *site) status() Status {
	st, _ := s.client.Status(up0)
	return st
}

// A lease on a real kernel: taken, renewed without anybody noticing, kept over
// a restart, and left for the next network's.
//
//rfc:2131#4.4
func TestALeaseOfDnsmasq(t *testing.T) {
	s := newSite(t, false)
	s.serve("192.168.8.1/24", "192.168.8.100", "192.168.8.150")
	s.await("bound", s.bound("192.168.8.0/24"))
	routes, err := s.mn.H.RouteListFiltered(netlink.FAMILY_V4, &netlink.Route{Protocol: protocol}, netlink.RT_FILTER_PROTOCOL)
	if err != nil || len(routes) != 1 || !routes[0].Gw.Equal(netip.MustParseAddr("192.168.8.1").AsSlice()) || routes[0].Priority != 2048 {
		t.Errorf("default routes %v, %v", routes, err)
	}
	addrs, err := s.mn.H.AddrList(s.mn.Link(up0), netlink.FAMILY_V4)
	if err != nil || len(addrs) != 1 || addrs[0].ValidLft < 100 || addrs[0].ValidLft > 120 {
		t.Errorf("the kernel does not know when the address ends: %+v, %v", addrs, err)
	}
	first := s.status().Lease
	s.await("acquainted with the gateway", func() bool { return s.status().Lease.GatewayHW != engine.HardwareAddr{} })
	// The first renewal makes the kernel ask for the server's link-layer
	// address, which is the gateway's.
	s.await("renewed", func() bool { return s.status().Lease.Until.After(first.Until.Add(time.Second)) })
	quiet, second := s.reports.Load(), s.status().Lease
	s.await("renewed again", func() bool { return s.status().Lease.Until.After(second.Until.Add(time.Second)) })
	if n := s.reports.Load(); n != quiet {
		t.Errorf("a renewal that changed nothing changed the link %d times", n-quiet)
	}

	if err := s.client.Close(); err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(s.addresses(), []netip.Prefix{first.Address}) {
		t.Errorf("without the daemon the link has %v", s.addresses())
	}
	for len(s.events) > 0 {
		<-s.events
	}
	s.open(false)
	s.client.LinkChanged(*s.latest.Load())
	for s.status().State != Bound {
		select {
		case ev := <-s.events:
			t.Fatalf("a restart was noticed: %+v", ev)
		case <-time.After(20 * time.Millisecond):
		}
	}
	if s.status().Lease.Address != first.Address {
		t.Errorf("after the restart the lease is of %v, before of %v", s.status().Lease.Address, first.Address)
	}

	// Another address of the same network takes the place of the first.
	s.stop()
	s.serve("192.168.8.2/24", "192.168.8.200", "192.168.8.220")
	s.await("at another address", s.bound("192.168.8.192/26"))

	s.stop()
	eth0 := s.server.Link("eth0")
	for _, err := range []error{
		s.server.H.LinkSetDown(eth0), s.server.H.AddrDel(eth0, &netlink.Addr{IPNet: ipNet(netip.MustParsePrefix("192.168.8.2/24"))}),
		s.server.H.AddrDel(eth0, &netlink.Addr{IPNet: ipNet(netip.MustParsePrefix("192.168.8.1/24"))}),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	s.server.Up("eth0")
	s.serve("10.77.0.1/16", "10.77.0.100", "10.77.0.150")
	s.await("in the next network", s.bound("10.77.0.0/16"))
	routes, err = s.mn.H.RouteListFiltered(netlink.FAMILY_V4, &netlink.Route{Table: unix.RT_TABLE_MAIN, Protocol: protocol}, netlink.RT_FILTER_PROTOCOL)
	if err != nil || len(routes) != 1 || !routes[0].Gw.Equal(netip.MustParseAddr("10.77.0.1").AsSlice()) {
		t.Errorf("default routes %v, %v", routes, err)
	}

	// The uplink is no more ours.
	s.client.Reconfigure(nil)
	s.await("let go", func() bool { return len(s.addresses()) == 0 })
}

// An automatic link is left to whoever configures it, before the client begins
// and after.
func TestAnAutomaticLinkIsLeftToOthers(t *testing.T) {
	s := newSite(t, true)
	static := netip.MustParsePrefix("192.168.8.7/24")
	s.mn.Address(up0, static.String())
	s.await("up", func() bool { return s.reports.Load() > 0 })
	s.serve("192.168.8.1/24", "192.168.8.100", "192.168.8.150")
	select {
	case ev := <-s.events:
		t.Fatalf("%+v", ev)
	case <-time.After(4 * s.client.patience):
	}
	if st := s.status(); st.State != Down || !slices.Equal(s.addresses(), []netip.Prefix{static}) {
		t.Fatalf("%v, %v", st, s.addresses())
	}
	if err := s.mn.H.AddrDel(s.mn.Link(up0), &netlink.Addr{IPNet: ipNet(static)}); err != nil {
		t.Fatal(err)
	}
	s.await("bound", s.bound("192.168.8.0/24"))
	s.mn.Address(up0, static.String())
	s.await("left to the other", func() bool { return slices.Equal(s.addresses(), []netip.Prefix{static}) && !s.status().Has })
}
