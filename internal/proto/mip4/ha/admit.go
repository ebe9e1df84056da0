package ha

import (
	"net/netip"

	"careof/internal/core/engine"
	"careof/internal/core/forward"
	"careof/wire/mip4"
)

// checkReservedBits denies reserved bits, where that is configured. RFC 5944
// says both: the r and x bits are "sent as zero; ignored on reception"
// (section 3.3), and "Requests with non-zero bits in reserved fields MUST be
// rejected with Code 134" (section 3.8.2.3). The text that speaks of each bit
// wins, unless Config.StrictReservedBits.
//
//rfc:5944#3.8.2.3
//rfc:5944#3.3
func (a *Agent) checkReservedBits(x *Exchange) engine.Verdict {
	if a.cfg.StrictReservedBits && x.Request.Flags&(mip4.FlagReservedR|mip4.FlagReservedX) != 0 {
		return engine.Deny(uint8(mip4.CodeHAPoorlyFormed), "reserved bit set")
	}
	return engine.Next()
}

// checkHomeAgent looks at the Home Agent field and at the destination. It
// leaves its opinion in HomeAgentAcceptable, for features that assign home
// agents, and is judged at the end of the stage.
//
//rfc:5944#3.8.2.1
//rfc:5944#3.8.3.2
func (a *Agent) checkHomeAgent(x *Exchange) engine.Verdict {
	x.Discovery = a.isBroadcast(x.Packet.Dst.Addr())
	for _, own := range a.cfg.Addresses {
		x.HomeAgentAcceptable = x.HomeAgentAcceptable || own == x.Request.HomeAgent
	}
	return engine.Next()
}

// checkHomeAddress makes sure that the home address is the node's own, and
// finds one for a node that asks by NAI.
//
// "If the home agent cannot support the specified nonzero unicast address in
// the Home Address field of the Registration Request, then the home agent MUST
// reject the Registration Request with a Code of 129" (RFC 5944 section
// 3.8.3.2). Another node's address is such an address, whatever key signed.
//
//rfc:5944#3.8.3.2
//rfc:2794#3
//rfc:3024#A.4-10
//rfc:2794#3-5
func (a *Agent) checkHomeAddress(x *Exchange) engine.Verdict {
	n, asked := x.Node, x.Request.HomeAddress
	if x.Discovery || !x.HomeAgentAcceptable {
		return engine.Next() // will be denied; no address is spent on it
	}
	if n.config.HomeAddress.IsValid() {
		if !unspecified(asked) && asked != n.config.HomeAddress {
			return engine.Deny(uint8(mip4.CodeHAProhibited), "not the home address of this mobile node")
		}
		return engine.Next()
	}
	if n.home.IsValid() && !x.Deregisters() && a.elsewhere(x) {
		if n.list.Len() > 0 {
			return engine.Deny(uint8(mip4.CodeHAProhibited), "registered with an address of another network")
		}
		a.takeBack(n)
		x.Home = netip.Addr{}
	}
	if !unspecified(asked) {
		if asked == n.home || (!x.Deregisters() && a.assign(x, asked)) {
			return engine.Next()
		}
		return engine.Deny(uint8(mip4.CodeHAProhibited), "not an address that this mobile node can have")
	}
	if n.home.IsValid() {
		return engine.Next() // it keeps the address it had
	}
	if x.Deregisters() {
		return engine.Deny(uint8(mip4.CodeHAProhibited), "no home address to deregister")
	}
	if !a.assignAny(x) {
		return engine.Deny(uint8(mip4.CodeHAResources), "no free address in the pools")
	}
	return engine.Next()
}

// checkReverseTunnel: "The home agent MAY reject registration requests without
// the 'T' bit set by denying them with code 138 (reverse tunnel is mandatory
// and 'T' bit not set)" (RFC 3024 section 4.3.1). Code 137 comes last, in
// judgeBinding.
//
//rfc:3024#4.3.1
func (a *Agent) checkReverseTunnel(x *Exchange) engine.Verdict {
	reverse := x.Request.Flags.Has(mip4.FlagT)
	if !x.Deregisters() && !reverse && a.cfg.ReverseTunnel == forward.ReverseTunnelRequired {
		return engine.Deny(uint8(mip4.CodeHAReverseTunnelMandatory), "reverse tunnelling is required here")
	}
	return engine.Next()
}

// judgeAdmission has the stage's last word about the home agent's address.
//
// "home agents MUST deny Registration Requests that are sent to the
// subnet-directed broadcast address of the home network" and "SHOULD return a
// Registration Reply with a Code of 136" (RFC 5944 section 3.8.2.1).
//
//rfc:5944#3.8.2.1
//rfc:5944#3.6.1.2-13
func (a *Agent) judgeAdmission(x *Exchange) engine.Verdict {
	switch {
	case x.Discovery:
		return engine.Deny(uint8(mip4.CodeUnknownHomeAgent), "sent to a broadcast address")
	case !x.HomeAgentAcceptable:
		return engine.Deny(uint8(mip4.CodeUnknownHomeAgent), "the Home Agent field names another")
	}
	return engine.Next()
}
