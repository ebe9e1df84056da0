package ha

import (
	"careof/internal/core/engine"
	"careof/wire/mip4"
)

// judgeForeignHome judges extension 34.
//
// "If no Foreign-Home Authentication Extension is found, or if more than one
// Foreign-Home Authentication Extension is found, or if the Authenticator is
// invalid, the home agent MUST reject the mobile node's registration and
// SHOULD send a Registration Reply to the mobile node with Code 132" (RFC 5944
// section 3.8.2.1 c). "If the home agent and the foreign agent do not share a
// Mobility Security Association, and the Registration contains a Foreign-Home
// Authentication Extension, the home agent MUST discard the Request" (d).
//
// It must be there only when D is 0, since a foreign agent must not add it for
// a care-of address that is not its own (section 3.5.4), and not in a
// deregistration; where it is there, it must be right.
//
//rfc:5944#3.8.2.1
//rfc:5944#3.8.1
//rfc:5944#3.5.4
//rfc:5944#3.5.4-5
func (a *Agent) judgeForeignHome(x *Exchange) engine.Verdict {
	shared := x.ForeignAgent != nil && len(x.ForeignAgent.keys) > 0
	switch x.ForeignCheck {
	case ForeignStrange:
		return engine.Drop("Foreign-Home authentication extension without an association")
	case ForeignBad:
		return engine.Deny(uint8(mip4.CodeHAForeignAgentAuth), "Foreign-Home authenticator is wrong or there twice")
	case ForeignAbsent:
		if shared && !x.Deregisters() && !x.Request.Flags.Has(mip4.FlagD) {
			return engine.Deny(uint8(mip4.CodeHAForeignAgentAuth), "no Foreign-Home authentication extension")
		}
	}
	return engine.Next()
}
