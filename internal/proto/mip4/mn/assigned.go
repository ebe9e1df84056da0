package mn

import (
	"net/netip"
	"time"

	"careof/internal/core/assoc"
)

// Redirect sends a registration's node to another home agent. What is live stays
// live, and packets go its way, until the other one has accepted: then its
// binding is ended (RFC 5944 section 3.6.1.2 has the new one replace the old).
// When the other one does not answer, the node goes on where it is.
func (n *Node) Redirect(r *Registration, to netip.Addr) {
	association := n.associationWith(to)
	r.giveUp()
	n.roster.adopt(to, association)
	n.roster.sentTo = to
	n.rechoose = true
}

// associationWith is what is shared with a home agent: its own, else the one
// that all have that a node is assigned to.
func (n *Node) associationWith(address netip.Addr) *assoc.Association {
	for _, h := range n.cfg.HomeAgents {
		if h.Address == address {
			return h.Association
		}
	}
	return n.cfg.Association
}

// Anchor names the home agent of a registration that was asked of whoever there
// is, once one has accepted.
func (n *Node) Anchor(x *Response, agent netip.Addr) {
	r := x.Registration
	asked := r.Key
	learnt := *n.clock(asked.HomeAgent)
	n.clocks[agent] = &learnt
	n.saveClock(agent)
	delete(n.links, asked)
	r.Key.HomeAgent = agent
	n.links[r.Key] = r
	n.roster.adopt(agent, r.association)
	r.association = n.roster.keyed(agent, r.association)
	if x.Peer.IsValid() && !unicast(x.Peer.Addr()) { // through a foreign agent packets may go plain
		x.Peer = netip.AddrPortFrom(agent, x.Peer.Port())
	}
}

// Release has a home agent end the binding of a care-of address that it holds
// and that the node does not use any more. It is sent once.
func (n *Node) Release(r *Registration, at netip.Addr) {
	k := r.Key
	if k.HomeAgent == at || n.home != nil {
		return
	}
	k.HomeAgent = at
	if _, busy := n.links[k]; busy {
		return
	}
	n.release(n.registration(k, candidateAgent{address: at, association: n.associationWith(at)}))
}

// SentTo is where the node was redirected to, while that home agent has not
// accepted it; invalid when it was not.
func (n *Node) SentTo() netip.Addr { return n.roster.sentTo }

// Wait puts the next request of an attempt off, with a random part, so that many
// nodes do not come back together. It is for a hook of the stage Denied, which
// then ends with Done.
func (n *Node) Wait(r *Registration, d time.Duration) {
	if r.try == nil {
		return
	}
	r.try.octets = nil
	r.retryAt = n.now.Mono.Add(d + time.Duration(n.rng.Int64N(int64(d)/4+1)))
}
