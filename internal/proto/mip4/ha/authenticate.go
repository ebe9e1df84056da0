package ha

import (
	"net/netip"

	"careof/internal/core/assoc"
	"careof/internal/core/engine"
	"careof/internal/core/note"
	"careof/wire/mip4"
)

// A Relay is a configured foreign agent.
type Relay struct {
	Address netip.Addr
	keys    []*assoc.Association
	spi     uint32 // of the association that the request used
}

// association finds the relay's association with this SPI.
//
//rfc:5944#3.2-1
func (r *Relay) association(spi uint32) *assoc.Association {
	for _, k := range r.keys {
		if k.SPI() == spi {
			return k
		}
	}
	return nil
}

// ForeignAgentKeys are the associations with the foreign agent at an address;
// none when there is no such agent.
func (a *Agent) ForeignAgentKeys(address netip.Addr) []*assoc.Association {
	if r := a.relayAt(address); r != nil {
		return r.keys
	}
	return nil
}

// AddForeignAgentKeys has run tell of associations with foreign agents that no
// configuration has, the latest to expire first.
func (a *Agent) AddForeignAgentKeys(run func(netip.Addr) []*assoc.Association) {
	a.furtherKeys = append(a.furtherKeys, run)
}

// relayAt is the foreign agent at an address with all its associations, nil when
// there is none.
func (a *Agent) relayAt(address netip.Addr) *Relay {
	r := a.relays[address]
	for _, run := range a.furtherKeys {
		further := run(address)
		if len(further) == 0 {
			continue
		}
		own := Relay{Address: address}
		if r != nil {
			own.keys = append(own.keys, r.keys...)
		}
		own.keys = append(own.keys, further...)
		r = &own
	}
	return r
}

// A ForeignCheck is what became of the Foreign-Home authenticator.
type ForeignCheck uint8

const (
	ForeignAbsent    ForeignCheck = iota // no extension 34
	ForeignValid                         // exactly one, and right
	ForeignBad                           // wrong, malformed, or more than one
	ForeignStrange                       // there, but no association with the sender
	foreignCheckEnds                     //
)

var foreignChecks = [foreignCheckEnds]string{"absent", "valid", "bad", "without an association"}

func (f ForeignCheck) String() string { return foreignChecks[f] }

// relay finds the configured foreign agent that a request came through.
//
// RFC 5944 section 3.5.4 selects the association by "the Source IP Address",
// which "will be the same as the Care-of Address field"; behind a NAT the two
// differ. So: the care-of address when D is 0, else the source. A
// deregistration may name a care-of address of another agent; there the source
// speaks first.
//
//rfc:5944#3.5.4
func (a *Agent) relay(x *Exchange) *Relay {
	source := a.relayAt(x.Packet.Src.Addr())
	if x.Request.Flags.Has(mip4.FlagD) {
		return source
	}
	careOf := a.relayAt(x.Request.CareOfAddress)
	if x.Deregisters() {
		if _, n := x.Message.Find(mip4.ExtForeignHome); source == nil && n > 0 {
			return careOf
		}
		return source
	}
	if careOf == nil {
		return source
	}
	return careOf
}

// checkForeignHome verifies extension 34, because the answer to a wrong
// Mobile-Home authenticator depends on it. It judges nothing yet.
//
//rfc:5944#3.8.2.1
func (a *Agent) checkForeignHome(x *Exchange) engine.Verdict {
	if r := a.relay(x); r != nil {
		own := *r
		x.ForeignAgent = &own
	}
	e, n := x.Message.Find(mip4.ExtForeignHome)
	switch {
	case n == 0:
		x.ForeignCheck = ForeignAbsent
	case x.ForeignAgent == nil || len(x.ForeignAgent.keys) == 0:
		x.ForeignCheck = ForeignStrange
	default:
		x.ForeignCheck = ForeignBad
		auth, err := x.Message.Authentication(e)
		if err != nil || n > 1 {
			break
		}
		if sa := x.ForeignAgent.association(auth.SPI); sa != nil && sa.Verify(x.Message.Covered(e), auth.Authenticator) {
			x.ForeignCheck, x.ForeignAgent.spi = ForeignValid, auth.SPI
		}
	}
	return engine.Next()
}

