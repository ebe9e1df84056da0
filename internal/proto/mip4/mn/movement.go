package mn

import (
	"net/netip"
	"slices"
	"time"

	"careof/internal/core/forward"
	"careof/internal/core/note"
	"careof/wire/adv4"
)

// rebooted: "If it receives two successive advertisements of its current
// foreign agent, and the second has sequence number less than the first and
// inside the range 0 to 255, then the mobile node SHOULD register again. If
// the second value is less than the first but is greater than or equal to 256,
// the mobile node SHOULD assume that the sequence number has rolled over" (RFC
// 5944 section 2.4.4): [adv4.Rebooted] knows. Anybody on the link can forge
// one, so it costs one request at a time and ends nothing.
//
//rfc:5944#2.4.4
//rfc:5944#3.6-4
func (n *Node) rebooted(a *mobilityAgent) {
	r := n.active
	if r == nil || !r.live || n.agentOf(r) != a || r.try != nil || n.now.Mono.Sub(r.lastSent) < minimumInterval {
		return
	}
	n.Tell(n.noteOf(r, note.Note{Kind: AgentHeard, Level: note.Info, Why: "the foreign agent has started again"}))
	n.begin(r, Register)
	if r.try != nil {
		r.try.anew = true
	}
}

// foundAgain: what the node knows of an agent ends when the agent is lost, its
// sequence number too. One that is heard again may have started anew meanwhile
// and not know the node, so a registration through it that has not ended is
// made again before anything is sent through it for long.
//
//rfc:5944#2.4.2.1
//rfc:5944#2.4.4
func (n *Node) foundAgain(a *mobilityAgent) {
	for key, r := range n.links {
		if key.Link == a.key.link && key.Agent == a.key.address && r.live {
			r.renewAt = n.now.Mono.Add(time.Millisecond) // when the choice has been made
		}
	}
}

// compare is the second algorithm of move detection: "If the prefixes differ,
// the mobile node MAY assume that it has moved", but "a mobile node SHOULD NOT
// use this method of move detection unless both the current agent and the new
// agent include the Prefix-Lengths Extension"; with a co-located care-of
// address, "unless the new agent includes the Prefix-Lengths Extension in its
// Agent Advertisement and the mobile node knows the network prefix of its
// current co-located care-of address" (RFC 5944 section 2.4.2.2).
//
// An agent that the node has left behind so is forgotten. When it is heard
// again within half its Lifetime, which is at least three intervals long, it
// has missed no advertisement: the link carries both networks, and prefixes
// tell nothing there: "Agent Advertisements from new agents SHOULD NOT cause a
// mobile node to attempt a new registration, if ... it is still also receiving
// Agent Advertisements from the foreign agent with which it is currently
// registered" (section 3.6). A co-located care-of address is only tried, once
// for each agent: it goes when nobody answers.
//
//rfc:5944#2.4.2.2
//rfc:5944#3.6-5
//rfc:5944#2.4.2.2-2
func (n *Node) compare(a *mobilityAgent) {
	r := n.active
	if r == nil || !r.live || r.Key.Link != a.key.link || len(a.prefixes) == 0 {
		return
	}
	u := n.uplinks[r.Key.Link]
	if u == nil {
		return
	}
	if r.CoLocated {
		for _, p := range u.link.Addresses {
			if !a.compared && p.Addr() == r.Key.CareOf && p.Bits() < 32 && !slices.Contains(a.prefixes, p.Masked()) {
				a.compared = n.hint(r)
			}
		}
		return
	}
	old := n.agentOf(r)
	if old == nil || old == a || len(old.prefixes) == 0 || u.mixed {
		return
	}
	if !slices.ContainsFunc(old.prefixes, func(p netip.Prefix) bool { return slices.Contains(a.prefixes, p) }) {
		u.left, u.leftUntil = old.key.address, old.heard.Add(old.expires.Sub(old.heard)/2)
		n.loseAgent(old, "the node has moved: another network is advertised")
	}
}

// bestAgent is the foreign agent of a link to register through: the one in
// use as long as it is heard, since new agents "SHOULD NOT" lead to a new
// registration while it is; else one that an association vouches for, one
// that is being asked already, the first one by address. One that has failed
// comes last.
//
//rfc:5944#2.4.2
//rfc:5944#3.6-5
func (n *Node) bestAgent(link string, coLocated bool) *mobilityAgent {
	var best *mobilityAgent
	for _, a := range n.agentsOn(link) {
		if n.serves(a, coLocated) && (best == nil || n.better(a, best)) {
			best = a
		}
	}
	return best
}

// better compares two agents; ties go to the one that comes first.
func (n *Node) better(a, b *mobilityAgent) bool {
	for _, quality := range []func(*mobilityAgent) bool{
		func(a *mobilityAgent) bool { return a.shunned.IsZero() },
		n.inUse,
		func(a *mobilityAgent) bool { return n.cfg.ForeignAgents.with(a.key.address, a.offer()) != nil },
		func(a *mobilityAgent) bool { return a.flags.Has(adv4.FlagR) },
		n.used,
	} {
		if x, y := quality(a), quality(b); x != y {
			return x
		}
	}
	return false
}

