package ha

import (
	"slices"

	"careof/internal/core/binding"
	"careof/internal/core/forward"
)

// A Redundancy is what a feature has agreed on with a node that is bound at two
// care-of addresses: which packets go to both, and which of them gets the rest.
// Without classes the other one stands by.
type Redundancy struct {
	Classes []forward.Class
	First   binding.ID
}

// SetRedundancy says what was agreed; nil ends it. It becomes true with the
// node's next commit.
func (a *Agent) SetRedundancy(n *Node, r *Redundancy) { n.redundancy = r }

// Redundancy is what was agreed with the node, nil for most.
func (n *Node) Redundancy() *Redundancy { return n.redundancy }

// same says whether the data plane has to do the same for both.
func (r *Redundancy) same(other *Redundancy) bool {
	if r == nil || other == nil {
		return r == other
	}
	return r.First == other.First && slices.Equal(r.Classes, other.Classes)
}

// spread makes an entry with a tunnel for each binding one with a tunnel for the
// rest and others for copies only.
func (n *Node) spread(e *forward.Entry) {
	r := n.redundancy
	if r == nil {
		return
	}
	e.Redundant, e.Numbered = r.Classes, true // such packets may be on their way
	if n.list.Len() < forward.Copyable {
		return
	}
	first, there := n.list.Get(r.First)
	if !there {
		first = n.list.All()[0]
	}
	for b := range n.list.Each() {
		i := slices.IndexFunc(e.Tunnels, func(t forward.Tunnel) bool { return t.Peer == b.Tunnel.Peer && t.Mode == b.Tunnel.Mode && !t.Copies })
		if i < 0 || b.Tunnel.Mode != forward.Both {
			continue
		}
		e.Tunnels[i].Copies = len(r.Classes) > 0
		if b.ID != first.ID {
			e.Tunnels[i].Mode = forward.Receive
		}
	}
}

// besides says whether a binding is one that gets no packets but copies.
func (n *Node) besides(id binding.ID) bool {
	if n.redundancy == nil || n.list.Len() < forward.Copyable {
		return false
	}
	_, there := n.list.Get(n.redundancy.First)
	return there && n.redundancy.First != id
}

// purpose says for people what the binding is for that is not the first.
func (r *Redundancy) purpose() string {
	if len(r.Classes) > 0 {
		return "it takes copies of packets that go to another care-of address"
	}
	return "it stands by: packets go to another care-of address"
}
