package engine

import (
	"iter"
	"time"

	"careof/internal/core/forward"
)

// Now is an instant on two clocks, because they serve two purposes.
//
// Mono is monotonic and counts suspended time too (CLOCK_BOOTTIME); lifetimes
// and retransmissions are measured on it. Its zero has no meaning outside the
// process. Wall is the time of day; timestamp replay protection (RFC 5944
// section 5.7.1) and what is stored use it. Wall may jump in either
// direction.
type Now struct {
	Mono time.Time
	Wall time.Time
}

// WallOf translates an instant on the monotonic clock to the wall clock, for
// what is stored or shown. The zero time stays zero.
func (n Now) WallOf(mono time.Time) time.Time {
	if mono.IsZero() {
		return time.Time{}
	}
	return n.Wall.Add(mono.Sub(n.Mono))
}

// A Machine is a protocol role.
type Machine interface {
	// Step tells the machine one event and returns what to do about it, in
	// order. The event's buffers belong to the caller and may be reused
	// after Step returns; the actions' buffers belong to the caller too.
	Step(now Now, ev Event) []Action
	// Deadline is when the machine next wants a Wake, on the monotonic
	// clock; zero when nothing is pending.
	Deadline() time.Time
}

// A Persistent machine outlives its process: what its commits recorded is
// handed back to it before its first Step.
type Persistent interface {
	Machine
	// Restore takes one stored record. Records come in key order. A record
	// that cannot be understood is an error and changes nothing. The record's
	// slices are valid until Restore returns.
	Restore(now Now, r Record) error
	// Entries lists the forwarding entries that the machine's state calls
	// for, in key order, so that the driver can repair the difference to
	// what the data plane still holds. An entry's tunnels are valid until the
	// next one is yielded.
	Entries() iter.Seq[forward.Entry]
}

// A Foresighted machine wants to know what comes next.
type Foresighted interface {
	Machine
	// Foresee is told, before their Steps, of events that have gathered. It
	// changes nothing that anybody could see but how long they take: it reads
	// from memory what they will need, many at the same time.
	Foresee(events []Event)
}

// A Record is one item of a machine's durable state. A nil Value deletes.
// Keys are unique within one store; each role and feature prefixes its own.
type Record struct {
	Key   []byte
	Value []byte
}

// Earliest returns the earliest of the instants that are not zero, and zero
// when all are.
func Earliest(instants ...time.Time) time.Time {
	var first time.Time
	for _, t := range instants {
		if !t.IsZero() && (first.IsZero() || t.Before(first)) {
			first = t
		}
	}
	return first
}
