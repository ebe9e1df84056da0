package mn

import (
	"fmt"
	"net/netip"
	"slices"
	"time"

	"careof/internal/core/engine"
	"careof/internal/core/forward"
	"careof/wire/adv4"
	"careof/wire/encap"
	"careof/wire/mip4"
)

// chooseAgent decides for each link between the interface's own address and a
// foreign agent. The own address wins: its tunnel depends on nobody on the
// link. With the R bit it "SHOULD register via that foreign agent" all the
// same; without an address, or when the own one gets no answer, the agent's
// care-of address is used.
//
//rfc:5944#2.4
//rfc:5944#3.1
//rfc:5944#2.4.1
//rfc:5944#3.1-2
func chooseAgent(x *Choice) engine.Verdict {
	n := x.Node
	for i := range x.Candidates {
		c := &x.Candidates[i]
		if c.Home || c.Link.Gone || !c.Link.Up {
			continue
		}
		own := c.Unusable == ""
		if own {
			c.CoLocated = c.CareOf
		}
		if !n.cfg.ForeignAgents.on() {
			continue
		}
		u := n.uplinks[c.Link.Name]
		distrusted := u != nil && !u.distrusted.IsZero()
		switch a := n.bestAgent(c.Link.Name, own && !distrusted); {
		case a == nil:
		case own && !distrusted:
			if n.required(c.Link.Name) {
				c.Agent = a.key.address
			}
		case own && !a.shunned.IsZero():
			// Neither serves: the own address may, at any time.
		default:
			c.Agent, c.CareOf, c.Unusable = a.key.address, a.offer(), ""
		}
	}
	return engine.Next()
}

// coLocates says whether the candidate's care-of address is the node's own.
func (c Candidate) coLocates() bool { return !c.Agent.IsValid() || c.CareOf == c.CoLocated }

// stands says whether the path of a registration is there: the address, or the
// agent whose care-of address it is. It may be that another path over the same
// link is preferred by now.
func (n *Node) stands(r *Registration) bool {
	return slices.ContainsFunc(n.choice, func(c Candidate) bool {
		switch {
		case r.of(c):
			return true
		case r.Key.Link != c.Link.Name:
			return false
		case r.CoLocated:
			return r.Key.CareOf == c.CoLocated
		}
		a := n.agentOf(r)
		return a != nil && slices.Contains(a.careOf, r.Key.CareOf)
	})
}

// requestAgent addresses a request to the foreign agent, as RFC 5944 section
// 3.6.1.1 has it: the destination is "the IP address ... of the agent", its
// advertisement's source; the link-layer destination "MUST be copied from the
// link-layer source address of that Agent Advertisement"; the source is the
// home address, or "all zeroes" while that is unknown. A broadcast home agent
// address stays in the field and never becomes the destination.
//
// "The 'D' bit ... MUST NOT be set" with a foreign agent's care-of address. M
// and G are for what "the foreign agent has advertised" (section 3.6.1.2).
//
//rfc:5944#3.6.1.1
//rfc:5944#3.6.1.2
//rfc:3024#4.1.1
//rfc:3024#3.3-2
//rfc:5944#3.1-1
//rfc:5944#3.6.1.1-2
//rfc:5944#3.6.1.1-3
//rfc:5944#3.6.1.1-6
//rfc:5944#3.6.1.1-7
//rfc:5944#3.6.1.1-9
//rfc:5944#3.6.1.2-2
//rfc:5944#3.6.1.2-7
//rfc:5944#3.6.1.2-8
func requestAgent(x *Attempt) engine.Verdict {
	n, r := x.Node, x.Registration
	if !r.Key.Agent.IsValid() {
		return engine.Next()
	}
	a := n.agentOf(r)
	if a == nil {
		return engine.Drop("the foreign agent is not heard any more")
	}
	q := &x.Request
	if !r.CoLocated {
		q.Flags &^= mip4.FlagD
		if !a.flags.Has(adv4.FlagM) {
			q.Flags &^= mip4.FlagM
		}
		if !a.flags.Has(adv4.FlagG) {
			q.Flags &^= mip4.FlagG
		}
		if !a.flags.Has(adv4.FlagT) {
			q.Flags &^= mip4.FlagT
		}
		home := n.address
		if !home.IsValid() {
			home = netip.IPv4Unspecified()
		}
		x.Src = netip.AddrPortFrom(home, 0)
	}
	x.Limit(a.lifetime)
	x.Dst = netip.AddrPortFrom(a.key.address, encap.Port)
	x.HW = a.hw
	x.TTL = ttlOf(q.Flags)
	x.Foreign = n.cfg.ForeignAgents.with(a.key.address, r.Key.CareOf)
	if n.delivers(r, q.Flags) {
		x.encapsulating = true
		x.Add(mip4.ZoneForeign, &mip4.EncapsulatingDelivery{})
	}
	return engine.Next()
}

// AgentFlags is what the foreign agent that a registration goes through
// advertises; nothing when it goes directly.
func (n *Node) AgentFlags(r *Registration) adv4.Flags {
	if a := n.agentOf(r); a != nil {
		return a.flags
	}
	return 0
}

