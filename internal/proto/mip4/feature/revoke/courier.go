package revoke

import (
	"net/netip"
	"slices"
	"time"

	"careof/internal/core/engine"
	"careof/internal/core/note"
	"careof/wire/mip4"
)

const (
	// firstWait is the pause before the first retransmission; it doubles.
	// "MUST NOT send more than one revocation per second for a particular
	// binding" (RFC 3543 section 4.2.2.1).
	firstWait = time.Second
	longest   = 32 * time.Second
	// maxTries bounds what the life of a binding without an end does not.
	maxTries = 10
)

// A parcel is a revocation on its way.
type parcel struct {
	support *support
	home    netip.Addr
	note    note.Note
	until   time.Time // monotonic: the end of the binding; zero: none
	// make builds the message with this Identifier, the try-th time.
	make func(id uint32, try int) (engine.Send, error)
	// authentic checks an acknowledgment's authenticator.
	authentic func(*mip4.Message) bool
	// done hears how it ended; ack is nil when nobody answered.
	done func(ack *mip4.RevocationAck)
	// withdrawn hears, instead, that it is not sent any more; or nil.
	withdrawn func()

	ids   []uint32 // sent, the latest last
	tries int
	moot  bool // there is a new binding
	held  bool // since the last try; once, for anybody may ask for a registration
	wait  time.Duration
}

// A courier sends revocations until they are acknowledged.
type courier struct {
	now    func() engine.Now
	do     func(...engine.Action)
	tell   func(note.Note)
	last   uint64
	out    map[uint64]*parcel
	agenda engine.Agenda[uint64]
}

// send takes a revocation. The first goes out at once, or one second after
// the last message about the binding: "An agent MUST NOT send more than one
// revocation message or registration message per second for the same binding"
// (RFC 3543 section 3.3).
//
//rfc:3543#3.3
func (c *courier) send(p *parcel) {
	if c.out == nil {
		c.out = make(map[uint64]*parcel)
	}
	c.last++
	p.wait = firstWait
	c.out[c.last] = p
	at := c.now().Mono
	if soonest := p.support.said.Add(firstWait); !p.support.said.IsZero() && soonest.After(at) {
		c.agenda.Set(c.last, soonest)
		return
	}
	c.transmit(c.last, p)
}

// transmit sends the message with a new Identifier and sets the time of the
// next one: "every time the foreign agent is about to retransmit the revocation
// message, it MUST update the value of the timestamp in the revocation
// identifier"; retransmissions "SHOULD ... fall-back in analogy with the
// registration guidelines"; "MUST NOT retransmit revocation messages beyond
// the normal life of the binding" (RFC 3543 sections 4.2.2.1 and 4.2.3.1).
//
//rfc:3543#4.2.2
//rfc:3543#4.2.3
func (c *courier) transmit(key uint64, p *parcel) {
	if p.moot {
		c.drop(key, p)
		return
	}
	now := c.now()
	over := !p.until.IsZero() && !now.Mono.Before(p.until)
	if p.tries == maxTries || over {
		c.end(key, p, nil)
		return
	}
	id := p.support.next(now.Wall)
	s, err := p.make(id, p.tries)
	if err != nil {
		n := p.note
		n.Kind, n.Level, n.Why = note.Failed, note.Error, err.Error()
		c.tell(n)
		c.end(key, p, nil)
		return
	}
	if p.tries == 0 {
		n := p.note
		n.Kind, n.Level = Revoking, note.Info
		c.tell(n)
	}
	p.tries++
	p.held = false
	p.ids = append(p.ids, id)
	p.support.said = now.Mono
	c.agenda.Set(key, now.Mono.Add(p.wait))
	p.wait = min(2*p.wait, longest)
	c.do(s)
}

func (c *courier) end(key uint64, p *parcel, ack *mip4.RevocationAck) {
	delete(c.out, key)
	c.agenda.Clear(key)
	n := p.note
	n.Kind, n.Level = Acknowledged, note.Info
	if ack == nil {
		n.Kind, n.Level = Unanswered, note.Warn
	}
	c.tell(n)
	if p.done != nil {
		p.done(ack)
	}
}

// withdraw takes back what is on its way about a binding at these addresses:
// there is a new one, which the next try would end. "A revocation message MUST
// NOT be sent for any registration that has expired" (RFC 3543 section 3.3),
// nor for one that another has replaced.
//
//rfc:3543#3.3
func (c *courier) withdraw(e end) {
	for _, key := range c.about(e) {
		p := c.out[key]
		p.moot = true
		if p.tries == 0 {
			c.drop(key, p)
			continue
		}
		c.agenda.Set(key, c.now().Mono.Add(firstWait)) // its acknowledgment may be under way
	}
}

// drop forgets a revocation that is moot.
func (c *courier) drop(key uint64, p *parcel) {
	delete(c.out, key)
	c.agenda.Clear(key)
	if p.withdrawn != nil {
		p.withdrawn()
	}
}

// hold lets what is on its way about a binding wait while a registration for it
// is: "An agent MUST NOT send more than one revocation message or registration
// message per second for the same binding" (RFC 3543 section 3.3).
//
//rfc:3543#3.3
func (c *courier) hold(e end) {
	for _, key := range c.about(e) {
		if p := c.out[key]; !p.held {
			p.held = true
			c.agenda.Set(key, c.now().Mono.Add(firstWait))
		}
	}
}

// about are the parcels about a binding at these addresses, in order.
func (c *courier) about(e end) (keys []uint64) {
	for key, p := range c.out {
		if p.home == e.home && p.note.HomeAgent == e.agent && p.note.CareOfAddress == e.careOf {
			keys = append(keys, key)
		}
	}
	slices.Sort(keys)
	return keys
}

func (c *courier) next() time.Time { return c.agenda.Next() }

// due retransmits.
func (c *courier) due() {
	for {
		key, due := c.agenda.Due(c.now().Mono)
		if !due {
			return
		}
		c.transmit(key, c.out[key])
	}
}

// acknowledged takes an acknowledgment: "the revoking agent MUST check the Home
// Address and Identifier fields to make sure they match those fields from a
// corresponding revocation message it sent to the acknowledging agent. If not,
// this ... message MUST be silently discarded" (RFC 3543 section 3.5). One that
// answers an earlier try is as good.
//
//rfc:3543#3.5
func (c *courier) acknowledged(_ engine.Packet, m *mip4.Message) {
	ack, err := m.RevocationAck()
	if err != nil {
		return
	}
	keys := make([]uint64, 0, 1)
	for key, p := range c.out {
		if p.home == ack.HomeAddress && slices.Contains(p.ids, ack.Identifier) {
			keys = append(keys, key)
		}
	}
	// Identifiers of one home address may be equal where it has bindings at
	// several agents: the authenticator tells whose it is.
	slices.Sort(keys)
	for _, key := range keys {
		if p := c.out[key]; p.authentic(m) {
			c.end(key, p, &ack)
			return
		}
	}
}
