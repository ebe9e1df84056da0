package netns

import (
	"fmt"
	"io"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// Conditions describe what happens to the frames that a port sends into its segment. The zero value is a perfect wire.
type Conditions struct {
	// Delay is the time from sender to receiver, one way.
	Delay time.Duration
	// Jitter adds a random time between zero and itself to each frame.
	Jitter time.Duration
	// Reorder lets jitter change the order of frames; otherwise a frame waits for the one before it.
	Reorder bool
	// Loss and Duplicate are probabilities between 0 and 1.
	Loss, Duplicate float64
	// Rate is the line speed in bit/s; zero is unlimited.
	Rate int64
	// MTU in octets of IP packet: larger frames vanish, as in a black hole. Zero is unlimited. The MTU that a node knows of
	// is the one of its interface.
	MTU int
	// Queue is how many frames of a port may be under way; further ones are dropped. Zero is 4096.
	Queue int
	// Cut drops every frame.
	Cut bool
}

const (
	defaultQueue   = 4096
	ethernetHeader = 14
)

// MAC is an Ethernet address.
type MAC [6]byte

// String gives the usual colon form.
func (m MAC) String() string {
	return fmt.Sprintf("%02x:%02x:%02x:%02x:%02x:%02x", m[0], m[1], m[2], m[3], m[4], m[5])
}

var broadcastMAC = MAC{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}

// Fate says what the segment did with a frame.
type Fate uint

// The fates.
const (
	Carried   Fate = iota // on its way to the other ports
	Lost                  // by chance
	Cut                   // by a partition
	TooBig                // larger than the MTU of the conditions
	QueueFull             // too many frames under way
	fateCount
)

var fateNames = [fateCount]string{"carried", "lost", "cut", "too-big", "queue-full"}

// String gives the name of the fate.
func (f Fate) String() string {
	if f < fateCount {
		return fateNames[f]
	}
	return fmt.Sprintf("Fate(%d)", uint(f))
}

// Frame is what a tap sees: one frame, when a port sends it.
type Frame struct {
	Time time.Time
	From *Port
	Fate Fate
	// Data is the Ethernet frame without checksum. It must not be changed.
	Data []byte
}

// SegmentCounts are a segment's counters.
type SegmentCounts struct {
	Sent       uint64            // frames that ports have sent
	Fates      [fateCount]uint64 // the same, by fate
	Duplicated uint64
	Late       uint64 // arrived while the segment was parted or the receiver had no carrier, so not delivered
	Delivered  uint64 // deliveries; a broadcast has several
}

// Segment is an Ethernet segment: a learning switch whose ports have conditions.
type Segment struct {
	network *Network
	name    string

	mu         sync.Mutex
	up         bool
	conditions Conditions // for new ports
	ports      []*Port
	learned    map[MAC]*Port
	taps       []*tap
	counts     SegmentCounts
}

type tap struct{ see func(Frame) }

// NewSegment makes a segment. Ports start with its conditions.
func (n *Network) NewSegment(name string, c Conditions) (*Segment, error) {
	if err := n.claim(name); err != nil {
		return nil, err
	}
	return &Segment{network: n, name: name, up: true, conditions: c, learned: make(map[MAC]*Port)}, nil
}

// Name is the segment's name.
func (s *Segment) Name() string { return s.name }

// SetConditions changes the conditions of every port, present and future. Frames under way keep theirs.
func (s *Segment) SetConditions(c Conditions) {
	s.mu.Lock()
	s.conditions = c
	ports := slices.Clone(s.ports)
	s.mu.Unlock()
	for _, p := range ports {
		p.SetConditions(c)
	}
}

// SetUp parts (false) or joins (true) the segment: a partition that no node notices by a link event. Frames that would
// arrive meanwhile are dropped, too.
func (s *Segment) SetUp(up bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.up = up
}

// Counts returns the counters so far.
func (s *Segment) Counts() SegmentCounts {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.counts
}

// Tap calls see for every frame that a port sends, whatever becomes of it, until the returned function is called. see runs
// on the sender's goroutine: it must be quick and must not call back into the segment.
func (s *Segment) Tap(see func(Frame)) (stop func()) {
	t := &tap{see: see}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.taps = append(slices.Clone(s.taps), t)
	return func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.taps = slices.DeleteFunc(slices.Clone(s.taps), func(x *tap) bool { return x == t })
	}
}

func (s *Segment) plug(p *Port) {
	s.mu.Lock()
	s.ports = append(s.ports, p)
	c := s.conditions
	s.mu.Unlock()
	p.SetConditions(c)
	p.segment.Store(s)
}

func (s *Segment) unplug(p *Port) {
	p.segment.CompareAndSwap(s, nil)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ports = slices.DeleteFunc(s.ports, func(x *Port) bool { return x == p })
	for mac, at := range s.learned {
		if at == p {
			delete(s.learned, mac)
		}
	}
}

