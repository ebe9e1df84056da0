package bpf

import "iter"

// leftovers are the pinned bindings that nobody has wanted yet, by place. At a
// start there may be a million, all of which are wanted in the next second: a
// table of numbers, in which each is found where its hash says or soon after.
// The zero value is empty.
type leftovers struct {
	table []leftoverAt // its length is a power of two, at least a quarter of it free
	used  int          // places of the table, those of what was taken included
	count int
}

type leftoverAt struct {
	leftover
	at    place
	state uint8
}

// What a place of the table holds.
const (
	leftFree = iota
	leftHere
	leftTaken
)

func (l *leftovers) start(at place) uint64 {
	word := uint64(at.addr[0])<<24 | uint64(at.addr[1])<<16 | uint64(at.addr[2])<<8 | uint64(at.addr[3])
	h := (word | uint64(at.bits)<<32 | uint64(at.role)<<40) * 0x9e3779b97f4a7c15
	return h >> 20
}

// find is where a place is in the table, or where it would be put.
func (l *leftovers) find(at place) *leftoverAt {
	mask := uint64(len(l.table) - 1)
	for i := l.start(at) & mask; ; i = (i + 1) & mask {
		if e := &l.table[i]; e.state == leftFree || e.state == leftHere && e.at == at {
			return e
		}
	}
}

func (l *leftovers) put(at place, b leftover) {
	if l.used >= len(l.table)/4*3 {
		l.grow()
	}
	e := l.find(at)
	if e.state == leftFree {
		l.used++
		l.count++
	}
	*e = leftoverAt{b, at, leftHere}
}

func (l *leftovers) grow() {
	old, n := l.table, 64
	for n < 2*l.count {
		n *= 2
	}
	l.table, l.used = make([]leftoverAt, n), l.count
	for i := range old {
		if old[i].state == leftHere {
			*l.find(old[i].at) = old[i]
		}
	}
}

// get is the binding at a place.
func (l *leftovers) get(at place) (leftover, bool) {
	if l.count == 0 {
		return leftover{}, false
	}
	e := l.find(at)
	return e.leftover, e.state == leftHere
}

// drop takes out the binding at a place, if there is one. With the last one
// goes the table.
func (l *leftovers) drop(at place) {
	if l.count == 0 {
		return
	}
	e := l.find(at)
	if e.state != leftHere {
		return
	}
	e.state = leftTaken
	if l.count--; l.count == 0 {
		*l = leftovers{}
	}
}

// all yields every binding; the one that is yielded may be dropped.
func (l *leftovers) all() iter.Seq2[place, leftover] {
	table := l.table
	return func(yield func(place, leftover) bool) {
		for i := range table {
			if e := &table[i]; e.state == leftHere && !yield(e.at, e.leftover) {
				return
			}
		}
	}
}
