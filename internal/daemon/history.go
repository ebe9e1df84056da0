package daemon

import (
	"net/netip"
	"slices"

	"careof/internal/control"
	"careof/internal/core/note"
)

// A history remembers what happened: the latest events, for listeners that
// come back, and the latest moments of each node. Both have a fixed size,
// whatever happens how often.
type history struct {
	recent ring[control.Event]
	// moments are of all nodes; each knows where the one before it of the same
	// node stands.
	moments ring[chained]
	nodes   map[who]uint64 // the latest moment of each node
}

// Room of a history. A moment has some 400 octets.
const (
	recentRoom = 4096
	momentRoom = 1 << 15
)

// who is a node in the history: by its home address where it has one.
type who struct {
	home netip.Addr
	nai  string
}

type chained struct {
	control.Moment
	of     who
	before uint64 // the place of the node's previous moment; 0 for none
}

func newHistory() *history {
	return &history{recent: ring[control.Event]{room: recentRoom}, moments: ring[chained]{room: momentRoom}, nodes: make(map[who]uint64)}
}

// add remembers an event. What strangers sent is not remembered: they could
// make us forget everything else.
func (h *history) add(e control.Event) {
	if e.Kind == note.Ignored {
		return
	}
	h.recent.add(e)
	node := who{home: e.HomeAddress}
	if !node.home.IsValid() {
		node.nai = e.NAI
	}
	if node == (who{}) {
		return
	}
	last := h.moments.at(h.nodes[node])
	switch {
	case e.Kind == note.Refreshed, e.Kind == note.Repeated, e.Kind == note.Requesting:
		if last != nil {
			last.Refreshes++
			last.Refreshed = e.Time
		}
		return
	case last != nil && same(last.Note, e.Note):
		last.Times++
		last.Last = e.Time
		return
	}
	if lost := h.moments.oldest(); lost != nil && h.nodes[lost.of] == h.moments.first() {
		delete(h.nodes, lost.of)
	}
	h.nodes[node] = h.moments.add(chained{Moment: control.Moment{Event: e, Times: 1, Last: e.Time}, of: node, before: h.nodes[node]})
}

// same tells whether two notes say the same but for what differs each time.
func same(a, b note.Note) bool {
	a.Identification, b.Identification = 0, 0
	a.Took, b.Took = 0, 0
	return a == b
}

// timeline lists the moments of a node, the latest first.
func (h *history) timeline(home netip.Addr, nai string) []control.Moment {
	list := []control.Moment{}
	for at := h.nodes[who{home, nai}]; ; {
		m := h.moments.at(at)
		if m == nil {
			return list
		}
		list = append(list, m.Moment)
		at = m.before
	}
}

// since lists the remembered events after one. When some of them have been
// forgotten, the first says so.
func (h *history) since(id uint64) []control.Event {
	all := h.recent.list()
	at, _ := slices.BinarySearchFunc(all, id+1, func(e control.Event, id uint64) int {
		switch {
		case e.ID < id:
			return -1
		case e.ID > id:
			return 1
		}
		return 0
	})
	rest := all[at:]
	if at == 0 && id != 0 && len(rest) > 0 && h.recent.lost() {
		return append([]control.Event{gap(rest[0])}, rest...)
	}
	return rest
}

// gap is the event that stands for those missing before e.
func gap(e control.Event) control.Event {
	return control.Event{ID: e.ID - 1, Time: e.Time, Note: note.Note{Kind: control.Gap, Why: "events before this are no longer remembered"}}
}

// A ring keeps the last room items. Places count from 1 and never come again.
type ring[T any] struct {
	room  int
	items []T
	next  uint64 // items ever added
}

// add returns the place of the new item.
func (r *ring[T]) add(v T) uint64 {
	if len(r.items) < r.room {
		r.items = append(r.items, v)
	} else {
		r.items[r.next%uint64(r.room)] = v
	}
	r.next++
	return r.next
}

// at is the item at a place; nil when it is gone.
func (r *ring[T]) at(place uint64) *T {
	if place == 0 || place > r.next || place+uint64(len(r.items)) <= r.next {
		return nil
	}
	return &r.items[(place-1)%uint64(r.room)]
}

// lost tells whether an item had to go.
func (r *ring[T]) lost() bool { return r.next > uint64(len(r.items)) }

// first is the place of the oldest item.
func (r *ring[T]) first() uint64 { return r.next - uint64(len(r.items)) + 1 }

// oldest is the item that the next one replaces; nil while there is room.
func (r *ring[T]) oldest() *T {
	if len(r.items) < r.room {
		return nil
	}
	return r.at(r.first())
}

// list copies the items, the oldest first.
func (r *ring[T]) list() []T {
	out := make([]T, 0, len(r.items))
	for place := r.first(); place <= r.next; place++ {
		out = append(out, *r.at(place))
	}
	return out
}
