package scene

import (
	"strings"
	"time"

	"careof/internal/lab/topology"
)

// The built-in topologies' names.
const (
	mobile  = "mn"
	peer    = "cn"
	agent   = "ha"
	wlan    = "wlan0"
	wwan    = "wwan0"
	access1 = "access1" // 25 ms each way
	access2 = "access2" // 25 ms each way, behind the translator
	gate    = "gate"
)

// PathRTT is the round-trip time between the mobile node and its home agent,
// over either access network, ARP not counted.
const PathRTT = 50*time.Millisecond + 400*time.Microsecond

// arrive plugs an interface in and waits for the registration.
func arrive(l Lab, iface, segment string) Binding {
	l.Plug(mobile, iface, segment)
	return registered(l, 15*time.Second)
}

// registered waits until the mobile node is registered.
func registered(l Lab, limit time.Duration) Binding {
	l.Until("the mobile node is registered", limit, func() bool { return l.Binding(mobile).Registered })
	return l.Binding(mobile)
}

// well ends the scene when a stream is dead, or does not come to its end.
func well(l Lab, s Stream, limit time.Duration) {
	l.Until("the stream has arrived whole, or is broken", limit, func() bool { return s.Done() || s.Broken() != "" })
	if s.Broken() != "" {
		l.Fatalf("the stream is dead: %s", s.Broken())
	}
}

// edit changes a daemon's configuration by replacing a text.
func edit(t *topology.Topology, node, old, new string) {
	n := t.Node(node)
	if !strings.Contains(n.Config, old) {
		panic("scene: " + node + " has no " + old)
	}
	n.Config = strings.Replace(n.Config, old, new, 1)
}

var breakBeforeMake = &Scene{
	Name: "break-before-make",
	Doc:  "A mobile node loses its link before it has another; the stream survives, and the gap is a round trip.",
	Play: func(l Lab) {
		arrive(l, wlan, access1)
		stream := l.Stream(mobile, peer, 400_000)
		down, up := l.Flow(peer, mobile, 5*time.Millisecond), l.Flow(mobile, peer, 5*time.Millisecond)
		l.Wait(2 * time.Second)
		for range 3 {
			for _, to := range []struct{ iface, segment, leave string }{{wwan, access2, wlan}, {wlan, access1, wwan}} {
				began := l.Now()
				l.Unplug(mobile, to.leave)
				arrive(l, to.iface, to.segment)
				l.Wait(2 * time.Second)
				d, u := down.Report(began, began+time.Second), up.Report(began, began+time.Second)
				l.Logf("to %s: downlink gap %v, %d lost; uplink gap %v, %d lost", to.segment, d.Gap, d.Lost, u.Gap, u.Lost)
				if d.Duplicates+u.Duplicates > 0 {
					l.Fatalf("to %s: %d and %d packets came twice", to.segment, d.Duplicates, u.Duplicates)
				}
				if l.Can(Exact) {
					// The flow's own 5 ms, the address and a local ARP exchange come
					// on top of the round trip; 20 ms are allowed for all that.
					if limit := PathRTT + 20*time.Millisecond; d.Gap > limit {
						l.Fatalf("to %s: the downlink gap is %v, more than %v", to.segment, d.Gap, limit)
					}
				}
			}
		}
		well(l, stream, 30*time.Second)
	},
}

var makeBeforeBreak = &Scene{
	Name: "make-before-break",
	Doc:  "A mobile node gets a better link while the old one still works; no packet is lost and none comes twice.",
	Play: func(l Lab) {
		arrive(l, wwan, access2)
		stream := l.Stream(mobile, peer, 200_000)
		down, up := l.Flow(peer, mobile, 5*time.Millisecond), l.Flow(mobile, peer, 5*time.Millisecond)
		l.Wait(2 * time.Second)
		began := l.Now()
		b := arrive(l, wlan, access1)
		l.Until("the better link is used", 5*time.Second, func() bool { return l.Binding(mobile).Link == wlan })
		l.Wait(3 * time.Second)
		end := l.Now() - time.Second
		if b.UDP && !l.Binding(mobile).UDP {
			l.Logf("the tunnel left UDP behind")
		}
		d, u := settled(l, down, began, end), settled(l, up, began, end)
		if d.Lost+u.Lost+d.Duplicates+u.Duplicates > 0 {
			l.Fatalf("downlink: %d lost, %d twice; uplink: %d lost, %d twice", d.Lost, d.Duplicates, u.Lost, u.Duplicates)
		}
		// The old link may go now: nobody uses it.
		began = l.Now()
		l.Unplug(mobile, wwan)
		l.Wait(2 * time.Second)
		d, u = settled(l, down, began, began+time.Second), settled(l, up, began, began+time.Second)
		if d.Lost+u.Lost > 0 {
			l.Fatalf("the loss of an unused link lost %d and %d packets", d.Lost, u.Lost)
		}
		well(l, stream, 30*time.Second)
	},
}

