package mn

import (
	"cmp"
	"net/netip"
	"slices"
	"time"

	"careof/internal/core/assoc"
	"careof/internal/core/engine"
	"careof/wire/mip4"
)

// choose decides which uplinks register now.
func (n *Node) choose() {
	x := &Choice{Now: n.now, Node: n}
	for _, u := range n.uplinksByName() {
		x.Candidates = append(x.Candidates, n.candidate(u))
	}
	engine.Pipeline[*Choice]{&n.Choose}.Run(x, new(engine.Position))

	n.choice = nil
	for _, c := range x.Candidates {
		if u := n.uplinks[c.Link.Name]; u != nil {
			u.own = c.CoLocated
		}
	}
	for _, c := range x.Candidates {
		if c.Home && n.address.IsValid() {
			n.returnHome(c)
			return
		}
		if c.Unusable == "" {
			n.choice = append(n.choice, c)
		}
	}
	n.leaveHome()
	agent, ok := n.roster.current()
	n.dropDead()
	if n.stopped || !ok {
		if !ok {
			n.resolve()
		}
		return
	}
	if len(n.choice) == 0 {
		return
	}

	if n.broken() {
		n.race(agent)
		return
	}
	// The tunnel works. Wanted are the preferred uplinks, as many as may
	// register at a time; a better one than the active is registered before
	// the active is left.
	wanted := slices.DeleteFunc(slices.Clone(n.wanted()), n.Awaits)
	for _, c := range wanted {
		n.want(c, agent)
	}
	if r := n.links[n.choice[0].key(agent)]; r != nil && r != n.active && r.live && r.try == nil && r.refusals == 0 {
		n.begin(r, Register) // so far it was for copies only, or to receive
	}
	if u := n.uplinks[n.active.Key.Link]; u != nil && u.attached {
		n.begin(n.active, Register)
	}
	suspect := n.active.try != nil && n.active.try.transmissions > 1 && !n.stillHeard()
	for _, r := range n.registrations() {
		if r == n.active || r.try == nil || slices.ContainsFunc(wanted, r.of) || n.postponed(r) && r.young(n.now.Mono) {
			continue
		}
		if !suspect {
			r.giveUp()
		}
	}
	if suspect {
		// The active path does not answer: a silent black hole, perhaps.
		for _, c := range n.choice {
			n.want(c, agent)
		}
	}
}

// stillHeard says that the path in use carries packets both ways although requests
// over it, or their replies, were lost: something came back over it after the last
// request but one. Such a path loses now and then, and a request over another one
// would move the node there. It is believed as long as there is time for one request more.
func (n *Node) stillHeard() bool {
	r := n.active
	i := slices.IndexFunc(n.choice, r.of)
	return i >= 0 && n.choice[i].Quality.Answered.After(r.try.before) && r.try.transmissions < believed &&
		(r.expires.IsZero() || r.retryAt.Before(r.expires))
}

// race registers every live uplink at once. The preferred one goes last, so
// that its Identification is the greatest and it is the one that the home
// agent keeps when several requests arrive: a request without the S bit
// replaces what was there.
//
// A nonce is good for one request, so with nonces only the preferred uplink
// starts; the others follow when it does not answer, or is refused. So it is when nothing was
// registered before, as at a start: nobody loses a packet by the wait.
func (n *Node) race(agent candidateAgent) {
	first := n.choice[0]
	alone := agent.association.Replay() == assoc.Nonces || n.active == nil
	if r := n.links[first.key(agent)]; r != nil && r.try != nil && (r.try.transmissions > 1 || r.refusals > 0) {
		alone = false
	}
	for i, c := range slices.Backward(n.choice) {
		if (c.Link.Name == first.Link.Name || !alone) && !n.waits(i, agent) {
			n.want(c, agent)
		}
	}
	if r := n.links[first.key(agent)]; n.forsaken() && r != nil && r.try != nil && r.try.transmissions > 1 && n.active.try == nil {
		// Nobody answers on the other path either: whichever comes back first.
		n.begin(n.active, Register)
	}
}

// waits says that a candidate which has not begun waits for one that is
// preferred to it and whose first request may still be answered in time. The
// links of a node that starts come one by one: the request of the later one
// would be the greater one at the home agent, and be replaced again at once.
func (n *Node) waits(i int, agent candidateAgent) bool {
	c := n.choice[i]
	if r := n.links[c.key(agent)]; r != nil && r.try != nil {
		return false
	}
	return slices.ContainsFunc(n.choice[:i], func(better Candidate) bool {
		r := n.links[better.key(agent)]
		return r != nil && r.young(n.now.Mono)
	})
}

// young says that the first request of an attempt is on its way and not
// overdue.
func (r *Registration) young(mono time.Time) bool {
	return r.try != nil && r.try.transmissions == 1 && r.refusals == 0 && r.retryAt.After(mono)
}

// key is the key of a candidate's registration at a home agent.
func (c Candidate) key(agent candidateAgent) RegistrationKey {
	return RegistrationKey{c.Link.Name, c.CareOf, agent.address, c.Agent}
}

// want registers a candidate, unless it is registered or on its way.
func (n *Node) want(c Candidate, agent candidateAgent) {
	r := n.registration(c.key(agent), agent)
	r.CoLocated = c.coLocates()
	u := n.uplinks[c.Link.Name]
	// One of several becomes the one that is sent through when that is lost.
	promoted := r.live && r != n.active && n.broken()
	// What is on its way may be for copies only, too.
	under := r.try != nil && !(promoted && r.try.sent.Request.Flags.Has(mip4.FlagS))
	if !u.attached && (r.live && !promoted || under) {
		return
	}
	n.begin(r, Register)
}

