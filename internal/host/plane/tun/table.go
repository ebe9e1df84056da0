package tun

import (
	"encoding/binary"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
)

// index finds values by an IPv4 address without a lock. It is a hash table of
// chains; what a reader meets is never changed, only replaced, so a change
// costs the same with a million entries as with one. Writers are serialised
// by the caller.
type index[V any] struct {
	table atomic.Pointer[chains[V]]
	count int
}

// chains has a power of two of them.
type chains[V any] struct {
	heads []atomic.Pointer[link[V]]
	shift uint8
}

type link[V any] struct {
	next   atomic.Pointer[link[V]]
	values []V
	only   [1]V // is mostly all that values has
	key    uint32
}

func newChains[V any](bits uint8) *chains[V] {
	return &chains[V]{heads: make([]atomic.Pointer[link[V]], 1<<bits), shift: 32 - bits}
}

// head is the chain of an address (Knuth's multiplicative hashing).
func (c *chains[V]) head(a uint32) *atomic.Pointer[link[V]] { return &c.heads[a*2654435769>>c.shift] }

func (x *index[V]) get(a uint32) []V {
	c := x.table.Load()
	if c == nil {
		return nil
	}
	for l := c.head(a).Load(); l != nil; l = l.next.Load() {
		if l.key == a {
			return l.values
		}
	}
	return nil
}

// firstBits is the size of the first table.
const firstBits = 4

// set replaces what is kept for a; none removes it.
func (x *index[V]) set(a uint32, values []V) {
	c := x.table.Load()
	if c == nil {
		c = newChains[V](firstBits)
		x.table.Store(c)
	}
	at := c.head(a)
	for l := at.Load(); l != nil && l.key != a; l = at.Load() {
		at = &l.next
	}
	old := at.Load()
	var rest *link[V]
	if old != nil {
		rest = old.next.Load()
	}
	if len(values) == 0 {
		if old != nil {
			at.Store(rest)
			x.count--
		}
		return
	}
	at.Store(newLink(a, values, rest))
	if old != nil {
		return
	}
	if x.count++; x.count > len(c.heads) && c.shift > 4 {
		x.grow(c)
	}
}

func newLink[V any](a uint32, values []V, next *link[V]) *link[V] {
	l := &link[V]{key: a, values: values}
	if len(values) == 1 {
		l.only[0] = values[0]
		l.values = l.only[:]
	}
	l.next.Store(next)
	return l
}

// grow makes a table of twice the size. Readers of the old one go on there.
func (x *index[V]) grow(old *chains[V]) {
	next := newChains[V](32 - old.shift + 1)
	for i := range old.heads {
		for l := old.heads[i].Load(); l != nil; l = l.next.Load() {
			at := next.head(l.key)
			at.Store(newLink(l.key, l.values, at.Load()))
		}
	}
	x.table.Store(next)
}

// table finds the bindings of one role by an inner address, the longest prefix
// first.
type table struct {
	hosts    index[*binding]
	prefixes atomic.Pointer[[]level]
}

// level is the prefixes of one length.
type level struct {
	bits int
	mask uint32
	nets map[uint32][]*binding
}

// find returns the bindings of the longest prefix that holds a, in key order.
func (t *table) find(a uint32) []*binding {
	if b := t.hosts.get(a); b != nil {
		return b
	}
	levels := t.prefixes.Load()
	if levels == nil {
		return nil
	}
	for i := range *levels {
		l := &(*levels)[i]
		if b := l.nets[a&l.mask]; b != nil {
			return b
		}
	}
	return nil
}

// exactly returns the bindings of a prefix, in key order.
func (t *table) exactly(p netip.Prefix) []*binding {
	a := word(p.Addr())
	if p.Bits() == 32 {
		return t.hosts.get(a)
	}
	levels := t.prefixes.Load()
	if levels == nil {
		return nil
	}
	for i := range *levels {
		if l := &(*levels)[i]; l.bits == p.Bits() {
			return l.nets[a]
		}
	}
	return nil
}

// add puts b among the bindings of its prefix, in key order.
func (t *table) add(b *binding) {
	t.update(b.entry.Inner, func(list []*binding) []*binding {
		at, _ := slices.BinarySearchFunc(list, b, func(x, y *binding) int {
			return compareKeys(x.entry.Key, y.entry.Key)
		})
		return slices.Insert(slices.Clone(list), at, b)
	})
}

func (t *table) remove(b *binding) {
	t.update(b.entry.Inner, func(list []*binding) []*binding {
		return slices.DeleteFunc(slices.Clone(list), func(x *binding) bool { return x == b })
	})
}

// replace puts b in the place of old, which has the same prefix and key, in
// one step: no packet falls between.
func (t *table) replace(old, b *binding) {
	t.update(b.entry.Inner, func(list []*binding) []*binding {
		list = slices.Clone(list)
		for i := range list {
			if list[i] == old {
				list[i] = b
			}
		}
		return list
	})
}

func (t *table) update(p netip.Prefix, change func([]*binding) []*binding) {
	a := word(p.Addr())
	if p.Bits() == 32 {
		t.hosts.set(a, change(t.hosts.get(a)))
		return
	}
	var levels []level
	if old := t.prefixes.Load(); old != nil {
		levels = slices.Clone(*old)
	}
	at, found := slices.BinarySearchFunc(levels, p.Bits(), func(l level, bits int) int { return bits - l.bits })
	if !found {
		l := level{bits: p.Bits(), mask: uint32(uint64(0xffffffff) << (32 - p.Bits())), nets: map[uint32][]*binding{}}
		levels = slices.Insert(levels, at, l)
	}
	nets := make(map[uint32][]*binding, len(levels[at].nets)+1)
	for k, v := range levels[at].nets {
		nets[k] = v
	}
	if list := change(nets[a]); len(list) == 0 {
		delete(nets, a)
	} else {
		nets[a] = list
	}
	levels[at].nets = nets
	if len(nets) == 0 {
		levels = slices.Delete(levels, at, at+1)
	}
	t.prefixes.Store(&levels)
}

// word is an IPv4 address as a number.
func word(a netip.Addr) uint32 {
	b := a.As4()
	return binary.BigEndian.Uint32(b[:])
}

// peers finds tunnels by the outer address of their other end, for ICMP errors
// alone: a lock does. The tunnels of one peer are a ring, in the order in which
// they came, so that a foreign agent's thousands cost no more than one.
type peers struct {
	mu    sync.Mutex
	first map[uint32]*tunnel
}

func (p *peers) add(t *tunnel) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.first == nil {
		p.first = make(map[uint32]*tunnel)
	}
	a := word(t.t.Peer.Addr())
	first := p.first[a]
	if first == nil {
		p.first[a] = t
		t.before, t.after = t, t
		return
	}
	t.before, t.after = first.before, first
	t.before.after, t.after.before = t, t
}

func (p *peers) remove(t *tunnel) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if t.after == nil {
		return
	}
	if a := word(t.t.Peer.Addr()); p.first[a] == t {
		if p.first[a] = t.after; t.after == t {
			delete(p.first, a)
		}
	}
	t.before.after, t.after.before = t.after, t.before
	t.before, t.after = nil, nil
}

// maxConcerned bounds the tunnels that one ICMP error is compared with: anybody
// can send one.
const maxConcerned = 4096

// get appends the tunnels to a peer to list.
func (p *peers) get(list []*tunnel, a uint32) []*tunnel {
	p.mu.Lock()
	defer p.mu.Unlock()
	first := p.first[a]
	for t := first; t != nil && len(list) < maxConcerned; {
		list = append(list, t)
		if t = t.after; t == first {
			break
		}
	}
	return list
}
