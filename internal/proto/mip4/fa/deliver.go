package fa

import (
	"net/netip"

	"careof/internal/core/engine"
	"careof/internal/core/forward"
	"careof/internal/core/note"
	"careof/wire/mip4"
)

// settleLifetime takes "the minimum of ... the value specified in the Lifetime
// field of the Registration Reply, and ... the foreign agent's own maximum value"
// (RFC 5944 section 3.7.3.2), and never more than was asked for: if it "is
// greater than that in the Registration Request, the Lifetime in the Request
// MUST be used" (section 3.4).
//
//rfc:5944#3.7.3.2
func (a *Agent) settleLifetime(r *Return) engine.Verdict {
	field := min(r.Reply.Lifetime, r.Pending.Request.Lifetime, a.maxLifetimeField())
	r.Lifetime = lifetime(field)
	return engine.Next()
}

// settleTunnel: the home agent's end is the Home Agent field of the reply (RFC
// 5944 section 4.2.3), in both directions: RFC 3024 section 4.2.2 tunnels "from
// the care-of address to the home agent's address".
//
//rfc:3024#4.2.2
//rfc:5944#4.2.2
//rfc:3024#4.2.2-3
//rfc:3024#5.1.2-1
//rfc:3024#5.2.2-2
func (a *Agent) settleTunnel(r *Return) engine.Verdict {
	p := r.Pending
	r.Tunnel = forward.Tunnel{
		Local: netip.AddrPortFrom(p.CareOf, 0), Peer: netip.AddrPortFrom(r.Reply.HomeAgent, 0),
		Encap: p.Encap, Inside: p.Inside, Key: p.Key, HasKey: p.HasKey,
		Mode: forward.Receive,
	}
	if p.Style != NoReverseTunnel {
		r.Tunnel.Mode = forward.Both
	}
	return engine.Next()
}

// deliver ends the exchange: the reply goes to the mobile node, and the visitor
// list follows "the Code field in the Reply" (RFC 5944 section 3.7.3.2).
//
//rfc:5944#3.7.3.2
//rfc:5944#3.7.2
func (a *Agent) deliver(r *Return) {
	p := r.Pending
	if r.Refusal != 0 {
		a.pending.remove(p)
		a.refuse(p, r.Message, r.Refusal, r.Why)
		return
	}
	data, err := a.seal(r)
	if err != nil {
		a.pending.remove(p)
		n := p.note(note.Failed, note.Error)
		n.Why = err.Error()
		a.Tell(n)
		return
	}
	send := a.toNode(p, r.Reply.HomeAddress, data)
	if !r.Accepted() {
		// "the existing visitor list entry for the mobile node MUST NOT be
		// modified as a result of receiving the Registration Reply".
		a.pending.remove(p)
		a.counters.refused++
		a.Do(send)
		n := p.note(note.Refused, note.Info)
		n.Code = uint8(r.Reply.Code)
		a.Tell(n)
		a.remember(p, r.Reply.Code, 0)
		return
	}
	a.remember(p, r.Reply.Code, r.Lifetime)
	if r.Reply.Lifetime == 0 || p.Request.Lifetime == 0 {
		a.pending.remove(p)
		a.deregister(r, send)
		return
	}
	a.visit(r, send)
}

// seal completes the relayed reply: "It MUST append the Mobile-Foreign
// Authentication Extension, if the foreign agent shares a Mobility Security
// Association with the mobile node" (RFC 5944 section 3.7.3.2).
//
//rfc:5944#3.7.3.2
//rfc:5944#3.7.1-9
func (a *Agent) seal(r *Return) ([]byte, error) {
	if sa := r.Pending.Association; sa != nil {
		r.Draft.Authenticate(mip4.ExtMobileForeign, sa.Outbound())
	}
	return r.Draft.Seal()
}

// toNode addresses a reply to the mobile node.
//
// "IP Source Address: Copied from the IP Destination Address of the
// Registration Request, unless the 'All Agents Multicast' address was used. In
// this case, the foreign agent's address (on the interface from which the
// message will be sent) MUST be used"; destination is the home address, else
// 255.255.255.255; the ports are 434 and the request's source port (RFC 5944
// section 3.7.2.3). A co-located mobile node is reached where it sent from. The
// link-layer destination is always the recorded one.
//
//rfc:5944#3.7.2.3
func (a *Agent) toNode(p *Pending, home netip.Addr, data []byte) engine.Send {
	src := p.Destination.Addr()
	if !a.ours(src) {
		src = a.address(p.Link)
	}
	dst := home
	if p.Request.Flags.Has(mip4.FlagD) && unicast(p.Source.Addr()) {
		dst = p.Source.Addr()
	}
	if !unicast(dst) || a.ours(dst) {
		dst = limitedBroadcast
	}
	return engine.Send{
		Link: p.Link, HW: p.HW,
		Src:  netip.AddrPortFrom(src, a.cfg.Port),
		Dst:  netip.AddrPortFrom(dst, p.Source.Port()),
		Data: data,
	}
}

// ToVisitor addresses a message of a feature to a visitor, as the reply to its
// last accepted request was.
func (a *Agent) ToVisitor(v *Visitor, data []byte) engine.Send {
	return a.toNode(&Pending{
		Request: mip4.RegistrationRequest{Flags: v.Flags}, Link: v.Link, HW: v.HW, Source: v.Source, Destination: v.Destination,
	}, v.HomeAddress, data)
}
