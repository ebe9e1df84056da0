package dhcp

import (
	"context"
	"net/netip"
	"path/filepath"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"careof/internal/core/engine"
	"careof/internal/host/dhcp/stock"
	"careof/internal/host/lease"
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
	watched    atomic.Pointer[Client] // what the link watcher tells: the client, once it is open
	events     chan Event
	told       []Event      // that await has taken from events
	reports    atomic.Int64 // of the link watcher
	latest     atomic.Pointer[engine.Link]
	stop       func() // dnsmasq
}

func newSite(t *testing.T, auto bool) *site {
	t.Helper()
	stock.Need(t, "dnsmasq")
	s := &site{t: t, dir: t.TempDir(), mn: nstest.New(t, "mn"), server: nstest.New(t, "server"), events: make(chan Event, 64)}
	stock.Show(t, s.dir)
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
			return link.Watch(ctx, func(string, bool) bool { return false }, nil, func(l engine.Link, _ bool) {
				if l.Name == up0 {
					s.reports.Add(1)
					s.latest.Store(&l)
				}
				s.watched.Load().LinkChanged(l)
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
		s.watched.Store(s.client)
	})
}

// serve starts dnsmasq with leases that are renewed after three seconds.
func (s *site) serve(address string, first, last string) {
	s.t.Helper()
	s.server.Address("eth0", address)
	s.stop = stock.Run(s.t, s.server.Do, stock.Dnsmasq(s.dir, "eth0", "--dhcp-range="+first+","+last+",2m", "--dhcp-option=58,3", "--dhcp-authoritative"))
}

