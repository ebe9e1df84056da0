package mn

import (
	"net/netip"
	"slices"
	"time"

	"careof/internal/core/assoc"
	"careof/internal/core/engine"
	"careof/internal/core/note"
	"careof/wire/adv4"
)

// Notes of agent discovery, beside those of package note.
const (
	AgentHeard note.Kind = "agent-heard" // a mobility agent advertises on a link
	AgentLost  note.Kind = "agent-lost"  // it is there no longer
)

// ForeignAgents says through which foreign agents the node may register.
// Nobody vouches for an Agent Advertisement: with the zero value no foreign
// agent is ever used.
type ForeignAgents struct {
	// Any lets every agent be used, Allow those whose own address or care-of
	// address is listed.
	Any   bool
	Allow []netip.Addr
	// Associations are shared with foreign agents. A request through one of
	// them carries the Mobile-Foreign Authentication Extension, and so must
	// its reply.
	Associations []ForeignAssociation
	// EncapsulatingDelivery asks for the delivery style of RFC 3024 section
	// 5.2: the node itself tunnels to the foreign agent what goes through the
	// reverse tunnel. It needs the T bit, and is given up when refused.
	EncapsulatingDelivery bool
	// PlainUnicast goes with EncapsulatingDelivery: only broadcasts and
	// multicasts are tunnelled to a foreign agent that takes unicast plain
	// beside them.
	PlainUnicast bool
}

// A ForeignAssociation is shared with one foreign agent.
type ForeignAssociation struct {
	Address     netip.Addr // the agent's own address, or a care-of address of it
	Association *assoc.Association
}

// on says whether any foreign agent may be used at all.
func (f *ForeignAgents) on() bool { return f.Any || len(f.Allow) > 0 }

// An Advertisement is an Agent Advertisement that is good: the exchange of the
// stage Advertised.
type Advertisement struct {
	Now     engine.Now
	Node    *Node
	Link    string
	Src     netip.Addr // the agent's address
	HW      engine.HardwareAddr
	Message *adv4.Message
	Agent   adv4.MobilityAgent
}

// A mobilityAgent is one that is heard on a link.
type mobilityAgent struct {
	key      agentKey
	hw       engine.HardwareAddr
	flags    adv4.Flags
	lifetime time.Duration // the longest registration that it accepts
	careOf   []netip.Addr  // those that may be used, the preferred one first
	routers  []netip.Addr
	prefixes []netip.Prefix // of its routers; nil when it does not say
	sequence uint16
	heard    time.Time
	expires  time.Time // "ICMP Lifetime" after it was last heard
	restored bool      // known from before a restart: not heard yet

	refused int       // care-of addresses that it has refused, from the first one on
	shunned time.Time // not to be used until then, if there is another way; zero: may be used
	shuns   int       // in a row

	compared bool // its prefixes have led to a request already
}

// An agentKey names an agent: its advertisements' source address on a link.
type agentKey struct {
	link    string
	address netip.Addr
}

const (
	// maxAgents bounds the agents that are remembered on a link: anybody on
	// it can invent more.
	maxAgents = 8
	// shunFirst is how long an agent that does not serve the node is not used;
	// it doubles up to shunMost.
	shunFirst = 10 * time.Second
	shunMost  = 5 * time.Minute
	// provisional is how long an agent that is known from before a restart
	// counts without being heard.
	provisional = 10 * time.Second
)

