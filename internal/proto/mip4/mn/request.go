package mn

import (
	"bytes"
	"cmp"
	"net/netip"

	"careof/internal/core/assoc"
	"careof/internal/core/engine"
	"careof/internal/core/forward"
	"careof/internal/core/note"
	"careof/wire/encap"
	"careof/wire/mip4"
)

// transmit sends the next request of an attempt, or waits for the uplink's
// leave.
func (n *Node) transmit(r *Registration) {
	u := n.uplinks[r.Key.Link]
	if again, ok := u.requests.take(n.now.Mono); !ok {
		r.retryAt = again
		return
	}
	t := r.try
	if t.octets != nil && r.association.Replay() == assoc.Nonces && n.now.Mono.Sub(t.sent.At) < t.sent.life()/2 {
		// "When nonces are used, the unanswered Request is retransmitted
		// unchanged" (RFC 5944 section 3.6.3). Lifetimes count from the first
		// transmission, so an old request makes room for a new one, or the
		// reply to it would grant what is over already.
		for i := range r.pending {
			if r.pending[i].Identification == t.sent.Identification {
				r.pending[i].repeated = true
			}
		}
		n.put(r, t.octets, t.sent)
		return
	}
	x := &Attempt{Now: n.now, Node: n, Registration: r, Purpose: t.purpose, Transmission: t.transmissions + 1, Association: r.association}
	n.prepare(x, t)
}

// prepare runs the stage Request and sends what comes of it.
func (n *Node) prepare(x *Attempt, t *try) {
	r := x.Registration
	v := engine.Pipeline[*Attempt]{&n.Request}.Run(x, &x.at)
	switch {
	case v.IsAwait():
		r.retryAt = n.now.Mono.Add(t.timeout)
		n.Ask(v.Question, func(a engine.Answer) {
			if r.try == t {
				x.Now, x.Answer = n.now, a
				n.prepare(x, t)
			}
		})
	case v.IsNext():
		n.send(x, t)
	default:
		n.Tell(n.noteOf(r, note.Note{Kind: note.Failed, Level: note.Warn, Why: v.Why}))
		n.pause(r)
	}
}

// send gives the request its Identification, seals it and sends it.
//
//rfc:5944#3.2-2
//rfc:5944#3.3-2
//rfc:5944#3.6.1.3-2
//rfc:5944#3.6.1.3-3
func (n *Node) send(x *Attempt, t *try) {
	r := x.Registration
	// "When timestamps are used, a new registration Identification is chosen
	// for each retransmission" (RFC 5944 section 3.6.3).
	seq := n.clock(r.Key.HomeAgent)
	x.Request.Identification = seq.next(x.Association.Replay(), n.now, n.rng, n.taken)
	d := mip4.NewRequest(x.Request)
	for _, e := range x.extensions {
		d.Add(e.zone, e.payload)
	}
	if x.Association.Authenticated() {
		d.Authenticate(mip4.ExtMobileHome, x.Association.Outbound())
	}
	if x.AAA != nil {
		d.Authenticate(mip4.ExtGeneralizedAuth, x.AAA)
	}
	if x.Foreign != nil {
		// "the Mobile-Foreign Authentication Extension" is the last one (RFC
		// 5944 section 3.6.1.3).
		d.Authenticate(mip4.ExtMobileForeign, x.Foreign.Outbound())
	}
	octets, err := d.Seal()
	if err != nil {
		n.Tell(n.noteOf(r, note.Note{Kind: note.Failed, Level: note.Error, Why: err.Error()}))
		n.pause(r)
		return
	}
	sent := Sent{Identification: x.Request.Identification, At: n.now.Mono, Purpose: x.Purpose, Request: x.Request,
		Src: x.Src, Dst: x.Dst, HW: x.HW, Slots: x.Slots, encapsulating: x.encapsulating}
	r.pending = append(r.pending, sent)
	if len(r.pending) > maxPending {
		r.pending = r.pending[1:]
	}
	t.octets, t.sent, t.tunnels, t.translated = octets, sent, x.Tunnels, x.Translated
	if t.transmissions == 0 {
		// Later retransmissions expect the same tunnels, no longer.
		t.until = n.now.Mono.Add(max(lifetimeOf(x.Request.Lifetime), pendingFor))
	}
	for i := range t.tunnels {
		t.tunnels[i].Until = t.until
	}
	n.saveClock(r.Key.HomeAgent)
	n.sends = append(n.sends, engine.Send{Link: x.Link, Src: x.Src, Dst: x.Dst, TTL: x.TTL, HW: x.HW, Data: octets, Fresh: t.fresh})
	n.sent(r, sent)
}

