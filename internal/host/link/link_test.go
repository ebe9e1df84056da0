package link

import (
	"context"
	"net"
	"net/netip"
	"os"
	"runtime"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"

	"careof/internal/core/engine"
)

// inNamespace gives the test a network namespace of its own, on a thread that
// is thrown away with it.
func inNamespace(t *testing.T) {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("needs root to make a network namespace")
	}
	runtime.LockOSThread()
	ns, err := netns.New()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ns.Close() })
}

var everything = &net.IPNet{IP: net.IPv4zero.To4(), Mask: net.CIDRMask(0, 32)}

// must fails the test on an error.
func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func TestLinksAddressesAndGatewaysAreReportedAsTheyChange(t *testing.T) {
	inNamespace(t)
	reports := make(chan engine.Link, 64)
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	ns, err := netns.Get()
	must(t, err)
	defer ns.Close()
	go func() {
		// The watcher's sockets must be made in this namespace, and a new
		// goroutine is on another thread.
		runtime.LockOSThread()
		if err := netns.Set(ns); err != nil {
			ended <- err
			return
		}
		ended <- Watch(ctx, func(name string, _ bool) bool { return name == "ignored0" }, nil, func(l engine.Link, _ bool) { reports <- l })
	}()

	await := func(what string, ok func(engine.Link) bool) engine.Link {
		t.Helper()
		deadline := time.After(20 * time.Second)
		for {
			select {
			case l := <-reports:
				if l.Name == "ignored0" {
					t.Fatalf("an ignored link was reported: %+v", l)
				}
				if l.Name == "up0" && ok(l) {
					return l
				}
			case err := <-ended:
				t.Fatalf("the watcher ended: %v", err)
			case <-deadline:
				t.Fatalf("no report of %s", what)
			}
		}
	}

	must(t, netlink.LinkAdd(&netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: "ignored0"}, PeerName: "other0"}))
	veth := &netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: "up0"}, PeerName: "peer0"}
	must(t, netlink.LinkAdd(veth))
	await("a link without carrier", func(l engine.Link) bool { return !l.Up && !l.Gone })
	up0, err := netlink.LinkByName("up0")
	must(t, err)
	peer0, err := netlink.LinkByName("peer0")
	must(t, err)
	must(t, netlink.LinkSetUp(up0))
	must(t, netlink.LinkSetUp(peer0))
	await("carrier", func(l engine.Link) bool { return l.Up && l.HW != engine.HardwareAddr{} && l.MTU == 1500 })

	addr, err := netlink.ParseAddr("192.0.2.2/24")
	must(t, err)
	must(t, netlink.AddrAdd(up0, addr))
	await("an address", func(l engine.Link) bool {
		return len(l.Addresses) == 1 && l.Addresses[0] == netip.MustParsePrefix("192.0.2.2/24")
	})
	must(t, netlink.RouteAdd(&netlink.Route{LinkIndex: up0.Attrs().Index, Gw: net.IPv4(192, 0, 2, 9), Priority: 200}))
	must(t, netlink.RouteAdd(&netlink.Route{LinkIndex: up0.Attrs().Index, Gw: net.IPv4(192, 0, 2, 1), Priority: 100}))
	await("two gateways, the better first", func(l engine.Link) bool {
		return len(l.Gateways) == 2 && l.Gateways[0] == netip.MustParseAddr("192.0.2.1")
	})
	must(t, netlink.RouteAdd(&netlink.Route{LinkIndex: up0.Attrs().Index, Scope: netlink.SCOPE_LINK, Priority: 300, Dst: everything}))
	await("a default route to no gateway", func(l engine.Link) bool { return l.Direct && len(l.Gateways) == 2 })
	must(t, netlink.RouteDel(&netlink.Route{LinkIndex: up0.Attrs().Index, Scope: netlink.SCOPE_LINK, Priority: 300, Dst: everything}))
	await("its end", func(l engine.Link) bool { return !l.Direct })
	// Down and up again, faster than anybody looks: the count tells.
	before := attachments()[up0.Attrs().Index]
	must(t, netlink.LinkSetDown(peer0))
	must(t, netlink.LinkSetUp(peer0))
	await("a link that was attached anew", func(l engine.Link) bool { return l.Up && l.Attachment > before })
	must(t, netlink.LinkSetDown(peer0))
	await("a lost carrier", func(l engine.Link) bool { return !l.Up && !l.Gone })
	must(t, netlink.LinkDel(up0))
	await("a link that is gone", func(l engine.Link) bool { return l.Gone })

	cancel()
	select {
	case err := <-ended:
		must(t, err)
	case <-time.After(20 * time.Second):
		t.Fatal("Watch did not end with its context")
	}
}

// What somebody sent over a link an instant before packets could leave over it has
// had its gateway asked for in vain, and the kernel would ask again a second
// later only. A node that moves registers at once.
func TestAGatewayThatWasAskedForTooEarlyIsAskedForAnew(t *testing.T) {
	inNamespace(t)
	must(t, netlink.LinkAdd(&netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: "up0"}, PeerName: "peer0"}))
	up0, err := netlink.LinkByName("up0")
	must(t, err)
	peer0, err := netlink.LinkByName("peer0")
	must(t, err)
	must(t, netlink.LinkSetUp(up0))
	addr, err := netlink.ParseAddr("192.0.2.2/24")
	must(t, err)
	must(t, netlink.AddrAdd(up0, addr))
	index, gateway, other := up0.Attrs().Index, net.IPv4(192, 0, 2, 1), net.IPv4(192, 0, 2, 7)
	must(t, netlink.RouteAdd(&netlink.Route{LinkIndex: index, Gw: gateway}))
	asked := func() (list []string) {
		neighbours, err := netlink.NeighList(index, netlink.FAMILY_V4)
		must(t, err)
		for _, n := range neighbours {
			if n.State&netlink.NUD_INCOMPLETE != 0 {
				list = append(list, n.IP.String())
			}
		}
		return list
	}
	w := &Watcher{known: make(map[string]engine.Link)}
	w.handle, err = netlink.NewHandle()
	must(t, err)
	defer w.handle.Close()
	read := func() (up bool) {
		must(t, w.read(func(name string, _ bool) bool { return name != "up0" }, func(engine.Link, bool) {}))
		return w.known["up0"].Up
	}
	if read() {
		t.Fatal("a link without a carrier is up")
	}
	for _, a := range []net.IP{gateway, other} {
		must(t, netlink.NeighSet(&netlink.Neigh{LinkIndex: index, Family: netlink.FAMILY_V4, IP: a, State: netlink.NUD_INCOMPLETE}))
	}
	if read(); len(asked()) != 2 {
		t.Fatalf("while the link is down, %v are asked for", asked())
	}
	must(t, netlink.LinkSetUp(peer0))
	tick, deadline := time.NewTicker(time.Millisecond), time.After(20*time.Second)
	defer tick.Stop()
	for !read() {
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatal("the link does not come up")
		}
	}
	if list := asked(); len(list) != 1 || list[0] != other.String() {
		t.Fatalf("still asked for: %v, and the gateway can be asked for again in a second only", list)
	}
	// Nobody answers: the kernel's own way from now on.
	must(t, netlink.NeighSet(&netlink.Neigh{LinkIndex: index, Family: netlink.FAMILY_V4, IP: gateway, State: netlink.NUD_INCOMPLETE}))
	if read(); len(asked()) != 2 {
		t.Fatalf("on a link that is not new the entry is gone: %v", asked())
	}
}