var natAndBack = &Scene{
	Name: "nat-and-back",
	Doc:  "Behind a translator the tunnel goes through UDP port 434, elsewhere it is plain IP-in-IP.",
	Play: func(l Lab) {
		if b := arrive(l, wlan, access1); b.UDP {
			l.Fatalf("the tunnel is in UDP although there is no translator")
		}
		stream := l.Stream(mobile, peer, 150_000)
		for range 2 {
			if b := arrive(l, wlan, access2); !b.UDP {
				l.Fatalf("the tunnel is not in UDP behind the translator")
			}
			l.Wait(2 * time.Second)
			if b := arrive(l, wlan, access1); b.UDP {
				l.Fatalf("the tunnel stays in UDP after the translator")
			}
			l.Wait(2 * time.Second)
		}
		well(l, stream, 30*time.Second)
		if !l.Reaches(peer, mobile) || !l.Reaches(mobile, peer) {
			l.Fatalf("packets do not get through")
		}
	},
}

var natRebinding = &Scene{
	Name: "nat-rebinding",
	Doc:  "A translator forgets its mappings; the keepalives notice, and the node registers its new endpoint.",
	Edit: func(t *topology.Topology) {
		edit(t, agent, `interfaces = []`, "interfaces = []\nkeepalive = \"15s\"")
	},
	Play: func(l Lab) {
		if b := arrive(l, wlan, access2); !b.UDP {
			l.Fatalf("the tunnel is not in UDP behind the translator")
		}
		stream := l.Stream(mobile, peer, 150_000)
		l.Wait(3 * time.Second)
		l.Rebind(gate)
		took := l.Until("packets get through again", 2*time.Minute, func() bool { return l.Reaches(peer, mobile) })
		l.Logf("packets get through %v after the translator forgot", took)
		well(l, stream, time.Minute)
	},
}

var natSwallowing = &Scene{
	Name: "nat-swallowing",
	Doc:  "A translator's mapping carries nothing any more, whatever is sent into it: the node registers from another port, and its stream goes on.",
	//rfc:3519#4.1
	Play: func(l Lab) {
		if b := arrive(l, wlan, access2); !b.UDP {
			l.Fatalf("the tunnel is not in UDP behind the translator")
		}
		stream := l.Stream(mobile, peer, 150_000)
		l.Wait(3 * time.Second)
		// Twice: the second port is as dear as the first.
		for range 2 {
			l.Swallow(gate)
			took := l.Until("packets get through again", time.Minute, func() bool { return l.Reaches(peer, mobile) && l.Reaches(mobile, peer) })
			l.Logf("packets get through %v after the translator swallowed them", took)
			l.Wait(2 * time.Second)
		}
		well(l, stream, time.Minute)
	},
}

var blackHole = &Scene{
	Name: "black-hole",
	Doc:  "A network swallows everything for a while; the stream survives when it comes back.",
	Play: func(l Lab) {
		arrive(l, wlan, access1)
		stream := l.Stream(mobile, peer, 150_000)
		l.Wait(2 * time.Second)
		l.BlackHole(access1, true)
		l.Wait(10 * time.Second)
		l.BlackHole(access1, false)
		well(l, stream, time.Minute)
	},
}

var loss = &Scene{
	Name: "loss",
	Doc:  "Three packets in ten are lost on the access networks; registrations and streams get through.",
	Play: func(l Lab) {
		for _, s := range []string{access1, access2} {
			l.Shape(s, func(g *topology.Segment) { g.Loss, g.Jitter.Duration, g.Duplicate = 0.3, 5*time.Millisecond, 0.05 })
		}
		// Half of all exchanges fail, and the node asks ever more rarely.
		l.Plug(mobile, wlan, access1)
		registered(l, 3*time.Minute)
		stream := l.Stream(mobile, peer, 15_000)
		l.Wait(5 * time.Second)
		l.Plug(mobile, wlan, access2)
		registered(l, 3*time.Minute)
		well(l, stream, 5*time.Minute)
	},
}
