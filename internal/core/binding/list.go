package binding

import (
	"iter"
	"net/netip"
	"slices"
	"time"

	"careof/internal/core/forward"
	"careof/wire/encap"
)

// translated is the range of addresses of hosts whose packets become IPv6 ones on
// their way (RFC 7335), 192.0.0.0/29.
var translated = netip.PrefixFrom(netip.AddrFrom4([4]byte{192, 0, 0, 0}), 29)

// A List is the mobility binding list of one home address: the live bindings
// in order of their IDs, and the tunnels that still drain after a move. The
// zero value is empty.
type List struct {
	only *packed   // the one binding, nothing draining: most lists
	rest *bindings // else, nil when empty
}

// bindings is a list at full length.
type bindings struct {
	live     []Binding
	draining []forward.Tunnel
}

// open gives the list's full length, for a change. [List.close] ends it.
func (l *List) open() *bindings {
	switch {
	case l.only != nil:
		l.rest = &bindings{live: make([]Binding, 1)}
		l.only.unpack(&l.rest.live[0])
		l.only = nil
	case l.rest == nil:
		l.rest = new(bindings)
	}
	return l.rest
}

// close packs the list, if it can be packed.
func (l *List) close() {
	switch r := l.rest; {
	case len(r.draining) > 0 || len(r.live) > 1:
	case len(r.live) == 0:
		l.rest = nil
	default:
		if p, ok := pack(&r.live[0]); ok {
			l.only, l.rest = &p, nil
		}
	}
}

// Len is the number of live bindings.
func (l *List) Len() int {
	switch {
	case l.only != nil:
		return 1
	case l.rest != nil:
		return len(l.rest.live)
	}
	return 0
}

// Fetch reads from memory what a refresh of an only binding will need, and returns
// something that depends on all of it.
func (l *List) Fetch() int {
	if l.only == nil {
		return 0
	}
	return int(l.only.identification) + len(l.only.link)
}

// Get returns the binding with this ID.
func (l *List) Get(id ID) (Binding, bool) {
	for b := range l.Each() {
		if b.ID == id {
			return *b, true
		}
	}
	return Binding{}, false
}

// Change lets change alter the binding with this ID, but for the ID, and
// reports whether there is one.
func (l *List) Change(id ID, change func(*Binding)) bool {
	r := l.open()
	defer l.close()
	i, ok := r.find(id)
	if ok {
		change(&r.live[i])
	}
	return ok
}

// All returns copies of the bindings in order of their IDs.
func (l *List) All() []Binding {
	var all []Binding
	for b := range l.Each() {
		all = append(all, *b)
	}
	return all
}

// Each yields the bindings in order of their IDs. They are valid until the next
// one or until the list changes, and not to be changed.
func (l *List) Each() iter.Seq[*Binding] {
	return func(yield func(*Binding) bool) {
		if l.only != nil {
			var b Binding
			l.only.unpack(&b)
			yield(&b)
			return
		}
		if l.rest == nil {
			return
		}
		for i := range l.rest.live {
			if !yield(&l.rest.live[i]) {
				return
			}
		}
	}
}

// Only returns the binding of a list that has exactly one.
func (l *List) Only() (Binding, bool) {
	if l.Len() == 1 {
		for b := range l.Each() {
			return *b, true
		}
	}
	return Binding{}, false
}

func (l *bindings) find(id ID) (int, bool) {
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
	if p := l.only; p != nil && p.id() == b.ID {
		// A refresh, mostly: what is kept changes in its place.
		var old Binding
		if p.unpack(&old); old.Tunnel == b.Tunnel {
			b.Since = old.Since
			if now, ok := pack(&b); ok {
				*p = now
				if old.Broadcast == b.Broadcast {
					return Same, nil
				}
				return Altered, nil
			}
		}
	}
	if l.only == nil && l.rest == nil {
		if now, ok := pack(&b); ok {
			l.only = &now
			return Added, nil
		}
	}
	r := l.open()
	defer l.close()
	return r.put(b, keep, mono)
}

