package visit

import (
	"net/netip"
	"os"
	"testing"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"careof/internal/core/forward"
	"careof/internal/host/plane/nstest"
	"careof/internal/host/route"
	"careof/wire/encap"
)

var (
	home   = netip.MustParseAddr("10.10.0.5")
	nodeHW = forward.HardwareAddr{2, 0, 0, 0, 0, 5}
)

func entry(link string, hw forward.HardwareAddr, mode forward.Mode, own bool) forward.Entry {
	e := forward.Entry{
		Key: "fa/10.10.0.5/198.51.100.1", Role: forward.ForeignAgent, Inner: netip.PrefixFrom(home, 32),
		Deliver: forward.Deliver{Link: link, HW: hw},
		Tunnels: []forward.Tunnel{{Peer: netip.MustParseAddrPort("198.51.100.1:0"), Encap: encap.IPIP, Mode: mode}},
	}
	if own {
		e.Tunnels = append(e.Tunnels, forward.Tunnel{Peer: netip.AddrPortFrom(home, 0), Encap: encap.IPIP, Mode: forward.Receive})
	}
	return e
}

// foreign is a foreign agent with two links and a device.
func foreign(t *testing.T) (n *nstest.Node, k *Keeper) {
	t.Helper()
	n = nstest.New(t, "fa")
	other := nstest.New(t, "other")
	for _, name := range []string{"careof0", "lan0", "lan1"} {
		nstest.Join(t, n, name, other, name, 1500)
	}
	return n, open(t, n)
}

func open(t *testing.T, n *nstest.Node) (k *Keeper) {
	t.Helper()
	n.Do(func() {
		var err error
		if k, err = Open(Config{Device: "careof0", Links: []string{"lan0", "lan1"}, Heard: func(string, forward.HardwareAddr, netip.Addr, []byte) {}}); err != nil {
			t.Error(err)
		}
	})
	return k
}

// kept counts what stands in the kernel for visitors: rules back to the device,
// ways to visitors, permanent neighbours, and guarded addresses and nodes.
type kept struct{ rules, ways, neighbours, homes, visitors int }

func count(t *testing.T, n *nstest.Node, k *Keeper) (c kept) {
	t.Helper()
	rules, err := n.H.RuleList(unix.AF_INET)
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range rules {
		if r.Priority == k.priority(route.RuleBack) {
			c.rules++
		}
	}
	routes, err := n.H.RouteListFiltered(unix.AF_INET, &netlink.Route{Table: k.c.Base + tableOwn}, netlink.RT_FILTER_TABLE)
	if err != nil {
		t.Fatal(err)
	}
	c.ways = len(routes)
	for _, link := range k.c.Links {
		list, err := n.H.NeighList(n.Link(link).Attrs().Index, unix.AF_INET)
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range list {
			if e.State == netlink.NUD_PERMANENT {
				c.neighbours++
			}
		}
	}
	n.Do(func() {
		conn, err := k.guard.space.Nftables()
		if err != nil {
			t.Error(err)
			return
		}
		defer conn.CloseLasting()
		homes, err := conn.GetSetElements(k.guard.homes)
		if err != nil {
			t.Error(err)
		}
		visitors, err := conn.GetSetElements(k.guard.visitors)
		if err != nil {
			t.Error(err)
		}
		c.homes, c.visitors = len(homes), len(visitors)
	})
	return c
}

// A visit with each delivery style, a move to another link, and its end.
//
//rfc:3024#5.1
//rfc:3024#5.2
//rfc:5944#4.2.2
//rfc:3024#5.1.1-2
//rfc:3024#5.2.1-1
func TestVisitsComeMoveAndGo(t *testing.T) {
	n, k := foreign(t)
	defer k.Close()
	step := func(what string, do func() error, want kept) {
		t.Helper()
		for range 2 { // idempotent
			if err := do(); err != nil {
				t.Fatalf("%s: %v", what, err)
			}
			if got := count(t, n, k); got != want {
				t.Errorf("%s: %+v, want %+v", what, got, want)
			}
		}
	}
	put := func(e forward.Entry) func() error { return func() error { return k.Put(e) } }
	step("direct delivery", put(entry("lan0", nodeHW, forward.Both, false)), kept{1, 1, 1, 1, 1})
	step("another link", put(entry("lan1", nodeHW, forward.Both, false)), kept{1, 1, 1, 1, 1})
	step("another link-layer address", put(entry("lan1", forward.HardwareAddr{2, 6}, forward.Both, false)), kept{1, 1, 1, 1, 1})
	step("encapsulating delivery", put(entry("lan1", nodeHW, forward.Both, true)), kept{0, 1, 1, 1, 1})
	step("no reverse tunnel", put(entry("lan1", nodeHW, forward.Receive, false)), kept{0, 1, 1, 1, 1})
	step("the end", func() error { return k.Delete("fa/10.10.0.5/198.51.100.1") }, kept{})
}

