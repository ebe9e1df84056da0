package scene

import (
	"time"

	"careof/internal/lab/topology"
)

// A Gap is what one move cost.
type Gap struct {
	Down, Up time.Duration // the longest time without an arrival, towards the node and from it
	Lost     int           // datagrams, both ways
	Twice    int           // that arrived twice
}

// A Roamer is whatever keeps a node reachable in a [Lab]: careof, or another
// program in its place. What is held against it makes the same moves.
type Roamer struct {
	Lab
	// Uses is the interface that it uses now, as far as it says; Settle waits
	// until packets towards the node arrive over an interface after a move.
	Uses   func() string
	Settle func(iface string, down Flow)
	// Made is how many moves were made before in laboratories of their own: the
	// moves of this one go on at other instants.
	Made int
}

// Careof is the roamer of a laboratory's own daemons.
func Careof(l Lab) Roamer {
	return Roamer{
		Lab: l, Uses: func() string { return l.Binding(mobile).Link },
		Settle: func(iface string, _ Flow) {
			l.Until("the node is reached over "+iface, 30*time.Second, func() bool { b := l.Binding(mobile); return b.Registered && b.Link == iface })
		},
	}
}

// Distant sets how long a packet takes between the node's networks and the
// core.
func Distant(t *topology.Topology, oneWay time.Duration) {
	for _, name := range []string{"isp1", "isp2"} {
		t.Segment(name).Delay.Duration = oneWay - 100*time.Microsecond
	}
}

// flowEvery is how often a flow sends: a gap is known no better.
const flowEvery = 5 * time.Millisecond

// traffic is a flow in each direction; with quiet, the node only receives.
type traffic struct{ down, up Flow }

func newTraffic(l Lab, quiet bool) traffic {
	t := traffic{down: l.Flow(peer, mobile, flowEvery)}
	if !quiet {
		t.up = l.Flow(mobile, peer, flowEvery)
	}
	return t
}

func (t traffic) gap(begin, end time.Duration) Gap {
	d := t.down.Report(begin, end)
	g := Gap{Down: d.Gap, Lost: d.Lost, Twice: d.Duplicates}
	if t.up != nil {
		u := t.up.Report(begin, end)
		g.Up, g.Lost, g.Twice = u.Gap, g.Lost+u.Lost, g.Twice+u.Duplicates
	}
	return g
}

func (t traffic) stop() {
	t.down.Stop()
	if t.up != nil {
		t.up.Stop()
	}
}

// start has the node on its second uplink, with the first one behind it when
// both are to be there.
func (r Roamer) start(both, quiet bool) traffic {
	r.Plug(mobile, wwan, access2)
	r.Until("packets get through", time.Minute, func() bool { return r.Reaches(mobile, peer) && r.Reaches(peer, mobile) })
	t := newTraffic(r, quiet)
	if both {
		r.Plug(mobile, wlan, access1)
		r.Settle(wlan, t.down)
	}
	r.Wait(3 * time.Second)
	return t
}

// offbeat waits so that moves are not in step with anything.
func (r Roamer) offbeat(i int) { r.Wait(time.Duration(1+(r.Made+i)%7) * 37 * time.Millisecond) }

// Makes gives a node a better uplink while the other one lives on, so many
// times: make before break.
func Makes(r Roamer, times int) (gaps []Gap) {
	t := r.start(false, false)
	twice := 0
	for i := range times {
		r.offbeat(i)
		began := r.Now()
		r.Plug(mobile, wlan, access1)
		r.Settle(wlan, t.down)
		r.Wait(time.Second)
		g := t.gap(began, r.Now()-500*time.Millisecond)
		g.Twice, twice = g.Twice-twice, g.Twice
		gaps = append(gaps, g)
		r.Unplug(mobile, wlan)
		r.Settle(wwan, t.down)
		r.Wait(time.Second)
	}
	t.stop()
	return gaps
}

// Breaks takes the link of the uplink in use away, so many times, while the
// other one stands by; with quiet the node only receives.
func Breaks(r Roamer, times int, quiet bool) (gaps []Gap) {
	t := r.start(true, quiet)
	twice := t.gap(0, r.Now()).Twice
	for i := range times {
		r.offbeat(i)
		lost, lostAt, other := wlan, access1, wwan
		if r.Uses() == wwan {
			lost, lostAt, other = wwan, access2, wlan
		}
		began := r.Now()
		r.Unplug(mobile, lost)
		r.Settle(other, t.down)
		r.Wait(time.Second)
		g := t.gap(began, r.Now()-500*time.Millisecond)
		g.Twice, twice = g.Twice-twice, g.Twice
		gaps = append(gaps, g)
		r.Plug(mobile, lost, lostAt)
		r.Wait(2 * time.Second) // it is asked about, and perhaps preferred
	}
	t.stop()
	return gaps
}

// ColdBreaks takes the only link away and gives another one behind a
// translator, over which nothing was sent before.
func ColdBreaks(r Roamer, times int) (gaps []Gap) {
	t := r.start(false, false)
	for i := range times {
		r.Unplug(mobile, wwan)
		r.Plug(mobile, wlan, access1)
		r.Settle(wlan, t.down)
		r.Wait(time.Second)
		r.offbeat(i)
		twice := t.gap(0, r.Now()).Twice
		began := r.Now()
		r.Unplug(mobile, wlan)
		r.Plug(mobile, wwan, access2)
		r.Settle(wwan, t.down)
		r.Wait(time.Second)
		g := t.gap(began, r.Now()-500*time.Millisecond)
		g.Twice -= twice
		gaps = append(gaps, g)
	}
	t.stop()
	return gaps
}

// Patience is how long [Stares] waits.
const Patience = 10 * time.Second

// Stares lets the network in use swallow everything and waits, for what may
// never notice: a gap of [Patience] says that it did not.
func Stares(r Roamer, times int) (gaps []Gap) {
	t := r.start(true, false)
	for i := range times {
		r.offbeat(i)
		began := r.Now()
		r.BlackHole(access1, true)
		r.Wait(Patience)
		gaps = append(gaps, t.gap(began, r.Now()))
		r.BlackHole(access1, false)
		r.Wait(2 * time.Second)
	}
	t.stop()
	return gaps
}
