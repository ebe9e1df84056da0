package mn

import (
	"bytes"
	"fmt"
	"slices"

	"careof/internal/core/assoc"
	"careof/internal/core/engine"
	"careof/internal/core/note"
	"careof/wire/mip4"
)

// receive takes a datagram. What nobody asked for leaves no trace but a count.
func (n *Node) receive(p engine.Packet) {
	p.Data = bytes.Clone(p.Data) // a hook may wait with the message in its hands
	m, err := mip4.Parse(p.Data)
	if err != nil {
		n.ignore(p, err.Error())
		return
	}
	for _, h := range n.messages {
		if h.kind == m.Type {
			h.run(p, m)
			return
		}
	}
	n.ignore(p, fmt.Sprintf("no use for %v", m.Type))
}

// ignore tells that a stranger's message, or one that fits nothing, went away.
func (n *Node) ignore(p engine.Packet, why string) {
	n.Tell(note.Note{Kind: note.Ignored, Level: note.Debug, Link: p.Link, Endpoint: p.Src, Why: why})
}

// receiveReply takes a Registration Reply.
//
// "the low-order 32 bits of the Identification field in the Registration
// Reply MUST be compared to the low-order 32 bits of the Identification field
// in the most recent Registration Request sent to the replying agent. If they
// do not match, the Reply MUST be silently discarded." A reply to an earlier
// request of the attempt that is still pending is as good: when the round trip
// is longer than the retransmission timeout, no other would ever come.
//
//rfc:5944#3.6.2.1
//rfc:5944#3.6.2.1-3
func (n *Node) receiveReply(p engine.Packet, m *mip4.Message) {
	reply, err := m.Reply()
	if err != nil {
		n.ignore(p, err.Error())
		return
	}
	r, i, ok := n.match(uint32(reply.Identification))
	if !ok && n.validated(p, m, reply) {
		return
	}
	if !ok {
		n.ignore(p, "no pending request has this Identification")
		return
	}
	// "When an extension numbered in either of these sets within the range 0
	// through 127 is encountered but not recognized, the message containing
	// that extension MUST be silently discarded" (RFC 5944 section 1.8).
	if e, unknown := m.FirstUnclaimed(n.claimed); unknown {
		n.discard(r, reply.Code, fmt.Sprintf("extension %d is not recognised", e.Type))
		return
	}
	n.judge(&Response{
		Now: n.now, Node: n, Registration: r, Sent: r.pending[i],
		Packet: p, Message: m, Reply: reply,
		HomeAgentOK: reply.HomeAgent == r.Key.HomeAgent,
	})
}

// judge runs the stage Reply.
func (n *Node) judge(x *Response) {
	v := engine.Pipeline[*Response]{&n.Keys, &n.Reply}.Run(x, &x.at)
	switch {
	case v.IsAwait():
		n.Ask(v.Question, func(a engine.Answer) {
			x.Now, x.Answer = n.now, a
			n.judge(x)
		})
		return
	case v.IsDone():
		return
	case !v.IsNext():
		n.discard(x.Registration, x.Reply.Code, v.Why)
		return
	}
	r := x.Registration
	if !slices.ContainsFunc(r.pending, func(s Sent) bool { return s.Identification == x.Sent.Identification }) {
		return // answered while a hook waited
	}
	// The first good answer to a request is the only one that counts.
	r.pending = slices.DeleteFunc(r.pending, func(s Sent) bool { return s.Identification == x.Sent.Identification })
	if x.Authentic && x.Association.Replay() == assoc.Nonces {
		n.clock(r.Key.HomeAgent).learnNonce(x.Sent, x.Reply.Identification)
		n.saveClock(r.Key.HomeAgent)
	}
	if x.Reply.Code.Accepted() {
		n.accept(x)
	} else {
		n.deny(x)
	}
}

// discard drops a reply that matched a pending request but does not hold:
// "the mobile node MUST silently discard the Reply and SHOULD log the event
// as a security exception". It changes nothing; the request stays pending for
// the true reply.
func (n *Node) discard(r *Registration, code mip4.Code, why string) {
	n.Tell(n.noteOf(r, note.Note{Kind: note.Discarded, Level: note.Warn, Code: uint8(code), Why: why}))
}

// agentCode says whether a denial comes from an agent on the way, which
// cannot make the home agent's authenticator. 194 is how RFC 5944 section
// 3.4 prints "Invalid Home Agent Address"; IANA has 116.
func agentCode(c mip4.Code) bool {
	return c.FromForeignAgent() || c == mip4.CodeInvalidHomeAgentPrinted
}

