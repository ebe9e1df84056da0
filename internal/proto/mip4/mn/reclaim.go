package mn

import "careof/internal/core/assoc"

// reclaim registers the path in use again when a request over one that is preferred to
// it was not answered in time, and says that the next request over that waits. Only the
// reply would have told whether the home agent has heard the request, and if it
// has, what it sends there is lost where no reply comes back: on a path that leads through
// the node's own tunnel, for one. RFC 5177 section 8 leaves such loops to others.
func (n *Node) reclaim(r *Registration) bool {
	t := r.try
	if t.reclaimed || t.transmissions == 0 || t.deferred || r.refusals > 0 || !n.displaces(r) {
		t.reclaimed = false
		return false
	}
	t.reclaimed = true
	r.retryAt = n.now.Mono.Add(t.timeout)
	if n.active.try == nil {
		n.begin(n.active, Register)
	}
	if n.unreplied != nil {
		n.unreplied(r, t.transmissions)
	}
	return true
}

// displaces says that a registration is to take the packets of a path that works. With
// nonces it cannot be undone: each is good for one request.
func (n *Node) displaces(r *Registration) bool {
	a := n.active
	return r.try.purpose == Register && !r.Key.Agent.IsValid() && a != nil && a != r && n.home == nil && !n.stopped && !n.broken() &&
		r.Key.HomeAgent == a.Key.HomeAgent && r.association.Replay() != assoc.Nonces && n.Foremost(r)
}

// OnUnreplied has a feature told how many requests in a row were not answered over a
// path that is preferred to the one in use, which works.
func (n *Node) OnUnreplied(f func(r *Registration, requests int)) { n.unreplied = f }