// Two home agents' nodes with one home address: as long as both are here, who
// sends into a tunnel is heard below IP and nothing of it is led to the device;
// the end of one leaves the other's.
//
//rfc:3024#A.4
//rfc:3024#A.3
func TestEqualHomeAddresses(t *testing.T) {
	n, k := foreign(t)
	defer k.Close()
	one, two := entry("lan0", nodeHW, forward.Both, false), entry("lan0", forward.HardwareAddr{2, 6}, forward.Receive, false)
	two.Key = "fa/10.10.0.5/198.51.100.9"
	for _, e := range []forward.Entry{one, two} {
		if err := k.Put(e); err != nil {
			t.Fatal(err)
		}
	}
	if got, want := count(t, n, k), (kept{0, 1, 1, 1, 2}); got != want || len(k.ears.open) != 1 {
		t.Errorf("both: %+v, want %+v; %d ears", got, want, len(k.ears.open))
	}
	if err := k.Delete(two.Key); err != nil {
		t.Fatal(err)
	}
	if got, want := count(t, n, k), (kept{1, 1, 1, 1, 1}); got != want || len(k.ears.open) != 0 {
		t.Errorf("one: %+v, want %+v; %d ears", got, want, len(k.ears.open))
	}
}

// What somebody takes away comes back: the guard, rules, ways and neighbours.
func TestWhatIsTakenAwayComesBack(t *testing.T) {
	n, k := foreign(t)
	defer k.Close()
	alone, one, two := entry("lan0", nodeHW, forward.Both, false), entry("lan1", nodeHW, forward.Both, false), entry("lan1", forward.HardwareAddr{2, 6}, forward.Both, false)
	alone.Key, alone.Inner = "fa/10.10.0.6/198.51.100.1", netip.PrefixFrom(home.Next(), 32)
	two.Key = "fa/10.10.0.5/198.51.100.9"
	for _, e := range []forward.Entry{alone, one, two} {
		if err := k.Put(e); err != nil {
			t.Fatal(err)
		}
	}
	want := kept{1, 2, 2, 2, 3}
	if got := count(t, n, k); got != want {
		t.Fatalf("at first %+v, want %+v", got, want)
	}
	for name, take := range map[string]func() error{
		"nothing":   func() error { return nil },
		"the guard": func() error { return k.guard.remove() },
		"the rest":  func() error { return k.clear() },
	} {
		if err := take(); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if err := k.Reconcile(); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if got := count(t, n, k); got != want {
			t.Errorf("%s: %+v, want %+v", name, got, want)
		}
		n.Do(func() {
			conn, err := k.guard.space.Nftables()
			if err != nil {
				t.Error(err)
				return
			}
			defer conn.CloseLasting()
			if sorted, err := conn.GetSetElements(k.guard.sorted); err != nil || len(sorted) != 2 {
				t.Errorf("%s: %d sorted below IP, %v", name, len(sorted), err)
			}
		})
	}
}

// Visits do not outlive the process: what a killed one left is gone after the
// next start, and everything after an orderly end.
func TestWhatAnEarlierProcessLeftIsRemoved(t *testing.T) {
	n, killed := foreign(t)
	elsewhere := entry("lan1", nodeHW, forward.Both, false)
	elsewhere.Key = "fa/10.10.0.5/198.51.100.9"
	for _, e := range []forward.Entry{entry("lan0", nodeHW, forward.Both, false), elsewhere} {
		if err := killed.Put(e); err != nil {
			t.Fatal(err)
		}
	}
	// Builds before the order by kinds had visitors' rules elsewhere.
	const former = route.DefaultBase - 2
	old := netlink.NewRule()
	old.Family, old.Priority, old.Table, old.Protocol, old.IifName = unix.AF_INET, former, route.DefaultBase+tableBack, route.Protocol, "lan0"
	if err := n.H.RuleAdd(old); err != nil {
		t.Fatal(err)
	}
	k := open(t, n)
	if got := count(t, n, k); got != (kept{}) {
		t.Errorf("left: %+v", got)
	}
	if err := k.Put(entry("lan0", nodeHW, forward.Both, false)); err != nil {
		t.Fatal(err)
	}
	if err := k.Close(); err != nil {
		t.Error(err)
	}
	rules, err := n.H.RuleList(unix.AF_INET)
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range rules {
		if r.Priority == k.priority(route.RuleBack) || r.Priority == k.priority(route.RuleOwn) || r.Priority == former {
			t.Errorf("rule %v is left", r)
		}
	}
}

// Visitors are not redirected to other routers. The kernel does not do it only
// where the setting for all links is off as well as the link's own.
//
//rfc:5944#4.2.1
func TestVisitorsAreNotRedirected(t *testing.T) {
	n, k := foreign(t)
	defer k.Close()
	n.Do(func() {
		for _, link := range []string{"all", "lan0", "lan1"} {
			if v, err := os.ReadFile("/proc/sys/net/ipv4/conf/" + link + "/send_redirects"); err != nil || string(v) != "0\n" {
				t.Errorf("%s: %q, %v", link, v, err)
			}
		}
	})
}
