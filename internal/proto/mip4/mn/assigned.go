package mn

import (
	"net/netip"
	"slices"
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

// Others are the home agents that the node knows beside that of a registration,
// in the order to try.
func (n *Node) Others(r *Registration) (list []netip.Addr) {
	if len(n.cfg.HomeAgents) < 2 && len(n.roster.found) == 0 && len(n.roster.names) == 0 {
		return nil
	}
	for _, a := range n.roster.list() {
		if a.address != r.Key.HomeAgent && unicast(a.address) && !a.discover && a.association != nil {
			list = append(list, a.address)
		}
	}
	return list
}

// Leave registers with another home agent of [Node.Others], since the one of a
// registration is silent. As with [Node.Redirect], what is live stays so until the
// other one has accepted. It says whether it began: not while the node is on its
// way to another one already.
func (n *Node) Leave(r *Registration, to netip.Addr) bool {
	i := n.roster.at(to)
	if i < 0 || r != n.active || !r.live || n.roster.sentTo.IsValid() || n.home != nil || n.stopped || n.broken() {
		return false
	}
	r.giveUp()
	n.roster.index, n.roster.sentTo = i, to
	n.rechoose = true
	return true
}

// associationWith is what is shared with a home agent: its own, else the one
// that all have that a node is assigned to.
func (n *Node) associationWith(address netip.Addr) *assoc.Association {
	for _, h := range n.cfg.HomeAgents {
		if h.Address == address || h.Name != "" && slices.Contains(n.roster.names[h.Name], address) {
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
