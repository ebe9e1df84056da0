package binding

import (
	"iter"
	"net/netip"
	"slices"
	"time"

	"careof/internal/core/forward"
)

// A List is the mobility binding list of one home address: the live bindings
// in order of their IDs, and the tunnels that still drain after a move. The
// zero value is empty.
type List struct {
	live     []Binding
	draining []forward.Tunnel
}

// Len is the number of live bindings.
func (l *List) Len() int { return len(l.live) }

// Get returns the binding with this ID, nil when there is none. It is valid
// until the list changes.
func (l *List) Get(id ID) *Binding {
	if i, ok := l.find(id); ok {
		return &l.live[i]
	}
	return nil
}

// All returns copies of the bindings in order of their IDs.
func (l *List) All() []Binding { return slices.Clone(l.live) }

// Each yields the bindings in order of their IDs. They are valid until the list
// changes, and not to be changed.
func (l *List) Each() iter.Seq[*Binding] {
	return func(yield func(*Binding) bool) {
		for i := range l.live {
			if !yield(&l.live[i]) {
				return
			}
		}
	}
}

// Only returns the binding of a list that has exactly one, else nil.
func (l *List) Only() *Binding {
	if len(l.live) != 1 {
		return nil
	}
	return &l.live[0]
}

func (l *List) find(id ID) (int, bool) {
	return slices.BinarySearchFunc(l.live, id, func(b Binding, id ID) int { return b.ID.Compare(id) })
}

// A Change says what [List.Put] or [List.Remove] did to the tunnels.
type Change uint8

const (
	Same    Change = iota // the tunnels are as before; only lifetimes changed
	Added                 // there was no binding before
	Altered               // tunnels were added, replaced or removed
)

// Put adds b, or replaces the binding with its ID. Unless keep is set, all
// other bindings are removed. What is replaced or removed drains, receiving
// only, for at most [Drain]: a move replaces, it does not duplicate. It
// returns what happened and the bindings that were removed.
func (l *List) Put(b Binding, keep bool, mono time.Time) (Change, []Binding) {
	l.settle(mono)
	change := Altered
	if len(l.live) == 0 {
		change = Added
	}
	i, found := l.find(b.ID)
	if found {
		old := l.live[i]
		b.Since = old.Since
		if old.Tunnel == b.Tunnel && old.Broadcast == b.Broadcast {
			change = Same
		} else if old.Tunnel != b.Tunnel {
			l.drain(old, mono)
		}
		l.live[i] = b
	} else {
		l.live = slices.Insert(l.live, i, b)
	}
	var removed []Binding
	if !keep && len(l.live) > 1 {
		for _, old := range l.live {
			if old.ID != b.ID {
				l.drain(old, mono)
				removed = append(removed, old)
			}
		}
		l.live = []Binding{b}
		change = Altered
	}
	// A tunnel that is used again does not drain.
	l.draining = slices.DeleteFunc(l.draining, func(t forward.Tunnel) bool { return l.uses(t) })
	return change, removed
}

func (l *List) uses(t forward.Tunnel) bool {
	for i := range l.live {
		u := l.live[i].Tunnel
		if u.Local == t.Local && u.Peer == t.Peer && u.Encap == t.Encap && u.Inside == t.Inside && u.HasKey == t.HasKey && u.Key == t.Key {
			return true
		}
	}
	return false
}

// maxDraining bounds the tunnels that drain at one time; a node that moves
// faster than that loses what was in flight on the oldest.
const maxDraining = 2

func (l *List) drain(b Binding, mono time.Time) {
	t := b.Tunnel
	if t.Mode == forward.Send || t.AnyPort || !b.Live(mono) {
		return // it never received, or must not any more
	}
	t.Mode, t.Until = forward.Receive, mono.Add(Drain)
	if !b.Expires.IsZero() && b.Expires.Before(t.Until) {
		t.Until = b.Expires
	}
	l.draining = append(l.draining, t)
	if n := len(l.draining) - maxDraining; n > 0 {
		l.draining = slices.Delete(l.draining, 0, n)
	}
}

// settle forgets the tunnels that have drained.
func (l *List) settle(mono time.Time) {
	l.draining = slices.DeleteFunc(l.draining, func(t forward.Tunnel) bool { return !mono.Before(t.Until) })
	if len(l.draining) == 0 {
		l.draining = nil
	}
}

// Remove removes the binding with this ID at once, without draining, and
// returns it. With the last binding everything stops draining too:
// deregistration never drains.
func (l *List) Remove(id ID) (Binding, bool) {
	i, ok := l.find(id)
	if !ok {
		return Binding{}, false
	}
	b := l.live[i]
	l.live = slices.Delete(l.live, i, i+1)
	if len(l.live) == 0 {
		l.live, l.draining = nil, nil
	}
	return b, true
}

// Clear removes everything at once and returns the bindings.
func (l *List) Clear() []Binding {
	all := l.live
	l.live, l.draining = nil, nil
	return all
}

// Expire removes and returns the bindings whose lifetime is over at mono.
func (l *List) Expire(mono time.Time) []Binding {
	var expired []Binding
	l.live = slices.DeleteFunc(l.live, func(b Binding) bool {
		if b.Live(mono) {
			return false
		}
		expired = append(expired, b)
		return true
	})
	if len(l.live) == 0 {
		l.live, l.draining = nil, nil
	}
	return expired
}

// Next is when the first binding expires, zero when none does.
func (l *List) Next() time.Time {
	var first time.Time
	for i := range l.live {
		if t := l.live[i].Expires; !t.IsZero() && (first.IsZero() || t.Before(first)) {
			first = t
		}
	}
	return first
}

// Draining lists the replaced tunnels that may still receive at mono.
func (l *List) Draining(mono time.Time) []forward.Tunnel {
	l.settle(mono)
	return slices.Clone(l.draining)
}

// Entry is the home agent's forwarding entry that the list calls for at mono,
// under key. ok is false when there is no live binding.
func (l *List) Entry(key forward.Key, inner netip.Prefix, intercept string, mono time.Time) (e forward.Entry, ok bool) {
	e = forward.Entry{Key: key, Role: forward.HomeAgent, Inner: inner, Intercept: intercept}
	for i := range l.live {
		b := &l.live[i]
		if !b.Live(mono) {
			continue
		}
		t := b.Tunnel
		t.Until = b.Expires
		e.Tunnels = append(e.Tunnels, t)
		e.Broadcast = e.Broadcast || b.Broadcast
	}
	if len(e.Tunnels) == 0 {
		return e, false
	}
	for _, t := range l.draining {
		if mono.Before(t.Until) {
			e.Tunnels = append(e.Tunnels, t)
		}
	}
	return e, true
}
