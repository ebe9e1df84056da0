package fa

import (
	"hash/fnv"
	"time"

	"careof/internal/core/engine"
	"careof/internal/core/note"
	"careof/wire/mip4"
)

// denialInterval: the agent denies, "except in cases where the foreign agent
// would be required to send out more than one such denial per second to the
// same mobile node" (RFC 5944 section 3.7.2).
const denialInterval = time.Second

// A limiter keeps denials to one a second for each node, in bounded memory:
// nodes whose names fall on one place share it.
type limiter struct {
	denied [4096]time.Time
	noted  [4096]time.Time
}

func place(n neighbour) uint16 {
	h := fnv.New64a()
	h.Write([]byte(n.link))
	h.Write(n.hw[:])
	return uint16(h.Sum64() % uint64(len(limiter{}.denied)))
}

// allow says whether a denial may be sent to the node now, and counts it.
//
//rfc:5944#3.7.2
//rfc:3024#4.2.1-5
func (l *limiter) allow(now time.Time, n neighbour) bool { return once(&l.denied[place(n)], now) }

// worth says whether the node's mistakes are worth a note now.
func (l *limiter) worth(now time.Time, n neighbour) bool { return once(&l.noted[place(n)], now) }

func once(last *time.Time, now time.Time) bool {
	if !last.IsZero() && now.Sub(*last) < denialInterval {
		return false
	}
	*last = now
	return true
}

// denyRequest denies a request that was not relayed.
func (a *Agent) denyRequest(x *Exchange, code mip4.Code, why string) {
	a.denyPending(&Pending{
		Request: x.Request, NAI: x.NAI, HomeAgent: x.HomeAgent, Link: x.Packet.Link, HW: x.Packet.HW,
		Source: x.Packet.Src, Destination: x.Packet.Dst, Association: x.Association,
	}, code, why)
}

// denyPending denies a request that no home agent has answered.
func (a *Agent) denyPending(p *Pending, code mip4.Code, why string) {
	a.deny(&Denial{Agent: a, Pending: p, Code: code, Home: p.Request.HomeAddress}, why)
}

// refuse denies a request whose reply the agent cannot honour.
func (a *Agent) refuse(p *Pending, reply *mip4.Message, code mip4.Code, why string) {
	d := &Denial{Agent: a, Pending: p, Code: code, Home: p.Request.HomeAddress}
	d.Message, d.Reply = reply, reply.Head()
	a.deny(d, why)
}

//rfc:5944#3.7-3
//rfc:5944#3.7.2-2
//rfc:5944#3.7.2.3-1
func (a *Agent) deny(d *Denial, why string) {
	p := d.Pending
	a.counters.denied[d.Code]++
	if !a.denials.allow(a.Now().Mono, p.node()) {
		a.counters.suppressed++
		return
	}
	engine.Pipeline[*Denial]{&a.Deny}.Run(d, new(engine.Position))
	if p.Association != nil {
		d.Draft.Authenticate(mip4.ExtMobileForeign, p.Association.Outbound())
	}
	data, err := d.Draft.Seal()
	if err != nil {
		n := p.note(note.Failed, note.Error)
		n.Why = err.Error()
		a.Tell(n)
		return
	}
	a.Do(a.toNode(p, d.Home, data))
	n := p.note(note.Denied, note.Info)
	n.Code, n.Why = uint8(d.Code), why
	a.Tell(n)
	a.remember(p, d.Code, 0)
}

// denyFields makes a reply in the agent's own name: "the Home Address, Home
// Agent, and Identification fields within the Registration Reply are copied
// from the corresponding fields of the Registration Request"; the Lifetime too,
// but for code 69 (RFC 5944 section 3.7.2.3).
//
//rfc:5944#3.7.2.3
func denyFields(d *Denial) engine.Verdict {
	q := d.Pending.Request
	reply := mip4.RegistrationReply{
		Code: d.Code, Lifetime: q.Lifetime,
		HomeAddress: q.HomeAddress, HomeAgent: q.HomeAgent, Identification: q.Identification,
	}
	if d.Code == mip4.CodeFALifetimeTooLong {
		reply.Lifetime = d.Agent.maxLifetimeField()
	}
	d.Draft = mip4.NewReply(reply)
	return engine.Next()
}