// checkMobileHome verifies extension 32, where there is one.
//
// "The home agent MUST check for the presence of at least one authorization-
// enabling extension, and ensure that all indicated authentications are
// carried out" (RFC 5944 section 3.8.2.1 a).
//
//rfc:5944#3.8.2.1
//rfc:5944#3.5.2
//rfc:3024#4-2
//rfc:5944#3.2-1
//rfc:5944#3.2-2
//rfc:5944#3.5.1-2
//rfc:5944#3.5.2-1
func (a *Agent) checkMobileHome(x *Exchange) engine.Verdict {
	if open := x.Node.config.Keys[0]; !open.Authenticated() {
		// algorithm none: the source prefix stands in for a key, and
		// whatever stands in extension 32 proves nothing.
		if !x.Node.config.Source.Contains(x.Packet.Src.Addr()) {
			return engine.Drop("not from the source prefix of a node without authentication")
		}
		x.Association, x.Authentic = open, true
		return engine.Next()
	}
	e, n := x.Message.Find(mip4.ExtMobileHome)
	if n == 0 {
		return engine.Next()
	}
	auth, err := x.Message.Authentication(e)
	if err != nil {
		return engine.Drop("malformed Mobile-Home authentication extension")
	}
	sa := x.Node.Association(auth.SPI)
	if sa == nil || !sa.Verify(x.Message.Covered(e), auth.Authenticator) {
		return a.refuseAuthenticator(x, auth.SPI)
	}
	x.Association, x.Authentic = sa, true
	return engine.Next()
}

// refuseAuthenticator is what follows a wrong Mobile-Home authenticator.
//
// "If there is a valid Foreign-Home authentication extension, the home agent
// MUST send a Registration Reply with Code 131."; "Otherwise, if there is no
// Foreign-Home Security Association, the home agent MAY" (RFC 5944 section
// 3.8.2.1 a). With an association, but its authenticator missing or wrong, the
// text says nothing: silence.
//
//rfc:5944#3.8.2.1
func (a *Agent) refuseAuthenticator(x *Exchange, spi uint32) engine.Verdict {
	const why = "wrong Mobile-Home authenticator"
	// Anybody can send one, so there is no line in the log for it; but an
	// operator who copied a key wrong needs a place to see it.
	a.counters.unauthentic++
	vouched := x.ForeignCheck == ForeignValid
	if !vouched {
		shared := x.ForeignAgent != nil && len(x.ForeignAgent.keys) > 0
		every := a.cfg.BadAuthenticatorInterval
		if shared || x.ForeignCheck == ForeignStrange || every == 0 {
			return engine.Drop(why)
		}
		if last := x.Node.refused().denied; !last.IsZero() && a.Now().Mono.Sub(last) < every {
			return engine.Drop(why)
		}
	}
	x.Node.refused().denied = a.Now().Mono
	// "the home agent SHOULD choose a security association that is likely to
	// exist in the mobile node; for example, this may be an older security
	// association": the first one that the request did not just fail with.
	x.Association = x.Node.config.Keys[0]
	for _, k := range x.Node.config.Keys {
		if k.SPI() != spi {
			x.Association = k
			break
		}
	}
	// "SHOULD log the error as a security exception".
	n := x.note(note.Discarded, note.Warn)
	n.Why, n.SPI = why, spi
	a.Tell(n)
	return engine.Deny(uint8(mip4.CodeHAMobileNodeAuth), why)
}

// judgeAuthentication has the stage's last word.
//
// "If the home agent receives a Registration Request without any
// authorization-enabling extension, the home agent MUST silently discard the
// Registration Request" (RFC 5944 section 3.8.2.1 a).
//
//rfc:5944#3.8.2.1
func (a *Agent) judgeAuthentication(x *Exchange) engine.Verdict {
	if !x.Authentic {
		return engine.Drop("no authorization-enabling extension")
	}
	return engine.Next()
}
