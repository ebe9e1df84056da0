package mobilenetwork

import (
	"encoding/binary"
	"hash/fnv"
	"net/netip"
	"slices"

	"careof/internal/proto/mip4/ha"
)

// maxPoolBits bounds the prefixes of a pool.
const maxPoolBits = 20

// A pool assigns prefixes. Each shard has every so manyth of them.
//
// "The lifetime of the allocated prefix will be equal to the lifetime of the
// binding cache entry" (RFC 6626 section 3.2). A node that comes back gets the
// same one when nobody else has it: the search begins where its name says.
type pool struct {
	Pool
	shard, shards int
	owner         map[netip.Prefix]*ha.Node // who has it, or had it last
}

func newPool(p Pool, shard, shards int) *pool {
	return &pool{Pool: p, shard: shard, shards: shards, owner: make(map[netip.Prefix]*ha.Node)}
}

func (p *pool) size() int { return 1 << (p.Length - p.Prefix.Bits()) }

// at is the i-th prefix of the pool.
func (p *pool) at(i int) netip.Prefix {
	b := p.Prefix.Addr().As4()
	n := binary.BigEndian.Uint32(b[:]) + uint32(i)<<(32-p.Length)
	binary.BigEndian.PutUint32(b[:], n)
	return netip.PrefixFrom(netip.AddrFrom4(b), p.Length)
}

// has says whether a prefix is one of this shard's part of the pool.
func (p *pool) has(q netip.Prefix) bool {
	if q.Bits() != p.Length || !p.Prefix.Contains(q.Addr()) {
		return false
	}
	a, first := q.Addr().As4(), p.Prefix.Addr().As4()
	i := int(binary.BigEndian.Uint32(a[:])-binary.BigEndian.Uint32(first[:])) >> (32 - p.Length)
	return i%p.shards == p.shard
}

// free says whether nobody but n has the prefix.
func (p *pool) free(q netip.Prefix, n *ha.Node) bool {
	o := p.owner[q]
	return o == nil || o == n || !slices.Contains(o.Networks(), q)
}

// gives says whether the home agent assigns prefixes.
func (h *home) gives() bool { return len(h.pools) > 0 }

// poolOf is the pool that a prefix is of, nil when it is of none.
func (h *home) poolOf(q netip.Prefix) *pool {
	for _, p := range h.pools {
		if p.has(q) {
			return p
		}
	}
	return nil
}

// restore gives a node its prefix back after a restart.
func (h *home) restore(n *ha.Node, q netip.Prefix) bool {
	p := h.poolOf(q)
	if p == nil || !p.free(q, n) {
		return false
	}
	p.owner[q] = n
	return true
}

// assigned says whether the node has the prefix of a pool already, which it
// may name from then on.
func (h *home) assigned(x *ha.Exchange, q netip.Prefix) bool {
	return h.poolOf(q) != nil && slices.Contains(x.Node.Networks(), q)
}

// assign finds a prefix for a node: one that it has already, else a free one.
// "The home agent MAY take into account the prefix length hint": pools of that
// length come first.
//
//rfc:6626#3.2
//rfc:6626#4
//rfc:6626#4-1
func (h *home) assign(x *ha.Exchange, hint int) (netip.Prefix, bool) {
	pools := slices.Clone(h.pools)
	slices.SortStableFunc(pools, func(a, b *pool) int { return distance(a.Length, hint) - distance(b.Length, hint) })
	for _, p := range pools {
		given := 0
		for _, q := range x.Networks {
			if p.has(q) {
				given++
			}
		}
		if given >= p.PerNode {
			continue
		}
		if q, ok := p.choose(x); ok {
			return q, true
		}
	}
	return netip.Prefix{}, false
}

func distance(length, hint int) int {
	if length == hint {
		return 0
	}
	return 1
}

//rfc:6626#3.2-3
func (p *pool) choose(x *ha.Exchange) (netip.Prefix, bool) {
	for _, q := range x.Node.Networks() {
		if p.has(q) && !slices.Contains(x.Networks, q) {
			return q, true
		}
	}
	size := p.size()
	start := fnv.New32a()
	start.Write([]byte(x.Node.String()))
	for i := range size {
		at := (int(start.Sum32()) + i) & (size - 1)
		if at%p.shards != p.shard {
			continue
		}
		if q := p.at(at); p.free(q, x.Node) && !slices.Contains(x.Networks, q) {
			p.owner[q] = x.Node
			return q, true
		}
	}
	return netip.Prefix{}, false
}
