package mn

import (
	"net/netip"
	"slices"
	"time"

	"careof/internal/core/engine"
	"careof/internal/core/note"
	"careof/wire/mip4"
)

// deny: somebody refused. "If the Code field indicates that service is being
// denied, the mobile node SHOULD log the error. In certain cases, the mobile
// node may be able to 'repair' the error." The registration that there may be
// stays what it is.
//
//rfc:5944#3.6.2.3
//rfc:5944#3.4-5
//rfc:5944#3.6.2.1-10
//rfc:5944#3.6.2.3-1
func (n *Node) deny(x *Response) {
	r := x.Registration
	if x.Reply.Code != mip4.CodeIdentificationMismatch && r.live && r.acceptedAt.later(x.Sent) {
		// A later request was accepted since. An agent that gives up the
		// earlier one (78) says nothing of today.
		n.discard(r, x.Reply.Code, "a later request has been accepted")
		return
	}
	level := note.Warn
	if x.Reply.Code == mip4.CodeIdentificationMismatch || x.Reply.Code == mip4.CodeUnknownHomeAgent {
		level = note.Info // part of the ordinary procedures
	} else {
		n.complain(r, x.Reply.Code, x.Authentic)
	}
	n.Tell(n.noteOf(r, note.Note{
		Kind: note.Refused, Level: level, Code: uint8(x.Reply.Code),
		Identification: x.Sent.Identification, Took: n.now.Mono.Sub(x.Sent.At), Why: x.Reply.Code.String(),
	}))
	if x.Reply.Code == mip4.CodeIdentificationMismatch {
		// "The mobile node MUST adjust the parameters it uses to compute the
		// Identification field ... before issuing any future Registration
		// Requests": also when nobody waits for this answer any more.
		n.mismatch(x)
	}
	if r.try == nil || r.try.purpose != x.Sent.Purpose {
		return
	}
	v := engine.Pipeline[*Response]{&n.Denied}.Run(x, new(engine.Position))
	if r.try == nil || v.IsDone() {
		return
	}
	if x.Retry && r.try.repairs < maxRepairs {
		r.try.repairs++
		r.try.octets = nil
		n.transmit(r)
		return
	}
	n.refused(x)
}

// refused: nothing can be repaired. The node tries again slowly, or another
// home agent.
func (n *Node) refused(x *Response) {
	r := x.Registration
	if r.try == nil {
		return
	}
	if r.try.background {
		r.giveUp()
		return
	}
	r.try.octets, r.denied = nil, x.Reply.Code
	n.pause(r)
	switch c := x.Reply.Code; {
	case !agentCode(c) && r.Key.Agent.IsValid() && r.CoLocated:
		// The home agent does not take the care-of address from the agent that
		// relays for it; the node can do without the agent.
		n.agentRefused(r, c.String(), false)
	case !agentCode(c):
		n.turnedDown(r)
	case !r.Key.Agent.IsValid():
	case c >= mip4.CodeFANetworkUnreachable && c <= 95:
		// The agent tells of ICMP errors on the way to the home agent.
		n.agentRefused(r, c.String(), false)
		n.failed(r)
	default:
		n.agentRefused(r, c.String(), true)
	}
}

// pause waits after a refusal, longer each time, with a random part so that
// many refused nodes do not come back together.
func (n *Node) pause(r *Registration) {
	wait := min(refusedFirst<<min(r.refusals, 6), max(n.cfg.RetransmitCap, refusedFirst))
	wait += time.Duration(n.rng.Int64N(int64(wait)/4 + 1))
	r.refusals++
	r.retryAt = n.now.Mono.Add(wait)
	n.rechoose = true // who waited for this one waits no more
}

