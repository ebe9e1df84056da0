// Package faerror is the FA Error extension: RFC 4636. A foreign agent that
// cannot honour a home agent's reply passes on what the home agent has
// authenticated, with its own code beside it in extension 45, instead of a
// reply in its own name. The mobile node sees both: what it is bound to at
// home, and that it is not served here.
//
//	section 3      the extension                       wire/mip4
//	section 4      when the foreign agent adds it      faerror.go deny
//	section 4, 5   what the mobile node does           faerror.go accepted, mn/disown.go
//	section 6      a revocation to the home agent      feature/revoke
//
// Codes beyond the seven of section 4 are sent too, those of RFC 2794, 3115 and
// 4721 for a reply that the foreign agent refuses: changing the Code of a reply
// would break the mobile node's authenticator.
package faerror

import (
	"fmt"

	"careof/internal/core/engine"
	"careof/internal/proto/mip4/fa"
	"careof/internal/proto/mip4/feature"
	"careof/internal/proto/mip4/mn"
	"careof/wire/mip4"
)

// Name is the feature's name in stages and tables.
const Name = "fa-error"

// New is the feature.
func New() feature.Feature {
	return feature.Feature{
		Name: Name,
		RFC:  []int{4636},
		Foreign: func(a *fa.Agent) error {
			a.Deny.Add(Name, "keep-reply", deny)
			return nil
		},
		Mobile: func(n *mn.Node) error {
			n.Claim(mn.Claim{Feature: Name, Type: mip4.ExtFAError, Max: 1})
			n.Reply.Add(Name, "source", replied)
			n.Accepted.Add(Name, "honoured", accepted)
			return nil
		},
	}
}

// deny passes the home agent's reply on. "Instead of modifying the 'status'
// field of the Registration Reply to contain the value 68, now the foreign
// agent should append the Foreign Agent Error Extension containing the status
// value 68" (RFC 4636 section 4); so with the other codes.
//
//rfc:4636#4
func deny(d *fa.Denial) engine.Verdict {
	if d.Reply == nil {
		return engine.Next() // nobody else has answered: the Code field says it
	}
	m, err := mip4.Parse(d.Reply)
	if err != nil {
		return engine.Next()
	}
	reply, err := m.Reply()
	if err != nil {
		return engine.Next()
	}
	d.Home = reply.HomeAddress
	d.Draft = mip4.RelayDraft(d.Reply).Add(mip4.ZoneForeign, &mip4.FAError{Status: d.Code})
	return engine.Next()
}

// read is the extension of a reply; ok is false when there is none.
func read(x *mn.Response) (status mip4.Code, ok bool, err error) {
	e, n := x.Message.Find(mip4.ExtFAError)
	if n == 0 {
		return 0, false, nil
	}
	v, err := mip4.Decode[mip4.FAError](e)
	return v.Status, true, err
}

// replied discards what nobody on the way can have added: without a foreign
// agent, or from another address than the agent's. Nothing authenticates the
// extension where mobile node and foreign agent share no key.
//
//rfc:4636#8
func replied(x *mn.Response) engine.Verdict {
	if _, n := x.Message.Find(mip4.ExtFAError); n == 0 {
		return engine.Next()
	}
	if agent := x.Registration.Key.Agent; !agent.IsValid() || x.Packet.Src.Addr() != agent {
		return engine.Drop("an FA Error extension that is not the foreign agent's")
	}
	return engine.Next()
}

// accepted: the home agent has accepted, and the foreign agent does not honour
// it. A status that is no foreign agent's code is as little understood as a
// malformed one, and has the same consequence (RFC 4636 section 4).
//
//rfc:4636#4
//rfc:4636#5
//rfc:4636#4-1
func accepted(x *mn.Response) engine.Verdict {
	status, there, err := read(x)
	switch {
	case !there:
		return engine.Next()
	case err != nil || !status.FromForeignAgent():
		return engine.Deny(uint8(mip4.CodeFAUnspecified), "the foreign agent does not honour the reply, and says why in a way that is not understood")
	}
	return engine.Deny(uint8(status), fmt.Sprintf("the foreign agent does not honour the reply: %v", status))
}
