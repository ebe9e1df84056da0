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
// anybody being told, while another uplink is there, so many times. Between two
// holes the node goes back to the uplink that it prefers.
func Holes(r Roamer, times int) (gaps []Gap) {
	t := r.start(true, false)
	r.Wait(2 * time.Second) // the other path has been asked by then
	twice := t.gap(0, r.Now()).Twice
	for i := range times {
		r.offbeat(i) // not in step with the probes
		began := r.Now()
		r.BlackHole(access1, true)
		r.Settle(wwan, t.down)
		r.Wait(2 * time.Second)
		g := t.gap(began, r.Now()-time.Second)
		g.Twice, twice = g.Twice-twice, g.Twice
		gaps = append(gaps, g)
		r.BlackHole(access1, false)
		r.Until("the preferred uplink is used again", 5*time.Minute, func() bool { return r.Uses() == wlan })
		r.Wait(time.Second)
	}
	t.stop()
	return gaps
}

// silentHole is the scene of [Holes] for one profile; more is further
// configuration of the node, and what the scene is called by for it.
func silentHole(profile string, limit time.Duration, more ...string) *Scene {
	return &Scene{
		Name: strings.Join(append([]string{"silent-hole", profile}, more[:len(more)/2]...), "-"),
		Doc:  "The network in use swallows everything and the link stays up: packets go over the other uplink, and back when the first has answered for long enough.",
		Edit: func(t *topology.Topology) {
			Profile(t, profile, 2*time.Second)
			for _, line := range more[len(more)/2:] {
				edit(t, mobile, "[mobile-node]\n", "[mobile-node]\n"+line)
			}
		},
		Play: func(l Lab) {
			for _, g := range Holes(Careof(l), 2) {
				l.Logf("nothing for %v towards the node, %v from it", g.Down, g.Up)
				if g.Twice > 0 {
					l.Fatalf("%d packets came twice", g.Twice)
				}
				if l.Can(Exact) && max(g.Down, g.Up) > limit {
					l.Fatalf("nothing for %v towards the node and %v from it, more than %v", g.Down, g.Up, limit)
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
	Play: func(l Lab) { playLoadedPath(l, 0.4) },
}

// loadedPathFast is in doubt for most of the time, so that packets go over both
// uplinks.
var loadedPathFast = &Scene{
	Name: "loaded-path-fast",
	Doc:  "The same with the profile fast: the node stays on the path, hardly anything is lost, and no packet comes twice.",
	Edit: func(t *topology.Topology) { Profile(t, "fast", 2*time.Second) },
	Play: func(l Lab) { playLoadedPath(l, 0.02) },
}

// playLoadedPath loses no more of a flow than the part lost; nothing passes for as
// long as stands by no chance of that loss.
func playLoadedPath(l Lab, lost float64) {
	const stands = 200 * time.Millisecond
	arrive(l, wwan, access2)
	arrive(l, wlan, access1)
	l.Until("the preferred uplink is used", 10*time.Second, func() bool { b := l.Binding(mobile); return b.Registered && b.Link == wlan })
	flow := l.Flow(peer, mobile, 20*time.Millisecond)
	began := l.Now()
	l.Wait(3 * time.Second)
	stays := func(what string, during time.Duration) {
		for range int(during / (500 * time.Millisecond)) {
			l.Wait(500 * time.Millisecond)
			b := l.Binding(mobile)
			if !b.Registered || b.Link == wlan {
				continue
			}
			// Where nothing passes because the machine stands still, the path is dead
			// for as long as that.
			still := flow.Report(began, l.Now()).Gap
			if l.Can(Exact) || still < stands {
				l.Fatalf("%s: the node left the uplink", what)
			}
			l.Logf("%s: nothing passed for %v, and the node left the uplink", what, still)
			l.Until("it is back", 5*time.Minute, func() bool { b := l.Binding(mobile); return b.Registered && b.Link == wlan })
			began = l.Now()
		}
	}
	l.Shape(access1, func(g *topology.Segment) { g.Loss = 0.3 })
	stays("three packets in ten are lost", 15*time.Second)
	l.Shape(access1, func(g *topology.Segment) { g.Loss = 0 })
	r := flow.Report(began, l.Now()-time.Second)
	l.Logf("%d of %d packets were lost, %d came twice", r.Lost, r.Sent, r.Duplicates)
	if l.Can(Exact) && float64(r.Lost) > lost*float64(r.Sent) {
		l.Fatalf("%d of %d packets were lost", r.Lost, r.Sent)
	}
	for ms := 0; ms <= 400; ms += 50 {
		l.Shape(access1, func(g *topology.Segment) { g.Delay.Duration = time.Duration(ms) * time.Millisecond })
		stays("the round trip grows", 500*time.Millisecond)
	}
	stays("the round trip is 850 ms", 6*time.Second)
	flow.Stop()
	if r := flow.Report(began, l.Now()-time.Second); r.Duplicates > 0 {
		l.Fatalf("%d packets came twice", r.Duplicates)
	}
}
