package fa

import (
	"errors"
	"net/netip"
	"time"

	"careof/internal/core/assoc"
	"careof/internal/core/engine"
	"careof/internal/core/note"
	"careof/wire/mip4"
)

// settleUpstream settles the addresses of the relayed request: source "The
// care-of address offered by the foreign agent for the mobile node sending the
// Registration Request", destination "Copied from the Home Agent field", port
// 434 (RFC 5944 section 3.7.2.2).
//
//rfc:5944#3.7.2.2
func (a *Agent) settleUpstream(x *Exchange) engine.Verdict {
	x.CareOf = a.cfg.CareOfAddresses[0]
	if a.offers(x.Request.CareOfAddress) {
		x.CareOf = x.Request.CareOfAddress
	}
	x.Upstream = netip.AddrPortFrom(x.HomeAgent, a.cfg.Port)
	x.Draft = mip4.RelayDraft(x.Message.Head())
	return engine.Next()
}

// settleSigner: "If the foreign agent shares a Mobility Security Association
// with the home agent, and the Request has Lifetime != 0, then it MUST append
// the Foreign-Home Authentication Extension" (RFC 5944 section 3.7.2.2). But
// "If the Care-of Address in the Registration Request is not in the Agent
// Advertisement, then the foreign agent MUST NOT append" it (section 3.5.4),
// which settles the co-located ones.
//
//rfc:5944#3.7.2.2
//rfc:5944#3.5.4
//rfc:3024#4-1
//rfc:5944#3.5.4-1
//rfc:5944#3.5.4-3
//rfc:5944#3.5.4-4
//rfc:5944#3.7.1-7
//rfc:5944#3.8.2.2-4
func (a *Agent) settleSigner(x *Exchange) engine.Verdict {
	if keys := a.HomeAgentKeys(x.HomeAgent); len(keys) > 0 && !x.Deregisters() && a.offers(x.Request.CareOfAddress) {
		x.Signer = newest(keys)
	}
	return engine.Next()
}

func newest(keys []*assoc.Association) *assoc.Association { return keys[len(keys)-1] }

// maxDatagram is the longest payload of UDP over IPv4.
const maxDatagram = 65535 - 20 - 8

// relay sends the request on and remembers it.
//
// The agent "MUST NOT modify any of the fields beginning with the fixed portion
// of the Registration Request up through and including the Mobile-Home
// Authentication Extension or other authentication extension supplied by the
// mobile node as an authorization-enabling extension"; it "MUST process and
// remove" what follows (RFC 5944 section 3.7.2.2).
//
//rfc:5944#3.7.2.2
//rfc:3024#3.3-1
//rfc:3024#4.2.2-1
//rfc:5944#3.4-1
//rfc:5944#3.7-2
//rfc:5944#3.7-5
//rfc:5944#3.7.2-1
func (a *Agent) relay(x *Exchange) {
	if x.Signer != nil {
		x.Draft.Authenticate(mip4.ExtForeignHome, x.Signer.Outbound())
	}
	data, err := x.Draft.Seal()
	if err == nil && len(data) > maxDatagram {
		err = errors.New("too long to be relayed")
	}
	if err != nil {
		a.denyRequest(x, mip4.CodeFAUnspecified, err.Error())
		return
	}
	p := a.pend(x)
	if p == nil {
		a.denyRequest(x, mip4.CodeFAResources, "too many requests are pending")
		return
	}
	if x.Carried != nil {
		a.carried(p, x.Carried)
		return
	}
	a.counters.relayed++
	a.Do(engine.Send{
		Src: netip.AddrPortFrom(x.CareOf, a.cfg.Port), Dst: x.Upstream, Data: data,
	})
	if p.known || a.strangersTold.allow(a.Now().Mono) {
		a.Tell(p.note(Relayed, note.Debug))
	}
}

// carried takes the reply that AAA has brought as if the home agent had sent it.
//
//rfc:4004#8.3
func (a *Agent) carried(p *Pending, reply []byte) {
	m, err := mip4.Parse(reply)
	if err == nil {
		a.reply(engine.Packet{Src: p.Upstream, Dst: netip.AddrPortFrom(p.CareOf, a.cfg.Port), Data: reply}, m)
	}
	if a.pending.byID[p.id] == p && !p.committing {
		a.pending.remove(p)
		a.denyPending(p, mip4.CodeFAPoorlyFormedReply, "AAA brought no reply to this request")
	}
}

// strangersPerSecond is of how many strangers' requests it is told each second
// that they were relayed: enough to watch newcomers, and a flood costs the
// events of the known nothing. They are counted all.
const strangersPerSecond = 100

// A quota allows so much in a second.
type quota struct {
	began time.Time
	used  int
}

func (q *quota) allow(now time.Time) bool {
	if q.began.IsZero() || now.Sub(q.began) >= time.Second {
		*q = quota{began: now}
	}
	q.used++
	return q.used <= strangersPerSecond
}

// pend makes the exchange a pending request; nil when there is no room.
//
//rfc:5944#3.7.2-5
//rfc:5944#3.7.2.2-5
//rfc:5944#3.7.2.2-6
func (a *Agent) pend(x *Exchange) *Pending {
	if old := a.pending.same(x); old != nil {
		a.pending.remove(old) // sent again
	}
	p := &Pending{
		Request: x.Request, NAI: x.NAI, HomeAgent: x.HomeAgent, Link: x.Packet.Link, HW: x.Packet.HW,
		Source: x.Packet.Src, Destination: x.Packet.Dst,
		CareOf: x.CareOf, Upstream: x.Upstream, Association: x.Association,
		Encap: x.Encap, Inside: x.Inside, Key: x.Key, HasKey: x.HasKey, Style: x.Style,
		Since: a.Now().Mono, Until: a.Now().Mono.Add(a.cfg.PendingTime),
		Slots: x.Slots,
	}
	// "begin timing the remaining lifetime of the pending registration based
	// on the Lifetime in the Registration Request. If this lifetime expires
	// before receiving a valid Registration Reply, the foreign agent MUST
	// delete" it (RFC 5944 section 3.7.2.2).
	if end := a.Now().Mono.Add(lifetime(x.Request.Lifetime)); !x.Deregisters() && end.Before(p.Until) {
		p.Until = end
	}
	p.known = x.Association != nil || x.Visitor != nil && x.Visitor.Link == p.Link && x.Visitor.HW == p.HW
	if len(a.pending.byID) >= a.cfg.MaxPending {
		if !a.pending.evict() {
			return nil
		}
		a.counters.evicted++
	}
	a.pending.add(p)
	return p
}