// discovery takes an ICMP router discovery message. "A mobile node MUST
// process all Agent Advertisements that it receives" of those that pass: a TTL
// of 1, which "MUST be set", so that nobody from afar can advertise; a
// link-layer source that stays what it was ("should ignore" otherwise, RFC
// 3543 section 6.1); and no extension below 128 that nobody understands.
//
//rfc:5944#2.1
//rfc:5944#2.4
//rfc:5944#1.8
//rfc:1256#5.2-1
//rfc:1256#5.2-2
func (n *Node) discovery(p engine.Discovery) {
	u := n.uplinks[p.Link]
	if u == nil || !u.link.Up || u.link.Gone {
		return
	}
	stranger := func(why string) {
		n.Tell(note.Note{Kind: note.Ignored, Level: note.Debug, Link: p.Link, Endpoint: netip.AddrPortFrom(p.Src, 0), Why: why})
	}
	if p.TTL != 1 || !unicast(p.Src) || p.HW == (engine.HardwareAddr{}) || p.HW[0]&1 != 0 || p.HW == u.link.HW {
		stranger("no advertisement of a neighbour")
		return
	}
	m, err := adv4.Parse(slices.Clone(p.Data))
	if err != nil {
		stranger(err.Error())
		return
	}
	agent, err := m.ForMobileNode()
	if err != nil {
		return // a plain router's, or another node's solicitation
	}
	if e, unknown := m.FirstUnclaimed(n.advertised); unknown {
		stranger("extension " + e.Type.String() + " is not recognised")
		return
	}
	k := agentKey{p.Link, p.Src}
	known := n.agents[k]
	if known != nil && known.hw != p.HW && known.expires.After(n.now.Mono) {
		stranger("another station advertises with an agent's address")
		return
	}
	x := &Advertisement{Now: n.now, Node: n, Link: p.Link, Src: p.Src, HW: p.HW, Message: m, Agent: agent}
	if v := (engine.Pipeline[*Advertisement]{&n.Advertised}).Run(x, new(engine.Position)); !v.IsNext() {
		return
	}
	n.hear(x)
}

// advertised says whether somebody understands an extension of advertisements.
func (n *Node) advertised(e adv4.Ext) bool {
	return e.Type == adv4.ExtMobilityAgent || e.Type == adv4.ExtPrefixLengths || slices.Contains(n.advertisedTypes, e.Type)
}

// hear keeps what an agent says, and draws the conclusions.
func (n *Node) hear(x *Advertisement) {
	k := agentKey{x.Link, x.Src}
	a := n.agents[k]
	if x.Message.Lifetime == 0 {
		n.loseAgent(a, "it withdrew")
		return
	}
	fresh := a == nil
	if fresh {
		if !n.roomFor(x.Link) {
			return
		}
		a = &mobilityAgent{key: k}
		n.agents[k] = a
		n.foundAgain(a)
	}
	rebooted := !fresh && !a.restored && adv4.Rebooted(a.sequence, x.Agent.Sequence)
	before := *a
	a.hw, a.flags, a.sequence, a.restored = x.HW, x.Agent.Flags, x.Agent.Sequence, false
	a.lifetime = lifetimeOf(x.Agent.Lifetime)
	a.careOf = n.cfg.ForeignAgents.usable(x.Src, x.Agent.CareOfAddresses)
	a.prefixes = x.Message.Prefixes()
	a.compared = a.compared && slices.Equal(a.prefixes, before.prefixes)
	if u := n.uplinks[x.Link]; u.left == x.Src && u.leftUntil.After(n.now.Mono) {
		u.mixed = true
	}
	a.routers = nil
	for _, r := range x.Message.Routers {
		a.routers = append(a.routers, r.Addr)
	}
	a.heard = n.now.Mono
	a.expires = n.now.Mono.Add(time.Duration(x.Message.Lifetime) * time.Second)
	if fresh || before.restored {
		n.Tell(note.Note{Kind: AgentHeard, Level: n.newAgentLevel(), Link: x.Link, Endpoint: netip.AddrPortFrom(x.Src, 0), Why: a.flags.String()})
	}
	if fresh || before.restored || before.flags != a.flags || before.hw != a.hw || !slices.Equal(before.careOf, a.careOf) {
		n.rechoose = true
	}
	if rebooted {
		n.rebooted(a)
	}
	n.compare(a)
}

// newAgents is how many agents a minute are worth a line in the log: anybody on
// a link can invent more.
const newAgents = 10

// newAgentLevel is the level of the note about one more new agent.
func (n *Node) newAgentLevel() note.Level {
	if n.now.Mono.Sub(n.agentsSince) >= time.Minute {
		n.agentsSince, n.agentsTold = n.now.Mono, 0
	}
	if n.agentsTold++; n.agentsTold > newAgents {
		return note.Debug
	}
	return note.Info
}

