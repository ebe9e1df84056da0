package fa

import (
	"net/netip"
	"slices"
	"time"

	"careof/internal/core/assoc"
	"careof/internal/core/engine"
	"careof/internal/core/forward"
	"careof/internal/core/ident"
	"careof/internal/core/note"
	"careof/wire/mip4"
)

// request takes a Registration Request from a visitor's link. p.Data belongs
// to the caller.
func (a *Agent) request(p engine.Packet, m *mip4.Message) {
	r, err := m.Request()
	// Without a link-layer address there is no way back to a mobile node:
	// it "MUST NOT use broadcast ARP" for one (RFC 5944 section 4.2.2).
	if err != nil || !a.visited(p.Link) || p.HW == (engine.HardwareAddr{}) || p.HW[0]&1 != 0 {
		a.counters.ignored++
		return
	}
	// What passes through this host on its way to a home agent is no
	// business of the foreign agent.
	if to := p.Dst.Addr(); !a.ours(to) && to != allAgents && to != limitedBroadcast {
		a.counters.ignored++
		return
	}
	from := p.Src.Addr()
	if !unicast(from) && from != unspecified || p.Src.Port() == 0 || a.ours(from) {
		a.counters.ignored++
		return
	}
	x := &Exchange{Agent: a, Packet: p, Message: m, Request: r}
	if !x.Unassigned() {
		x.HomeAgent = r.HomeAgent
	}
	nai, n, err := mip4.Get[mip4.NAI](m)
	if err == nil && n > 0 {
		x.NAI, err = ident.ParseNAI(nai.Value)
	}
	if err != nil {
		a.counters.ignored++
		return
	}
	if _, ok := a.Claims.Check(m, m.Tail()); !ok {
		// "silently discarded".
		a.counters.ignored++
		return
	}
	x.Visitor = a.visitors.byKey[visitorKey{r.HomeAddress, r.HomeAgent}]
	if x.repeatsAnother() {
		a.counters.ignored++
		return
	}
	a.process(x, engine.Position{})
}

// repeatsAnother says whether another station says what the visitor has said.
// The home agent would accept it once more, as the repeat that it is, and the
// visit would be another's.
func (x *Exchange) repeatsAnother() bool {
	v := x.Visitor
	return v != nil && v.asked == x.Request.Identification && (v.Link != x.Packet.Link || v.HW != x.Packet.HW)
}

// checkReservedBits obeys one of two contradicting sentences: r and x are
// "ignored on reception" (RFC 5944 section 3.3), and "Requests with non-zero
// bits in reserved fields MUST be rejected with Code 70" (section 3.7.2.1). The
// sentence about the very bits wins, unless the configuration is strict.
//
//rfc:5944#3.7.2.1
func (a *Agent) checkReservedBits(x *Exchange) engine.Verdict {
	if a.cfg.StrictReservedBits && x.Request.Flags&(mip4.FlagReservedR|mip4.FlagReservedX) != 0 {
		return engine.Deny(uint8(mip4.CodeFAPoorlyFormed), "reserved bits are set")
	}
	return engine.Next()
}

// checkMobileForeign verifies extension 33.
//
// "If the foreign agent and the mobile node share a Mobility Security
// Association, exactly one Mobile-Foreign Authentication Extension MUST be
// present"; otherwise the agent "MUST silently discard the Request and SHOULD
// log the event as a security exception. The foreign agent also SHOULD send a
// Registration Reply to the mobile node with Code 67" (RFC 5944 section
// 3.7.2.1): discarded, logged and, as often as denials may be, answered.
//
//rfc:5944#3.7.2.1
//rfc:5944#3.5.3
//rfc:3024#4-1
//rfc:5944#3.7.1-9
func (a *Agent) checkMobileForeign(x *Exchange) engine.Verdict {
	node := a.node(x)
	if node == nil {
		return engine.Next()
	}
	sa, why := verify(x.Message, mip4.ExtMobileForeign, node.Keys)
	if sa == nil {
		n := x.note(note.Discarded, note.Warn)
		n.Why = why
		if a.denials.worth(a.Now().Mono, neighbour{x.Packet.Link, x.Packet.HW}) {
			a.Tell(n)
		}
		// The newest key signs the denial: the one it failed with is in doubt.
		x.Association = node.Keys[len(node.Keys)-1]
		return engine.Deny(uint8(mip4.CodeFAMobileNodeAuth), why)
	}
	x.Association = sa
	return engine.Next()
}

// node finds the mobile node with which an association is shared.
func (a *Agent) node(x *Exchange) *MobileNode {
	if n := a.nodesNAI[x.NAI]; n != nil && x.NAI != "" {
		return n
	}
	return a.nodesHome[x.Request.HomeAddress]
}

