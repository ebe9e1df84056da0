package scene

import (
	"fmt"
	"strings"
	"time"

	"careof/internal/lab/topology"
)

// Profile sets a mobile node's profile, and how long a path that was dead must
// answer before it is preferred again.
func Profile(t *topology.Topology, profile string, failBack time.Duration) {
	n := t.Node(mobile)
	n.Config = strings.Replace(n.Config, "[mobile-node]\n", fmt.Sprintf("[mobile-node]\nprofile = %q\nfail-back = %q\n", profile, failBack), 1)
}

// Holes lets the network of the uplink in use swallow everything, without
// anybody being told, while another uplink is there; it returns how long
// nothing arrived, each time. Between two holes the node goes back to the
// uplink that it prefers.
func Holes(l Lab, times int) (down, up []time.Duration) {
	arrive(l, wwan, access2)
	arrive(l, wlan, access1)
	l.Until("the preferred uplink is used", 10*time.Second, func() bool { b := l.Binding(mobile); return b.Registered && b.Link == wlan })
	l.Wait(3 * time.Second) // the other path has been asked by then
	to, from := l.Flow(peer, mobile, 5*time.Millisecond), l.Flow(mobile, peer, 5*time.Millisecond)
	l.Wait(2 * time.Second)
	for i := range times {
		began := l.Now()
		l.BlackHole(access1, true)
		l.Until("the other uplink is used", 30*time.Second, func() bool { b := l.Binding(mobile); return b.Registered && b.Link == wwan })
		l.Wait(2 * time.Second)
		end := l.Now() - time.Second
		d, u := to.Report(began, end), from.Report(began, end)
		down, up = append(down, d.Gap), append(up, u.Gap)
		l.BlackHole(access1, false)
		l.Until("the preferred uplink is used again", 5*time.Minute, func() bool { b := l.Binding(mobile); return b.Registered && b.Link == wlan })
		// Not in step with the probes.
		l.Wait(time.Second + time.Duration(1+i%7)*37*time.Millisecond)
	}
	to.Stop()
	from.Stop()
	return down, up
}

// silentHole is the scene of [Holes] for one profile.
func silentHole(profile string, limit time.Duration) *Scene {
	return &Scene{
		Name: "silent-hole-" + profile,
		Doc:  "The network in use swallows everything and the link stays up: packets go over the other uplink, and back when the first has answered for long enough.",
		Edit: func(t *topology.Topology) { Profile(t, profile, 2*time.Second) },
		Play: func(l Lab) {
			down, up := Holes(l, 2)
			l.Logf("downlink gaps %v, uplink gaps %v", down, up)
			for i := range down {
				if worst := max(down[i], up[i]); l.Can(Exact) && worst > limit {
					l.Fatalf("gaps of %v and %v, more than %v", down[i], up[i], limit)
				}
			}
			s := l.Stream(mobile, peer, 100_000)
			l.Wait(time.Second)
			l.BlackHole(access1, true)
			well(l, s, time.Minute)
			l.BlackHole(access1, false)
		},
	}
}

// loadedPath: neither loss nor a queue is taken for a path that is dead.
var loadedPath = &Scene{
	Name: "loaded-path",
	Doc:  "The network in use loses three packets in ten, then its round trip grows by 800 ms: neither is taken for a dead path.",
	Play: func(l Lab) {
		arrive(l, wwan, access2)
		arrive(l, wlan, access1)
		l.Until("the preferred uplink is used", 10*time.Second, func() bool { b := l.Binding(mobile); return b.Registered && b.Link == wlan })
		flow := l.Flow(peer, mobile, 20*time.Millisecond)
		l.Wait(3 * time.Second)
		stays := func(what string, during time.Duration) {
			for range int(during / (500 * time.Millisecond)) {
				l.Wait(500 * time.Millisecond)
				if b := l.Binding(mobile); b.Registered && b.Link != wlan {
					l.Fatalf("%s: the node left the uplink", what)
				}
			}
		}
		l.Shape(access1, func(g *topology.Segment) { g.Loss = 0.3 })
		stays("three packets in ten are lost", 15*time.Second)
		l.Shape(access1, func(g *topology.Segment) { g.Loss = 0 })
		for ms := 0; ms <= 400; ms += 50 {
			l.Shape(access1, func(g *topology.Segment) { g.Delay.Duration = time.Duration(ms) * time.Millisecond })
			stays("the round trip grows", 500*time.Millisecond)
		}
		stays("the round trip is 850 ms", 6*time.Second)
		flow.Stop()
	},
}
