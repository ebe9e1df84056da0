package scene

import (
	"net/netip"
	"time"
)

// oneBox has a box that is the home agent and, on both its links, a foreign
// agent.
var oneBox = &Scene{
	Name:     "one-box",
	Doc:      "Home agent and foreign agent are one box: a node of its own visits it on one link, and is home on the other, where the same box advertises.",
	Topology: "one-box",
	Needs:    []Ability{Whole},
	//rfc:5944#2.1
	//rfc:5944#2.4.3
	//rfc:5944#3.7
	Play: func(l Lab) {
		l.Plug(mobile, wlan, visited1)
		visiting := func() {
			l.Until("the node visits its own home agent's box", 15*time.Second, func() bool {
				b := l.Binding(mobile)
				return b.Registered && !b.AtHome && b.CareOf == netip.MustParseAddr("198.18.1.1")
			})
			for _, other := range []string{peer, "neighbour"} {
				l.Until("packets go to "+other+" and back", 10*time.Second, func() bool { return l.Reaches(other, mobile) && l.Reaches(mobile, other) })
			}
		}
		visiting()
		stream := l.Stream(mobile, peer, 100_000)
		home := func(when string) {
			l.Plug(mobile, wlan, "home")
			l.Until("the node is at home", 15*time.Second, func() bool { b := l.Binding(mobile); return b.AtHome && b.Tunnels == 0 })
			for _, way := range [][2]string{{"neighbour", mobile}, {mobile, peer}, {peer, mobile}, {mobile, agent}, {agent, mobile}} {
				l.Until(when+" packets go from "+way[0]+" to "+way[1], 10*time.Second, func() bool { return l.Reaches(way[0], way[1]) })
			}
			if b := l.Binding(mobile); !b.AtHome {
				l.Fatalf("the node took its home link's foreign agent for a visit: care-of address %v", b.CareOf)
			}
		}
		home("at home")
		// And elsewhere, and back.
		l.Plug(mobile, wlan, access2)
		registered(l, 15*time.Second)
		l.Plug(mobile, wlan, visited1)
		visiting()
		well(l, stream, time.Minute)
	},
}

// overlapping has two home networks with the same addresses.
var overlapping = &Scene{
	Name:     "overlapping",
	Doc:      "Two nodes with one private home address visit one foreign agent: each reaches its own correspondent, which have one address, too.",
	Topology: "overlapping",
	Needs:    []Ability{Whole},
	//rfc:3024#A.4
	//rfc:3024#A.3
	Play: func(l Lab) {
		nodes, peers := []string{"mn1", "mn2"}, []string{"cn1", "cn2"}
		streams := make([]Stream, len(nodes))
		for i, n := range nodes {
			l.Plug(n, wlan, "visited")
			l.Until(n+" is registered", 20*time.Second, func() bool {
				b := l.Binding(n)
				return b.Registered && b.CareOf == netip.MustParseAddr("203.0.113.1")
			})
			l.Until(n+" reaches its own correspondent", 10*time.Second, func() bool { return l.Reaches(n, peers[i]) && l.Reaches(peers[i], n) })
			streams[i] = l.Stream(n, peers[i], 100_000)
		}
		for i := range nodes {
			well(l, streams[i], time.Minute)
			if l.Reaches(nodes[i], peers[1-i]) {
				l.Fatalf("%s reaches %s, the other one's correspondent", nodes[i], peers[1-i])
			}
		}
		// One leaves, and the other stays served.
		l.Unplug("mn1", wlan)
		if !l.Reaches("mn2", "cn2") || !l.Reaches("cn2", "mn2") {
			l.Fatalf("mn2 is not served any more")
		}
	},
}

// bogusBox has a second agent on the visited link, a real daemon, whose
// care-of address nobody reaches.
var bogusBox = &Scene{
	Name:     "bogus-agent",
	Doc:      "Beside the foreign agent a second box advertises and relays to nowhere: the node gets through by the first one, also when it hears the second one first.",
	Topology: "bogus-agent",
	Needs:    []Ability{Whole},
	//rfc:5944#2.4.2
	//rfc:5944#3.6.3
	Play: func(l Lab) {
		near := l.Record(visited1)
		bogus := netip.MustParseAddr("198.18.1.2")
		through := func() {
			l.Until("the node is registered through the real agent", time.Minute, func() bool {
				b := l.Binding(mobile)
				return b.Registered && b.CareOf == CareOf1
			})
			l.Until("packets get through", 10*time.Second, func() bool { return l.Reaches(peer, mobile) && l.Reaches(mobile, peer) })
		}
		// The real one is dead at first: the bogus one is asked, for nothing.
		l.Kill(foreign1)
		l.Plug(mobile, wlan, visited1)
		l.Until("the bogus agent is asked", 30*time.Second, func() bool { return requestsTo(near(), bogus) > 0 })
		l.Start(foreign1)
		through()
		stream := l.Stream(mobile, peer, 100_000)
		// Both advertise, and the node stays where it is served.
		asked := requestsTo(near(), bogus)
		l.Wait(2 * AdvertiseInterval)
		if n := requestsTo(near(), bogus) - asked; n != 0 || l.Binding(mobile).CareOf != CareOf1 {
			l.Fatalf("registered with %v, and asked the bogus agent %d times", l.Binding(mobile).CareOf, n)
		}
		well(l, stream, time.Minute)
	},
}