// put repeats a request unchanged.
func (n *Node) put(r *Registration, octets []byte, sent Sent) {
	n.sends = append(n.sends, engine.Send{
		Link: r.Key.Link, Src: sent.Src, Dst: sent.Dst, TTL: ttlOf(sent.Request.Flags), HW: sent.HW, Data: bytes.Clone(octets),
		Fresh: r.try.fresh,
	})
	n.sent(r, sent)
}

// sent schedules the retransmission and tells what was sent.
//
// "The maximum time until a new Registration Request is sent SHOULD be no
// greater than the requested Lifetime", and "Each successive retransmission
// timeout period SHOULD be at least twice the previous period, as long as
// that is less than the maximum" (RFC 5944 section 3.6.3).
//
//rfc:5944#3.6.3
//rfc:5944#3.6.3-1
//rfc:5944#3.6.3-4
func (n *Node) sent(r *Registration, s Sent) {
	t := r.try
	t.transmissions++
	if t.fresh {
		r.portAt = n.now.Mono
		if u := n.uplinks[r.Key.Link]; u != nil {
			u.portAt = r.portAt
		}
	}
	t.fresh = false
	if t.before = n.now.Mono; t.transmissions > 1 {
		t.before = r.lastSent
	}
	r.lastSent = n.now.Mono
	limit := n.cfg.RetransmitCap
	if l := lifetimeOf(s.Request.Lifetime); s.Purpose == Register {
		limit = max(minimumInterval, min(limit, l))
		if n.forsaken() {
			// Nothing is registered any more that works, and the links are up: a
			// tunnel, a lift. The node shall be back soon after its end.
			limit = min(limit, forsakenCap)
		}
	}
	t.timeout = min(t.timeout, limit)
	r.retryAt = n.now.Mono.Add(t.timeout)
	t.timeout = min(2*t.timeout, limit)
	n.Tell(n.noteOf(r, note.Note{
		Kind: note.Requesting, Level: note.Debug,
		Identification: s.Identification, Lifetime: lifetimeOf(s.Request.Lifetime),
		SPI: r.association.SPI(), Why: purposeWords[s.Purpose],
	}))
}

var purposeWords = [...]string{Register: "", DeregisterOne: "deregister this care-of address", DeregisterAll: "deregister all"}

