package route

import (
	"net/netip"
	"slices"
	"testing"

	"careof/internal/core/forward"
)

// What goes beside the tunnel, and where, in every style of delivery.
//
//rfc:3024#5.1
//rfc:3024#5.2
//rfc:3024#5.4
//rfc:5944#4.4
//rfc:3024#5.2-1
func TestWhatGoesBesideTheTunnel(t *testing.T) {
	agent, router := netip.MustParseAddr("198.18.1.1"), netip.MustParseAddr("192.168.8.1")
	printer := netip.MustParsePrefix("192.0.2.0/24")
	near := netip.MustParsePrefix("192.168.8.0/24")
	tunnel := []forward.Tunnel{{Link: "wlan0"}}
	deliver := forward.Deliver{Link: "wlan0", HW: forward.HardwareAddr{2, 1}, Via: agent}
	device := func(p netip.Prefix) Route { return Route{Table: DefaultBase, Dst: p, Link: "careof0", Src: homeAddr} }
	byAgent := func(p netip.Prefix) Route {
		return Route{Table: DefaultBase, Dst: p, Via: agent, Link: "wlan0", Src: homeAddr}
	}
	for _, c := range []struct {
		name   string
		change func(e *forward.Entry)
		want   []Route
	}{
		{"everything in the tunnel", func(e *forward.Entry) { e.Tunnels = tunnel }, []Route{device(all)}},
		{"encapsulating", func(e *forward.Entry) { e.Tunnels, e.Deliver = tunnel, deliver }, []Route{device(all)}},
		{"encapsulating a selection", func(e *forward.Entry) {
			e.Tunnels, e.Deliver, e.Direct = tunnel, deliver, []netip.Prefix{printer}
		}, []Route{device(all), byAgent(printer)}},
		{"mixed", func(e *forward.Entry) {
			e.Tunnels, e.Deliver, e.Direct = tunnel, deliver, []netip.Prefix{all}
		}, []Route{byAgent(all), device(groups), device(everybody)}},
		{"co-located, a selection", func(e *forward.Entry) {
			e.Tunnels, e.Direct = tunnel, []netip.Prefix{printer, near}
		}, []Route{
			device(all), // the care-of address is the source of what goes beside
			{Table: DefaultBase, Dst: printer, Via: router, Link: "wlan0"},
			{Table: DefaultBase, Dst: near, Link: "wlan0", Metric: 600},
		}},
		{"no reverse tunnel", func(e *forward.Entry) {
			e.Tunnels, e.Direct = []forward.Tunnel{{Link: "wlan0", Mode: forward.Receive}}, []netip.Prefix{all}
		}, []Route{
			{Table: DefaultBase, Dst: all, Via: router, Link: "wlan0", Src: homeAddr, Metric: 600},
			{Table: DefaultBase, Dst: near, Link: "wlan0", Src: homeAddr, Metric: 600},
			device(groups), device(everybody),
		}},
	} {
		k := newFake()
		k.sysctls["net/ipv4/conf/wlan0/rp_filter"] = "1"
		keeper := mobile(t, k)
		e := away(all)
		c.change(&e)
		do(t, keeper.Put(e))
		got := slices.DeleteFunc(slices.Clone(k.routes), func(r Route) bool { return r.Table != DefaultBase || r.Unreachable })
		if want := sorted(c.want, compareRoutes); !slices.Equal(sorted(got, compareRoutes), want) {
			t.Errorf("%s:\n%v, want\n%v", c.name, sorted(got, compareRoutes), want)
		}
		if n := k.neighbors[neighborKey{"wlan0", agent}]; (n != forward.HardwareAddr{}) != (e.Deliver.Link != "") {
			t.Errorf("%s: neighbours %v", c.name, k.neighbors)
		}
		// Without an address on the link even a loose filter wants the way back
		// to be over that link.
		if e.Deliver.Link != "" {
			loose := slices.Contains(e.Direct, all)
			if f := k.sysctls["net/ipv4/conf/wlan0/rp_filter"]; (f == "2") != loose || (f == "0") == loose {
				t.Errorf("%s: the reverse path filter is %q", c.name, f)
			}
		}
		// And away from that again.
		do(t, keeper.Put(away(all)))
		if got := slices.DeleteFunc(slices.Clone(k.routes), func(r Route) bool { return r.Table != DefaultBase || r.Unreachable }); !slices.Equal(got, []Route{device(all)}) {
			t.Errorf("%s, and then no more: %v", c.name, got)
		}
	}
}

// The home network's broadcast address is one of the device's while the node is
// away, and only then.
//
//rfc:5944#4.3
func TestBroadcastsOfTheHomeNetwork(t *testing.T) {
	k := newFake()
	keeper := mobile(t, k)
	e := away(all)
	e.HomeNetwork = netip.MustParsePrefix("10.10.0.0/24")
	want := Route{Table: localTable, Dst: netip.MustParsePrefix("10.10.0.255/32"), Link: "careof0", Src: homeAddr, Broadcast: true}
	do(t, keeper.Put(e))
	if !slices.Contains(k.routes, want) {
		t.Errorf("away: %v", k.routes)
	}
	do(t, keeper.Reconcile())
	if !slices.Contains(k.routes, want) {
		t.Errorf("after a look: %v", k.routes)
	}
	e.HomeLink = "eth0"
	do(t, keeper.Put(e))
	if slices.ContainsFunc(k.routes, func(r Route) bool { return r.Broadcast }) {
		t.Errorf("at home: %v", k.routes)
	}
}

// Groups go over the visited link when that is wanted, but for those that a
// program uses with the home address.
//
//rfc:5944#4.4
func TestGroupsOnTheVisitedLink(t *testing.T) {
	k := newFake()
	keeper := mobile(t, k)
	e := away(all)
	e.Tunnels, e.LocalGroups = []forward.Tunnel{{Link: "wlan0"}}, true
	do(t, keeper.Put(e))
	table := DefaultBase + tableUplinks
	if !slices.Contains(k.routes, Route{Table: table, Dst: groups, Link: "wlan0"}) ||
		!slices.Contains(k.rules, Rule{Priority: Priority(DefaultBase, ruleConnected), To: groups, Table: table}) {
		t.Errorf("routes %v, rules %v", k.routes, k.rules)
	}
	if !slices.Contains(k.rules, Rule{Priority: Priority(DefaultBase, ruleFromHome), From: homeHost, Table: DefaultBase}) {
		t.Errorf("the home address's own packets have no rule before: %v", k.rules)
	}
	e.LocalGroups = false
	do(t, keeper.Put(e))
	if slices.ContainsFunc(k.rules, func(r Rule) bool { return r.To == groups }) {
		t.Errorf("rules %v", k.rules)
	}
}
