package revoke

import (
	"net/netip"
	"time"

	"careof/internal/core/assoc"
	"careof/internal/core/engine"
	"careof/internal/core/note"
	"careof/internal/proto/mip4/advertise"
	"careof/internal/proto/mip4/fa"
	"careof/wire/adv4"
	"careof/wire/mip4"
)

// ByHome ends a visit that the home agent has revoked.
const ByHome fa.Reason = "revoked by the home agent"

// foreign is the feature's part of one foreign agent.
type foreign struct {
	cfg     Config
	agent   *fa.Agent
	visits  *fa.Slot[visit]
	courier courier
	gone    memory[visit]
}

// A visit is what was agreed with the home agent about one visitor.
type visit struct {
	support
	agreed bool
}

// addForeign adds revocation to a foreign agent.
func addForeign(cfg Config, a *fa.Agent) error {
	f := &foreign{cfg: cfg, agent: a, visits: new(fa.Slot[visit]), gone: make(memory[visit])}
	f.courier = courier{now: a.Now, do: a.Do, tell: a.Tell}
	a.Claims.Add(fa.Claim{
		Feature: Name, Type: mip4.ExtRevocationSupport, InReply: true, From: "home agent", Max: 1, Section: "3543#3.2",
	})
	a.Advertiser.Advertise.Add(Name, "x-bit", f.advertise)
	a.Request.Add(Name, "own", f.request)
	a.Relay.Add(Name, "support", f.relay)
	a.Reply.Add(Name, "support", f.reply)
	a.Deny.Add(Name, "unhonoured", f.unhonoured)
	a.OnDeparted(f.departed)
	a.Handle(Name, mip4.TypeRevocation, f.revoked)
	a.Handle(Name, mip4.TypeRevocationAck, f.courier.acknowledged)
	a.AddTimer(f.courier.next, f.courier.due)
	return nil
}

// advertise: "A foreign agent that is currently supporting registration
// revocation on a link MUST set the 'X' bit" (RFC 3543 section 4.2).
//
//rfc:3543#3.1
//rfc:3543#4.2
func (f *foreign) advertise(x *advertise.Announcement) engine.Verdict {
	if x.Link.Foreign {
		x.Draft.Agent.Flags |= adv4.FlagX
	}
	return engine.Next()
}

// request: "a non-colocated mobile node MUST NOT insert a revocation support
// extension into its registration request. If a foreign agent receives such a
// registration request, it MUST silently discard it" (RFC 3543 section 4.2.1).
//
//rfc:3543#4.2.1
//rfc:3543#4.3.1
func (f *foreign) request(x *fa.Exchange) engine.Verdict {
	if _, n := x.Message.Find(mip4.ExtRevocationSupport); n > 0 && !x.CoLocated() {
		return engine.Drop("a revocation support extension of a node that is not co-located")
	}
	if f.cfg.Mode == Required && x.CoLocated() && f.agent.Advertiser.FlagsOf(x.Packet.Link).Has(adv4.FlagR) {
		// "the foreign agent SHOULD deny a registration request as
		// 'Administratively Prohibited' from a mobile node that is registering
		// in a co-located fashion": it could not be revoked.
		return engine.Deny(uint8(mip4.CodeFAProhibited), "a co-located registration cannot be revoked")
	}
	return engine.Next()
}

// relay offers: a foreign agent "that has a security relationship with the
// home agent identified in the same registration request, MUST attach a
// revocation support extension to the forwarded registration request" (RFC
// 3543 section 3.2).
//
//rfc:3543#3.2
func (f *foreign) relay(x *fa.Exchange) engine.Verdict {
	if x.Signer == nil || x.CoLocated() || x.Deregisters() {
		return engine.Next()
	}
	v := f.visits.Of(x)
	v.said = x.Now().Mono
	f.courier.hold(end{home: x.Request.HomeAddress, agent: x.HomeAgent, careOf: x.CareOf})
	if x.Visitor != nil {
		v.sent = f.visits.Of(x.Visitor).sent
	}
	x.Draft.Add(mip4.ZoneForeign, &mip4.RevocationSupport{Inform: true, Timestamp: v.next(x.Now().Wall)})
	return engine.Next()
}

