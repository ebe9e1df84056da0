package route

import (
	"net/netip"
	"slices"
	"testing"

	"careof/internal/core/engine"
	"careof/internal/core/forward"
)

// Registered with a foreign agent's care-of address, the home address's packets
// go to that agent, whose link-layer address nobody is asked for; and when
// that is over they go to the device again.
//
//rfc:5944#4.2.1
//rfc:5944#4.6
//rfc:5944#3.6-7
//rfc:5944#3.6.2.2-1
func TestRegisteredThroughAForeignAgent(t *testing.T) {
	k := newFake()
	k.sysctls["net/ipv4/conf/wlan0/rp_filter"], k.sysctls["net/ipv4/conf/wlan0/accept_redirects"] = "1", "1"
	keeper := mobile(t, k)
	do(t, keeper.Put(away(all)))
	agent, other := netip.MustParseAddr("198.18.1.1"), netip.MustParseAddr("198.18.2.1")
	nowhere := Route{Table: DefaultBase, Dst: all, Metric: lastMetric, Unreachable: true}
	check := func(when string, want Route, neighbor netip.Addr, hw forward.HardwareAddr) {
		t.Helper()
		routes := []Route{want, nowhere}
		if direct := want.Link != "careof0" && when != "at home"; direct {
			// What is for many never leaves with the home address.
			routes = append(routes, Route{Table: DefaultBase, Dst: groups, Link: "careof0", Src: homeAddr}, Route{Table: DefaultBase, Dst: everybody, Link: "careof0", Src: homeAddr})
		}
		for _, r := range routes {
			if !slices.Contains(k.routes, r) {
				t.Errorf("%s: no %v in %+v", when, r, k.routes)
			}
		}
		if n := len(slices.DeleteFunc(slices.Clone(k.routes), func(r Route) bool { return r.Table != DefaultBase })); n != len(routes) {
			t.Errorf("%s: %d routes of the home address", when, n)
		}
		if neighbor.IsValid() != (len(k.neighbors) == 1) || neighbor.IsValid() && k.neighbors[neighborKey{"wlan0", neighbor}] != hw {
			t.Errorf("%s: neighbours %v", when, k.neighbors)
		}
	}
	visit := func(a netip.Addr, hw forward.HardwareAddr, tunnels ...forward.Tunnel) forward.Entry {
		e := away(all)
		e.Deliver, e.Tunnels = forward.Deliver{Link: "wlan0", HW: hw, Via: a}, tunnels
		return e
	}
	one, two := forward.HardwareAddr{2, 1}, forward.HardwareAddr{2, 2}
	do(t, keeper.Put(visit(agent, one)))
	check("through one agent", Route{Table: DefaultBase, Dst: all, Via: agent, Link: "wlan0", Src: homeAddr}, agent, one)
	if k.sysctls["net/ipv4/conf/wlan0/rp_filter"] != "2" || k.sysctls["net/ipv4/conf/wlan0/accept_redirects"] != "0" {
		t.Errorf("sysctls %v", k.sysctls)
	}
	n := k.changes
	do(t, keeper.Put(visit(agent, one, forward.Tunnel{Mode: forward.Receive})))
	if k.changes != n {
		t.Error("a tunnel that drains changed something")
	}
	do(t, keeper.Put(visit(agent, two)))
	check("the agent has another link-layer address", Route{Table: DefaultBase, Dst: all, Via: agent, Link: "wlan0", Src: homeAddr}, agent, two)
	do(t, keeper.Put(visit(other, two)))
	check("through another", Route{Table: DefaultBase, Dst: all, Via: other, Link: "wlan0", Src: homeAddr}, other, two)
	do(t, keeper.Put(visit(other, two, forward.Tunnel{Mode: forward.Both})))
	check("with a tunnel", Route{Table: DefaultBase, Dst: all, Link: "careof0", Src: homeAddr}, other, two)
	do(t, keeper.Put(visit(agent, one)))
	do(t, keeper.Put(away(all)))
	// At home with nothing but the home address: by the router that the home
	// agent advertises.
	bare := away(all)
	bare.HomeLink, bare.Deliver = "eth0", forward.Deliver{Link: "eth0", Via: agent}
	do(t, keeper.Put(bare))
	check("at home", Route{Table: DefaultBase, Dst: all, Via: agent, Link: "eth0", Src: homeAddr}, netip.Addr{}, forward.HardwareAddr{})
	do(t, keeper.Put(away(all)))
	check("away with an address of its own", Route{Table: DefaultBase, Dst: all, Link: "careof0", Src: homeAddr}, netip.Addr{}, forward.HardwareAddr{})
}

// TestAnAgentsAddressStaysNowhere: the next network may have another station
// at the same address, as so many have a 192.168.1.1.
func TestAnAgentsAddressStaysNowhere(t *testing.T) {
	agent, hw := netip.MustParseAddr("198.18.1.1"), forward.HardwareAddr{2, 1}
	visit := away(all)
	visit.Deliver = forward.Deliver{Link: "wlan0", HW: hw, Via: agent}
	k := newFake()
	keeper := mobile(t, k)
	do(t, keeper.Put(visit))
	if len(k.neighbors) != 1 {
		t.Fatal("the agent is not known")
	}
	// The cable is pulled: the interface stays up, and keeps what was set for
	// good.
	do(t, keeper.Uplink(engine.Link{Name: "wlan0"}))
	if len(k.neighbors) != 0 {
		t.Errorf("without a carrier: %v", k.neighbors)
	}
	do(t, keeper.Uplink(engine.Link{Name: "wlan0", Up: true}))
	if len(k.neighbors) != 1 {
		t.Errorf("still registered through it: %v", k.neighbors)
	}
	// The process is killed, and another one starts somewhere else.
	mobile(t, k)
	if len(k.neighbors) != 0 {
		t.Errorf("after a kill: %v", k.neighbors)
	}
}
