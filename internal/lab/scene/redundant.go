package scene

import (
	"time"

	"careof/internal/lab/topology"
)

// TwoWays makes a mobile node send the datagrams of flows over two uplinks.
func TwoWays(t *topology.Topology) {
	edit(t, mobile, "[mobile-node]\n", "[mobile-node]\nredundant = [\"net 192.0.2.0/24\"]\n")
}

// redundant loses much on one of two uplinks, then on the other: nothing of a
// flow in either direction is lost.
var redundant = &Scene{
	Name: "redundant",
	Doc:  "One of two uplinks drops three packets in ten, then the other, then one dies: of packets that go over both none is lost, and none comes twice.",
	Edit: TwoWays,
	Play: func(l Lab) {
		arrive(l, wlan, access1)
		l.Plug(mobile, wwan, access2)
		l.Wait(5 * time.Second) // the second is registered too
		to, from := l.Flow(peer, mobile, 10*time.Millisecond), l.Flow(mobile, peer, 10*time.Millisecond)
		l.Wait(time.Second)
		during := func(what string, change func(), back func()) {
			began := l.Now()
			change()
			l.Wait(4 * time.Second)
			end := l.Now()
			back()
			l.Wait(time.Second)
			for i, f := range []Flow{to, from} {
				way, r := [...]string{"down", "up"}[i], f.Report(began, end)
				l.Logf("%s, %s: %d of %d lost, %d twice", what, way, r.Lost, r.Sent, r.Duplicates)
				if r.Lost > 0 || r.Sent < 100 {
					l.Fatalf("%s, %s: %d of %d packets were lost", what, way, r.Lost, r.Sent)
				}
				if r.Duplicates > 0 {
					l.Fatalf("%s, %s: %d packets came twice", what, way, r.Duplicates)
				}
			}
		}
		for _, segment := range []string{access1, access2} {
			during("three in ten are lost on "+segment,
				func() { l.Shape(segment, func(g *topology.Segment) { g.Loss = 0.3 }) },
				func() { l.Shape(segment, func(g *topology.Segment) { g.Loss = 0 }) })
		}
		during("the first uplink swallows everything", func() { l.BlackHole(access1, true) }, func() {})
		l.BlackHole(access1, false)
		to.Stop()
		from.Stop()
	},
}
