package mn

import (
	"net/netip"
	"time"

	"careof/internal/core/engine"
	"careof/wire/adv4"
)

// A search is the state of solicitation on one link.
type search struct {
	count int       // solicitations sent
	at    time.Time // of the next one; zero while no agent is looked for
}

const (
	// quickSolicitations: "The mobile node MAY send three initial
	// solicitations at a maximum rate of one per second while searching for an
	// agent. After this, the rate at which solicitations are sent MUST be
	// reduced so as to limit the overhead on the local link. Subsequent
	// solicitations MUST be sent using a binary exponential backoff mechanism,
	// doubling the interval between consecutive solicitations, up to a maximum
	// interval. The maximum interval SHOULD be chosen appropriately based upon
	// the characteristics of the media ... SHOULD be at least one minute" (RFC
	// 5944 section 2.4).
	quickSolicitations = 3
	solicitInterval    = time.Second
	solicitMost        = 64 * time.Second
)

// allRouters is where solicitations go (RFC 1256 section 3).
var allRouters = netip.AddrFrom4([4]byte{224, 0, 0, 2})

// solicit looks for agents: on links "when no Agent Advertisements are heard and
// no care-of address is known" otherwise. A link that comes up is a positive
// sign of movement: the search begins at once, so that an announced move does
// not wait for the next advertisement. "the mobile node MUST randomize" the
// rest.
//
//rfc:5944#2.4
//rfc:5944#2.2
//rfc:1256#5.3-5
//rfc:1256#5.3-8
func (n *Node) solicit() {
	for _, u := range n.uplinksByName() {
		if !n.seeks(u) {
			u.search = search{}
			continue
		}
		if u.search.at.IsZero() {
			u.search.at = n.now.Mono
		}
		if u.search.at.After(n.now.Mono) {
			continue
		}
		again, ok := u.solicitations.take(n.now.Mono)
		if !ok {
			u.search.at = again
			continue
		}
		src := n.address
		if !src.IsValid() {
			src = netip.IPv4Unspecified()
		}
		n.rest = append(n.rest, engine.SendDiscovery{
			Link: u.link.Name, Src: src, Dst: allRouters, Data: adv4.AppendSolicitation(nil),
		})
		u.search.count++
		wait := solicitInterval
		for i := quickSolicitations; i <= u.search.count && wait < solicitMost; i++ {
			wait *= 2
		}
		wait += time.Duration(n.rng.Int64N(int64(wait)/4 + 1))
		u.search.at = n.now.Mono.Add(wait)
	}
}

// seeks says whether an agent is looked for on a link.
//
//rfc:5944#2.4-2
//rfc:5944#2.4.2.1-3
//rfc:1256#5.3-9
func (n *Node) seeks(u *uplink) bool {
	if !n.cfg.ForeignAgents.on() || n.stopped || !u.link.Up || u.link.Gone || n.homeLink() == u.link.Name {
		return false
	}
	if len(n.agentsOn(u.link.Name)) > 0 {
		return false
	}
	return !u.own.IsValid() || !u.distrusted.IsZero()
}

// solicitDeadline is when the next solicitation is due.
func (n *Node) solicitDeadline() time.Time {
	var at time.Time
	for _, u := range n.uplinks {
		at = engine.Earliest(at, u.search.at, u.distrusted)
	}
	return at
}