// replyAuthenticate: "exactly one Mobile-Home Authentication Extension MUST be
// present in the Registration Reply, and the mobile node MUST check the
// Authenticator value in the Extension", for every code of the home agent.
// Codes of a foreign agent cannot carry it; they are hints that never end a
// registration.
//
//rfc:5944#3.6.2.1
//rfc:5944#3.6.2.1-4
//rfc:5944#3.6.2.1-5
//rfc:5944#3.6.2.1-8
//rfc:5944#3.6.2.1-9
func replyAuthenticate(x *Response) engine.Verdict {
	a := x.Association
	agent := agentCode(x.Reply.Code)
	if a == unkeyed {
		if !agent {
			return engine.Drop("no association with the home agent, and no key in the reply")
		}
		return engine.Next()
	}
	if !a.Authenticated() {
		x.Authentic = !agent
		return engine.Next()
	}
	e, count := x.Message.Find(mip4.ExtMobileHome)
	switch {
	case count == 0 && agent:
		return engine.Next()
	case count == 0:
		return x.Node.exception(x, "no Mobile-Home Authentication Extension")
	case count > 1:
		return x.Node.exception(x, fmt.Sprintf("%d Mobile-Home Authentication Extensions", count))
	}
	auth, err := x.Message.Authentication(e)
	switch {
	case err != nil:
		return x.Node.exception(x, err.Error())
	case auth.SPI != a.SPI():
		return x.Node.exception(x, fmt.Sprintf("SPI %d is not ours", auth.SPI))
	case !a.Verify(x.Message.Covered(e), auth.Authenticator):
		return x.Node.exception(x, "authenticator is wrong")
	}
	x.Authentic = true
	return engine.Next()
}

// exception drops a reply that does not authenticate. "If the Code field
// indicates an authentication failure ... it is quite possible that any
// authenticators in the Registration Reply will also be in error. ... for
// example, if the shared secret between the mobile node and home agent was
// erroneously configured": so it is shown, marked as unverified.
func (n *Node) exception(x *Response, why string) engine.Verdict {
	if c := x.Reply.Code; c == mip4.CodeHAMobileNodeAuth {
		n.complain(x.Registration, c, false)
	}
	return engine.Drop(why)
}

// replyFields compares what the reply repeats with what was asked.
//
//rfc:2794#3
func replyFields(x *Response) engine.Verdict {
	ours, theirs := x.Sent.Request.HomeAddress, x.Reply.HomeAddress
	accepted := x.Reply.Code.Accepted()
	switch {
	case !ours.IsUnspecified() && theirs != ours:
		return engine.Drop(fmt.Sprintf("home address %v is not ours", theirs))
	case ours.IsUnspecified() && accepted && x.Sent.Purpose == Register && !unicast(theirs):
		return engine.Drop(fmt.Sprintf("home address %v cannot be used", theirs))
	case ours.IsUnspecified() && accepted && x.Node.address.IsValid() && x.Node.address != theirs:
		return engine.Drop("another home address was given before")
	}
	// "the home agent MUST include the ... NAI extension"; some leave it out
	// when they gave no address, so that only a wrong one is refused.
	nai, count, err := mip4.Get[mip4.NAI](x.Message)
	if err != nil {
		return engine.Drop(err.Error())
	}
	if count > 0 && nai.Value != string(x.Node.cfg.NAI) {
		return engine.Drop("the NAI is not ours")
	}
	if x.Authentic {
		if err := x.Node.count(x.Message); err != nil {
			return engine.Drop(err.Error())
		}
	}
	return engine.Next()
}

// replyJudge: an acceptance names the home agent that was asked. A request to
// a broadcast address cannot be accepted: "Each home agent receiving such a
// Registration Request with a broadcast Destination Address MUST reject".
func replyJudge(x *Response) engine.Verdict {
	if c := x.Reply.Code; c != mip4.CodeAccepted && c != mip4.CodeAcceptedNoSimultaneous && c < 64 {
		return engine.Drop(fmt.Sprintf("code %d promises what was not asked for", c))
	}
	if x.Reply.Code.Accepted() && (!x.HomeAgentOK || x.Registration.discover) {
		return engine.Drop(fmt.Sprintf("home agent %v was not asked", x.Reply.HomeAgent))
	}
	return engine.Next()
}
