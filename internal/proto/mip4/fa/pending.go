package fa

import (
	"container/list"
	"net/netip"
	"time"

	"careof/internal/core/engine"
	"careof/wire/mip4"
)

// maxAlike bounds the pending requests that one reply could answer: those of
// one home address with one low half of the Identification.
const maxAlike = 8

// A pendingKey is what a reply tells of its request: "the same mobile node home
// address" and "the low-order 32 bits of the Identification field" (RFC 5944
// section 3.7.3.1). The home address is 0.0.0.0 for a node that asks for one.
type pendingKey struct {
	home netip.Addr
	low  uint32
}

func keyOf(home netip.Addr, identification uint64) pendingKey {
	if none(home) {
		home = unspecified
	}
	return pendingKey{home, uint32(identification)}
}

// pendings are the requests that wait for a reply, apart from the visitor list:
// "The foreign agent MUST record the new pending Request as a separate part"
// (RFC 5944 section 3.7.2).
//
// They are bounded. Anybody on a visitor's link can send requests under any
// name, so when the table is full a new one takes the place of the oldest
// stranger's: in a flood of r requests a second each stays for at least the
// table's size divided by r, 160 ms at a hundred thousand a second, which is
// longer than a home agent takes to answer a good node. Known visitors are not
// displaced at all.
type pendings struct {
	byID      map[uint64]*Pending
	byKey     map[pendingKey][]*Pending
	byNode    map[neighbour]int
	strangers list.List // of *Pending, the oldest first
	agenda    engine.Agenda[uint64]
	last      uint64
}

func newPendings() pendings {
	return pendings{
		byID: make(map[uint64]*Pending), byKey: make(map[pendingKey][]*Pending), byNode: make(map[neighbour]int),
	}
}

// of counts the requests of one node on a link.
func (t *pendings) of(n neighbour) int { return t.byNode[n] }

// same finds the pending request that x repeats: same node, same
// Identification.
func (t *pendings) same(x *Exchange) *Pending {
	for _, p := range t.byKey[keyOf(x.Request.HomeAddress, x.Request.Identification)] {
		if p.Link == x.Packet.Link && p.HW == x.Packet.HW && p.NAI == x.NAI && !p.committing &&
			p.Request.HomeAgent == x.Request.HomeAgent && p.Request.Identification == x.Request.Identification {
			return p
		}
	}
	return nil
}

func (t *pendings) add(p *Pending) {
	key := keyOf(p.Request.HomeAddress, p.Request.Identification)
	if alike := t.byKey[key]; len(alike) >= maxAlike {
		for _, other := range alike {
			if !other.known {
				t.remove(other)
				break
			}
		}
	}
	t.last++
	p.id = t.last
	t.byID[p.id] = p
	t.byKey[key] = append(t.byKey[key], p)
	t.byNode[p.node()]++
	t.agenda.Set(p.id, p.Until)
	if !p.known {
		p.place = t.strangers.PushBack(p)
	}
}

func (t *pendings) remove(p *Pending) {
	if t.byID[p.id] != p {
		return
	}
	delete(t.byID, p.id)
	t.agenda.Clear(p.id)
	key := keyOf(p.Request.HomeAddress, p.Request.Identification)
	alike := t.byKey[key]
	for i, other := range alike {
		if other == p {
			alike = append(alike[:i:i], alike[i+1:]...)
			break
		}
	}
	if t.byKey[key] = alike; len(alike) == 0 {
		delete(t.byKey, key)
	}
	if t.byNode[p.node()]--; t.byNode[p.node()] == 0 {
		delete(t.byNode, p.node())
	}
	if p.place != nil {
		t.strangers.Remove(p.place)
		p.place = nil
	}
}

// supersede forgets what the node of an accepted request has asked the same home
// agent before: the home agent answers nothing older now, and nobody must be
// told that it did not answer.
func (t *pendings) supersede(p *Pending) {
	if t.of(p.node()) == 0 {
		return
	}
	for _, other := range t.byID {
		if other.id < p.id && !other.committing && other.node() == p.node() && other.NAI == p.NAI &&
			other.Request.HomeAddress == p.Request.HomeAddress && other.Request.HomeAgent == p.Request.HomeAgent &&
			other.Request.CareOfAddress == p.Request.CareOfAddress {
			t.remove(other)
		}
	}
}

// evict makes room by forgetting the oldest stranger's request.
func (t *pendings) evict() bool {
	oldest := t.strangers.Front()
	if oldest == nil {
		return false
	}
	t.remove(oldest.Value.(*Pending))
	return true
}

// expire gives up on requests that were not answered: "in this case, the
// foreign agent SHOULD reject the Request with Code 78" (RFC 5944 section
// 3.7.1). When it is the requested lifetime that has ended there is nothing to
// reject any more. Visits end too; in particular the agent "MUST NOT generate a
// Registration Request or Reply because a mobile node's registration Lifetime
// has expired" (section 3.7).
//
//rfc:5944#3.7.1
//rfc:5944#3.7
func (a *Agent) expire() {
	for {
		id, due := a.pending.agenda.Due(a.Now().Mono)
		if !due {
			break
		}
		p := a.pending.byID[id]
		if p.committing {
			continue // answered; the commit's outcome decides
		}
		a.pending.remove(p)
		a.counters.timedOut++
		for _, run := range a.timeouts {
			if !p.bounced {
				run(p)
			}
		}
		if p.Until.Sub(p.Since) >= a.cfg.PendingTime {
			a.denyPending(p, mip4.CodeFATimeout, "the home agent does not answer")
		}
	}
	for {
		id, due := a.visitors.agenda.Due(a.Now().Mono)
		if !due {
			break
		}
		a.counters.expired++
		a.depart(a.visitors.byID[id], Expired, nil)
	}
}

// lifetime is what a Lifetime field says.
func lifetime(field uint16) time.Duration {
	if field == mip4.LifetimeInfinite {
		return Infinite
	}
	return time.Duration(field) * time.Second
}
