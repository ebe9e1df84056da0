package world

import (
	"encoding/binary"
	"math/rand/v2"
	"time"

	"careof/internal/core/forward"
)

// Properties say how a segment treats frames. They may be changed at any time;
// frames on their way keep what they were given.
type Properties struct {
	Delay     time.Duration // one way
	Jitter    time.Duration // added at random, up to this much: it reorders
	Loss      float64       // probabilities, per frame and receiver
	Duplicate float64
	Corrupt   float64 // one bit of an IP packet is flipped; what is not IP is lost, as a bad checksum of Ethernet would do
	MTU       int     // of an IP packet, 0 means 1500
	Down      bool    // nothing passes; nobody is told (a black hole)
}

// A Segment is a broadcast domain: an Ethernet, an access network, a wire.
type Segment struct {
	Name string
	Properties
	Counts SegmentCounts

	world *World
	ports []*Interface
	cut   func(from, to *Interface) bool
	taps  []func(time.Time, []byte)
	luck  *rand.Rand
}

// SegmentCounts counts frames, per receiver.
type SegmentCounts struct{ Delivered, Lost, Duplicated, Corrupted, Blocked int }

// AddSegment adds a segment.
func (w *World) AddSegment(name string, p Properties) *Segment {
	s := &Segment{Name: name, Properties: p, world: w, luck: w.Luck("segment " + name)}
	w.segments = append(w.segments, s)
	return s
}

// Partition blocks frames for which cut says so; nil heals the partition.
func (s *Segment) Partition(cut func(from, to *Interface) bool) { s.cut = cut }

// Tap shows every frame that is sent on the segment, as Ethernet bytes, with
// the true time of day. The bytes are the tap's to keep.
func (s *Segment) Tap(see func(at time.Time, frame []byte)) { s.taps = append(s.taps, see) }

// mtu is the segment's MTU in octets.
func (s *Segment) mtu() int {
	if s.MTU == 0 {
		return 1500
	}
	return s.MTU
}

// etherType tells what a frame carries.
type etherType uint16

const (
	etherIPv4 etherType = 0x0800
	etherARP  etherType = 0x0806
)

// A frame is what travels on a segment.
type frame struct {
	dst, src forward.HardwareAddr
	kind     etherType
	data     []byte
}

var everyone = forward.HardwareAddr{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}

// bytes is the frame as Ethernet II has it.
func (f frame) bytes() []byte {
	b := make([]byte, 0, 14+len(f.data))
	b = append(b, f.dst[:]...)
	b = append(b, f.src[:]...)
	b = binary.BigEndian.AppendUint16(b, uint16(f.kind))
	return append(b, f.data...)
}

// send puts a frame on the segment. The segment owns its data.
func (s *Segment) send(from *Interface, f frame) {
	for _, see := range s.taps {
		see(s.world.Time(), f.bytes())
	}
	receivers := 0
	for _, to := range s.ports {
		if to == from || f.dst != everyone && f.dst != to.HW {
			continue
		}
		if s.Down || s.cut != nil && s.cut(from, to) {
			s.Counts.Blocked++
			continue
		}
		g := f
		if receivers++; receivers > 1 || f.dst == everyone {
			g.data = append([]byte(nil), f.data...)
		}
		s.carry(to, g)
	}
}

// carry takes a frame to one receiver, with luck.
func (s *Segment) carry(to *Interface, f frame) {
	if chance(s.luck, s.Loss) {
		s.Counts.Lost++
		return
	}
	copies := 1
	if chance(s.luck, s.Duplicate) {
		s.Counts.Duplicated++
		copies = 2
	}
	for range copies {
		g := f
		if copies > 1 {
			g.data = append([]byte(nil), f.data...)
		}
		if len(g.data) > 0 && chance(s.luck, s.Corrupt) {
			s.Counts.Corrupted++
			if g.kind != etherIPv4 {
				continue
			}
			bit := s.luck.IntN(8 * len(g.data))
			g.data[bit/8] ^= 1 << (bit % 8)
		}
		delay := s.Delay
		if s.Jitter > 0 {
			delay += time.Duration(s.luck.Int64N(int64(s.Jitter)))
		}
		s.world.After(delay, func() {
			// Who has left meanwhile does not hear it any more.
			if to.segment == s && to.up {
				s.Counts.Delivered++
				to.receive(g)
			}
		})
	}
}

// chance draws no luck for what cannot or must happen.
func chance(luck *rand.Rand, p float64) bool {
	return p > 0 && (p >= 1 || luck.Float64() < p)
}