// send takes a frame from a port. The frame belongs to the segment from now on and is never changed.
func (s *Segment) send(from *Port, frame []byte) {
	if len(frame) < ethernetHeader {
		return
	}
	to, source := MAC(frame[0:6]), MAC(frame[6:12])
	now := s.network.line.now()
	at, copies, fate := from.schedule(now, len(frame))

	s.mu.Lock()
	if !s.up {
		fate = Cut
	}
	s.counts.Sent++
	s.counts.Fates[fate]++
	taps := s.taps
	var receivers []*Port
	if fate == Carried {
		if source[0]&1 == 0 {
			s.learned[source] = from
		}
		if p := s.learned[to]; p != nil && to[0]&1 == 0 {
			if p != from {
				receivers = []*Port{p}
			}
		} else {
			receivers = make([]*Port, 0, len(s.ports))
			for _, p := range s.ports {
				if p != from {
					receivers = append(receivers, p)
				}
			}
		}
		s.counts.Duplicated += uint64(copies - 1)
	}
	s.mu.Unlock()

	if len(taps) > 0 {
		seen := Frame{Time: s.network.line.base.Add(now), From: from, Fate: fate, Data: frame}
		for _, t := range taps {
			t.see(seen)
		}
	}
	if fate != Carried {
		from.underway.Add(-int64(copies)) // counted by schedule, dropped here
		return
	}
	for i := range copies {
		s.network.line.at(at[i], func() {
			from.underway.Add(-1)
			s.deliver(receivers, frame)
		})
	}
}

// deliver runs on the delay line's goroutine.
func (s *Segment) deliver(receivers []*Port, frame []byte) {
	s.mu.Lock()
	up := s.up
	s.mu.Unlock()
	var delivered, late uint64
	for _, p := range receivers {
		if !up || p.segment.Load() != s || !p.carrier.Load() {
			late++
			continue
		}
		delivered++
		p.sink(frame)
	}
	s.mu.Lock()
	s.counts.Delivered += delivered
	s.counts.Late += late
	s.mu.Unlock()
}

// Port is a socket of a segment with the cable of a node or a router in it.
type Port struct {
	name    string
	mac     MAC
	network *Network
	sink    func(frame []byte)  // called on the delay line's goroutine
	plugged func(up bool) error // tells the device about its carrier; nil for routers
	device  io.Closer           // nil for routers

	segment  atomic.Pointer[Segment]
	carrier  atomic.Bool
	underway atomic.Int64

	mu         sync.Mutex
	conditions Conditions
	rand       *rand.Rand
	busy       time.Duration // when the line is free again
	last       time.Duration // when the latest frame arrives
	closed     bool
}

func (n *Network) newPort(name string, mac MAC) *Port {
	p := &Port{name: name, mac: mac, network: n, rand: n.rand(name)}
	p.carrier.Store(true)
	return p
}

// Name is "node/interface".
func (p *Port) Name() string { return p.name }

// MAC is the port's Ethernet address.
func (p *Port) MAC() MAC { return p.mac }

// Segment is where the port is plugged in, nil if nowhere.
func (p *Port) Segment() *Segment { return p.segment.Load() }

// SetConditions changes what happens to frames that this port sends: one direction of the wire. The other direction is
// the business of the other ports.
func (p *Port) SetConditions(c Conditions) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.conditions = c
}

// Conditions returns the present ones.
func (p *Port) Conditions() Conditions {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.conditions
}

// SetCarrier takes the carrier away or gives it back. The node sees a link event, as when a cable is pulled, and
// nothing passes meanwhile.
func (p *Port) SetCarrier(up bool) error {
	p.carrier.Store(up)
	if p.plugged == nil {
		return nil
	}
	return p.plugged(up)
}

// Move plugs the port into another segment, with that segment's conditions; nil unplugs it. There is no link event: add
// SetCarrier around it where the node should see one.
func (p *Port) Move(to *Segment) {
	if old := p.segment.Load(); old != nil {
		old.unplug(p)
	}
	if to != nil {
		to.plug(p)
	}
}

// Close unplugs the port and removes the device from its node.
func (p *Port) Close() error {
	p.mu.Lock()
	closed := p.closed
	p.closed = true
	p.mu.Unlock()
	if closed {
		return nil
	}
	p.Move(nil)
	if p.device == nil {
		return nil
	}
	return p.device.Close()
}

// send puts a frame on the wire.
func (p *Port) send(frame []byte) {
	if s := p.segment.Load(); s != nil && p.carrier.Load() {
		s.send(p, frame)
	}
}

// schedule decides a frame's fate and the arrival times of its copies (one or two). It counts them as under way.
func (p *Port) schedule(now time.Duration, size int) (at [2]time.Duration, copies int, fate Fate) {
	p.mu.Lock()
	defer p.mu.Unlock()
	c := &p.conditions
	queue := c.Queue
	if queue == 0 {
		queue = defaultQueue
	}
	switch {
	case c.Cut:
		return at, 0, Cut
	case c.MTU > 0 && size-ethernetHeader > c.MTU:
		return at, 0, TooBig
	case p.underway.Load() >= int64(queue):
		return at, 0, QueueFull
	}
	leaves := now
	if c.Rate > 0 {
		leaves = max(now, p.busy) + time.Duration(int64(size)*8*int64(time.Second)/c.Rate)
		p.busy = leaves
	}
	// A lost frame has used the line.
	if c.Loss > 0 && p.rand.Float64() < c.Loss {
		return at, 0, Lost
	}
	copies = 1
	if c.Duplicate > 0 && p.rand.Float64() < c.Duplicate {
		copies = 2
	}
	for i := range copies {
		t := leaves + c.Delay
		if c.Jitter > 0 {
			t += time.Duration(p.rand.Int64N(int64(c.Jitter) + 1))
		}
		if !c.Reorder {
			t = max(t, p.last)
		}
		p.last = max(p.last, t)
		at[i] = t
	}
	p.underway.Add(int64(copies))
	return at, copies, Carried
}
