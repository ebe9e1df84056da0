package tun

import (
	"encoding/binary"
	"net/netip"
	"slices"
	"sync/atomic"
)

// shardBits: with a million bindings a shard holds sixty, and replacing it
// costs about as much as the system call that brought the registration.
const shardBits = 14

// index finds values by an IPv4 address without a lock: each shard is a map
// that is never changed, only replaced. Writers are serialised by the caller.
type index[V any] struct {
	shards [1 << shardBits]atomic.Pointer[map[uint32][]V]
}

func shardOf(a uint32) uint32 { return a * 2654435761 >> (32 - shardBits) }

func (x *index[V]) get(a uint32) []V {
	m := x.shards[shardOf(a)].Load()
	if m == nil {
		return nil
	}
	return (*m)[a]
}

// set replaces what is kept for a; none removes it.
func (x *index[V]) set(a uint32, values []V) {
	p := &x.shards[shardOf(a)]
	old := p.Load()
	next := make(map[uint32][]V)
	if old != nil {
		for k, v := range *old {
			next[k] = v
		}
	}
	if len(values) == 0 {
		delete(next, a)
	} else {
		next[a] = values
	}
	p.Store(&next)
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
