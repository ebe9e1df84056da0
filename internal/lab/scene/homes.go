package scene

import (
	"net/netip"
	"time"

	"careof/internal/core/forward"
	"careof/internal/lab/topology"
)

//rfc:5944#3.8.2.2-10
//rfc:5944#4.2.3-3
var homeLink = &Scene{
	Name:     "home-link",
	Doc:      "The node leaves its home link and comes back; the neighbour's ARP table follows, in the order that RFC 5944 section 4.6 gives.",
	Topology: "home-link",
	//rfc:5944#4.6
	Play: func(l Lab) {
		home := netip.MustParseAddr("10.10.0.5")
		const neighbour = "neighbour"
		own, agents := l.HardwareAddr(mobile, wlan), l.HardwareAddr(agent, "eth0")
		believes := func(who string, hw forward.HardwareAddr, when string) {
			l.Until(when+", the neighbour believes "+who, 5*time.Second, func() bool {
				return l.Reaches(neighbour, mobile) && l.Neighbor(neighbour, home) == hw
			})
		}
		l.Plug(mobile, wlan, "home")
		l.Until("the node is at home", 15*time.Second, func() bool { return l.Binding(mobile).AtHome })
		believes("the mobile node", own, "at home")
		stream := l.Stream(mobile, peer, 300_000)
		for range 2 {
			l.Wait(2 * time.Second)
			l.Plug(mobile, wlan, access1)
			registered(l, 15*time.Second)
			believes("the home agent", agents, "away")
			if !l.Reaches(mobile, neighbour) {
				l.Fatalf("away, the mobile node does not reach its neighbour")
			}
			l.Wait(2 * time.Second)
			l.Plug(mobile, wlan, access2)
			registered(l, 15*time.Second)
			believes("the home agent", agents, "away behind a translator")
			l.Wait(2 * time.Second)
			l.Plug(mobile, wlan, "home")
			l.Until("the node is at home again", 15*time.Second, func() bool {
				b := l.Binding(mobile)
				return b.AtHome && b.Registered && b.Tunnels == 0
			})
			believes("the mobile node", own, "home again")
		}
		well(l, stream, 60*time.Second)
	},
}

var pool = &Scene{
	Name: "pool",
	Doc:  "A node without a home address gets one for its NAI, and keeps it over moves and restarts.",
	Edit: func(t *topology.Topology) {
		edit(t, agent, `home-address = "10.10.0.5"`, `nai = "van7@fleet.example"`)
		edit(t, mobile, `home-address = "10.10.0.5"`, `nai = "van7@fleet.example"`)
	},
	//rfc:2794#3
	Play: func(l Lab) {
		b := arrive(l, wlan, access1)
		if !netip.MustParsePrefix("10.10.0.0/24").Contains(b.HomeAddress) || b.HomeAddress.Less(netip.MustParseAddr("10.10.0.100")) {
			l.Fatalf("the home address %v is not of the pool", b.HomeAddress)
		}
		stream := l.Stream(mobile, peer, 100_000)
		check := func(when string) {
			l.Wait(2 * time.Second)
			if now := l.Binding(mobile).HomeAddress; now != b.HomeAddress {
				l.Fatalf("%s: the home address went from %v to %v", when, b.HomeAddress, now)
			}
			if !l.Reaches(peer, mobile) || !l.Reaches(mobile, peer) {
				l.Fatalf("%s: packets do not get through", when)
			}
		}
		arrive(l, wlan, access2)
		check("after a move")
		l.Kill(agent)
		l.Start(agent)
		arrive(l, wlan, access1)
		check("after the home agent's restart")
		l.Kill(mobile)
		l.Start(mobile)
		registered(l, 10*time.Second)
		check("after the mobile node's restart")
		well(l, stream, 30*time.Second)
	},
}

var discovery = &Scene{
	Name: "discovery",
	Doc:  "A node that does not know its home agent asks the home network's broadcast address, and is told.",
	Edit: func(t *topology.Topology) {
		edit(t, mobile, `home-agent = "198.51.100.1"`, `home-network = "10.10.0.0/24"`)
	},
	//rfc:5944#3.6.1.2
	Play: func(l Lab) {
		b := arrive(l, wlan, access1)
		if l.Replies(agent, 136) == 0 {
			l.Fatalf("nobody was refused with code 136: the home agent was not discovered")
		}
		if !b.Registered || !l.Reaches(peer, mobile) || !l.Reaches(mobile, peer) {
			l.Fatalf("packets do not get through")
		}
		arrive(l, wlan, access2)
		if !l.Reaches(peer, mobile) || !l.Reaches(mobile, peer) {
			l.Fatalf("packets do not get through after a move")
		}
	},
}

var simultaneous = &Scene{
	Name:  "simultaneous-bindings",
	Doc:   "With the S bit two uplinks are bound at a time, and every packet comes twice.",
	Needs: []Ability{Tuned},
	Tune: func(t *Tuning) {
		if t.Home != nil {
			t.Home.SimultaneousBindings = 2
		}
		if t.Mobile != nil {
			t.Mobile.Simultaneous = 2
		}
	},
	//rfc:5944#4.2.3
	Play: func(l Lab) {
		arrive(l, wlan, access1)
		l.Plug(mobile, wwan, access2)
		l.Until("two tunnels are there", 15*time.Second, func() bool { return l.Binding(mobile).Tunnels == 2 })
		l.Wait(3 * time.Second)
		down := l.Flow(peer, mobile, 20*time.Millisecond)
		began := l.Now()
		l.Wait(4 * time.Second)
		r := down.Report(began, began+3*time.Second)
		if r.Lost > 0 || r.Duplicates < r.Sent {
			l.Fatalf("of %d packets %d are lost and %d came twice", r.Sent, r.Lost, r.Duplicates)
		}
		// One link dies without a word: nothing is lost.
		began = l.Now()
		l.BlackHole(access1, true)
		l.Wait(3 * time.Second)
		if r := down.Report(began, began+2*time.Second); r.Lost > 0 {
			l.Fatalf("%d of %d packets are lost when one of two links dies", r.Lost, r.Sent)
		}
		// What the node sends goes over the other one by now.
		if !l.Reaches(mobile, peer) {
			l.Fatalf("the node sends nothing after one of two links has died")
		}
	},
}
