package ha

import (
	"net/netip"

	"careof/internal/core/engine"
	"careof/internal/core/forward"
	"careof/internal/core/ident"
	"careof/wire/mip4"
)

// EveryShard is what a [Route] says of an event that all shards must see.
const EveryShard = -1

// Route returns the pure function that says which of n shards an event
// belongs to, or EveryShard. An event belongs to the shard of the configured
// node that it speaks of (see [MobileNode.Shard]): NAI, home address and the
// SPIs agree on the node. A pool address belongs to shard 0, which gives them
// out. What no node is meant by goes to some shard, which ignores it.
//
// Answers are not routed: a ticket belongs to the machine that issued it.
// Wake belongs to the machine whose deadline it is.
//
// A node that is configured by home address alone takes no memory here: a
// million of them are a million equal look-ups that a hash can do.
func Route(cfg Config, n int) func(engine.Event) int {
	byHome := make(map[netip.Addr]int)
	byNAI := make(map[ident.NAI]int)
	for i := range cfg.Nodes {
		c := &cfg.Nodes[i]
		if c.NAI != "" {
			byNAI[c.NAI] = c.Shard(n)
		}
		if c.HomeAddress.IsValid() && (c.NAI != "" || cfg.inPool(c.HomeAddress)) {
			byHome[c.HomeAddress] = c.Shard(n)
		}
	}
	cfg.Nodes = nil // what follows is kept
	node := func(who ident.Node) int {
		if shard, ok := byNAI[who.NAI]; ok && who.NAI != "" {
			return shard
		}
		if shard, ok := byHome[who.HomeAddress]; ok {
			return shard
		}
		if unspecified(who.HomeAddress) || cfg.inPool(who.HomeAddress) {
			return 0
		}
		return ident.Node{HomeAddress: who.HomeAddress}.Shard(n)
	}
	return func(ev engine.Event) int {
		switch ev := ev.(type) {
		case engine.Packet:
			if len(ev.Data) > 0 && mip4.MessageType(ev.Data[0]) == mip4.TypeExperimentalMessage {
				return EveryShard // between home agents: it may be about any node
			}
			if home, ok := speaksOfHome(ev.Data); ok && len(byNAI) == 0 {
				return node(ident.Node{HomeAddress: home}) // names lead nowhere
			}
			return node(speaksOf(ev.Data))
		case engine.Plane:
			return node(ident.Node{HomeAddress: planeHome(ev.Event)})
		case engine.Command:
			switch c := ev.Value.(type) {
			case ShowBinding:
				return node(c.Node)
			case ClearBinding:
				return node(c.Node)
			case Routed:
				return node(c.Subject())
			}
		}
		return EveryShard
	}
}

// Routed is a command of a feature that concerns one node.
type Routed interface{ Subject() ident.Node }

// Shard is the node's shard among n. It depends on its name alone, so that
// every message of a node reaches the same machine. But nodes that draw on the
// pools have one machine: it finds an address as long as there is one, and
// what it has given out is the same for any number of shards.
func (c *MobileNode) Shard(n int) int {
	if !c.HomeAddress.IsValid() {
		return 0
	}
	return c.Node.Shard(n)
}

// speaksOfHome reads the home address of what looks like a Registration Request,
// without a look at the rest.
func speaksOfHome(data []byte) (netip.Addr, bool) {
	if len(data) < 8 || mip4.MessageType(data[0]) != mip4.TypeRegistrationRequest {
		return netip.Addr{}, false
	}
	return netip.AddrFrom4([4]byte(data[4:8])), true
}

// speaksOf reads from a message whom it speaks of.
func speaksOf(data []byte) ident.Node {
	var exts [8]mip4.Ext
	m := mip4.Message{Exts: exts[:0]}
	if m.Parse(data) != nil {
		return ident.Node{}
	}
	var who ident.Node
	if e, n := m.Find(mip4.ExtNAI); n > 0 {
		who.NAI = ident.NAI(e.Body)
	}
	switch m.Type {
	case mip4.TypeRegistrationRequest, mip4.TypeRevocation, mip4.TypeRevocationAck,
		mip4.TypeNotification, mip4.TypeNotificationAck:
		// All have it in the same place (RFC 5944 section 3.3, RFC 3543
		// sections 3.1 and 3.2, RFC 6098 sections 4.1 and 4.2).
		who.HomeAddress = netip.AddrFrom4([4]byte(data[4:8]))
	}
	return who
}

// planeHome is the home address that an event of the data plane concerns.
func planeHome(ev forward.Event) netip.Addr {
	home, _ := homeOf(ev.Entry())
	return home
}