// verify finds the association with which the one extension of type t was
// signed. Without it, why says what is wrong.
//
//rfc:5944#3.5.1
func verify(m *mip4.Message, t mip4.ExtType, keys []*assoc.Association) (sa *assoc.Association, why string) {
	e, n := m.Find(t)
	switch {
	case n == 0:
		return nil, "no " + t.String() + " extension"
	case n > 1:
		return nil, "more than one " + t.String() + " extension"
	}
	auth, err := m.Authentication(e)
	if err != nil {
		return nil, "malformed " + t.String() + " extension"
	}
	for _, k := range keys {
		if k.SPI() == auth.SPI {
			if k.Verify(m.Covered(e), auth.Authenticator) {
				return k, ""
			}
			return nil, "wrong " + t.String() + " authenticator"
		}
	}
	return nil, "unknown SPI of the " + t.String() + " extension"
}

// checkHomeAddress wants something that a pending request can be found by: "if
// the foreign agent cannot manage pending Registration Request records with
// such a zero Home Address for the mobile node, the foreign agent MUST return a
// Registration Reply with a code indicating NONZERO_HOMEADDR_REQD" (RFC 5944
// section 3.7.1). With a NAI it can.
//
//rfc:5944#3.7.1
//rfc:2794#3
//rfc:2794#3-2
func (a *Agent) checkHomeAddress(x *Exchange) engine.Verdict {
	home := x.Request.HomeAddress
	switch {
	case none(home) && x.NAI == "":
		return engine.Deny(uint8(mip4.CodeFANonzeroHomeAddressRequired), "neither a home address nor a NAI")
	case !none(home) && (!unicast(home) || a.ours(home)):
		return engine.Deny(uint8(mip4.CodeFAPoorlyFormed), "the home address is not a mobile node's")
	}
	return engine.Next()
}

// checkHomeAgent keeps requests from going in circles: "If the foreign agent
// has configured one of its network interfaces with the IP address specified by
// the mobile node as its home agent address, the foreign agent MUST NOT forward
// the Request again"; without being that home agent it rejects the request with
// "Invalid Home Agent Address" (RFC 5944 section 3.7.2), for which the text
// prints 194 and the registry has 116.
//
//rfc:5944#3.7.2
func (a *Agent) checkHomeAgent(x *Exchange) engine.Verdict {
	agent := x.HomeAgent
	for _, own := range a.cfg.OwnHomeAgents {
		if own == agent {
			return engine.Next()
		}
	}
	if !unicast(agent) || a.ours(agent) {
		return engine.Deny(uint8(mip4.CodeFAInvalidHomeAgent), "the Home Agent field is no other host's address")
	}
	if allow := a.cfg.AllowHomeAgents; allow != nil && !slices.ContainsFunc(allow, func(p netip.Prefix) bool { return p.Contains(agent) }) {
		return engine.Deny(uint8(mip4.CodeFAProhibited), "the home agent is not one of those allowed")
	}
	return engine.Next()
}

// offers says whether an address is one of the care-of addresses.
func (a *Agent) offers(c netip.Addr) bool {
	for _, o := range a.cfg.CareOfAddresses {
		if o == c {
			return true
		}
	}
	return false
}

// checkCareOf: "Requests with the 'D' bit set to 0, nonzero Lifetime, and
// specifying a care-of address not offered by the foreign agent, MUST be
// rejected with Code 77" (RFC 5944 section 3.7.2.1). A deregistration may name
// another agent's.
//
//rfc:5944#3.7.2.1
func (a *Agent) checkCareOf(x *Exchange) engine.Verdict {
	if !x.CoLocated() && !x.Deregisters() && !a.offers(x.Request.CareOfAddress) {
		return engine.Deny(uint8(mip4.CodeFAInvalidCareOf), "the care-of address is not offered here")
	}
	return engine.Next()
}

// checkLifetime refuses more than was advertised: the reply's Lifetime is then
// "the maximum Lifetime value it is willing to accept" (RFC 5944 section
// 3.7.2.3).
//
//rfc:5944#3.7.2.3
func (a *Agent) checkLifetime(x *Exchange) engine.Verdict {
	if x.Request.Lifetime > a.maxLifetimeField() {
		return engine.Deny(uint8(mip4.CodeFALifetimeTooLong), "the requested lifetime is too long")
	}
	return engine.Next()
}

// maxLifetimeField is the longest lifetime as the field has it; 0xffff is
// infinity and the greatest.
func (a *Agent) maxLifetimeField() uint16 {
	return uint16(min(a.cfg.MaxLifetime/time.Second, mip4.LifetimeInfinite))
}