// reply takes the home agent's extension: "Revocation support is considered to
// be negotiated for a binding when both sides have included a revocation
// support extension during a successful registration exchange" (RFC 3543
// section 4.2.1). It stands before extension 34, which was checked.
//
//rfc:3543#4.2.1
func (f *foreign) reply(r *fa.Return) engine.Verdict {
	if !r.Accepted() || r.Pending.Request.Lifetime == 0 || r.Reply.Lifetime == 0 {
		return engine.Next()
	}
	// The home agent has a new binding, which the revocation of the last visit
	// would end.
	f.courier.withdraw(end{home: r.Reply.HomeAddress, agent: r.Reply.HomeAgent, careOf: r.Pending.CareOf})
	v := f.visits.Of(r)
	there, err := v.agree(r.Message, r.Now().Mono)
	switch {
	case err != nil:
		r.Refusal, r.Why = mip4.CodeFAPoorlyFormedReply, "malformed Revocation Support extension"
	case !there && f.cfg.Mode == Required && !r.Pending.Request.Flags.Has(mip4.FlagD):
		r.Refusal, r.Why = mip4.CodeFAProhibited, "the home agent does not support registration revocation"
	}
	return engine.Next()
}

// agree reads the home agent's extension; false when there is none that counts,
// or none was asked for.
func (v *visit) agree(m *mip4.Message, mono time.Time) (bool, error) {
	_, vouched := m.Find(mip4.ExtForeignHome)
	e, n := m.Find(mip4.ExtRevocationSupport)
	if v.said.IsZero() || n != 1 || vouched != 1 {
		return false, nil
	}
	answer, err := mip4.Decode[mip4.RevocationSupport](e)
	if err != nil {
		return true, err
	}
	v.agreed, v.peer, v.heard, v.inform = true, answer.Timestamp, mono, answer.Inform
	return true, nil
}

// departed tells the home agent of a visit that the operator has ended (RFC
// 3543 section 4.2.3.1).
//
//rfc:3543#4.2.3.1
func (f *foreign) departed(v *fa.Visitor, why fa.Reason) {
	s := f.visits.Of(v)
	keys := f.agent.HomeAgentKeys(v.HomeAgent)
	if why == fa.Deregistered || why == fa.Expired || why == fa.Failed || why == ByHome || !s.agreed || len(keys) == 0 {
		return
	}
	if !s.inform && !f.cfg.Quiet {
		f.inform(v, true)
	}
	f.revoke(&s.support, end{
		home: v.HomeAddress, agent: v.HomeAgent, careOf: v.CareOf, nai: string(v.NAI), link: v.Link, until: v.Until,
	}, keys, func(ack *mip4.RevocationAck) {
		// Without an answer, the recommended default is to inform.
		if s.inform && (ack == nil && !f.cfg.Quiet || ack != nil && ack.Inform) {
			f.inform(v, true)
		}
	})
}

// An end is of a binding, as the home agent is told of it.
type end struct {
	home, agent, careOf netip.Addr
	nai, link           string
	until               time.Time // monotonic; zero: no end
}

// revoke tells the home agent that the foreign agent has ended a binding; done
// hears of the answer, nil when there is none.
//
//rfc:3543#4.2.3.1
func (f *foreign) revoke(s *support, e end, keys []*assoc.Association, done func(*mip4.RevocationAck)) {
	f.courier.send(&parcel{
		support: s, home: e.home, until: e.until,
		note: note.Note{HomeAddress: e.home, NAI: e.nai, HomeAgent: e.agent, CareOfAddress: e.careOf, Link: e.link},
		make: func(id uint32, _ int) (engine.Send, error) {
			data, err := seal(&mip4.Revocation{
				// "Set to '1' to ask the home agent if the mobile node should
				// be informed of the revocation."
				Inform: s.inform, HomeAddress: e.home, HomeDomainAddress: e.agent, ForeignDomainAddress: e.careOf, Identifier: id,
			}, mip4.ExtForeignHome, newest(keys))
			return engine.Send{Src: at434(e.careOf), Dst: at434(e.agent), Data: data}, err
		},
		authentic: func(m *mip4.Message) bool { return signed(m, mip4.ExtForeignHome, keys) },
		done:      done,
	})
}