func (l *bindings) put(b Binding, keep bool, mono time.Time) (Change, []Binding) {
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

func (l *bindings) uses(t forward.Tunnel) bool {
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

func (l *bindings) drain(b Binding, mono time.Time) {
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
func (l *bindings) settle(mono time.Time) {
	l.draining = slices.DeleteFunc(l.draining, func(t forward.Tunnel) bool { return !mono.Before(t.Until) })
	if len(l.draining) == 0 {
		l.draining = nil
	}
}

// Remove removes the binding with this ID at once, without draining, and
// returns it. With the last binding everything stops draining too:
// deregistration never drains.
func (l *List) Remove(id ID) (Binding, bool) {
	r := l.open()
	defer l.close()
	i, ok := r.find(id)
	if !ok {
		return Binding{}, false
	}
	b := r.live[i]
	r.live = slices.Delete(r.live, i, i+1)
	r.end()
	return b, true
}

// end: with the last binding everything stops draining.
func (l *bindings) end() {
	if len(l.live) == 0 {
		l.live, l.draining = nil, nil
	}
}

// Clear removes everything at once and returns the bindings.
func (l *List) Clear() []Binding {
	all := l.All()
	*l = List{}
	return all
}

// Expire removes and returns the bindings whose lifetime is over at mono.
func (l *List) Expire(mono time.Time) []Binding {
	if l.only != nil && (l.only.expires == never || mono.UnixNano() < l.only.expires) {
		return nil
	}
	r := l.open()
	defer l.close()
	var expired []Binding
	r.live = slices.DeleteFunc(r.live, func(b Binding) bool {
		if b.Live(mono) {
			return false
		}
		expired = append(expired, b)
		return true
	})
	r.end()
	return expired
}

// Next is when the first binding expires, zero when none does.
func (l *List) Next() time.Time {
	if l.only != nil {
		return instant(l.only.expires)
	}
	var first time.Time
	for b := range l.Each() {
		if t := b.Expires; !t.IsZero() && (first.IsZero() || t.Before(first)) {
			first = t
		}
	}
	return first
}

// Draining lists the replaced tunnels that may still receive at mono.
func (l *List) Draining(mono time.Time) []forward.Tunnel {
	if l.rest == nil {
		return nil
	}
	r := l.open()
	defer l.close()
	r.settle(mono)
	return slices.Clone(r.draining)
}

// Entry is the home agent's forwarding entry that the list calls for at mono,
// under key. ok is false when there is no live binding.
func (l *List) Entry(key forward.Key, inner netip.Prefix, intercept string, mono time.Time) (e forward.Entry, ok bool) {
	return l.EntryIn(nil, key, inner, intercept, mono)
}

// EntryIn is [List.Entry] with its tunnels in space, as far as they find room.
func (l *List) EntryIn(space []forward.Tunnel, key forward.Key, inner netip.Prefix, intercept string, mono time.Time) (e forward.Entry, ok bool) {
	e = forward.Entry{Key: key, Role: forward.HomeAgent, Inner: inner, Intercept: intercept, Tunnels: space[:0]}
	for b := range l.Each() {
		if !b.Live(mono) {
			continue
		}
		t := b.Tunnel
		t.Until = b.Expires
		// Who has a care-of address of the range for this purpose sits behind one.
		t.Checksum = t.Encap == encap.UDP && translated.Contains(b.CareOfAddress)
		e.Tunnels = append(e.Tunnels, t)
		e.Broadcast = e.Broadcast || b.Broadcast
	}
	if len(e.Tunnels) == 0 {
		return e, false
	}
	if l.rest == nil {
		return e, true
	}
	// What goes nowhere else may go where the node was known to be until now.
	spare := -1
	if slices.ContainsFunc(e.Tunnels, func(t forward.Tunnel) bool { return t.Budget > 0 }) {
		for i, t := range l.rest.draining {
			if t.Budget == 0 && mono.Before(t.Until) {
				spare = i
			}
		}
	}
	for i, t := range l.rest.draining {
		if mono.Before(t.Until) {
			t.Spare, t.Budget = i == spare, 0
			e.Tunnels = append(e.Tunnels, t)
		}
	}
	return e, true
}
