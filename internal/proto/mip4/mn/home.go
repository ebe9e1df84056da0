package mn

import (
	"net/netip"
	"slices"

	"careof/internal/core/engine"
	"careof/internal/core/note"
	"careof/wire/adv4"
)

// chooseHome recognises the home link: an interface with an address whose
// prefix is the home network's, or one on which the node's own home agent
// advertises. When the configuration names the home link,
// no other interface is taken for it, since foreign networks may use the
// same private prefix.
//
// A node that is known by NAI and has no home address yet is at home nowhere: it
// registers "to request that a home address be assigned" (RFC 2794 section 1), from
// an address of this link as from any other, and with the answer finds itself at
// home.
//
//rfc:5944#2.4.3
func chooseHome(x *Choice) engine.Verdict {
	n := x.Node
	if !n.cfg.HomeNetwork.IsValid() || !n.address.IsValid() {
		return engine.Next()
	}
	for i := range x.Candidates {
		c := &x.Candidates[i]
		if !c.Link.Up || c.Link.Gone || n.cfg.HomeLink != "" && n.cfg.HomeLink != c.Link.Name {
			continue
		}
		if n.advertisedHome(c.Link.Name) {
			c.Home, c.Unusable = true, "home link"
		}
		for _, p := range c.Link.Addresses {
			if p.Masked() == n.cfg.HomeNetwork && !n.elsewhere(c.Link.Name) {
				c.Home, c.Unusable = true, "home link"
			}
		}
	}
	return engine.Next()
}

// elsewhere says that an interface with an address of the home network is
// attached to another one all the same, as one is whose address was set by
// hand: a foreign agent of another network is heard there, and the node's home
// agent is not. Anybody can advertise, so what the home agent has confirmed
// since the link was attached counts more; and so does the configuration.
//
//rfc:5944#2.4.2.2
func (n *Node) elsewhere(link string) bool {
	u := n.uplinks[link]
	confirmed := n.home != nil && n.home.Key.Link == link && n.atHome && u != nil && !u.attached
	if confirmed || n.cfg.HomeLink == link || !n.cfg.ForeignAgents.on() {
		return false
	}
	foreign := false
	for _, a := range n.agentsOn(link) {
		if n.isHomeAgent(a) {
			return false
		}
		ofHome := slices.ContainsFunc(append([]netip.Addr{a.key.address}, a.routers...), n.cfg.HomeNetwork.Contains)
		foreign = foreign || a.flags.Has(adv4.FlagF) && !a.restored && !ofHome
	}
	return foreign
}

// returnHome follows the order of RFC 5944 section 4.6: "the mobile node ...
// MUST ... re-enable the processing of ARP Requests", then gratuitous ARP with
// its own link-layer address, then the deregistration, which is sent from the
// home address over the home link. flush keeps that order: both wait for the
// forwarding entry to name the home link.
//
//rfc:5944#4.6
//rfc:5944#2.4.3-1
//rfc:5944#2.4.3-2
//rfc:5944#2.4.3-3
//rfc:5944#3.1-4
//rfc:5944#3.6.2.2-2
func (n *Node) returnHome(c Candidate) {
	u := n.uplinks[c.Link.Name]
	agent, ok := n.roster.current()
	if n.active != nil && n.active.live {
		agent = candidateAgent{address: n.active.Key.HomeAgent, association: n.active.association}
		ok = true
	}
	if n.home != nil && n.home.Key.Link == c.Link.Name && !u.attached && (!ok || n.home.Key.HomeAgent == agent.address || n.atHome) {
		return
	}
	k := RegistrationKey{Link: c.Link.Name, CareOf: n.address}
	if ok {
		k.HomeAgent = agent.address
	}
	for _, r := range n.registrations() {
		r.giveUp()
	}
	n.home, n.atHome, n.drains = n.registration(k, agent), false, nil
	n.arp = append(n.arp, engine.Announce{Link: c.Link.Name, Address: n.address})
	if !ok {
		u.attached = false
		n.resolve() // the answer leads here again
		return
	}
	n.begin(n.home, DeregisterAll)
}

// cameHome: the home agent has ended all bindings.
func (n *Node) cameHome(x *Response) {
	before := n.active
	for _, r := range n.registrations() {
		if r.live {
			r.end()
			n.saveRegistration(r)
		}
	}
	n.active, n.atHome, n.problem = nil, true, Problem{}
	n.Tell(n.noteOf(n.home, note.Note{Kind: note.Home, Level: note.Info, Took: n.now.Mono.Sub(x.Sent.At)}))
	m := &Movement{Now: n.now, Node: n, From: before}
	engine.Pipeline[*Movement]{&n.Home}.Run(m, new(engine.Position))
}

// leaveHome: the next forwarding entry does not name the home link any more,
// which stops the node's ARP for its home address before the request leaves.
//
//rfc:5944#4.6
func (n *Node) leaveHome() {
	if n.home == nil {
		return
	}
	n.home.giveUp()
	n.home, n.atHome = nil, false
}

// homeLink is the link on which the node is at home, empty when it is away.
func (n *Node) homeLink() string {
	if n.home == nil {
		return ""
	}
	return n.home.Key.Link
}
