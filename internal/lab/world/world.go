package world

import (
	"container/heap"
	"fmt"
	"hash/fnv"
	"math/rand/v2"
	"net/netip"
	"time"
)

// Epoch is the true time of day at which every world begins.
var Epoch = time.Date(2026, time.March, 1, 12, 0, 0, 0, time.UTC)

// A World is a simulated internet. It is not safe for concurrent use: all that
// happens in it happens inside [World.Run] and its relatives, or between them.
type World struct {
	seed      uint64
	now       time.Duration
	sequence  uint64
	queue     schedule
	segments  []*Segment
	nodes     []*Node
	daemons   []*Daemon
	observers []Observer
	names     map[string][]netip.Addr
	trace     Trace
	handled   uint64
}

// New makes an empty world whose luck comes from seed.
func New(seed uint64) *World {
	return &World{seed: seed, names: make(map[string][]netip.Addr), trace: newTrace()}
}

// Seed is the seed the world was made with.
func (w *World) Seed() uint64 { return w.seed }

// Now is how long the world has existed.
func (w *World) Now() time.Duration { return w.now }

// Time is the true time of day.
func (w *World) Time() time.Time { return Epoch.Add(w.now) }

// Events is how many events have been handled.
func (w *World) Events() uint64 { return w.handled }

// Luck is a source of luck of its own for the part of the world with this
// name. What one part draws does not disturb another, so that a change in one
// place leaves the rest of a run as it was.
func (w *World) Luck(name string) *rand.Rand {
	h := fnv.New64a()
	h.Write([]byte(name))
	return rand.New(rand.NewPCG(w.seed, h.Sum64()))
}

// Observe adds an observer.
func (w *World) Observe(o Observer) { w.observers = append(w.observers, o) }

func (w *World) tell(what Observation) {
	for _, o := range w.observers {
		o.Observe(what)
	}
}

// Name gives a name addresses, for daemons that resolve it. No address makes
// the name unknown.
func (w *World) Name(name string, addresses ...netip.Addr) { w.names[name] = addresses }

// Nodes lists the nodes in the order in which they were added.
func (w *World) Nodes() []*Node { return w.nodes }

// Segments lists the segments in the order in which they were added.
func (w *World) Segments() []*Segment { return w.segments }

// Daemons lists the daemons in the order in which they were added.
func (w *World) Daemons() []*Daemon { return w.daemons }

// Node finds a node by name; nil when there is none.
func (w *World) Node(name string) *Node {
	for _, n := range w.nodes {
		if n.Name == name {
			return n
		}
	}
	return nil
}

// Segment finds a segment by name; nil when there is none.
func (w *World) Segment(name string) *Segment {
	for _, s := range w.segments {
		if s.Name == name {
			return s
		}
	}
	return nil
}

// A Timer is something that will happen unless it is stopped.
type Timer struct {
	at       time.Duration
	sequence uint64
	do       func()
}

// Stop keeps the timer from happening. It may be called on nil and late.
func (t *Timer) Stop() {
	if t != nil {
		t.do = nil
	}
}

// After lets do happen after a while. Things for the same instant happen in
// the order in which they were asked for.
func (w *World) After(d time.Duration, do func()) *Timer {
	if d < 0 {
		d = 0
	}
	w.sequence++
	t := &Timer{at: w.now + d, sequence: w.sequence, do: do}
	heap.Push(&w.queue, t)
	return t
}

// step handles the next event, unless it lies after limit.
func (w *World) step(limit time.Duration) bool {
	for len(w.queue) > 0 {
		t := w.queue[0]
		if t.at > limit {
			return false
		}
		heap.Pop(&w.queue)
		if t.do == nil {
			continue
		}
		w.now = t.at
		w.handled++
		t.do()
		return true
	}
	return false
}

// Run lets d pass.
func (w *World) Run(d time.Duration) {
	end := w.now + d
	for w.step(end) {
	}
	w.now = end
}

// RunUntil lets time pass until condition holds, at most for d. It tells
// whether the condition held.
func (w *World) RunUntil(d time.Duration, condition func() bool) bool {
	end := w.now + d
	for {
		if condition() {
			return true
		}
		if !w.step(end) {
			w.now = end
			return condition()
		}
	}
}

// panicf is for mistakes of who builds a world.
func panicf(format string, args ...any) { panic(fmt.Sprintf("world: "+format, args...)) }

// schedule is a heap by time, then by order of asking.
type schedule []*Timer

func (s schedule) Len() int { return len(s) }
func (s schedule) Less(i, j int) bool {
	if s[i].at != s[j].at {
		return s[i].at < s[j].at
	}
	return s[i].sequence < s[j].sequence
}
func (s schedule) Swap(i, j int) { s[i], s[j] = s[j], s[i] }
func (s *schedule) Push(x any)   { *s = append(*s, x.(*Timer)) }
func (s *schedule) Pop() any {
	old := *s
	t := old[len(old)-1]
	old[len(old)-1] = nil
	*s = old[:len(old)-1]
	return t
}
