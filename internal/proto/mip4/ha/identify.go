package ha

import (
	"net/netip"

	"careof/internal/core/engine"
	"careof/internal/core/ident"
	"careof/wire/mip4"
)

// identify finds the node that a request speaks of. A feature may find one
// after it.
//
// "If the home agent receives a Registration Request from a mobile node with
// which it does not have any security association, the home agent MUST
// silently discard the Registration Request" (RFC 5944 section 3.8.2.1 a).
//
//rfc:5944#3.8.2.1
//rfc:2794#2
func (a *Agent) identify(x *Exchange) engine.Verdict {
	home := x.Request.HomeAddress
	if e, n := x.Message.Find(mip4.ExtNAI); n > 0 {
		nai, err := mip4.Decode[mip4.NAI](e)
		if err != nil {
			return engine.Drop("malformed NAI")
		}
		// "When it is present in the Registration Request, the Home Address
		// field MAY be set to zero" (RFC 2794 section 2): then the name is
		// all that tells the node.
		name, err := ident.ParseNAI(nai.Value)
		if err != nil {
			return engine.Drop("malformed NAI")
		}
		x.NAI = name
		x.Node = a.byNAI[name]
	}
	if x.Node == nil && !unspecified(home) {
		// A node that is configured by home address only may say any name; a
		// node that has a name must say that one or none.
		if node := a.at(home); node != nil && (x.NAI == "" || node.config.NAI == "") {
			x.Node = node
		}
	}
	return engine.Next()
}

// judgeIdentity has the stage's last word.
//
//rfc:5944#3.8.2.1
func (a *Agent) judgeIdentity(x *Exchange) engine.Verdict {
	if x.Node == nil {
		return engine.Drop("no security association")
	}
	x.Home = x.Node.home
	x.HomeAgent = a.identityFor(x)
	x.ReplyTo = a.replyPath(x)
	return engine.Next()
}

// unspecified says whether an address field is empty.
func unspecified(a netip.Addr) bool { return !a.IsValid() || a.IsUnspecified() }
