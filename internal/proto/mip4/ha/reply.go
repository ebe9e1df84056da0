package ha

import (
	"net/netip"
	"time"

	"careof/internal/core/binding"
	"careof/internal/core/engine"
	"careof/internal/core/note"
	"careof/wire/mip4"
)

// lifetime is what a Lifetime field says.
func lifetime(field uint16) time.Duration {
	if field == mip4.LifetimeInfinite {
		return binding.Infinite
	}
	return time.Duration(field) * time.Second
}

// replyPath is the way back to the sender of a request.
//
// The source address is "Copied from the IP Destination Address of the
// Registration Request, unless a multicast or broadcast address was used", in
// which case it "MUST be set to the home agent's (unicast) IP address"; the
// destination is the request's source, and the ports are exchanged (RFC 5944
// section 3.8.3.1).
//
//rfc:5944#3.8.3.1
//rfc:5944#3.5.4-2
func (a *Agent) replyPath(x *Exchange) binding.ReplyTo {
	to := binding.ReplyTo{Link: a.underlay(&x.Packet, x.Packet.Src.Addr()), Src: x.Packet.Dst, Dst: x.Packet.Src}
	if a.isBroadcast(to.Src.Addr()) {
		to.Src = netip.AddrPortFrom(a.local(x.HomeAgent), to.Src.Port())
	}
	return to
}

// homewards turns the way back onto the home network, for a node that
// deregisters from home.
//
// "the home agent MUST transmit the Reply directly onto the home network as if
// the mobile node were at home, bypassing any mobility binding list entry that
// may still exist", also when it is a rejection (RFC 5944 section 3.8.3.1).
//
//rfc:5944#3.8.3.1
func (a *Agent) homewards(x *Exchange) {
	link := a.intercept(x.Node)
	if link == "" || link == x.Packet.Link {
		x.ReplyTo.Link, x.ReplyTo.HW = x.Packet.Link, x.Packet.HW
		return
	}
	x.ReplyTo.Link = link
}

// prepareReply fills in what every reply has, and starts its draft.
//
//rfc:5944#3.8.3.2
//rfc:5944#3.8.1-4
func (a *Agent) prepareReply(x *Exchange) {
	n, r := x.Node, &x.Request
	x.Home = n.home
	if x.FromHome() {
		a.homewards(x)
	}
	if !x.Accepted() {
		x.Lifetime = 0
	}
	switch {
	case x.Fresh: // settled with the mark
	case x.Authentic:
		x.Identification, n.mark = n.mark.ReplyIdentification(x.Association.Replay(), r.Identification, false, a.Now().Wall, a.rng)
	default:
		// Code 131: who asked is not known, so nothing of the node's state
		// may change. "Whatever method is used, the low-order 32 bits of the
		// Identification field MUST be copied unchanged" (section 5.7).
		x.Identification = r.Identification
		if n.mark.HasOne && x.Association.Replay() == nonces {
			x.Identification = uint64(n.mark.Nonce)<<32 | r.Identification&0xffffffff
		}
	}
	reply := mip4.RegistrationReply{
		Code:           x.Code,
		Lifetime:       seconds(x.Lifetime),
		HomeAddress:    r.HomeAddress,
		HomeAgent:      x.HomeAgent,
		Identification: x.Identification,
	}
	if !x.Accepted() {
		reply.Lifetime = r.Lifetime // without meaning in a denial
	}
	// "If the Home Address field of the Registration Request is non-zero, it
	// MUST be copied into the Home Address field of the Registration Reply";
	// zero asks for an address, and gets it there (section 3.8.1).
	if unspecified(r.HomeAddress) && n.home.IsValid() && x.Authentic {
		reply.HomeAddress = n.home
	}
	x.reply, x.Draft = reply, &x.draft
	x.draft.Start(&x.reply)
}

// copyNAI answers a request that names its node with the same name.
//
// "If the mobile node includes the Mobile Node NAI extension in its Registration
// Request, then the Registration Reply from the home agent MUST include the
// Mobile Node NAI extension" (RFC 2794 section 3); it is for the mobile node,
// and so stands before extension 32.
//
//rfc:2794#3
//rfc:5944#3.8.3.3
//rfc:2794#3-3
func (a *Agent) copyNAI(x *Exchange) engine.Verdict {
	if x.NAI != "" {
		x.Draft.Add(mip4.ZoneHome, &mip4.NAI{Value: string(x.NAI)})
	}
	return engine.Next()
}

// replySize is room for most replies, in octets.
const replySize = 96

// seal signs the reply: extension 32, then what is for a foreign agent, then
// extension 34.
//
// "If the home agent shares a Mobility Security Association with the foreign
// agent, the home agent MUST include a Foreign-Home Authentication Extension"
// (RFC 5944 section 3.8.1), also in denials and in answers to deregistrations.
//
//rfc:5944#3.8.3.3
//rfc:5944#3.8.1
//rfc:5944#3.4-6
//rfc:5944#3.5.2-1
func (a *Agent) seal(x *Exchange) ([]byte, error) {
	if x.Association.Authenticated() {
		x.Draft.Authenticate(mip4.ExtMobileHome, x.Association.Outbound())
	}
	if fa := x.ForeignAgent; fa != nil && len(fa.keys) > 0 {
		sa := fa.association(fa.spi)
		if sa == nil {
			sa = fa.keys[0]
		}
		x.Draft.Authenticate(mip4.ExtForeignHome, sa.Outbound())
	}
	return x.Draft.Append(make([]byte, 0, replySize))
}

// finish signs the reply and commits what it says.
//
//rfc:3024#4.3.2-1
//rfc:5944#3.8-1
//rfc:5944#3.8.3-3
func (a *Agent) finish(x *Exchange) {
	data, err := a.seal(x)
	if err != nil {
		// A feature's extension does not fit. The node hears nothing rather
		// than something unsigned.
		n := x.note(note.Failed, note.Error)
		n.Why = err.Error()
		a.Tell(n)
		a.leave(x)
		return
	}
	send := engine.Send{
		Link: x.ReplyTo.Link, Src: x.ReplyTo.Src, Dst: x.ReplyTo.Dst, HW: x.ReplyTo.HW, Data: data,
	}
	if x.Accepted() {
		a.accept(x, send)
	} else {
		a.deny(x, send)
	}
}
