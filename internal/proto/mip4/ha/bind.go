package ha

import (
	"net/netip"
	"slices"

	"careof/internal/core/binding"
	"careof/internal/core/engine"
	"careof/internal/core/forward"
	"careof/wire/encap"
	"careof/wire/mip4"
)

// settleLifetime grants what was asked for, up to the own maximum.
//
// "The Lifetime field MUST be copied from the corresponding field in the
// Registration Request, unless the requested value is greater than the maximum
// length of time the home agent is willing to provide the requested service"
// (RFC 5944 section 3.8.3.2). 0xffff asks for a binding that does not expire.
//
//rfc:5944#3.8.3.2
//rfc:5944#3.3
//rfc:5944#3.4-2
func (a *Agent) settleLifetime(x *Exchange) engine.Verdict {
	if asked := x.Request.Lifetime; asked != mip4.LifetimeInfinite {
		x.Limit(lifetime(asked))
	}
	x.Limit(a.cfg.MaxLifetime)
	return engine.Next()
}

// settleEncapsulation chooses by the M and G bits: "If the 'M' bit is set, the
// mobile node requests that its home agent use minimal encapsulation" (RFC 5944
// section 3.3), G likewise for GRE, and IP-in-IP without either.
//
//rfc:5944#3.3
//rfc:5944#4.1
func (a *Agent) settleEncapsulation(x *Exchange) engine.Verdict {
	x.Encap, x.EncapOffered = a.askedFor(x.Request.Flags)
	x.Mode = forward.Send
	if x.Request.Flags.Has(mip4.FlagT) {
		x.Mode = forward.Both
	}
	return engine.Next()
}

// settleEndpoint takes the care-of address for the tunnel's other end. A
// source that differs from it is accepted when a foreign agent stands for it:
// one with a valid authenticator, or a configured one.
//
//rfc:5944#3.8.2.2
func (a *Agent) settleEndpoint(x *Exchange) engine.Verdict {
	x.ID = binding.ByCareOf(x.Request.CareOfAddress)
	x.Endpoint = netip.AddrPortFrom(x.Request.CareOfAddress, 0)
	x.SourceAccepted = x.Packet.Src.Addr() == x.Request.CareOfAddress ||
		x.ForeignAgent != nil || x.ForeignCheck == ForeignValid
	return engine.Next()
}

// judgeBinding has the stage's last word about the facts that features may
// have replaced, and settles the code of an accepted request.
//
//rfc:5944#3.8.2.2
//rfc:5944#3.8.2.3
//rfc:3024#4.3.1
//rfc:3024#3.2-1
//rfc:3024#4.3.1-1
//rfc:3024#4.3.1-2
func (a *Agent) judgeBinding(x *Exchange) engine.Verdict {
	x.Code = mip4.CodeAccepted
	if x.Deregisters() {
		// Nothing will be sent to the care-of address; only what is bound
		// can be named.
		x.Lifetime = 0
		return engine.Next()
	}
	// What is sent to is judged. Where that is the effective care-of address,
	// the other one is a name in somebody's private network, which may well have
	// the prefix of a home network.
	if c := x.Request.CareOfAddress; !unicast(c) || a.isBroadcast(c) {
		return engine.Deny(uint8(mip4.CodeHAPoorlyFormed), "the care-of address is not a unicast address")
	}
	if v := a.judgeCareOf(x.Node, x.Endpoint.Addr()); !v.IsNext() {
		return v
	}
	if !x.SourceAccepted {
		return engine.Deny(uint8(mip4.CodeHAProhibited), "the source is not the care-of address")
	}
	if !x.EncapOffered {
		// "if the home agent is unable to support the requested form of
		// encapsulation it MUST return code 139" (RFC 3024 section 4.3.1).
		return engine.Deny(uint8(mip4.CodeHAEncapsulationUnavailable), "requested encapsulation is not offered")
	}
	if x.Request.Flags.Has(mip4.FlagT) && a.cfg.ReverseTunnel == forward.ReverseTunnelRefused {
		// "As a last check, the home agent determines whether it can support a
		// reverse tunnel with the same configuration as the forward tunnel. If
		// it cannot, it MUST send back a registration denial with code 137".
		return engine.Deny(uint8(mip4.CodeHAReverseTunnelUnavailable), "reverse tunnelling is refused here")
	}
	if x.Request.Flags.Has(mip4.FlagS) {
		others := x.Node.list.Len()
		if _, there := x.Node.list.Get(x.ID); there {
			others--
		}
		most := a.cfg.SimultaneousBindings
		if x.Redundancy != nil {
			most = max(most, forward.Copyable) // not all packets go to both
		}
		switch {
		case most == 1:
			// "When replying to an accepted registration, a home agent SHOULD
			// respond with Code 1 if it does not support simultaneous
			// registrations" (RFC 5944 section 3.8.3.2). Only a node that
			// asked for them is told.
			x.Code = mip4.CodeAcceptedNoSimultaneous
		case others+1 > most:
			// "a home agent can limit the number of simultaneous
			// registrations for a mobile node, by rejecting any registrations
			// that would cause its limit to be exceeded, and returning a
			// Registration Reply with a Code of 135" (section 3.8.2.3).
			return engine.Deny(uint8(mip4.CodeTooManyBindings), "too many simultaneous bindings")
		}
	}
	x.Lifetime = lifetime(seconds(x.limit))
	if x.Lifetime == 0 {
		return engine.Deny(uint8(mip4.CodeHAProhibited), "no lifetime can be granted")
	}
	return engine.Next()
}

