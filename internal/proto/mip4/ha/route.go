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
// node that it speaks of: NAI, home address and the SPIs agree on the node. A
// pool address belongs to the shard that may give it out. What no node is
// meant by goes to shard 0, which ignores it.
//
// Answers are not routed: a ticket belongs to the machine that issued it.
// Wake belongs to the machine whose deadline it is.
func Route(cfg Config, n int) func(engine.Event) int {
	cfg.Shards = n
	cfg = cfg.withDefaults()
	byHome := make(map[netip.Addr]int)
	byNAI := make(map[ident.NAI]int)
	taken := make(map[netip.Addr]bool)
	for i := range cfg.Nodes {
		c := &cfg.Nodes[i]
		shard := c.Shard(cfg.Shards)
		if c.NAI != "" {
			byNAI[c.NAI] = shard
		}
		if c.HomeAddress.IsValid() {
			byHome[c.HomeAddress], taken[c.HomeAddress] = shard, true
		}
	}
	// An over-full pool is New's error to report.
	_ = poolAddresses(&cfg, taken, func(_ int, a netip.Addr, shard int) { byHome[a] = shard })

	node := func(who ident.Node) int {
		if shard, ok := byNAI[who.NAI]; ok && who.NAI != "" {
			return shard
		}
		return byHome[who.HomeAddress]
	}
	return func(ev engine.Event) int {
		switch ev := ev.(type) {
		case engine.Packet:
			return node(speaksOf(ev.Data))
		case engine.Plane:
			return byHome[planeHome(ev.Event)]
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

// speaksOf reads from a message whom it speaks of.
func speaksOf(data []byte) ident.Node {
	m, err := mip4.Parse(data)
	if err != nil {
		return ident.Node{}
	}
	var who ident.Node
	if nai, n, err := mip4.Get[mip4.NAI](m); err == nil && n > 0 {
		who.NAI = ident.NAI(nai.Value)
	}
	switch m.Type {
	case mip4.TypeRegistrationRequest:
		if r, err := m.Request(); err == nil {
			who.HomeAddress = r.HomeAddress
		}
	case mip4.TypeRevocation:
		if r, err := m.Revocation(); err == nil {
			who.HomeAddress = r.HomeAddress
		}
	case mip4.TypeRevocationAck:
		if r, err := m.RevocationAck(); err == nil {
			who.HomeAddress = r.HomeAddress
		}
	}
	return who
}

func planeHome(ev forward.Event) netip.Addr {
	var key forward.Key
	switch ev := ev.(type) {
	case forward.EndpointSeen:
		key = ev.Key
	case forward.EchoReply:
		key = ev.Key
	case forward.Unreachable:
		key = ev.Key
	}
	home, _ := homeOf(key)
	return home
}