// settleEncapsulation: "if the foreign agent is unable to support the requested
// form of encapsulation it MUST return code 72" (RFC 3024 section 4.2.1). A
// co-located mobile node decapsulates itself.
//
//rfc:3024#4.2.1
func (a *Agent) settleEncapsulation(x *Exchange) engine.Verdict {
	x.Encap, x.Offered = a.offered(x.Request.Flags)
	return engine.Next()
}

// settleStyle reads the Encapsulating Delivery Style extension, which "MUST NOT
// be included if the 'T' bit is not set" (RFC 3024 section 3.3). "If it cannot
// support the requested form of delivery style it MUST return code 79" (section
// 4.2.1).
//
//rfc:3024#3.3
//rfc:3024#4.2.1
//rfc:3024#3.3-4
//rfc:3024#3.4-4
//rfc:3024#4.2.1-2
//rfc:3024#A.4-5
func (a *Agent) settleStyle(x *Exchange) engine.Verdict {
	wanted := false
	for _, e := range x.Message.Tail() {
		wanted = wanted || e.Type == mip4.ExtEncapsulatingDelivery
	}
	reverse := x.Request.Flags.Has(mip4.FlagT)
	switch {
	case wanted && !reverse:
		return engine.Deny(uint8(mip4.CodeFAPoorlyFormed), "a delivery style without the T bit")
	case wanted && a.cfg.DirectDeliveryOnly:
		return engine.Deny(uint8(mip4.CodeFADeliveryStyle), "encapsulating delivery is not offered")
	case x.CoLocated() || !reverse:
		x.Style = NoReverseTunnel
	case wanted:
		x.Style = Encapsulating
	default:
		x.Style = Direct
	}
	return engine.Next()
}

// checkReverseTunnel obeys RFC 3024 section 4.2.1. The foreign agent "MUST
// verify that the TTL field of the IP header is set to 255. Otherwise, it MUST
// reject the registration with code 76". A request to a multicast address has
// a TTL of 1 (RFC 5944 section 3.6.1.1) and cannot have come from afar.
//
//rfc:3024#4.2.1
//rfc:3024#4.2.1-3
//rfc:3024#4.2.1-4
//rfc:3024#4.2.1-6
//rfc:5944#4.2.2-9
func (a *Agent) checkReverseTunnel(x *Exchange) engine.Verdict {
	if x.CoLocated() {
		return engine.Next() // its tunnel does not begin here
	}
	reverse := x.Request.Flags.Has(mip4.FlagT)
	direct := unicast(x.Packet.Dst.Addr())
	switch {
	case !reverse && a.cfg.ReverseTunnel == forward.ReverseTunnelRequired && !x.Deregisters():
		return engine.Deny(uint8(mip4.CodeFAReverseTunnelMandatory), "reverse tunnelling is required here")
	case reverse && direct && x.Packet.TTL != 255:
		return engine.Deny(uint8(mip4.CodeFATooDistant), "the TTL is not 255")
	case reverse && a.cfg.ReverseTunnel == forward.ReverseTunnelRefused && !x.Deregisters():
		return engine.Deny(uint8(mip4.CodeFAReverseTunnelUnavailable), "reverse tunnelling is refused here")
	}
	return engine.Next()
}

// checkRoom bounds what requests can make the agent remember: "Additional
// registrations SHOULD then be rejected by the foreign agent with Code 66" (RFC
// 5944 section 3.7.1). Who is a visitor already is not turned away.
//
//rfc:5944#3.7.1
//rfc:5944#2.1.1
func (a *Agent) checkRoom(x *Exchange) engine.Verdict {
	switch {
	case x.Visitor == nil && !x.Deregisters() && a.visitors.count() >= a.cfg.MaxVisitors:
		return engine.Deny(uint8(mip4.CodeFAResources), "too many visitors")
	case a.pending.of(neighbour{x.Packet.Link, x.Packet.HW}) >= a.cfg.PendingPerNode && a.pending.same(x) == nil:
		return engine.Deny(uint8(mip4.CodeFAResources), "too many requests of this node are pending")
	}
	return engine.Next()
}

// judgeRequest has the stage's last word about what features may have offered
// or found.
//
//rfc:3024#4.2.1-1
func (a *Agent) judgeRequest(x *Exchange) engine.Verdict {
	if v := a.checkHomeAgent(x); !v.IsNext() {
		return v
	}
	if x.HomeAgent != x.Request.HomeAgent {
		x.Visitor = a.visitors.byKey[visitorKey{x.Request.HomeAddress, x.HomeAgent}]
		if x.repeatsAnother() {
			a.counters.ignored++
			return engine.Done()
		}
	}
	if !x.Offered && !x.CoLocated() && !x.Deregisters() {
		return engine.Deny(uint8(mip4.CodeFAEncapsulationUnavailable), "the requested encapsulation is not offered")
	}
	return engine.Next()
}