// unhonoured tells the home agent of a registration that it has accepted and
// the foreign agent does not honour: "When denying a successful Registration
// Reply, the Foreign Agent SHOULD send a Registration Revocation message to the
// Home Agent if a mobility security association exists between them" (RFC 4636
// section 6). A visit that was accepted before goes on, and so does its binding.
//
//rfc:4636#6
//rfc:4636#6-1
func (f *foreign) unhonoured(d *fa.Denial) engine.Verdict {
	if d.Message == nil || d.Code == mip4.CodeFAHomeAgentAuth {
		return engine.Next() // nobody has accepted, or nobody knows who it was
	}
	reply, err := d.Message.Reply()
	p := d.Pending
	keys := f.agent.HomeAgentKeys(reply.HomeAgent)
	if err != nil || !reply.Code.Accepted() || reply.Lifetime == 0 || p.Request.Lifetime == 0 || p.Request.Flags.Has(mip4.FlagD) || len(keys) == 0 {
		return engine.Next()
	}
	for _, v := range f.agent.Visitors() {
		if v.HomeAddress == reply.HomeAddress && v.HomeAgent == reply.HomeAgent {
			return engine.Next()
		}
	}
	v := f.visits.Of(p)
	if _, err := v.agree(d.Message, f.agent.Now().Mono); err != nil || !v.agreed {
		return engine.Next()
	}
	e := end{
		home: reply.HomeAddress, agent: reply.HomeAgent, careOf: p.CareOf, nai: string(p.NAI), link: p.Link,
		until: f.agent.Now().Mono.Add(time.Duration(reply.Lifetime) * time.Second),
	}
	f.revoke(&v.support, e, keys, nil)
	return engine.Next()
}

// inform tells a visitor that it has no binding here any more: the foreign
// agent "may unicast an agent advertisement with the sequence number set to 0 to
// the mobile node"; with the B bit also that it "should not attempt to renew
// its registration with it" (RFC 3543 section 4.1).
//
//rfc:3543#4.1
func (f *foreign) inform(v *fa.Visitor, busy bool) {
	f.agent.Do(f.agent.Advertiser.Announce(f.agent.Now(), v.Link, v.HomeAddress, v.HW, func(d *adv4.Draft) {
		d.Agent.Sequence = 0
		if busy {
			d.Agent.Flags |= adv4.FlagB
		}
	})...)
}

// revoked takes the home agent's revocation: the foreign agent "MUST check that
// the identifier field", the A bit and the authenticator hold, frees what it
// holds for the visitor, and acknowledges (RFC 3543 section 4.2.2.2). Whether the
// visitor hears of it is the home agent's to say where that was agreed.
//
//rfc:3543#4.2.2.2
//rfc:3543#3.5
func (f *foreign) revoked(p engine.Packet, m *mip4.Message) {
	r, err := m.Revocation()
	if err != nil || !r.FromHomeAgent {
		return // our own kind: a reflection
	}
	keys := f.agent.HomeAgentKeys(r.HomeDomainAddress)
	if len(keys) == 0 || !signed(m, mip4.ExtForeignHome, keys) {
		return
	}
	mono := f.agent.Now().Mono
	name := gone{r.HomeAddress, r.HomeDomainAddress}
	told := func(s *visit) bool { return s.inform && r.Inform || !s.inform && !f.cfg.Quiet }
	v := f.agent.VisitorOf(r.HomeAddress, r.HomeDomainAddress)
	if v == nil || v.CareOf != r.ForeignDomainAddress || v.CoLocated() {
		if old, known := f.gone.get(name, mono); known && old.acceptable(r.Identifier, mono) {
			if ack, err := acknowledge(p, r, told(&old), mip4.ExtForeignHome, newest(keys)); err == nil {
				f.agent.Do(ack)
			}
		}
		return
	}
	s := f.visits.Of(v)
	if !s.agreed || !s.acceptable(r.Identifier, mono) {
		return
	}
	ack, err := acknowledge(p, r, told(s), mip4.ExtForeignHome, newest(keys))
	if err != nil {
		return
	}
	f.gone.put(name, *s, mono)
	f.agent.Tell(note.Note{
		Kind: Revoked, Level: note.Info, HomeAddress: v.HomeAddress, NAI: string(v.NAI), HomeAgent: v.HomeAgent, CareOfAddress: v.CareOf, Link: v.Link,
	})
	f.agent.Depart(v, ByHome, ack)
	if told(s) {
		f.inform(v, false)
	}
}
