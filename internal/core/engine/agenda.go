package engine

import (
	"cmp"
	"container/heap"
	"time"
)

// An Agenda keeps one deadline for each of many keys: a binding's expiry, a
// pending request's retransmission. The zero value is ready for use. Order is
// by time, then by key, so that it never depends on a map.
type Agenda[K cmp.Ordered] struct {
	items appointments[K]
	index map[K]*appointment[K]
}

type appointment[K cmp.Ordered] struct {
	key K
	at  time.Time
	pos int
}

// Set gives key the deadline at, replacing any earlier one. A zero time
// clears it.
func (a *Agenda[K]) Set(key K, at time.Time) {
	if at.IsZero() {
		a.Clear(key)
		return
	}
	if it, ok := a.index[key]; ok {
		it.at = at
		heap.Fix(&a.items, it.pos)
		return
	}
	if a.index == nil {
		a.index = make(map[K]*appointment[K])
	}
	it := &appointment[K]{key: key, at: at}
	a.index[key] = it
	heap.Push(&a.items, it)
}

// Clear removes key's deadline, if it has one.
func (a *Agenda[K]) Clear(key K) {
	if it, ok := a.index[key]; ok {
		heap.Remove(&a.items, it.pos)
		delete(a.index, key)
	}
}

// Next is the earliest deadline, zero when there is none.
func (a *Agenda[K]) Next() time.Time {
	if len(a.items) == 0 {
		return time.Time{}
	}
	return a.items[0].at
}

// Due removes and returns the first key whose deadline is not after mono.
func (a *Agenda[K]) Due(mono time.Time) (key K, ok bool) {
	if len(a.items) == 0 || a.items[0].at.After(mono) {
		return key, false
	}
	it := heap.Pop(&a.items).(*appointment[K])
	delete(a.index, it.key)
	return it.key, true
}

// appointments is the heap behind an Agenda.
type appointments[K cmp.Ordered] []*appointment[K]

func (h appointments[K]) Len() int { return len(h) }
func (h appointments[K]) Less(i, j int) bool {
	if c := h[i].at.Compare(h[j].at); c != 0 {
		return c < 0
	}
	return h[i].key < h[j].key
}
func (h appointments[K]) Swap(i, j int) {
	h[i], h[j] = h[j], h[i]
	h[i].pos, h[j].pos = i, j
}
func (h *appointments[K]) Push(x any) {
	it := x.(*appointment[K])
	it.pos = len(*h)
	*h = append(*h, it)
}
func (h *appointments[K]) Pop() any {
	old := *h
	it := old[len(old)-1]
	old[len(old)-1] = nil
	*h = old[:len(old)-1]
	return it
}
