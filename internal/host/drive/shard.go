package drive

import (
	"context"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"careof/internal/core/engine"
)

// A shard is one machine and the goroutine that owns it.
type shard struct {
	driver  *Driver
	machine engine.Machine
	// foresighted is the machine, where it is one: nil else.
	foresighted engine.Foresighted
	box         *mailbox
	out         outbox
}

func (s *shard) run(ctx context.Context) {
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	defer s.box.close()
	for {
		s.arm(timer)
		select {
		case <-ctx.Done():
			return
		case <-s.box.ready:
			var now engine.Now
			events := s.box.take()
			for i, ev := range events {
				if i%sameInstant == 0 {
					now = s.driver.world.Now()
					if s.foresighted != nil {
						s.foresighted.Foresee(events[i:min(i+sameInstant, len(events))])
					}
				}
				s.step(ctx, now, ev)
			}
		case <-timer.C:
			s.step(ctx, s.driver.world.Now(), engine.Wake{})
		}
		s.driver.flush(&s.out)
	}
}

// arm sets the one timer to the machine's deadline.
func (s *shard) arm(timer *time.Timer) {
	at := s.machine.Deadline()
	if at.IsZero() {
		timer.Stop()
		return
	}
	timer.Reset(max(0, at.Sub(s.driver.world.Now().Mono)))
}

// sameInstant is for how many events that have gathered the clock is read
// once: it is two system calls, and they take less than a millisecond.
const sameInstant = 32

func (s *shard) step(ctx context.Context, now engine.Now, ev engine.Event) {
	actions := s.machine.Step(now, ev)
	if p, ok := ev.(engine.Packet); ok && slices.ContainsFunc(actions, isCommit) {
		// Whose message leads to a commit is known, too: to a foreign agent, the
		// home agent, whose replies must not wait behind strangers' requests.
		s.driver.admission.committed(p.Src)
	}
	s.driver.act(ctx, s, actions, &s.out)
}

func isCommit(a engine.Action) bool {
	_, ok := a.(engine.Commit)
	return ok
}

// backlog is how many messages of the network may wait for a machine. At a
// hundred thousand a second it is some 40 ms of work: a sender that waits
// longer has repeated its message.
const backlog = 4096

// A mailbox holds events for a machine. Answers and commands always fit:
// there are no more of them than the machine and the operator asked for, and
// the committer must never wait for a machine that waits for the committer.
type mailbox struct {
	ready   chan struct{} // has one token while there is something to take
	dropped atomic.Uint64

	mu        sync.Mutex
	events    []engine.Event
	droppable int
	strangers []engine.Event // wait until there is nothing else
	closed    bool
	spare     []engine.Event // taken and worked off

	octets, spareOctets []byte // of the packets among events, and among those taken
}

func newMailbox() *mailbox { return &mailbox{ready: make(chan struct{}, 1)} }

// mostOctets is how much memory is kept for messages that are yet to come.
const mostOctets = 1 << 20

// strangersAtOnce is how many strangers' messages are worked off before it is
// seen whether something better has come.
const strangersAtOnce = 128

func (b *mailbox) hasRoomForStrangers() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return len(b.strangers) < backlog
}

// putStranger adds a message of nobody known.
func (b *mailbox) putStranger(ev engine.Event) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.closed {
		return
	}
	b.strangers = append(b.strangers, ev)
	b.signal()
}

func (b *mailbox) signal() {
	select {
	case b.ready <- struct{}{}:
	default:
	}
}

// putPacket adds a message of somebody known, if there is room, and copies its
// buffer.
func (b *mailbox) putPacket(p engine.Packet) {
	b.mu.Lock()
	defer b.mu.Unlock()
	switch {
	case b.closed:
		return
	case b.droppable >= backlog:
		b.dropped.Add(1)
		return
	}
	at := len(b.octets)
	b.octets = append(b.octets, p.Data...)
	p.Data = b.octets[at:len(b.octets):len(b.octets)]
	b.droppable++
	b.events = append(b.events, p)
	b.signal()
}

// put adds an event and tells whether it will be delivered.
func (b *mailbox) put(ev engine.Event, droppable bool) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.closed {
		return false
	}
	if droppable {
		if b.droppable >= backlog {
			b.dropped.Add(1)
			return false
		}
		b.droppable++
	}
	b.events = append(b.events, ev)
	b.signal()
	return true
}

// take empties the mailbox but for the strangers' messages, of which it takes
// some when there is nothing else. The events are valid until the next take.
func (b *mailbox) take() []engine.Event {
	b.mu.Lock()
	defer b.mu.Unlock()
	clear(b.spare)
	if len(b.events) == 0 && len(b.strangers) > 0 {
		n := min(len(b.strangers), strangersAtOnce)
		b.spare = append(b.spare[:0], b.strangers[:n]...)
		b.strangers = slices.Delete(b.strangers, 0, n)
		if len(b.strangers) > 0 {
			b.signal()
		}
		return b.spare
	}
	events := b.events
	b.events, b.spare, b.droppable = b.spare[:0], events, 0
	b.octets, b.spareOctets = b.spareOctets[:0], b.octets
	if cap(b.octets) > mostOctets {
		b.octets = nil
	}
	if len(b.strangers) > 0 {
		b.signal()
	}
	return events
}

func (b *mailbox) close() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.closed = true
}