// usable are the care-of addresses of an agent that the policy lets be used.
func (f *ForeignAgents) usable(agent netip.Addr, list []netip.Addr) []netip.Addr {
	var out []netip.Addr
	for _, c := range list {
		if unicast(c) && (f.Any || slices.Contains(f.Allow, agent) || slices.Contains(f.Allow, c)) {
			out = append(out, c)
		}
	}
	return out
}

// with is the association that is shared with an agent, nil when there is none.
//
//rfc:5944#3.2-1
func (f *ForeignAgents) with(agent, careOf netip.Addr) *assoc.Association {
	for _, a := range f.Associations {
		if a.Address == agent || a.Address == careOf {
			return a.Association
		}
	}
	return nil
}

// roomFor makes room for one more agent on a link: the one that was heard of
// the longest ago goes, but never one that a registration uses.
func (n *Node) roomFor(link string) bool {
	count := 0
	var oldest *mobilityAgent
	for _, a := range n.agentsOn(link) {
		count++
		if !n.used(a) && (oldest == nil || a.heard.Before(oldest.heard)) {
			oldest = a
		}
	}
	if count < maxAgents {
		return true
	}
	if oldest == nil {
		return false
	}
	delete(n.agents, oldest.key)
	return true
}

// used says whether a registration depends on an agent.
func (n *Node) used(a *mobilityAgent) bool {
	for _, r := range n.links {
		if (r.live || r.try != nil) && r.Key.Link == a.key.link && r.Key.Agent == a.key.address {
			return true
		}
	}
	return false
}

// agentsOn lists the agents of a link by address; an empty name means all.
func (n *Node) agentsOn(link string) []*mobilityAgent {
	var list []*mobilityAgent
	for _, a := range n.agents {
		if link == "" || a.key.link == link {
			list = append(list, a)
		}
	}
	slices.SortFunc(list, func(a, b *mobilityAgent) int {
		if a.key.link != b.key.link {
			if a.key.link < b.key.link {
				return -1
			}
			return 1
		}
		return a.key.address.Compare(b.key.address)
	})
	return list
}

// loseAgent forgets an agent.
func (n *Node) loseAgent(a *mobilityAgent, why string) {
	if a == nil || n.agents[a.key] != a {
		return
	}
	delete(n.agents, a.key)
	n.Tell(note.Note{Kind: AgentLost, Level: note.Info, Link: a.key.link, Endpoint: netip.AddrPortFrom(a.key.address, 0), Why: why})
	n.rechoose = true
}

// agentOf is the agent that a registration goes through, nil when it needs
// none or the agent is not heard any more.
func (n *Node) agentOf(r *Registration) *mobilityAgent {
	if !r.Key.Agent.IsValid() {
		return nil
	}
	return n.agents[agentKey{r.Key.Link, r.Key.Agent}]
}

// shun leaves an agent alone for a while.
func (n *Node) shun(a *mobilityAgent, why string) {
	wait := min(shunFirst<<min(a.shuns, 6), shunMost)
	a.shuns++
	a.refused = 0
	a.shunned = n.now.Mono.Add(wait)
	n.Tell(note.Note{Kind: AgentLost, Level: note.Warn, Link: a.key.link, Endpoint: netip.AddrPortFrom(a.key.address, 0), Why: why})
	n.rechoose = true
}

// agentDeadline is when something about an agent changes next.
func (n *Node) agentDeadline() time.Time {
	var at time.Time
	for _, a := range n.agents {
		at = engine.Earliest(at, a.expires, a.shunned)
	}
	return at
}

// agentsDue forgets agents that were not heard for as long as they said.
//
// "If the mobile node fails to receive another advertisement from the same
// agent within the specified Lifetime, it SHOULD assume that it has lost
// contact with that agent" (RFC 5944 section 2.4.2.1).
//
//rfc:5944#2.4.2.1
//rfc:1256#5.3-2
func (n *Node) agentsDue() {
	for _, a := range n.agentsOn("") {
		if !a.expires.After(n.now.Mono) {
			n.loseAgent(a, "it was not heard any more")
			if u := n.uplinks[a.key.link]; u != nil {
				u.left, u.mixed = netip.Addr{}, false // one network is left, or none
			}
		}
		if !a.shunned.IsZero() && !a.shunned.After(n.now.Mono) {
			a.shunned = time.Time{}
			n.rechoose = true
		}
	}
}
