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
		ended <- Watch(ctx, func(name string) bool { return name == "ignored0" }, func(l engine.Link, _ bool) { reports <- l })
	}()

	await := func(what string, ok func(engine.Link) bool) engine.Link {
		t.Helper()
		deadline := time.After(5 * time.Second)
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
	case <-time.After(5 * time.Second):
		t.Fatal("Watch did not end with its context")
	}
}
