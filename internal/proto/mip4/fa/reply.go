package fa

import (
	"net/netip"
	"slices"

	"careof/internal/core/engine"
	"careof/internal/core/ident"
	"careof/internal/core/note"
	"careof/wire/mip4"
)

// reply takes a Registration Reply from a home agent.
//
//rfc:5944#3.7.3.1-4
func (a *Agent) reply(p engine.Packet, m *mip4.Message) {
	fixed, err := m.Reply()
	if err != nil {
		a.counters.ignored++
		return
	}
	r := &Return{Agent: a, Packet: p, Message: m, Reply: fixed}
	nai, n, err := mip4.Get[mip4.NAI](m)
	if err == nil && n > 0 {
		r.NAI, err = ident.ParseNAI(nai.Value)
	}
	if _, ok := a.Claims.Check(m, m.Tail()); !ok || err != nil {
		a.counters.ignored++
		return
	}
	if a.astray(p) {
		a.counters.ignored++
		return
	}
	if r.Pending = a.match(r); r.Pending == nil {
		// "If no matching pending Request is found, ... the foreign agent MUST
		// silently discard the Reply" (RFC 5944 section 3.7.3.1).
		a.counters.ignored++
		return
	}
	r.Slots = r.Pending.Slots
	r.Draft = mip4.RelayDraft(m.Head())
	var at engine.Position
	switch v := a.replies.Run(r, &at); {
	case v.IsDrop():
		a.counters.discarded++
		n := r.Pending.note(note.Discarded, note.Warn)
		n.Why = v.Why
		a.Tell(n)
		return
	case v.IsDeny():
		r.Refusal, r.Why = mip4.Code(v.Code), v.Why
	case !v.IsNext():
		return
	}
	a.deliver(r)
}

// astray says whether a reply cannot be what it says: it came in over a
// visitors' link that does not lead to home agents. Without an association
// nothing else tells a home agent from a neighbour who knows what he has asked
// for himself.
func (a *Agent) astray(p engine.Packet) bool {
	// The home agent may be this host: then the kernel lets nobody else say so.
	if !a.visited(p.Link) || a.ours(p.Src.Addr()) {
		return false
	}
	l := a.links[p.Link]
	return len(l.Gateways) == 0 && !slices.ContainsFunc(l.Addresses, func(on netip.Prefix) bool { return on.Contains(p.Src.Addr()) })
}

// match finds the pending request that a reply answers.
//
// The agent "MUST search its visitor list for a pending Registration Request
// with the same mobile node home address as indicated in the Reply"; among
// several it "MUST use the NAI to disambiguate"; the reply may also "correspond
// with any pending Registration Request with a zero mobile node home address";
// and "the low-order 32 bits of the Identification field" must match (RFC 5944
// section 3.7.3.1). Beyond that the reply must come from where the request
// went, or from the home agent that it names: two home agents may have nodes
// of one private address.
//
//rfc:5944#3.7.3.1
//rfc:3024#A.4
//rfc:3024#A.4-7
//rfc:2794#3-1
func (a *Agent) match(r *Return) *Pending {
	from := r.Packet.Src.Addr()
	if p := a.matchWhere(r, func(p *Pending) bool { return p.Upstream.Addr() == from }); p != nil {
		return p
	}
	if from != r.Reply.HomeAgent {
		return nil
	}
	return a.matchWhere(r, func(*Pending) bool { return true })
}

func (a *Agent) matchWhere(r *Return, from func(*Pending) bool) *Pending {
	var unnamed []*Pending
	for _, key := range []pendingKey{keyOf(r.Reply.HomeAddress, r.Reply.Identification), keyOf(unspecified, r.Reply.Identification)} {
		for _, p := range a.pending.byKey[key] {
			switch {
			case p.committing, !from(p), p.NAI != "" && r.NAI != "" && p.NAI != r.NAI:
				continue
			case key.home == unspecified && r.NAI == "":
				unnamed = append(unnamed, p)
				continue
			}
			return p
		}
	}
	if len(unnamed) == 1 {
		return unnamed[0]
	}
	return nil
}

// checkForeignHome verifies extension 34. The home agent is the one of the
// reply (RFC 5944 section 3.5.4).
//
// With an association "exactly one Foreign-Home Authentication Extension MUST
// be present"; otherwise the agent "MUST silently discard the Reply and SHOULD
// log the event as a security exception", and "MUST reject the mobile node's
// registration and SHOULD send a Registration Reply to the mobile node with
// Code 68" (section 3.7.3.1). A reply to a deregistration may lack it: the
// check is due "when the Registration Reply has nonzero Lifetime" (section
// 3.7.1).
//
//rfc:5944#3.7.3.1
//rfc:5944#3.7.1
//rfc:5944#3.5.4
func (a *Agent) checkForeignHome(r *Return) engine.Verdict {
	keys := a.HomeAgentKeys(r.Reply.HomeAgent)
	if len(keys) == 0 {
		keys = a.HomeAgentKeys(r.Pending.HomeAgent)
	}
	if len(keys) == 0 {
		return engine.Next()
	}
	if _, n := r.Message.Find(mip4.ExtForeignHome); n == 0 && r.Pending.Request.Lifetime == 0 && r.Reply.Lifetime == 0 {
		return engine.Next()
	}
	if _, why := verify(r.Message, mip4.ExtForeignHome, keys); why != "" {
		n := r.Pending.note(note.Discarded, note.Warn)
		n.Why, n.Endpoint = why, r.Packet.Src
		a.Tell(n)
		r.Refusal, r.Why = mip4.CodeFAHomeAgentAuth, why
	}
	return engine.Next()
}

// checkReply refuses to honour what no visit can be made of: RFC 2794 section
// 3 has codes for a reply without the NAI, home agent or home address that the
// node asked for.
//
//rfc:2794#3
//rfc:2794#3-6
func (a *Agent) checkReply(r *Return) engine.Verdict {
	p := r.Pending
	refuse := func(code mip4.Code, why string) engine.Verdict {
		r.Refusal, r.Why = code, why
		return engine.Next()
	}
	switch {
	case r.Refusal != 0 || !r.Reply.Code.Accepted():
		return engine.Next()
	case p.NAI != "" && none(p.Request.HomeAddress) && r.NAI == "":
		return refuse(mip4.CodeFAMissingNAI, "the reply lacks the NAI")
	case none(r.Reply.HomeAgent):
		return refuse(mip4.CodeFAMissingHomeAgent, "the reply lacks the home agent")
	case none(r.Reply.HomeAddress):
		return refuse(mip4.CodeFAMissingHomeAddress, "the reply lacks the home address")
	case !unicast(r.Reply.HomeAddress) || a.ours(r.Reply.HomeAddress):
		return refuse(mip4.CodeFAPoorlyFormedReply, "the home address of the reply is not a mobile node's")
	case r.Reply.HomeAgent != p.HomeAgent:
		return refuse(mip4.CodeFAPoorlyFormedReply, "another home agent has accepted")
	}
	return engine.Next()
}