// mismatch handles code 133: "the Identification field in the Registration
// Reply will contain a value that allows the mobile node to synchronize with
// the home agent". It has been authenticated, and its low half is that of a
// pending request.
//
// One that a later request overtook says nothing about the present clock: its
// request is only sent again, and when the later one is still unanswered, not
// before that tells whether the clock is right.
//
//rfc:5944#3.6.2.3
//rfc:5944#5.7.1
//rfc:5944#5.7.2
//rfc:5944#3.6.2.3-3
func (n *Node) mismatch(x *Response) {
	r := x.Registration
	seq := n.clock(r.Key.HomeAgent)
	if seq.overtook(x.Sent) {
		x.Retry = !n.waiting(r.Key.HomeAgent, x.Sent)
		if !x.Retry && r.try != nil {
			r.try.deferred = true
		}
		return
	}
	seq.resynchronise(x.Association.Replay(), n.now, x.Reply.Identification)
	n.saveClock(r.Key.HomeAgent)
	n.Tell(n.noteOf(r, note.Note{Kind: note.Resync, Level: note.Info, Identification: x.Reply.Identification}))
	x.Retry = true
	for _, o := range n.registrations() {
		// One that is preferred goes after this one, to replace it; of the
		// others there is no need, since this path answers.
		if o != r && o.try != nil && o.try.deferred && o.Key.HomeAgent == r.Key.HomeAgent && n.rank(o) < n.rank(r) {
			o.try.deferred, o.try.octets = false, nil
			o.retryAt = n.now.Mono
		}
	}
}

// rank is the place of a registration's uplink in the last choice.
func (n *Node) rank(r *Registration) int {
	i := slices.IndexFunc(n.choice, r.of)
	if i < 0 {
		return len(n.choice)
	}
	return i
}

func (s Sent) after(o Sent) bool { return order{s.At, s.Identification}.later(o) }

// repairs is what to do about denials.
var repairs = []struct {
	code   mip4.Code
	repair func(*Response) bool
}{
	{mip4.CodeIdentificationMismatch, func(x *Response) bool { return x.Retry }},
	{mip4.CodeUnknownHomeAgent, repairHomeAgent},
	{mip4.CodeHAProhibited, repairHomeAddress},
	{mip4.CodeFALifetimeTooLong, repairLifetime},
	{mip4.CodeFAPoorlyFormed, repairReverse}, // "MUST accept 70/134 as refusal of T": agents older than RFC 3024
	{mip4.CodeHAPoorlyFormed, repairReverse}, // the same
	{mip4.CodeFAEncapsulationUnavailable, repairEncapsulation},
	{mip4.CodeHAEncapsulationUnavailable, repairEncapsulation},
	{mip4.CodeFAReverseTunnelUnavailable, repairReverse},
	{mip4.CodeHAReverseTunnelUnavailable, repairReverse},
	{mip4.CodeFADeliveryStyle, repairDelivery},
}

// denyRepair looks the code up in the table.
func denyRepair(x *Response) engine.Verdict {
	if x.Reply.Code == mip4.CodeIdentificationMismatch && !x.Retry {
		return engine.Done() // the retransmission timer runs on
	}
	for _, p := range repairs {
		if p.code == x.Reply.Code {
			x.Retry = p.repair(x)
		}
	}
	return engine.Next()
}

// repairHomeAgent: "the Home Agent field within the Reply will contain the
// unicast IP address of the home agent returning the Reply. The mobile node
// MAY then attempt to register with this home agent", and "SHOULD adjust the
// parameters it uses to compute the Identification field".
//
//rfc:5944#3.6.2.3
//rfc:5944#3.6.2.3-4
func repairHomeAgent(x *Response) bool {
	n, r := x.Node, x.Registration
	named := x.Reply.HomeAgent
	if !x.Authentic || !unicast(named) || named == r.Key.HomeAgent || n.home != nil && named == n.address {
		return false
	}
	if n.roster.cfg.HomeNetwork.IsValid() && named == directedBroadcast(n.roster.cfg.HomeNetwork) {
		return false
	}
	if high := x.Reply.Identification >> 32; high != x.Sent.Identification>>32 && !n.clock(r.Key.HomeAgent).overtook(x.Sent) {
		n.clock(r.Key.HomeAgent).resynchronise(x.Association.Replay(), n.now, x.Reply.Identification)
	}
	learnt := *n.clock(r.Key.HomeAgent)
	if _, known := n.clocks[named]; !known {
		n.clocks[named] = &learnt
	}
	n.roster.adopt(named, r.association)
	r.giveUp()
	if u := n.uplinks[r.Key.Link]; u != nil {
		u.attached = true // begin at once, also at home
	}
	n.rechoose = true
	return false
}

