package scene

import (
	"time"

	"careof/internal/lab/topology"
)

// vanScene is a minute of the drive that [Drive] makes an hour of, and with
// nothing but what a real network can do.
var vanScene = &Scene{
	Name:     "van",
	Doc:      "A van with two modems in one private network, Wi-Fi and two hosts drives for a minute: cells fall silent, links go, a translator forgets, daemons are killed, and no octet is lost.",
	Topology: "van",
	//rfc:5177#5
	Play: func(l Lab) {
		const minute = time.Minute
		began := l.Now()
		over := func(iface string) {
			l.Until("the van is reached over "+iface, 20*time.Second, func() bool { b := l.Binding(mobile); return b.Registered && b.Link == iface })
		}
		arrive(l, wwan, "access2")
		l.Plug(mobile, "wwan1", "access3")
		hosts := []string{"laptop", "tablet", mobile}
		var streams []Stream
		for _, name := range hosts {
			l.Until(name+" reaches the peer", 15*time.Second, func() bool { return l.Reaches(name, peer) })
		}
		for _, name := range hosts {
			streams = append(streams, l.LongStream(name, peer, 1_200_000, minute))
		}
		step := func(what string, do func()) {
			before := make([]uint64, len(streams))
			do()
			for i, s := range streams {
				before[i] = s.Progress()
			}
			took := l.Until("every stream flows after "+what, 25*time.Second, func() bool {
				for i, s := range streams {
					if s.Broken() != "" {
						l.Fatalf("%s: the stream of %s is dead: %s", what, hosts[i], s.Broken())
					}
					if s.Progress() <= before[i] && !s.Done() {
						return false
					}
				}
				return true
			})
			l.Logf("%s: every stream flows %v later", what, took.Round(time.Millisecond))
			// The other modem is known to be good, though it has the same address.
			if limit := 3 * time.Second; l.Can(Exact) && took > limit {
				l.Fatalf("%s: a stream stands still for %v, more than %v", what, took, limit)
			}
			l.Wait(1500 * time.Millisecond)
		}
		step("a modem's cell is silent", func() { l.BlackHole(access2, true); over("wwan1") })
		step("its cell is back and the other modem is lost", func() { l.BlackHole(access2, false); l.Unplug(mobile, "wwan1"); over(wwan) })
		step("Wi-Fi", func() { l.Plug(mobile, wlan, access1); over(wlan) })
		step("Wi-Fi is out of reach", func() { l.BlackHole(access1, true); over(wwan) })
		step("Wi-Fi is gone", func() { l.Unplug(mobile, wlan); l.BlackHole(access1, false) })
		step("a tunnel", func() {
			l.Plug(mobile, "wwan1", "access3")
			l.BlackHole(access2, true)
			l.BlackHole("access3", true)
			l.Wait(3 * time.Second)
			l.BlackHole(access2, false)
			l.BlackHole("access3", false)
		})
		step("a translator forgot", func() { l.Rebind(gate) })
		step("a lossy cell", func() {
			l.Shape(access2, func(g *topology.Segment) { g.Loss, g.Jitter.Duration = 0.05, 10*time.Millisecond })
			l.Wait(2 * time.Second)
			l.Shape(access2, func(g *topology.Segment) { g.Loss, g.Jitter.Duration = 0, 0 })
		})
		step("the router's daemon was killed", func() { l.Kill(mobile); l.Wait(500 * time.Millisecond); l.Start(mobile) })
		step("the home agent was killed", func() { l.Kill(agent); l.Wait(500 * time.Millisecond); l.Start(agent) })
		for l.Now()-began < minute-2*time.Second {
			lost, other := roads[1], roads[2]
			if l.Binding(mobile).Link == other.iface {
				lost, other = other, lost
			}
			step(lost.iface+" is lost, and comes back", func() {
				l.Unplug(mobile, lost.iface)
				over(other.iface)
				l.Plug(mobile, lost.iface, lost.segment)
			})
		}
		for _, s := range streams {
			well(l, s, minute)
		}
	},
}
