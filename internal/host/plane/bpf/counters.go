package bpf

import (
	"errors"
	"fmt"
	"slices"
	"sync/atomic"
	"time"

	"github.com/cilium/ebpf"

	"careof/internal/core/forward"
)

func (p *Plane) slotOf(k forward.Key) *slot {
	return p.slots.at(slotOfTag(p.slow.Tag(k)))
}

// Counters implements [forward.Plane]. Packets that wait for segmentation
// count as what they will be. What was told once, or counted before Close,
// outlives the process where maps are pinned.
func (p *Plane) Counters(k forward.Key) forward.Counters {
	p.mu.Lock()
	defer p.mu.Unlock()
	s := p.slotOf(k)
	if s == nil {
		return p.slow.Counters(k)
	}
	p.keep(k, s)
	return s.counters()
}

// keep adds to a slot what user space has counted since the last time.
func (p *Plane) keep(k forward.Key, s *slot) {
	now, had := p.slow.Counters(k), p.kept[k]
	if s == nil || now == had {
		return
	}
	p.kept[k] = now
	for _, c := range []struct {
		at       *uint64
		now, had uint64
	}{
		{&s.sentPackets, now.SentPackets, had.SentPackets}, {&s.sentBytes, now.SentBytes, had.SentBytes},
		{&s.receivedPackets, now.ReceivedPackets, had.ReceivedPackets}, {&s.receivedBytes, now.ReceivedBytes, had.ReceivedBytes},
		{&s.dropped, now.DroppedPackets, had.DroppedPackets},
	} {
		atomic.AddUint64(c.at, c.now-c.had)
	}
}

// Use implements [forward.Plane].
func (p *Plane) Use(k forward.Key) forward.Use {
	u := p.slow.Use(k)
	p.mu.Lock()
	defer p.mu.Unlock()
	if s := p.slotOf(k); s != nil {
		fast := s.use()
		u.Sent, u.Received = later(u.Sent, fast.Sent), later(u.Received, fast.Received)
	}
	return u
}

func later(a, b time.Time) time.Time {
	if b.After(a) {
		return b
	}
	return a
}

// LastSent implements [tun.Shortcut].
func (p *Plane) LastSent(k forward.Key) time.Time {
	p.mu.Lock()
	defer p.mu.Unlock()
	if s := p.slotOf(k); s != nil {
		return s.use().Sent
	}
	return time.Time{}
}

// Heed implements [tun.Shortcut].
func (p *Plane) Heed(k forward.Key, mtu int, until time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if s := p.slotOf(k); s != nil {
		s.heed(mtu, until)
	}
}

// Status is what `careof show` tells of the programs.
type Status struct {
	Attach   string   `json:"attach"` // tcx or clsact
	Pinned   string   `json:"pinned,omitempty"`
	Links    []string `json:"links"`
	Entries  int      `json:"entries"`
	Left     int      `json:"left"` // of an earlier process, not yet reconciled
	Capacity int      `json:"capacity"`
}

// Status tells about the programs as a whole.
func (p *Plane) Status() Status {
	p.mu.Lock()
	defer p.mu.Unlock()
	s := Status{Attach: "tcx", Pinned: p.pins, Entries: p.entries, Left: p.left.count, Capacity: int(p.o.Slots.MaxEntries())}
	if p.egress != nil && p.egress.link == nil {
		s.Attach = "clsact"
	}
	for name := range p.ingress {
		s.Links = append(s.Links, name)
	}
	slices.Sort(s.Links)
	return s
}

// Trouble is what is not as it should be while packets flow: the programs would
// not go on without this process, or do not come first. nil when all is well.
func (p *Plane) Trouble() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	var errs []error
	if p.trouble != nil {
		errs = append(errs, fmt.Errorf("forwarding would not outlive the daemon, for what it needs cannot be pinned: %w (put right what is there, or mount a BPF file system; careof pins it again by itself)", p.trouble))
	}
	if p.stranger {
		errs = append(errs, ErrUnknown)
	}
	return errors.Join(errs...)
}

// Programs are the one that encapsulates and the one that decapsulates behind
// Ethernet headers, for their statistics.
func (p *Plane) Programs() [2]*ebpf.Program {
	return [2]*ebpf.Program{p.o.Encapsulate, p.o.DecapsulateEther}
}
