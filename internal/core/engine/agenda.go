package engine

import (
	"cmp"
	"iter"
	"maps"
	"math"
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
	current times[K]             // Unix nanoseconds
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
		a.current, a.later = newTimes[K](), make(map[int64][]appointment[K])
	}
	was, filed := a.current.get(key)
	a.current.set(key, at)
	if filed && at >= was {
		return // it is filed no later than was
	}
	a.file(appointment[K]{at, key})
	a.tidy()
}

// Clear removes key's deadline, if it has one.
func (a *Agenda[K]) Clear(key K) {
	if a.current == nil {
		return
	}
	a.current.drop(key)
	a.tidy()
}

// Fetch reads from memory what [Agenda.Set] will need for key; see
// [Foresighted].
func (a *Agenda[K]) Fetch(key K) int {
	if a.current == nil {
		return 0
	}
	at, _ := a.current.get(key)
	return int(at)
}

// Next is when to look what is due: never after the earliest deadline, and
// zero when there is none. It may come before it, where a deadline has been put
// off or lies in a later second.
func (a *Agenda[K]) Next() time.Time {
	switch {
	case a.current == nil || a.current.len() == 0:
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
				a.current.drop(front.key)
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
	at, ok := a.current.get(it.key)
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
	if a.filed <= 2*a.current.len()+slack {
		return
	}
	a.near, a.seconds, a.filed, a.border = nil, nil, 0, 0
	clear(a.later)
	for key, at := range a.current.all() {
		a.file(appointment[K]{at, key})
	}
}

// An Ordinal is the place of something in a list, from 0 on. An [Agenda] of
// ordinals keeps a number for each place.
type Ordinal int

// times keeps a deadline for each of many keys.
type times[K comparable] interface {
	get(K) (int64, bool)
	set(K, int64)
	drop(K)
	len() int
	all() iter.Seq2[K, int64]
}

func newTimes[K cmp.Ordered]() times[K] {
	if list, ok := any(new(timesOfList)).(times[K]); ok {
		return list
	}
	return make(timesOfKeys[K])
}

type timesOfKeys[K comparable] map[K]int64

func (t timesOfKeys[K]) get(k K) (int64, bool) {
	at, ok := t[k]
	return at, ok
}
func (t timesOfKeys[K]) set(k K, at int64)        { t[k] = at }
func (t timesOfKeys[K]) drop(k K)                 { delete(t, k) }
func (t timesOfKeys[K]) len() int                 { return len(t) }
func (t timesOfKeys[K]) all() iter.Seq2[K, int64] { return maps.All(t) }

// timesOfList has noTime where there is none.
type timesOfList struct {
	at    []int64
	count int
}

const noTime = math.MinInt64

func (t *timesOfList) get(i Ordinal) (int64, bool) {
	if int(i) >= len(t.at) {
		return 0, false
	}
	return t.at[i], t.at[i] != noTime
}

func (t *timesOfList) set(i Ordinal, at int64) {
	for int(i) >= len(t.at) {
		t.at = append(t.at, noTime)
	}
	if t.at[i] == noTime {
		t.count++
	}
	t.at[i] = at
}

func (t *timesOfList) drop(i Ordinal) {
	if _, there := t.get(i); there {
		t.at[i] = noTime
		t.count--
	}
}

func (t *timesOfList) len() int { return t.count }

func (t *timesOfList) all() iter.Seq2[Ordinal, int64] {
	return func(yield func(Ordinal, int64) bool) {
		for i, at := range t.at {
			if at != noTime && !yield(Ordinal(i), at) {
				return
			}
		}
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
