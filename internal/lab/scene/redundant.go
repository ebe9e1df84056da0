package scene

import (
	"fmt"
	"time"

	"careof/internal/lab/topology"
)

// redundant loses much on one of two uplinks, then on the other: nothing of a
// flow in either direction is lost.
var redundant = &Scene{
	Name: "redundant",
	Doc:  "One of two uplinks drops three packets in ten, then the other; one dies, and their cables are pulled: of packets that go over both none is lost, and none comes twice.",
	Edit: TwoWays,
	Play: playRedundant,
}

// redundantEncrypted copies all packets, of a node as careof join sets it up.
var redundantEncrypted = &Scene{
	Name: "redundant-encrypted",
	Doc:  "The same with all packets, in an encrypted tunnel: none is lost, and none comes twice.",
	Edit: func(t *topology.Topology) {
		copied(t, "net 0.0.0.0/0", "encapsulation = \"wireguard\"\npath-validation = \"on\"\n")
	},
	Play: playRedundant,
}

// TwoWays makes a mobile node send the datagrams of flows over two uplinks.
func TwoWays(t *topology.Topology) { copied(t, "net 192.0.2.0/24", "") }

func copied(t *topology.Topology, class, more string) {
	edit(t, mobile, "[mobile-node]\n", fmt.Sprintf("[mobile-node]\nredundant = [%q]\n%s", class, more))
}

func playRedundant(l Lab) {
	both := func() {
		l.Until("redundant packets go over both", 30*time.Second, func() bool { b := l.Binding(mobile); return b.Registered && b.Tunnels == 1 && b.Copies == 2 })
	}
	arrive(l, wlan, access1)
	l.Plug(mobile, wwan, access2)
	both()
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
			way, r := [...]string{"down", "up"}[i], settled(l, f, began, end)
			l.Logf("%s, %s: %d of %d lost, %d twice, nothing for %v at most", what, way, r.Lost, r.Sent, r.Duplicates, r.Gap)
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
	during("the first uplink swallows everything", func() { l.BlackHole(access1, true) }, func() {
		// That nothing was lost does not hide it.
		l.Until("the other uplink is the first", 30*time.Second, func() bool { return l.Binding(mobile).Link == wwan })
		l.BlackHole(access1, false)
	})
	both()
	// The two take turns as the first one.
	during("one uplink's cable is pulled", func() { l.Unplug(mobile, wlan) }, func() { l.Plug(mobile, wlan, access1) })
	both()
	during("the other uplink's cable is pulled", func() { l.Unplug(mobile, wwan) }, func() { l.Plug(mobile, wwan, access2) })
	to.Stop()
	from.Stop()
}