// judgeCareOf refuses care-of addresses that must not be sent to: what is no
// host's address, our own but for a foreign agent's beside us, and what lies in
// a home network, where packets would go in circles between home agents.
func (a *Agent) judgeCareOf(n *Node, c netip.Addr) engine.Verdict {
	if !unicast(c) || a.isBroadcast(c) {
		return engine.Deny(uint8(mip4.CodeHAPoorlyFormed), "the care-of address is not a unicast address")
	}
	if a.ownAddress(c) && !slices.Contains(a.cfg.ForeignCareOf, c) {
		return engine.Deny(uint8(mip4.CodeHAProhibited), "the care-of address is the home agent's own")
	}
	if nested, v := a.judgeNested(n, c); nested {
		return v
	}
	if _, home := a.cfg.network(c); home {
		return engine.Deny(uint8(mip4.CodeHAProhibited), "the care-of address lies in a home network")
	}
	for _, p := range a.cfg.OtherHomeNetworks {
		if p.Contains(c) {
			return engine.Deny(uint8(mip4.CodeHAProhibited), "the care-of address lies in another agent's home network")
		}
	}
	return engine.Next()
}

// newBinding is what an accepted request binds.
//
//rfc:3024#4.3.1-3
//rfc:5944#3.8.1-3
//rfc:5944#4.2.3-4
func (a *Agent) newBinding(x *Exchange) binding.Binding {
	r := &x.Request
	local := netip.AddrPortFrom(a.local(x.HomeAgent), 0)
	if x.Encap == encap.UDP {
		local = netip.AddrPortFrom(local.Addr(), a.cfg.Port)
	}
	b := binding.Binding{
		ID:             x.ID,
		CareOfAddress:  r.CareOfAddress,
		Source:         x.Packet.Src,
		Identification: x.Identification,
		Since:          a.Now().Mono,
		Broadcast:      r.Flags.Has(mip4.FlagB),
		Decapsulates:   r.Flags.Has(mip4.FlagD),
		Flags:          uint8(r.Flags),
		ReplyTo:        x.ReplyTo,
		// The tunnel starts at the home agent address that the reply names,
		// or at the local one behind a 1:1 NAT.
		Tunnel: forward.Tunnel{
			Local: local, Peer: x.Endpoint, AnyPort: x.AnyPort, Link: a.underlay(&x.Packet, x.Endpoint.Addr()),
			Encap: x.Encap, Inside: x.Inside, PeerKey: x.PeerKey,
			Key: x.Key, HasKey: x.HasKey,
			Mode: x.Mode, MTU: x.MTU, Budget: x.Budget,
		},
	}
	if !x.Validated.IsZero() {
		b.Validate(x.Validated)
	}
	b.Tunnel.Wrap = wrapper(b.Decapsulates, x.HomeAgent)
	b.Grant(a.Now().Mono, x.Lifetime)
	return b
}

// wrapper is the source of the packet that a broadcast or multicast datagram is
// put into before it goes through the tunnel. "If the 'D' bit was set ..., the
// home agent simply tunnels appropriate broadcast IP datagrams to the mobile
// node's care-of address. Otherwise ..., the home agent first encapsulates the
// broadcast datagram in a unicast datagram addressed to the mobile node's home
// address" (RFC 5944 section 4.3).
//
//rfc:5944#4.3
//rfc:5944#4.4
func wrapper(decapsulates bool, agent netip.Addr) netip.Addr {
	if decapsulates {
		return netip.Addr{}
	}
	return agent
}