// inUse says whether the node is registered through the agent and sends
// through that registration.
func (n *Node) inUse(a *mobilityAgent) bool {
	return n.active != nil && n.active.live && n.agentOf(n.active) == a
}

// serves says whether an agent can be registered through. A busy one keeps the
// visitors it has: "it will not accept registrations from additional mobile
// nodes" (RFC 5944 section 2.1.1). One that offers no reverse tunnel is of no
// use to a node that insists on it, unless the tunnel is the node's own.
//
//rfc:5944#2.1.1
//rfc:3024#3.1
//rfc:5944#2.4.2.2-3
func (n *Node) serves(a *mobilityAgent, coLocated bool) bool {
	switch {
	case !a.flags.Has(adv4.FlagF) || len(a.careOf) == 0 || a.lifetime == 0:
		return false
	case a.flags.Has(adv4.FlagB) && !n.inUse(a):
		return false
	case !coLocated && n.cfg.ReverseTunnel == ReverseRequired && !a.flags.Has(adv4.FlagT):
		return false
	}
	return a.expires.After(n.now.Mono)
}

// offer is the care-of address to ask for: "SHOULD attempt to register using
// the first of the advertised care-of addresses", and the next one "MAY" be
// tried when that is refused (RFC 5944 section 2.4).
//
//rfc:5944#2.4
//rfc:5944#2.4-13
func (a *mobilityAgent) offer() netip.Addr {
	if len(a.careOf) == 0 {
		return netip.Addr{}
	}
	return a.careOf[a.refused%len(a.careOf)]
}

// required says whether an agent on the link wants registrations to go through
// it: "'R' Registration required. Registration with this foreign agent (or
// another foreign agent on this link) is required even when using a co-located
// care-of address" (RFC 5944 section 2.1.1).
func (n *Node) required(link string) bool {
	return slices.ContainsFunc(n.agentsOn(link), func(a *mobilityAgent) bool {
		return a.flags.Has(adv4.FlagR) && a.shunned.IsZero() && n.serves(a, true)
	})
}

// advertisedHome says whether the node's home agent advertises on a link: the
// advertisement comes from the address of a home agent or names it among its
// routers, with the H bit. Since anybody can say so, it is believed on the link
// that the configuration names, and elsewhere while nothing else works.
//
//rfc:5944#2.4.3
func (n *Node) advertisedHome(link string) bool {
	if n.cfg.HomeLink != link && !(n.cfg.HomeLink == "" && (n.home != nil && n.home.Key.Link == link || !n.works())) {
		return false
	}
	return slices.ContainsFunc(n.agentsOn(link), n.isHomeAgent)
}

// isHomeAgent says whether an agent is one of the node's home agents, as far
// as its advertisements tell.
func (n *Node) isHomeAgent(a *mobilityAgent) bool {
	return a.flags.Has(adv4.FlagH) && !a.restored && slices.ContainsFunc(n.roster.list(), func(h candidateAgent) bool {
		return !h.discover && (h.address == a.key.address || slices.Contains(a.routers, h.address))
	})
}

// works says whether the node is registered, and over a path that is there
// still: the foreign agent is heard, or the link has the care-of address. A
// registration lives on at the home agent after its path has gone.
func (n *Node) works() bool {
	r := n.active
	if r == nil || !r.live {
		return false
	}
	if r.Key.Agent.IsValid() {
		return n.agentOf(r) != nil
	}
	u := n.uplinks[r.Key.Link]
	return u == nil || slices.ContainsFunc(u.link.Addresses, func(p netip.Prefix) bool { return p.Addr() == r.Key.CareOf })
}

// homeRouter is the way out of the home link for a node that has nothing but
// its home address there: "the mobile node ... without using a care-of address
// ... configures its routing table appropriately for its home network" (RFC
// 5944 section 2.4.3), from the home agent's advertisement. With an address on
// the link its routes are there already.
//
//rfc:5944#2.4.3
func (n *Node) homeRouter(link string) forward.Deliver {
	u := n.uplinks[link]
	if u == nil || len(u.link.Addresses) > 0 {
		return forward.Deliver{}
	}
	for _, a := range n.agentsOn(link) {
		if !a.flags.Has(adv4.FlagH) {
			continue
		}
		via := a.key.address
		if len(a.routers) > 0 && unicast(a.routers[0]) {
			via = a.routers[0]
		}
		return forward.Deliver{Link: link, Via: via}
	}
	return forward.Deliver{}
}

// distrust is how long a co-located care-of address that got no answer gives
// way to a foreign agent on its link.
const distrust = 5 * time.Minute
