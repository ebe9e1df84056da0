package engine

import (
	"cmp"
	"time"
)

// An Agenda keeps one deadline for each of many keys: a binding's expiry, a
// pending request's retransmission. The zero value is ready for use. Order is
// by time, then by key, so that it never depends on a map.
//
// Most deadlines are put off again and again before they come: a refresh of a
// binding must cost next to nothing with a million of them. So a later
// deadline is only written down until the old one comes; and what is due in
// later seconds lies in piles, one a second, that nobody sorts or looks through
// before.
type Agenda[K cmp.Ordered] struct {
	current map[K]int64          // Unix nanoseconds
	near    heap[appointment[K]] // what is due before the second border
	border  int64
	later   map[int64][]appointment[K] // the rest, by second
	seconds heap[second]               // the keys of later
	filed   int                        // in near and later together
}

// An appointment that is not current is passed over.
type appointment[K cmp.Ordered] struct {
	at  int64 // Unix nanoseconds
	key K
}

func (a appointment[K]) before(b appointment[K]) bool {
	if a.at != b.at {
		return a.at < b.at
	}
	return a.key < b.key
}

type second int64

func (s second) before(o second) bool { return s < o }

// Set gives key the deadline at, replacing any earlier one. A zero time
// clears it.
func (a *Agenda[K]) Set(key K, at time.Time) {
	if at.IsZero() {
		a.Clear(key)
		return
	}
	a.set(key, at.UnixNano())
}

func (a *Agenda[K]) set(key K, at int64) {
	if a.current == nil {
		a.current, a.later = make(map[K]int64), make(map[int64][]appointment[K])
	}
	was, filed := a.current[key]
	a.current[key] = at
	if filed && at >= was {
		return // it is filed no later than was
	}
	a.file(appointment[K]{at, key})
	a.tidy()
}

// Clear removes key's deadline, if it has one.
func (a *Agenda[K]) Clear(key K) {
	delete(a.current, key)
	a.tidy()
}

// Next is when to look what is due: never after the earliest deadline, and
// zero when there is none. It may come before it, where a deadline has been put
// off or lies in a later second.
func (a *Agenda[K]) Next() time.Time {
	switch {
	case len(a.current) == 0:
		return time.Time{}
	case len(a.near) > 0:
		return time.Unix(0, a.near[0].at)
	case len(a.later[int64(a.seconds[0])]) == 1:
		return time.Unix(0, a.later[int64(a.seconds[0])][0].at)
	}
	return time.Unix(int64(a.seconds[0]), 0)
}

// Due removes and returns the first key whose deadline is not after mono.
func (a *Agenda[K]) Due(mono time.Time) (key K, ok bool) {
	for {
		switch {
		case len(a.near) > 0 && a.near[0].at > mono.UnixNano():
			return key, false
		case len(a.near) > 0:
			if front := a.near.pop(); a.refile(front) {
				a.filed--
				delete(a.current, front.key)
				return front.key, true
			}
		case len(a.seconds) == 0 || int64(a.seconds[0]) > mono.Unix():
			return key, false
		default:
			a.open()
		}
	}
}

// secondOf is the second that an instant is in.
func secondOf(ns int64) int64 {
	const second = int64(time.Second)
	if at := ns / second; ns%second >= 0 {
		return at
	}
	return ns/second - 1
}

func (a *Agenda[K]) file(it appointment[K]) {
	a.filed++
	at := secondOf(it.at)
	if at < a.border {
		a.near.push(it)
		return
	}
	pile, there := a.later[at]
	if !there {
		a.seconds.push(second(at))
	}
	a.later[at] = append(pile, it)
}

// refile puts an appointment where it belongs by now, and tells whether it
// was right as it was.
func (a *Agenda[K]) refile(it appointment[K]) bool {
	at, ok := a.current[it.key]
	if ok && at == it.at {
		return true
	}
	a.filed--
	if ok && at > it.at {
		a.file(appointment[K]{at, it.key})
	}
	return false
}

// open puts in order what is due in the first of the later seconds.
func (a *Agenda[K]) open() {
	at := int64(a.seconds.pop())
	pile := a.later[at]
	delete(a.later, at)
	a.border = at + 1
	for _, it := range pile {
		if a.refile(it) {
			a.near.push(it)
		}
	}
}

// tidy files anew what is current, when most of what is filed is not.
func (a *Agenda[K]) tidy() {
	const slack = 64 // is not worth tidying up
	if a.filed <= 2*len(a.current)+slack {
		return
	}
	a.near, a.seconds, a.filed, a.border = nil, nil, 0, 0
	clear(a.later)
	for key, at := range a.current {
		a.file(appointment[K]{at, key})
	}
}

// ordered is what a heap can hold.
type ordered[T any] interface{ before(T) bool }

var (
	_ ordered[appointment[int]] = appointment[int]{}
	_ ordered[second]           = second(0)
)

var (
	_ ordered[second]            = second(0)
	_ ordered[appointment[uint]] = appointment[uint]{}
)

// A heap is a slice whose first element comes before all others.
type heap[T ordered[T]] []T

func (h *heap[T]) push(it T) {
	*h = append(*h, it)
	q := *h
	i := len(q) - 1
	for parent := (i - 1) / 2; i > 0 && it.before(q[parent]); parent = (i - 1) / 2 {
		q[i] = q[parent]
		i = parent
	}
	q[i] = it
}

func (h *heap[T]) pop() T {
	q := *h
	first, last := q[0], len(q)-1
	it := q[last]
	clear(q[last:])
	q = q[:last]
	*h = q
	if last == 0 {
		return first
	}
	i := 0
	for child := 1; child < last; child = 2*i + 1 {
		if child+1 < last && q[child+1].before(q[child]) {
			child++
		}
		if !q[child].before(it) {
			break
		}
		q[i] = q[child]
		i = child
	}
	q[i] = it
	return first
}