// delivers says whether the encapsulating delivery style is asked for: it
// "MUST NOT be included if the 'T' bit is not set" (RFC 3024 section 3.3).
//
//rfc:3024#3.3
//rfc:3024#3.3-3
func (n *Node) delivers(r *Registration, f mip4.RequestFlags) bool {
	return n.cfg.ForeignAgents.EncapsulatingDelivery && !r.CoLocated && !r.direct && r.Key.Agent.IsValid() &&
		f.Has(mip4.FlagT) && n.address.IsValid()
}

// replyForeign: "If the mobile node and the foreign agent share a Mobility
// Security Association, exactly one Mobile-Foreign Authentication Extension
// MUST be present in the Registration Reply, and the mobile node MUST check
// the Authenticator value"; otherwise it is discarded. A denial of the agent's
// own that nothing authenticates must at least come from the agent.
//
//rfc:5944#3.6.2.1
//rfc:5944#3.5.3
//rfc:5944#3.6.2.1-6
//rfc:5944#3.6.2.1-7
func replyForeign(x *Response) engine.Verdict {
	r := x.Registration
	if !r.Key.Agent.IsValid() {
		return engine.Next()
	}
	sa := x.Foreign
	if sa == nil {
		if agentCode(x.Reply.Code) && x.Packet.Src.Addr() != r.Key.Agent {
			return engine.Drop("a denial that is not the foreign agent's")
		}
		return engine.Next()
	}
	e, count := x.Message.Find(mip4.ExtMobileForeign)
	if count != 1 {
		return engine.Drop(fmt.Sprintf("%d Mobile-Foreign Authentication Extensions", count))
	}
	auth, err := x.Message.Authentication(e)
	switch {
	case err != nil:
		return engine.Drop(err.Error())
	case auth.SPI != sa.SPI() || !sa.Verify(x.Message.Covered(e), auth.Authenticator):
		return engine.Drop("the Mobile-Foreign authenticator is wrong")
	}
	return engine.Next()
}

// acceptAgent: through a foreign agent packets come plain, and go to it plain.
// It is the "default router" (RFC 5944 section 4.2.1), and with the T bit its
// tunnel begins there: "the mobile node MUST designate the foreign agent as
// its default router" (RFC 3024 section 5.1).
//
//rfc:5944#4.2.1
//rfc:3024#5.1
//rfc:3024#5.2
//rfc:3024#4.1.2-1
//rfc:3024#5.1.1-1
//rfc:5944#3.6.2.2-1
func acceptAgent(x *Response) engine.Verdict {
	n, r := x.Node, x.Registration
	a := n.agentOf(r)
	if r.CoLocated {
		return engine.Next()
	}
	if a == nil {
		return engine.Drop("the foreign agent is not heard any more")
	}
	x.Deliver = forward.Deliver{Link: r.Key.Link, HW: a.hw, Via: a.key.address}
	x.Peer = netip.AddrPort{}
	if x.Sent.encapsulating {
		x.Peer = netip.AddrPortFrom(a.key.address, 0)
	} else {
		x.Encap = 0
	}
	a.shuns = 0
	return engine.Next()
}

// tunnelOf is the tunnel that an accepted request leads to, none when packets
// go plain to a foreign agent.
//
//rfc:3024#5.2.2-1
func (x *Response) tunnelOf() forward.Tunnel {
	r := x.Registration
	if !x.Peer.IsValid() {
		return forward.Tunnel{}
	}
	t := forward.Tunnel{
		Local: netip.AddrPortFrom(r.Key.CareOf, 0), Peer: x.Peer, Link: r.Key.Link,
		Encap: x.Encap, Inside: x.Inside, PeerKey: x.PeerKey, MTU: x.MTU,
	}
	if !r.CoLocated {
		// "The outer source address is the mobile node's home address".
		t.Local = netip.AddrPortFrom(x.Node.address, 0)
	}
	return t
}

// agentRefused: a foreign agent, or the way through it, does not serve. "the
// mobile node MAY try to register" another care-of address of it or another
// agent.
//
//rfc:5944#2.4
//rfc:5944#3.6.2.3
func (n *Node) agentRefused(r *Registration, why string, another bool) {
	a := n.agentOf(r)
	if a == nil || !a.shunned.IsZero() {
		return
	}
	if another && !r.CoLocated && a.refused+1 < len(a.careOf) {
		a.refused++
		n.rechoose = true
		return
	}
	n.shun(a, why)
}

// silent: nobody answers over a path. A foreign agent gives way to another, a
// co-located care-of address to a foreign agent on its link.
func (n *Node) silent(r *Registration) {
	if a := n.agentOf(r); a != nil {
		if a.shunned.IsZero() {
			n.shun(a, "requests through it are not answered")
		}
		return
	}
	u := n.uplinks[r.Key.Link]
	if u != nil && r.CoLocated && u.distrusted.IsZero() && n.cfg.ForeignAgents.on() {
		u.distrusted = n.now.Mono.Add(distrust)
		n.rechoose = true
	}
}

// trustAgain ends the distrust of own addresses.
func (n *Node) trustAgain() {
	for _, u := range n.uplinksByName() {
		if !u.distrusted.IsZero() && !u.distrusted.After(n.now.Mono) {
			u.distrusted = time.Time{}
			n.rechoose = true
		}
	}
}
