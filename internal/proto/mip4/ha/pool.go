package ha

import (
	"fmt"
	"net/netip"
	"time"

	"careof/internal/core/engine"
	"careof/internal/core/ident"
)

// maxPool bounds the addresses of all pools together.
const maxPool = 1 << 20

// A pool is the addresses that a network gives out. They are shard 0's: see
// [MobileNode.Shard].
type pool struct {
	network *Network
	free    []netip.Addr // never given out in this life, in order
	owner   map[netip.Addr]*Node
	all     map[netip.Addr]bool
}

// inPool tells whether an address lies in a pool.
func (c *Config) inPool(a netip.Addr) bool {
	for i := range c.Networks {
		for _, r := range c.Networks[i].Pool {
			if r.From.Compare(a) <= 0 && a.Compare(r.To) <= 0 {
				return true
			}
		}
	}
	return false
}

// makePools makes the pools, all of them free. Addresses that are some node's
// own, ours or no host's are left out.
func makePools(cfg *Config, taken *ident.Addresses) ([]*pool, error) {
	pools := make([]*pool, len(cfg.Networks))
	for i := range pools {
		pools[i] = &pool{network: &cfg.Networks[i], owner: make(map[netip.Addr]*Node), all: make(map[netip.Addr]bool)}
	}
	if cfg.Shard != 0 {
		return pools, nil
	}
	n := 0
	seen := make(map[netip.Addr]bool)
	for _, p := range pools {
		for _, r := range p.network.Pool {
			for a := r.From; a.Compare(r.To) <= 0; a = a.Next() {
				if n++; n > maxPool {
					return nil, fmt.Errorf("ha: the pools hold more than %d addresses", maxPool)
				}
				if !has(taken, a) && !seen[a] && p.network.assignable(a) && !cfg.own(a) {
					seen[a], p.all[a] = true, true
					p.free = append(p.free, a)
				}
			}
		}
	}
	return pools, nil
}

// give makes addr the node's home address.
func (a *Agent) give(p *pool, n *Node, addr netip.Addr) {
	a.takeBack(n)
	p.owner[addr] = n
	a.byHome.Put(addr, int(n.index))
	n.setHome(addr)
}

// takeBack takes a node's assigned address away.
func (a *Agent) takeBack(n *Node) {
	if n.config.HomeAddress.IsValid() || !n.home.IsValid() {
		return
	}
	for _, p := range a.pools {
		if p.owner[n.home] == n {
			delete(p.owner, n.home)
		}
	}
	a.byHome.Delete(n.home)
	n.setHome(netip.Addr{})
}

// serves says whether the pool's addresses are for the request.
func (p *pool) serves(x *Exchange) bool {
	if x.Network.IsValid() {
		return p.network.Prefix == x.Network
	}
	return !p.network.Reserved
}

// elsewhere says whether the node's assigned address belongs to a pool that does
// not serve the request.
func (a *Agent) elsewhere(x *Exchange) bool {
	for _, p := range a.pools {
		if p.owner[x.Node.home] == x.Node {
			return !p.serves(x)
		}
	}
	return false
}

// assign gives the node the pool address that it asks for, when nobody has it
// and the node has no bindings under another.
//
//rfc:2794#3
func (a *Agent) assign(x *Exchange, addr netip.Addr) bool {
	n := x.Node
	if n.list.Len() > 0 {
		return false
	}
	for _, p := range a.pools {
		if p.serves(x) && p.all[addr] && p.owner[addr] == nil {
			a.give(p, n, addr)
			x.Home = addr
			return true
		}
	}
	return false
}

// assignAny gives the node a free address: one that nobody ever had, else the
// one whose owner has been away the longest. The address stays with the node:
// it is asked for by name, and the name keeps it.
//
//rfc:2794#3
//rfc:3024#A.4-11
func (a *Agent) assignAny(x *Exchange) bool {
	for _, p := range a.pools {
		for p.serves(x) && len(p.free) > 0 {
			addr := p.free[0]
			p.free = p.free[1:]
			if p.owner[addr] == nil {
				a.give(p, x.Node, addr)
				x.Home = addr
				return true
			}
		}
	}
	var (
		from  *pool
		which netip.Addr
		since time.Time
	)
	for _, p := range a.pools {
		if !p.serves(x) {
			continue
		}
		for addr := range p.all {
			o := p.owner[addr]
			if o != nil && (o.list.Len() > 0 || o.turn != nil) {
				continue
			}
			var away time.Time // an address without an owner comes first
			if o != nil {
				away = o.freed
			}
			// The order of the map does not show: the longest away, then the
			// lowest address, is always the same one.
			if from == nil || away.Before(since) || (away.Equal(since) && addr.Less(which)) {
				from, which, since = p, addr, away
			}
		}
	}
	if from == nil {
		return false
	}
	if old := from.owner[which]; old != nil {
		a.takeBack(old)
		x.extra = append(x.extra, a.record(old))
	}
	a.give(from, x.Node, which)
	x.Home = which
	return true
}

// recordsFor are the node's records that an exchange has changed, in the memory
// of its turn.
func (a *Agent) recordsFor(x *Exchange) []engine.Record {
	return append(a.piecesOf(x.Node).records[:0], a.record(x.Node))
}
