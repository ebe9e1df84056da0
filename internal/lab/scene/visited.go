package scene

import (
	"net/netip"
	"time"

	"careof/internal/core/forward"
	"careof/internal/lab/topology"
)

// What visited networks do.

// twinModems: nothing that a host can see of the two networks differs, and
// still each packet leaves over the uplink that is meant.
var twinModems = &Scene{
	Name:     "twin-modems",
	Doc:      "Two modems give the same private address and have the same gateway, by its link-layer address too: each carries alone what is the node's when the other falls silent, and nothing leaves by the wrong one.",
	Topology: "van",
	Edit: func(t *topology.Topology) {
		for _, name := range []string{gate, "mast"} {
			r := t.Node(name)
			for i := range r.Interfaces {
				if r.Interfaces[i].Name == "lan" {
					r.Interfaces[i].Hardware = forward.HardwareAddr{2, 0, 0, 8, 0, 1}
				}
			}
		}
	},
	Play: func(l Lab) {
		arrive(l, "wwan1", "access3")
		arrive(l, wwan, access2)
		over := func(iface string) {
			l.Until("the node is reached over "+iface, 30*time.Second, func() bool { b := l.Binding(mobile); return b.Registered && b.Link == iface })
		}
		over(wwan)
		l.Wait(3 * time.Second) // the other path has been asked by then
		s := l.LongStream(mobile, peer, 500_000, 20*time.Second)
		for range 2 {
			l.BlackHole(access2, true)
			over("wwan1")
			other := l.Record(access2)
			before := s.Progress()
			l.Until("the stream flows over the second modem", 20*time.Second, func() bool { return s.Progress() > before || s.Broken() != "" })
			if l.Binding(mobile).CareOf != netip.MustParseAddr("192.168.8.101") {
				l.Fatalf("the care-of address is %v", l.Binding(mobile).CareOf)
			}
			for _, p := range other() {
				// What looks after the silent path is small.
				if len(p) > 600 {
					l.Fatalf("%d octets of the stream left by the silent modem", len(p))
				}
			}
			l.BlackHole(access2, false)
			over(wwan)
		}
		well(l, s, time.Minute)
	},
}

// homePrefix: the visited network has the prefix of the home network, and its
// gateway an address of it. Addresses of home are reached at home.
var homePrefix = &Scene{
	Name: "home-prefix-abroad",
	Doc:  "A visited network has the very prefix of the home network: the node does not take it for home, registers, and is reached.",
	Edit: func(t *topology.Topology) {
		home := netip.MustParsePrefix("10.10.0.0/24")
		g := t.Segment(access2)
		g.Network, g.Gateway, g.FirstLease = home, netip.MustParseAddr("10.10.0.1"), netip.MustParseAddr("10.10.0.200")
		r := t.Node(gate)
		r.NAT.Inside = home
		for i := range r.Interfaces {
			if r.Interfaces[i].Name == "lan" {
				r.Interfaces[i].Address = netip.MustParsePrefix("10.10.0.1/24")
			}
		}
	},
	Play: func(l Lab) {
		b := arrive(l, wwan, access2)
		if b.AtHome || !b.UDP || b.Link != wwan {
			l.Fatalf("the binding is %+v", b)
		}
		l.Until("packets get through", 10*time.Second, func() bool { return l.Reaches(peer, mobile) && l.Reaches(mobile, peer) })
		s := l.Stream(mobile, peer, 200_000)
		l.Wait(time.Second)
		// And from there to an ordinary network and back.
		l.Unplug(mobile, wwan)
		arrive(l, wlan, access1)
		l.Wait(2 * time.Second)
		l.Unplug(mobile, wlan)
		arrive(l, wwan, access2)
		well(l, s, time.Minute)
	},
}

// deafUplink: the path in use dies in one direction, first one, then the other,
// while everything gets through in the other one.
var deafUplink = &Scene{
	Name: "one-way-path",
	Doc:  "The path in use dies in one direction only, first to the node, then from it: another uplink is used, and the first again when it is whole.",
	Edit: func(t *topology.Topology) { Profile(t, "default", 2*time.Second) },
	Play: func(l Lab) {
		arrive(l, wwan, access2)
		arrive(l, wlan, access1)
		over := func(iface string, limit time.Duration) time.Duration {
			return l.Until("the node uses "+iface, limit, func() bool { b := l.Binding(mobile); return b.Registered && b.Link == iface })
		}
		over(wlan, 10*time.Second)
		l.Wait(3 * time.Second) // the other path has been asked by then
		s := l.LongStream(mobile, peer, 500_000, 30*time.Second)
		flow := l.Flow(peer, mobile, 20*time.Millisecond)
		defer flow.Stop()
		for _, end := range []struct{ node, iface, way string }{{"hotspot", "lan", "to the node"}, {mobile, wlan, "from the node"}} {
			l.Mute(end.node, end.iface, true)
			took := over(wwan, 30*time.Second)
			l.Logf("dead %s: the other uplink is used %v later", end.way, took)
			if limit := 3 * time.Second; l.Can(Exact) && took > limit { // packets that still come in are no proof of death
				l.Fatalf("dead %s: only after %v, more than %v", end.way, took, limit)
			}
			l.Until("packets get through both ways", 10*time.Second, func() bool { return l.Reaches(peer, mobile) && l.Reaches(mobile, peer) })
			l.Mute(end.node, end.iface, false)
			over(wlan, 5*time.Minute)
			l.Wait(time.Second)
		}
		well(l, s, 2*time.Minute)
	},
}