// Awaits says that a candidate is preferred to the path in use, which works, and that
// it is registered when a feature knows that something comes back over it. Of one
// that is deaf the home agent would hear the request, and send there what is
// lost: nothing but the reply tells the node.
func (n *Node) Awaits(c Candidate) bool {
	agent, ok := n.roster.current()
	if !c.Unproven || !c.coLocates() || !ok || n.home != nil || n.stopped || n.broken() || n.active.Key.HomeAgent != agent.address {
		return false
	}
	place := func(is func(Candidate) bool) int { return slices.IndexFunc(n.choice, is) }
	return place(func(o Candidate) bool { return o.Link.Name == c.Link.Name }) < place(n.active.of)
}

// postponed says that a registration waits for that. What was sent before may be
// answered.
func (n *Node) postponed(r *Registration) bool {
	return slices.ContainsFunc(n.choice, func(c Candidate) bool { return r.of(c) && n.Awaits(c) })
}

// Foremost says whether packets go over the registration's path rather than
// over another one, as far as the last choice tells.
func (n *Node) Foremost(r *Registration) bool { return len(n.choice) > 0 && r.of(n.choice[0]) }

// broken says that nothing can be sent through the active registration: there
// is none, or its uplink or care-of address is gone, or it was forsaken and
// there is another. A link that was never heard of (after a restart) is not
// broken yet.
func (n *Node) broken() bool {
	if n.active == nil || !n.active.live {
		return true
	}
	if n.active.forsaken && slices.ContainsFunc(n.choice, func(c Candidate) bool { return !n.active.of(c) }) {
		return true
	}
	if n.uplinks[n.active.Key.Link] == nil {
		return false
	}
	return !n.stands(n.active)
}

// dropDead stops attempts over uplinks that cannot be used any more, and
// makes the address that a link still has stand for the candidate.
func (n *Node) dropDead() {
	for _, r := range n.registrations() {
		if r.try != nil && !slices.ContainsFunc(n.choice, r.of) && !(r.live && n.stands(r)) {
			r.giveUp()
		}
	}
}

// of says whether the registration is one of the candidate.
func (r *Registration) of(c Candidate) bool {
	return r.Key.Link == c.Link.Name && r.Key.CareOf == c.CareOf && r.Key.Agent == c.Agent
}

// canRenew says whether a registration is worth renewing: not at home, where
// all of them are being ended, and not over an address that the link has lost.
// A link that was never heard of (after a restart) may still have it.
func (n *Node) canRenew(r *Registration) bool {
	return n.home == nil && (n.uplinks[r.Key.Link] == nil || n.stands(r))
}

func (n *Node) uplinksByName() []*uplink {
	var list []*uplink
	for _, u := range n.uplinks {
		list = append(list, u)
	}
	slices.SortFunc(list, func(a, b *uplink) int { return cmp.Compare(a.link.Name, b.link.Name) })
	return list
}

// chooseAddress finds the co-located care-of address of each link: the
// address in use, else the first that another host can answer to.
//
//rfc:5944#1.7-4
func chooseAddress(x *Choice) engine.Verdict {
	for i := range x.Candidates {
		c := &x.Candidates[i]
		switch {
		case c.Link.Gone:
			c.Unusable = "there is no such interface"
			continue
		case !c.Link.Up:
			c.Unusable = "link is down"
			continue
		}
		for _, p := range c.Link.Addresses {
			a := p.Addr()
			if !unicast(a) || a.IsLinkLocalUnicast() || a == x.Node.address {
				continue
			}
			if r := x.Node.active; !c.CareOf.IsValid() || r != nil && r.live && r.Key.Link == c.Link.Name && r.Key.CareOf == a {
				c.CareOf = a
			}
		}
		switch {
		case !c.CareOf.IsValid() && slices.ContainsFunc(c.Link.Addresses, func(p netip.Prefix) bool { return p.Addr() == x.Node.address }):
			c.Unusable = "no care-of address: its address is the home address"
		case !c.CareOf.IsValid():
			c.Unusable = "no care-of address"
		case len(c.Link.Gateways) == 0 && !c.Link.Direct && !x.Node.onLink(c.Link):
			c.Unusable = "no gateway"
		}
	}
	return engine.Next()
}

// onLink says whether the home agent is a neighbour on the link.
func (n *Node) onLink(link engine.Link) bool {
	agent, ok := n.roster.current()
	return ok && slices.ContainsFunc(link.Addresses, func(p netip.Prefix) bool {
		return unicast(p.Addr()) && p.Addr() != n.address && p.Contains(agent.address)
	})
}

// chooseOrder: what is not demoted, by priority, by cost, then by name.
func chooseOrder(x *Choice) engine.Verdict {
	slices.SortStableFunc(x.Candidates, compareCandidates)
	return engine.Next()
}

// compareCandidates is less than 0 when a goes before b.
func compareCandidates(a, b Candidate) int {
	return cmp.Or(cmp.Compare(a.Demoted, b.Demoted), cmp.Compare(b.Priority, a.Priority), cmp.Compare(a.Cost, b.Cost),
		cmp.Compare(b.Preference, a.Preference), cmp.Compare(a.Link.Name, b.Link.Name))
}