// repairHomeAddress asks for another home address when the one that the home
// agent gave for the NAI is not served any more.
//
// A node that asks for its first one on its home link has no care-of address that
// a home agent would bind. The home agent selects an address all the same, to
// "insert the selected address into the Home Address field of the Registration
// Reply" (RFC 5944 section 3.8.3.2), and with it the node is at home.
//
//rfc:2794#3
func repairHomeAddress(x *Response) bool {
	n := x.Node
	if u := n.uplinks[x.Registration.Key.Link]; u != nil && x.Authentic && !n.address.IsValid() && n.cfg.HomeNetwork.IsValid() &&
		n.cfg.HomeNetwork.Contains(x.Reply.HomeAddress) && n.cfg.HomeNetwork.Contains(x.Registration.Key.CareOf) && unicast(x.Reply.HomeAddress) {
		n.address, n.rechoose = x.Reply.HomeAddress, true
		n.saveHome()
		x.Registration.giveUp()
		u.attached = true // begin at once
		return false
	}
	if !x.Authentic || n.cfg.HomeAddress.IsValid() || !n.address.IsValid() || n.active != nil && n.active.live {
		return false
	}
	n.address = netip.Addr{}
	n.save(homeRecord, nil)
	return true
}

// repairLifetime: "The mobile node MAY attempt to register with this same
// agent, using a Lifetime in the Registration Request that MUST be less than
// or equal to the value specified in the Reply" (code 69).
//
//rfc:5944#3.6.2.3-2
func repairLifetime(x *Response) bool {
	if x.Reply.Lifetime == 0 || x.Reply.Lifetime >= x.Sent.Request.Lifetime {
		return false
	}
	x.Registration.limit = lifetimeOf(x.Reply.Lifetime)
	return true
}

// repairEncapsulation goes back to IP-in-IP, which every agent has.
//
//rfc:3024#3.4
func repairEncapsulation(x *Response) bool {
	return x.Registration.forgo(x.Sent.Request.Flags & (mip4.FlagM | mip4.FlagG))
}

// repairReverse goes without the reverse tunnel, when the configuration lets it.
//
//rfc:3024#3.4
//rfc:3024#3.4-2
func repairReverse(x *Response) bool {
	return x.Node.cfg.ReverseTunnel == ReversePreferred && x.Registration.forgo(x.Sent.Request.Flags&mip4.FlagT)
}

// repairDelivery goes back to the direct delivery style, which every agent with
// the T bit has.
//
//rfc:3024#3.4
func repairDelivery(x *Response) bool {
	asked := x.Sent.encapsulating
	x.Registration.direct = true
	return asked
}

// forgo leaves flags out from now on, and says whether that changes anything.
func (r *Registration) forgo(f mip4.RequestFlags) bool {
	r.clear |= f
	return f != 0
}

// A Problem is the last thing that went wrong, for the operator.
type Problem struct {
	Code      uint8      `json:"code,omitempty"`
	Meaning   string     `json:"meaning,omitempty"`
	HomeAgent netip.Addr `json:"home_agent,omitzero"`
	Link      string     `json:"link,omitempty"`
	At        time.Time  `json:"at,omitzero"`
	Verified  bool       `json:"verified"` // the reply was authentic
	Advice    string     `json:"advice,omitempty"`
}

// complain keeps a denial for the operator.
func (n *Node) complain(r *Registration, c mip4.Code, verified bool) {
	n.problem = Problem{
		Code: uint8(c), Meaning: c.String(), HomeAgent: r.Key.HomeAgent, Link: r.Key.Link,
		At: n.now.Wall, Verified: verified, Advice: advice(c),
	}
}