// requestFields fills in the fixed part and the IP header.
//
//rfc:5944#3.6.1.1
//rfc:5944#3.6.1.2
//rfc:3024#4.1.1
//rfc:3024#A.4-1
//rfc:5944#3.1-3
//rfc:5944#3.3-1
//rfc:5944#3.6.1
//rfc:5944#3.6.1.1-1
//rfc:5944#3.6.1.1-8
//rfc:5944#3.6.1.2-1
//rfc:5944#3.6.1.2-9
//rfc:5944#3.6.1.2-10
//rfc:5944#3.6.1.2-11
//rfc:5944#3.6.1.2-14
//rfc:5944#3.6.1.2-15
func requestFields(x *Attempt) engine.Verdict {
	n, r := x.Node, x.Registration
	q := &x.Request
	// "The Home Address field MUST be set to the mobile node's home address,
	// if this information is known. Otherwise ... zeroes."
	q.HomeAddress = n.address
	if !q.HomeAddress.IsValid() {
		q.HomeAddress = netip.IPv4Unspecified()
	}
	q.HomeAgent = r.Key.HomeAgent
	q.CareOfAddress = r.Key.CareOf
	switch x.Purpose {
	case Register:
		q.Lifetime = seconds(n.cfg.Lifetime)
		if r.limit > 0 {
			x.Limit(r.limit)
		}
		if n.width() > 1 && n.active != nil && n.active.live && n.active != r && !n.broken() {
			q.Flags |= mip4.FlagS
		} else if n.width() > 1 && n.active == r && n.others(r) {
			q.Flags |= mip4.FlagS
		}
		if n.cfg.Broadcast {
			q.Flags |= mip4.FlagB
		}
		e, _ := n.encapsulation(n.cfg.Encapsulation)
		q.Flags |= e.Flag
		if n.cfg.ReverseTunnel != ReverseOff {
			q.Flags |= mip4.FlagT
		}
	case DeregisterAll:
		// "In the special case in which a mobile node wishes to deregister
		// all care-of addresses, it MUST set this field to its home address."
		q.CareOfAddress = q.HomeAddress
	}
	if r != n.home {
		// "The mobile node SHOULD set the 'D' bit if it is registering with
		// a co-located care-of address."
		q.Flags |= mip4.FlagD
	}
	q.Flags &^= r.clear
	x.Link = r.Key.Link
	// "When registering on a foreign network with a co-located care-of
	// address, the IP source address MUST be the care-of address"; at home it
	// is the home address.
	x.Src = r.source()
	x.Dst = n.AtHomeAgent(r.Key.HomeAgent)
	x.TTL = ttlOf(q.Flags)
	return engine.Next()
}

// AtHomeAgent is where a home agent is written to, and where its tunnels in UDP
// end: "UDP port 434" (RFC 5944 section 3.3, RFC 3519 section 4.1), or another
// one that both ends are configured with, for networks that block that.
func (n *Node) AtHomeAgent(a netip.Addr) netip.AddrPort {
	return netip.AddrPortFrom(a, cmp.Or(n.cfg.Port, encap.Port))
}

// others says whether registrations besides r are live.
func (n *Node) others(r *Registration) bool {
	for _, o := range n.links {
		if o != r && o.live {
			return true
		}
	}
	return false
}

// source is the address a request is sent from. The key of the registration
// at home has the home address for its care-of address.
func (r *Registration) source() netip.AddrPort {
	return netip.AddrPortFrom(r.Key.CareOf, 0)
}

// ttlOf: "In reverse tunnelling the mobile node MUST set the TTL field of the
// IP header to 255" (RFC 3024 section 4.1.1), against the examples of RFC
// 5944 appendix C, which show 1 and 64.
//
//rfc:3024#3.2-2
//rfc:3024#6.1-1
func ttlOf(f mip4.RequestFlags) uint8 {
	if f.Has(mip4.FlagT) {
		return 255
	}
	return 0
}

// requestIdentity names the node: "The Mobile Node NAI Extension ... MUST
// appear prior to the Mobile-Home Authentication extension" (RFC 2794
// section 2).
//
//rfc:2794#2
//rfc:2794#3
//rfc:2794#2-1
func requestIdentity(x *Attempt) engine.Verdict {
	if nai := x.Node.cfg.NAI; nai != "" {
		x.Add(mip4.ZoneHome, &mip4.NAI{Value: string(nai)})
	}
	return engine.Next()
}

// requestTunnels expects the tunnel that the flags ask for.
func requestTunnels(x *Attempt) engine.Verdict {
	if x.Purpose != Register || x.Registration.discover || !x.Registration.CoLocated {
		return engine.Next()
	}
	x.Tunnels = append(x.Tunnels, forward.Tunnel{
		Local: netip.AddrPortFrom(x.Registration.Key.CareOf, 0),
		Peer:  netip.AddrPortFrom(x.Registration.Key.HomeAgent, 0),
		Link:  x.Link,
		Encap: x.Node.EncapOf(x.Request.Flags),
	})
	return engine.Next()
}

// EncapOf is the form of tunnel that flags ask for: IP-in-IP unless M or G say
// otherwise.
func (n *Node) EncapOf(f mip4.RequestFlags) encap.Kind {
	for _, e := range n.encapsulations {
		if e.Flag != 0 && f.Has(e.Flag) {
			return e.Kind
		}
	}
	return encap.IPIP
}
