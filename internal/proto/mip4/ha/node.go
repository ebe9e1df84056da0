package ha

import (
	"net/netip"
	"slices"
	"strings"
	"time"

	"careof/internal/core/assoc"
	"careof/internal/core/binding"
	"careof/internal/core/engine"
	"careof/internal/core/forward"
	"careof/internal/core/ident"
)

// A Node is what the home agent knows of one mobile node that it serves.
type Node struct {
	config *MobileNode
	index  engine.Ordinal // in Agent.nodes
	key    forward.Key    // of the forwarding entry of home; empty until somebody asks
	home   netip.Addr     // configured, or assigned from a pool; invalid before that. See setHome
	mark   assoc.Mark     // never goes back
	list   binding.List
	// networks are the mobile networks of a mobile router, nil for others.
	networks   *networks
	last       *lastReply
	redundancy *Redundancy   // nil without
	turn       *turn         // nil when nothing of this node is being committed
	freed      time.Time     // monotonic: when the last binding ended
	repair     time.Duration // the last pause before a repair, zero while all is well
	refusals   *refusals     // nil before the first
	requests   meter         // authentic and fresh ones
	// removed says that the configuration does not have the node any more. It
	// has no bindings then, and nobody finds it; its replay mark stays.
	removed bool
	adopted bool // a feature has brought it in: no configuration has it
}

// refusals limit what is refused: anybody can send a captured request again, as
// often as they like.
type refusals struct {
	denied               time.Time // monotonic: when the last 131 went out
	mismatches, warnings meter     // of old Identifications
}

// refused is the node's refusals, for one more.
func (n *Node) refused() *refusals {
	if n.refusals == nil {
		n.refusals = new(refusals)
	}
	return n.refusals
}

// Identity is who the node is by configuration.
func (n *Node) Identity() ident.Node { return n.config.Node }

// Home is the node's home address, invalid while it has none.
func (n *Node) Home() netip.Addr { return n.home }

// Configuration is the node's configuration.
func (n *Node) Configuration() *MobileNode { return n.config }

// Bindings are copies of the node's live bindings.
func (n *Node) Bindings() []binding.Binding { return n.list.All() }

// Key is the key of the node's forwarding entry.
func (n *Node) Key() forward.Key {
	if n.key == "" {
		n.key = entryKey(n.home)
	}
	return n.key
}

// setHome gives the node a home address, or takes it away.
func (n *Node) setHome(home netip.Addr) {
	if n.home != home {
		n.home, n.key = home, ""
	}
}

// Association finds the node's association with this SPI.
func (n *Node) Association(spi uint32) *assoc.Association {
	for _, k := range n.config.Keys {
		if k.SPI() == spi {
			return k
		}
	}
	return nil
}

// String is the node's name for people.
func (n *Node) String() string { return n.config.Node.String() }

const keyPrefix = "ha/"

func entryKey(home netip.Addr) forward.Key { return forward.Key(keyPrefix + home.String()) }

// homeOf is the home address that an entry's key names.
func homeOf(key forward.Key) (netip.Addr, bool) {
	s, ok := strings.CutPrefix(string(key), keyPrefix)
	if !ok {
		return netip.Addr{}, false
	}
	s, _, _ = strings.Cut(s, "/") // a mobile network's names its router
	a, err := netip.ParseAddr(s)
	return a, err == nil
}

// nodesInBlock nodes at a time are made faster than one, and found without looking
// for where they are.
const nodesInBlock = 256

// at is the node with a home address, nil for none.
func (a *Agent) at(home netip.Addr) *Node {
	i, ok := a.byHome.Get(home)
	switch {
	case !ok:
		return nil
	case i < a.first:
		return &a.blocks[i/nodesInBlock][i%nodesInBlock]
	}
	return a.nodes[i]
}

// index takes the shard's part of the configuration.
func (a *Agent) index() error {
	var taken *ident.Addresses
	var err error
	if a.cfg.Shard == 0 {
		// It has the pools, and looks through the whole configuration for all.
		if taken, err = a.cfg.identities(); err != nil {
			return err
		}
	}
	a.byHome.Reserve(len(a.cfg.Nodes) / a.cfg.Shards)
	for i := range a.cfg.Nodes {
		c := &a.cfg.Nodes[i]
		if c.Shard(a.cfg.Shards) != a.cfg.Shard {
			continue
		}
		at := len(a.nodes)
		if at%nodesInBlock == 0 {
			a.blocks = append(a.blocks, new([nodesInBlock]Node))
		}
		n := &a.blocks[at/nodesInBlock][at%nodesInBlock]
		*n = Node{config: c, index: engine.Ordinal(at), home: c.HomeAddress}
		a.nodes = append(a.nodes, n)
		if c.NAI != "" {
			a.byNAI[c.NAI] = n
		}
		if n.home.IsValid() {
			a.byHome.Put(n.home, at)
		}
	}
	a.first = len(a.nodes)
	a.relate()
	if a.prefixes, err = a.cfg.prefixTable(); err != nil {
		return err
	}
	a.pools, err = makePools(&a.cfg, taken)
	return err
}

// Named finds a node by the name that its record has: [Node.String]; nil when
// there is none in this shard.
func (a *Agent) Named(name string) *Node { return a.named([]byte(name)) }

func (a *Agent) named(name []byte) *Node {
	if n := a.byNAI[ident.NAI(name)]; n != nil {
		return n
	}
	home, ok := ident.ParseAddress(name)
	if !ok {
		return nil
	}
	if n := a.at(home); n != nil && n.config.NAI == "" {
		return n
	}
	return nil
}

// intercept is the home link on which the node's home address is defended,
// empty when its home network is virtual.
func (a *Agent) intercept(n *Node) string {
	if net, ok := a.cfg.network(n.home); ok {
		return net.Link
	}
	return ""
}

// HomeLink is the home link on which the node's home address is defended while it
// is away, empty when its home network is virtual.
func (a *Agent) HomeLink(n *Node) string { return a.intercept(n) }

func (n *Node) inner() netip.Prefix { return netip.PrefixFrom(n.home, n.home.BitLen()) }

// head is the node's forwarding entry without its tunnels.
func (a *Agent) head(n *Node) forward.Entry {
	return forward.Entry{Key: n.Key(), Role: forward.HomeAgent, Inner: n.inner(), Intercept: a.intercept(n)}
}

func (a *Agent) entry(n *Node) (forward.Entry, bool) { return a.entryIn(nil, n) }

// entryIn is the node's forwarding entry with its tunnels in space, as far as
// they find room.
func (a *Agent) entryIn(space []forward.Tunnel, n *Node) (forward.Entry, bool) {
	if !n.home.IsValid() {
		return forward.Entry{}, false
	}
	e, live := n.list.EntryIn(space, n.Key(), n.inner(), a.intercept(n), a.Now().Mono)
	if live {
		n.spread(&e)
	}
	if live && len(n.Networks()) > 0 && slices.ContainsFunc(e.Tunnels, func(t forward.Tunnel) bool { return t.Wrap.IsValid() }) {
		e.Router = n.home // its packets may hold another tunnel's
	}
	return e, live
}
