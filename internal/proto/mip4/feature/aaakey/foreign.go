package aaakey

import (
	"time"

	"careof/internal/core/aaa"
	"careof/internal/core/assoc"
	"careof/internal/core/engine"
	"careof/internal/proto/mip4/fa"
	"careof/wire/mip4"
)

// Given is what AAA has made for a request at a foreign agent: whoever asks AAA
// leaves it there.
var Given = new(fa.Slot[aaa.SessionKeys])

// foreign is the feature's part of one foreign agent.
type foreign struct {
	cfg    Config
	agent  *fa.Agent
	visits *fa.Slot[visit]
}

// A visit is the key with a visitor.
type visit struct {
	association *assoc.Association
	until       time.Time // monotonic
}

func addForeign(c Config, a *fa.Agent) error {
	if !c.Agent {
		return nil
	}
	f := &foreign{cfg: c, agent: a, visits: new(fa.Slot[visit])}
	a.Request.Add(Name, "mobile-foreign", f.request)
	a.Reply.Add(Name, "nonce", f.reply)
	a.Deliver.Add(Name, "nonce", f.deliver)
	return nil
}

// request verifies extension 33 of a visitor with a key. Without it, or with a
// wrong one, "the foreign agent ... SHOULD send a Registration Reply to the mobile
// node with Code 67" (RFC 5944 section 3.7.2.1), unless the visitor asks for
// another key, as one that has lost its end does: for that AAA must vouch.
//
//rfc:5944#3.7.2.1
//rfc:3957#4
//rfc:4004#8-3
func (f *foreign) request(x *fa.Exchange) engine.Verdict {
	if x.Visitor == nil || x.Association != nil {
		return engine.Next()
	}
	v := *f.visits.Of(x.Visitor)
	if v.association == nil || !v.until.After(x.Now().Mono) {
		return engine.Next()
	}
	if e, n := x.Message.Find(mip4.ExtMobileForeign); n == 1 {
		auth, err := x.Message.Authentication(e)
		if err == nil && auth.SPI == v.association.SPI() && v.association.Verify(x.Message.Covered(e), auth.Authenticator) {
			x.Association = v.association
			*f.visits.Of(x) = v
			return engine.Next()
		}
	}
	if _, ok := Wished(x.Message, mip4.ExtMobileForeignKeyRequest); ok {
		return engine.Next()
	}
	x.Association = v.association
	return engine.Deny(uint8(mip4.CodeFAMobileNodeAuth), "not signed with the visitor's key")
}

// reply judges what the home agent's reply has for the node: a nonce without the
// key is of no use, since the agent "MUST also" sign with it. "If the foreign
// agent receives a Registration Reply that has no MN-FA Key Generation Nonce Reply
// extension, and if it has no existing Mobility Security Association with the
// mobile node, the foreign agent MAY change the Code value of the Registration
// Reply to MISSING_MN_FA" (RFC 3957 section 6.2): a denial of its own, where the
// configuration requires keys.
//
//rfc:3957#6.2
//rfc:3957#7
func (f *foreign) reply(r *fa.Return) engine.Verdict {
	if !r.Accepted() || r.Reply.Lifetime == 0 {
		return engine.Next()
	}
	given := Given.Of(r).MobileForeign
	_, nonce := r.Message.FindSub(mip4.ExtMobileForeignKeyReply, 1)
	switch {
	case given != nil:
	case nonce > 0:
		r.Refusal, r.Why = mip4.CodeFAUnspecified, "a nonce for a key that AAA has not given"
	case f.cfg.Required && r.Pending.Association == nil:
		r.Refusal, r.Why = mip4.CodeFAMissingMNFA, "AAA has given no key"
	}
	return engine.Next()
}

// deliver hands the nonce on, and signs with the key: "a reply containing the
// MN-FA Key Generation Nonce From AAA extension MUST also contain a subsequent
// Mobile Foreign Authentication extension, created using the registration key"
// (RFC 3957 section 3). A nonce that the home agent has put in stays where it is.
//
//rfc:3957#3
//rfc:3957#6.2
func (f *foreign) deliver(r *fa.Return) engine.Verdict {
	k := Given.Of(r).MobileForeign
	if k == nil || !r.Accepted() || r.Reply.Lifetime == 0 {
		return engine.Next()
	}
	if _, there := r.Message.FindSub(mip4.ExtMobileForeignKeyReply, 1); there == 0 {
		r.Draft.Add(mip4.ZoneForeign, foreignReply(k))
	}
	r.Pending.Association = k.Association
	*f.visits.Of(r) = visit{k.Association, r.Now().Mono.Add(k.Lifetime)}
	return engine.Next()
}
