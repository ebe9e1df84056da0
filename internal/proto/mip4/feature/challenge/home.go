package challenge

import (
	"time"

	"careof/internal/core/aaa"
	"careof/internal/core/engine"
	"careof/internal/core/note"
	"careof/internal/proto/mip4/claim"
	"careof/internal/proto/mip4/feature/aaakey"
	"careof/internal/proto/mip4/ha"
	"careof/wire/mip4"
)

// home is the feature's part of one home agent.
type home struct {
	cfg   Config
	agent *ha.Agent
	// vouched is how long AAA's word about a node holds: one entry for each
	// node at most.
	vouched map[*ha.Node]time.Time
	facts   *ha.Slot[bool] // the node was vouched for
}

func addHome(c Config, a *ha.Agent) error {
	h := &home{cfg: c, agent: a, vouched: make(map[*ha.Node]time.Time), facts: new(ha.Slot[bool])}
	a.Claims.Add(
		claim.Claim{Feature: Name, Type: mip4.ExtGeneralizedAuth, Sub: mip4.AuthMobileAAA, HasSub: true, From: "mobile node", Max: 1, Section: "4721#6"},
		claim.Claim{Feature: Name, Type: mip4.ExtChallenge, From: "mobile node", Max: 1, Section: "4721#4"},
	)
	a.Agents.Add(Name, "aaa", h.verify)
	a.Reply.Add(Name, "echo", h.reply)
	return nil
}

// verify has AAA verify the Mobile-AAA authenticator of a request that the
// node's own key has made authentic and fresh, so that strangers cost AAA
// nothing. A foreign agent with a valid authenticator of its own has done it
// already. "If the Mobile-AAA Authentication extension is used by the home agent
// as an authorization-enabling extension and the verification fails ..., the
// home agent MAY reject the Registration Reply with the error code
// ha_bad_aaa_auth" (RFC 4721 section 3.4).
//
//rfc:4721#3.4
func (h *home) verify(x *ha.Exchange) engine.Verdict {
	_, n := x.Message.FindSub(mip4.ExtGeneralizedAuth, mip4.AuthMobileAAA)
	direct := x.Request.Flags.Has(mip4.FlagD)
	if n == 0 || !h.cfg.AAA || !x.Authentic || x.Verified || !direct && x.ForeignCheck == ha.ForeignValid {
		return engine.Next()
	}
	now := x.Now().Mono
	if x.Answer == nil {
		if h.vouched[x.Node].After(now) {
			return engine.Next()
		}
		proof, ok := aaakey.Proof(x.Message)
		if !ok {
			return engine.Deny(uint8(mip4.CodeHAPoorlyFormed), "malformed Mobile-AAA authentication extension")
		}
		return engine.Await(aaa.Authenticate{CoLocated: true, Proof: proof, Subject: aaa.Subject{
			NAI: x.Node.Identity().NAI, HomeAddress: x.Home, HomeAgent: x.HomeAgent, CareOfAddress: x.Request.CareOfAddress,
			Source: x.Packet.Src.Addr(), Registered: len(x.Node.Bindings()) > 0,
		}})
	}
	grant, kind, why := verdict(*x.Answer)
	x.Answer = nil // it is not the next hook's
	t := note.Note{
		Kind: kind, Level: note.Warn, HomeAddress: x.Home, NAI: string(x.Node.Identity().NAI), CareOfAddress: x.Request.CareOfAddress,
		Endpoint: x.Packet.Src, Why: why,
	}
	switch kind {
	case Verified:
		t.Level = note.Debug
		h.agent.Tell(t)
		h.vouched[x.Node] = now.Add(h.cfg.holds(grant))
		return engine.Next()
	case Refused:
		h.agent.Tell(t)
		return engine.Deny(uint8(mip4.CodeHABadAAAAuth), why)
	}
	h.agent.Tell(t)
	return engine.Deny(uint8(mip4.CodeHAUnspecified), why)
}

// reply: "the home agent MUST include the Challenge extension in the
// Registration Reply. The Challenge extension MUST be placed after the
// Mobile-Home authentication extension", under extension 34 where there is one
// (RFC 4721 section 3.4). It is between mobile node and foreign agent: whoever
// is not authentic gets none of it back.
//
//rfc:4721#3.4
//rfc:4721#3.4-1
//rfc:4721#3.4-2
//rfc:4721#3.4-3
//rfc:4721#6-4
func (h *home) reply(x *ha.Exchange) engine.Verdict {
	if e, n := x.Message.Find(mip4.ExtChallenge); n == 1 && x.Authentic {
		x.Draft.Add(mip4.ZoneForeign, &mip4.Challenge{Value: e.Body})
	}
	return engine.Next()
}