func (s *site) await(what string, ok func() bool) {
	s.t.Helper()
	for end := time.Now().Add(20 * time.Second); !ok(); {
		if time.Now().After(end) {
			st, _ := s.client.Status(up0)
			s.t.Fatalf("not %s; the client is %v, addresses %v", what, st, s.addresses())
		}
		select {
		case ev := <-s.events:
			s.told = append(s.told, ev)
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// heard is what the client has told since it was asked last.
func (s *site) heard() (list []Event) {
	list, s.told = s.told, nil
	for len(s.events) > 0 {
		list = append(list, <-s.events)
	}
	return list
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
		return st.State == lease.Bound && st.Has && netip.MustParsePrefix(network).Contains(st.Lease.Address.Addr()) &&
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
	s.heard()
	s.open(false)
	s.client.LinkChanged(*s.latest.Load())
	for s.status().State != lease.Bound {
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

// What somebody takes from the link, address or default route, comes back: the
// server knows nothing of it, and a renewal changes nothing.
func TestWhatIsTakenFromALeasedLinkComesBack(t *testing.T) {
	s := newSite(t, false)
	s.serve("192.168.8.1/24", "192.168.8.100", "192.168.8.150")
	s.await("bound", s.bound("192.168.8.0/24"))
	gateways := func() (n int) {
		routes, err := s.mn.H.RouteListFiltered(netlink.FAMILY_V4, &netlink.Route{Protocol: protocol}, netlink.RT_FILTER_PROTOCOL)
		if err != nil {
			t.Fatal(err)
		}
		return len(routes)
	}
	s.await("routed", func() bool { return gateways() == 1 && s.status().Lease.GatewayHW != engine.HardwareAddr{} })
	had, first := s.status().Lease.Address, s.status().Lease.Until
	s.await("renewed", func() bool { return s.status().Lease.Until.After(first.Add(5 * time.Second)) })
	s.heard()
	if err := s.mn.H.AddrDel(s.mn.Link(up0), &netlink.Addr{IPNet: ipNet(had)}); err != nil {
		t.Fatal(err)
	}
	s.await("there again", func() bool { return slices.Equal(s.addresses(), []netip.Prefix{had}) && gateways() == 1 })
	ends := s.status().Lease.Until
	addrs, err := s.mn.H.AddrList(s.mn.Link(up0), netlink.FAMILY_V4)
	if left := time.Until(ends); err != nil || len(addrs) != 1 || time.Duration(addrs[0].ValidLft)*time.Second < left-4*time.Second {
		t.Errorf("what comes back ends before the lease, with %v left: %+v, %v", left, addrs, err)
	}
	routes, err := s.mn.H.RouteListFiltered(netlink.FAMILY_V4, &netlink.Route{Protocol: protocol}, netlink.RT_FILTER_PROTOCOL)
	if err != nil || len(routes) != 1 {
		t.Fatalf("default routes %v, %v", routes, err)
	}
	if err := s.mn.H.RouteDel(&routes[0]); err != nil {
		t.Fatal(err)
	}
	s.await("routed again", func() bool { return gateways() == 1 })
	for _, ev := range s.heard() {
		if ev.Lost || ev.Why != "" {
			t.Errorf("%+v", ev)
		}
	}
	// Switched off, a link keeps its address and loses its routes.
	if err := s.mn.H.LinkSetDown(s.mn.Link(up0)); err != nil {
		t.Fatal(err)
	}
	s.await("off", func() bool { return s.status().State == lease.Down && gateways() == 0 })
	s.mn.Up(up0)
	s.await("routed after it was off", func() bool { return gateways() == 1 })
}

// A link whose carrier comes and goes, at each point of the way to a lease and with
// one, has one address and one default route in the end.
func TestACarrierThatComesAndGoes(t *testing.T) {
	s := newSite(t, false)
	s.serve("192.168.8.1/24", "192.168.8.100", "192.168.8.150")
	eth0 := s.server.Link("eth0")
	for i := range 8 {
		s.await("up", func() bool { return s.status().State != lease.Down })
		if i%4 == 3 {
			s.await("bound", s.bound("192.168.8.0/24"))
		}
		if err := s.server.H.LinkSetDown(eth0); err != nil {
			t.Fatal(err)
		}
		if i%2 == 0 {
			s.await("down", func() bool { return s.status().State == lease.Down })
		}
		s.server.Up("eth0")
	}
	s.await("bound", s.bound("192.168.8.0/24"))
	routes := func() (list []netlink.Route) {
		list, err := s.mn.H.RouteListFiltered(netlink.FAMILY_V4, &netlink.Route{Table: unix.RT_TABLE_MAIN, Protocol: protocol}, netlink.RT_FILTER_PROTOCOL)
		if err != nil {
			t.Fatal(err)
		}
		return list
	}
	s.await("routed", func() bool { return len(routes()) == 1 && s.bound("192.168.8.0/24")() })
	for _, ev := range s.heard() {
		if ev.Why != "" && !ev.Lost {
			t.Errorf("%+v", ev)
		}
	}
}

// An automatic link whose address somebody takes away may be his: it is left to
// him for a while, and used again when nobody has configured it by then.
func TestAnAutomaticLinkIsNotFoughtFor(t *testing.T) {
	s := newSite(t, true)
	s.serve("192.168.8.1/24", "192.168.8.100", "192.168.8.150")
	s.await("acquainted with the gateway", func() bool { return s.status().Has && s.status().Lease.GatewayHW != engine.HardwareAddr{} })
	if err := s.mn.H.AddrDel(s.mn.Link(up0), &netlink.Addr{IPNet: ipNet(s.status().Lease.Address)}); err != nil {
		t.Fatal(err)
	}
	lost := false
	s.await("let go", func() bool {
		lost = lost || slices.ContainsFunc(s.heard(), func(ev Event) bool { return ev.Lost })
		return lost
	})
	s.await("bound again", s.bound("192.168.8.0/24"))
}

// An automatic link is left to whoever configures it, before the client begins
// and after.
func TestAnAutomaticLinkIsLeftToOthers(t *testing.T) {
	s := newSite(t, true)
	static := netip.MustParsePrefix("192.168.8.7/24")
	s.mn.Address(up0, static.String())
	s.await("up, with the address", func() bool {
		l := s.latest.Load()
		return l != nil && slices.Equal(l.Addresses, []netip.Prefix{static})
	})
	s.serve("192.168.8.1/24", "192.168.8.100", "192.168.8.150")
	select {
	case ev := <-s.events:
		t.Fatalf("%+v", ev)
	case <-time.After(4 * s.client.patience):
	}
	if st := s.status(); st.State != lease.Down || !slices.Equal(s.addresses(), []netip.Prefix{static}) {
		t.Fatalf("%v, %v", st, s.addresses())
	}
	if err := s.mn.H.AddrDel(s.mn.Link(up0), &netlink.Addr{IPNet: ipNet(static)}); err != nil {
		t.Fatal(err)
	}
	s.await("bound", s.bound("192.168.8.0/24"))
	s.mn.Address(up0, static.String())
	s.await("left to the other", func() bool { return slices.Equal(s.addresses(), []netip.Prefix{static}) && !s.status().Has })
}
