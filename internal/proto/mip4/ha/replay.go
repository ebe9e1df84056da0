package ha

import (
	"encoding/binary"
	"net/netip"
	"time"

	"careof/internal/core/assoc"
	"careof/internal/core/binding"
	"careof/internal/core/engine"
	"careof/internal/core/note"
	"careof/wire/mip4"
)

// lastReply is the reply to the last request that a node had accepted. Where
// it went is the binding's to know, while there is one: a million of these are
// kept.
type lastReply struct {
	identification uint64
	careOf, home   [4]byte // the request's fields
	id             binding.ID
	lifetime       time.Duration
	signer         *assoc.Association
	data           []byte
	farewell       *farewell // of a deregistration
}

// farewell is where the reply to a deregistration went, and where the request
// came from.
type farewell struct {
	from netip.AddrPort
	to   binding.ReplyTo
}

func (l *lastReply) answers(x *Exchange) bool {
	return l.identification == x.Request.Identification && l.careOf == x.Request.CareOfAddress.As4() &&
		l.home == x.Request.HomeAddress.As4()
}

func (l *lastReply) set(x *Exchange, data []byte) {
	*l = lastReply{
		identification: x.Request.Identification, careOf: x.Request.CareOfAddress.As4(), home: x.Request.HomeAddress.As4(),
		id: x.ID, lifetime: x.Lifetime, signer: x.Association, data: data,
	}
	if x.Lifetime == 0 {
		l.farewell = &farewell{x.Packet.Src, x.ReplyTo}
	}
}

// repeatReply answers an exact repeat with the reply it already got.
//
// "A Registration Request is a duplicate if the home address, care-of
// address, and Identification fields all equal those of an accepted current
// registration"; then "the new Lifetime MUST NOT extend beyond the Lifetime
// originally granted" (RFC 5944 section 3.8.2.2). It extends nothing and moves
// nothing, so it must also come from the same outer endpoint: from another
// one it is a replay.
//
//rfc:5944#3.8.2.2
func (a *Agent) repeatReply(x *Exchange) engine.Verdict {
	n := x.Node
	if n.turn != nil {
		for _, y := range n.turn.inFlight {
			if y.Request.Identification == x.Request.Identification && y.Request.CareOfAddress == x.Request.CareOfAddress &&
				y.Request.HomeAddress == x.Request.HomeAddress && y.Packet.Src == x.Packet.Src {
				// The answer is on its way to the disk; it comes when it is true.
				a.counters.repeated++
				return engine.Done()
			}
		}
	}
	l := n.last
	if l == nil || !l.answers(x) {
		return engine.Next()
	}
	var from netip.AddrPort
	var to binding.ReplyTo
	data := append([]byte(nil), l.data...) // the stored one may still be on its way
	if l.farewell != nil {
		from, to = l.farewell.from, l.farewell.to
	} else {
		b, there := n.list.Get(l.id)
		if !there || !b.Live(a.Now().Mono) {
			return engine.Next() // no current registration any more
		}
		from, to = b.Source, b.ReplyTo
		shorten(data, b.Remaining(a.Now().Mono), l.signer, x.ForeignAgent)
	}
	if from != x.Packet.Src {
		return engine.Next()
	}
	send := engine.Send{Link: to.Link, Src: to.Src, Dst: to.Dst, HW: to.HW, Data: data}
	a.counters.repeated++
	a.Tell(x.note(note.Repeated, note.Debug))
	a.Do(a.outgoing(x, send))
	return engine.Done()
}

// shorten writes what is left of the lifetime into a stored reply and signs it
// again, for the mobile node and for the foreign agent that the request came
// through: that one counts the lifetime from when it forwards the reply. Where
// their key has gone meanwhile the reply stays as it is.
func shorten(data []byte, left time.Duration, signer *assoc.Association, through *Relay) {
	m, err := mip4.Parse(data)
	if err != nil || left == binding.Infinite || m.Fixed < 4 {
		return
	}
	var agent *assoc.Association
	if e, n := m.Find(mip4.ExtForeignHome); n > 0 {
		auth, err := m.Authentication(e)
		if err != nil || through == nil {
			return
		}
		if agent = through.association(auth.SPI); agent == nil {
			return
		}
	}
	binary.BigEndian.PutUint16(data[2:], seconds(left))
	again := func(t mip4.ExtType, sa *assoc.Association) {
		if e, n := m.Find(t); n == 1 {
			covered := data[:len(m.Covered(e))]
			sa.Sign(covered, append([]byte(nil), covered...))
		}
	}
	again(mip4.ExtMobileHome, signer)
	again(mip4.ExtForeignHome, agent) // which covers the one before
}

// checkIdentification checks the Identification and moves the replay mark.
//
// "The home agent MUST check that the registration Identification field is
// correct using the context selected by the SPI within the
// authorization-enabling extension ... If incorrect, the home agent MUST
// reject the Request and SHOULD send a Registration Reply to the mobile node
// with Code 133" (RFC 5944 section 3.8.2.1 b).
//
//rfc:5944#3.8.2.1
//rfc:5944#5.7
func (a *Agent) checkIdentification(x *Exchange) engine.Verdict {
	n, style := x.Node, x.Association.Replay()
	fresh, why := n.mark.Fresh(style, x.Request.Identification, a.Now().Wall, a.cfg.Window)
	if !fresh {
		if a.isBroadcast(x.Packet.Dst.Addr()) {
			// Home agent discovery cannot be accepted anyway, and the mobile
			// node takes both the address and the time from a 136: "In
			// addition, the mobile node SHOULD adjust the parameters it uses
			// to compute the Identification field" (section 3.6.2.3).
			x.Discovery = true
			return engine.Deny(uint8(mip4.CodeUnknownHomeAgent), "sent to a broadcast address; "+why)
		}
		if !n.refused().mismatches.allow(a.Now().Mono, mismatchRate) {
			a.counters.suppressed++
			return engine.Done()
		}
		return engine.Deny(uint8(mip4.CodeIdentificationMismatch), why)
	}
	if most := a.cfg.RequestsPerNode; most > 0 && !n.requests.allow(a.Now().Mono, rate{time.Second / time.Duration(most), 2 * most}) {
		// A node that has gone wild must not keep the disk from the others.
		// Nothing of it is remembered, so that the next one is not a replay.
		a.counters.excessive++
		return engine.Done()
	}
	// From here on the Identification is used up, whatever the answer will be.
	// Under nonces the next one is drawn at once, so that no second request
	// can use the old one while this one waits for its commit.
	n.mark = n.mark.Accept(style, x.Request.Identification)
	x.Identification, n.mark = n.mark.ReplyIdentification(style, x.Request.Identification, true, a.Now().Wall, a.rng)
	x.Fresh = true
	return engine.Next()
}

// seconds is a lifetime as the field has it, rounded down.
func seconds(d time.Duration) uint16 {
	if d == binding.Infinite {
		return mip4.LifetimeInfinite
	}
	return uint16(min(d/time.Second, mip4.LifetimeInfinite-1))
}
