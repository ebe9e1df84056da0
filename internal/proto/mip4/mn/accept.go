package mn

import (
	"net/netip"
	"slices"
	"time"

	"careof/internal/core/assoc"
	"careof/internal/core/engine"
	"careof/internal/core/forward"
	"careof/internal/core/note"
	"careof/wire/encap"
	"careof/wire/mip4"
)

// accept: the home agent did what was asked.
//
//rfc:5944#3.6.2.2
func (n *Node) accept(x *Response) {
	r := x.Registration
	took := n.now.Mono.Sub(x.Sent.At)
	if u := n.uplinks[r.Key.Link]; u != nil && !x.Sent.repeated {
		u.measure(took)
	}
	n.clock(r.Key.HomeAgent).accept(x.Association.Replay(), n.now, x.Sent)
	n.saveClock(r.Key.HomeAgent)
	if x.Sent.Purpose != Register {
		n.ended(x)
		return
	}
	switch {
	case n.home != nil || n.stopped:
		// The deregistration that left since then has a greater
		// Identification: it is what counts at the home agent.
		return
	case n.superseded(x) || r.released.later(x.Sent):
		return
	}
	n.settle(x, took)
}

// superseded says that the home agent has accepted a later request since, so
// that this answer, though true when it was given, is history.
func (n *Node) superseded(x *Response) bool {
	for _, o := range n.links {
		if o.live && o.Key.HomeAgent == x.Registration.Key.HomeAgent && o != x.Registration && !n.joins(x) &&
			o.acceptedAt.later(x.Sent) {
			return true
		}
	}
	return x.Registration.live && x.Registration.acceptedAt.later(x.Sent)
}

// joins says that the request was to be added to the others (S bit), and was.
func (n *Node) joins(x *Response) bool {
	return x.Sent.Request.Flags.Has(mip4.FlagS) && x.Reply.Code != mip4.CodeAcceptedNoSimultaneous
}

// An order places requests in the order in which they were sent.
type order struct {
	at             time.Time
	identification uint64
}

func (o order) later(s Sent) bool {
	if !o.at.Equal(s.At) {
		return o.at.After(s.At)
	}
	return o.identification > s.Identification
}

// settle runs the stage Accepted and makes the registration live.
//
//rfc:5944#3.6-2
func (n *Node) settle(x *Response, took time.Duration) {
	r := x.Registration
	v := engine.Pipeline[*Response]{&n.Accepted}.Run(x, new(engine.Position))
	if v.IsDeny() {
		n.disown(x, mip4.Code(v.Code), v.Why)
		return
	}
	if !v.IsNext() && !v.IsDone() {
		n.discard(r, x.Reply.Code, v.Why)
		return
	}
	if x.Granted <= 0 {
		n.Tell(n.noteOf(r, note.Note{Kind: note.Refused, Level: note.Warn, Why: "accepted for no time at all"}))
		n.refused(x)
		return
	}
	if !n.address.IsValid() {
		// "the mobile node MUST be able to assign its home address after
		// extracting this information from the Registration Reply" (RFC
		// 5944 section 3.6).
		n.address = x.Reply.HomeAddress
		n.saveHome()
	}
	if x.Sent.Request.Flags.Has(mip4.FlagS) && !n.joins(x) {
		n.plainOnly = true
	}
	tunnel := x.tunnelOf()
	if r.live && r.Tunnel != tunnel {
		n.drain(r.Tunnel)
	}
	before := n.active
	fresh := !r.live || r.Tunnel != tunnel || r.Deliver != x.Deliver
	r.Deliver = x.Deliver
	r.Plain = x.Plain && tunnel.Peer.IsValid() && !r.CoLocated
	r.Tunnel, r.Reverse = tunnel, x.Sent.Request.Flags.Has(mip4.FlagT)
	r.Granted = x.Granted
	r.accepted, r.acceptedAt = x.Sent.Identification, order{x.Sent.At, x.Sent.Identification}
	if !r.live {
		r.live, r.since = true, n.now.Mono
	}
	r.schedule(x.Sent.At, n.rng.Float64())
	r.refusals, n.problem = 0, Problem{}
	r.forsaken = false
	r.giveUp()
	for _, o := range n.registrations() {
		if o == r || !o.live {
			continue
		}
		if n.joins(x) && o.Key.HomeAgent == r.Key.HomeAgent {
			continue
		}
		// "Otherwise, the home agent deletes any previous binding(s) and
		// replaces them with the new binding" (RFC 5944 section 3.6.1.2).
		n.drain(o.Tunnel)
		o.end()
		n.saveRegistration(o)
		if o.Key.HomeAgent != r.Key.HomeAgent {
			n.release(o)
		}
	}
	n.active = n.preferred(r)
	n.settledWith(r.Key.HomeAgent)
	n.saveRegistration(r)
	n.Tell(n.noteOf(r, note.Note{
		Kind: note.Registered, Level: note.Info,
		Encapsulation: r.form(), Endpoint: tunnel.Peer, SPI: x.Association.SPI(), Code: uint8(x.Reply.Code),
		Identification: x.Sent.Identification, Lifetime: r.Granted, Took: took, Why: n.besides(r),
	}))
	if before != n.active || n.active == r && fresh {
		m := &Movement{Now: n.now, Node: n, From: before, To: n.active}
		engine.Pipeline[*Movement]{&n.Moved}.Run(m, new(engine.Position))
	}
	n.rechoose = true
	if x.Sent.At.Before(r.portAt) {
		// The home agent has bound the port of that request, and packets leave
		// from the one that a later request has left from.
		n.begin(r, Register)
	}
}

// preferred is the live registration to send through, after r became live.
func (n *Node) preferred(r *Registration) *Registration {
	for _, c := range n.choice {
		for _, o := range n.registrations() {
			if o.live && o.of(c) && o.Key.HomeAgent == r.Key.HomeAgent {
				return o
			}
		}
	}
	return r
}

// schedule sets expiry and renewal. "This procedure is equivalent to the
// mobile node starting a timer for the granted Lifetime at the time it sent
// the Registration Request" (RFC 5944 section 3.6.2.2).
//
// The renewal comes at 60 to 75 % of the lifetime, spread so that many nodes
// do not renew together, with time left for several retransmissions.
//
//rfc:5944#3.6.2.2
//rfc:5944#3.6-4
//rfc:5944#3.6.2.2-3
//rfc:5944#3.6.2.2-5
//rfc:5944#3.8.2.2-6
func (r *Registration) schedule(sent time.Time, spread float64) {
	if r.Granted >= Infinite {
		r.expires, r.renewAt = time.Time{}, time.Time{}
		return
	}
	r.expires = sent.Add(r.Granted)
	r.renewAt = sent.Add(time.Duration((0.60 + 0.15*spread) * float64(r.Granted)))
}

// acceptLifetime: "If the Lifetime in the Reply is greater than the original
// Lifetime in the Request, the Lifetime from the Request is used" (RFC 5944
// section 3.4).
//
//rfc:5944#3.4
//rfc:5944#3.4-3
//rfc:5944#3.4-4
func acceptLifetime(x *Response) engine.Verdict {
	x.Granted = lifetimeOf(min(x.Reply.Lifetime, x.Sent.Request.Lifetime))
	return engine.Next()
}

// acceptTunnel: a home agent that accepts uses the form that was asked for.
func acceptTunnel(x *Response) engine.Verdict {
	x.Encap, x.Inside, x.PeerKey = x.Node.EncapOf(x.Sent.Request.Flags), encap.Kind(0), forward.PublicKey{}
	x.Peer = netip.AddrPortFrom(x.Registration.Key.HomeAgent, 0)
	return engine.Next()
}

// drain keeps a replaced tunnel for what is still under way.
func (n *Node) drain(t forward.Tunnel) {
	if !t.Peer.IsValid() {
		return // packets came plain from a foreign agent: nothing is to be kept for them
	}
	t.Mode, t.Until = forward.Receive, n.now.Mono.Add(drain)
	n.drains = slices.DeleteFunc(n.drains, func(o forward.Tunnel) bool { return same(o, t) })
	n.drains = append(n.drains, t)
}

// same compares what makes a tunnel that tunnel.
func same(a, b forward.Tunnel) bool {
	return a.Local == b.Local && a.Peer == b.Peer && a.Link == b.Link && a.Encap == b.Encap &&
		a.Inside == b.Inside && a.PeerKey == b.PeerKey && a.Key == b.Key && a.KeyIn == b.KeyIn && a.HasKey == b.HasKey
}

// release ends a registration at a home agent that is not used any more, so
// that two do not draw the node's packets. It is sent once: the lifetime does
// the rest.
func (n *Node) release(r *Registration) {
	if u := n.uplinks[r.Key.Link]; u != nil && slices.ContainsFunc(n.choice, r.of) {
		n.begin(r, DeregisterOne)
		r.giveUp()
		n.parting = true
		// A registration may still be under way to it: what it says to that is
		// history when it arrives.
		if last := len(r.pending) - 1; last >= 0 && r.pending[last].Purpose == DeregisterOne {
			r.released = order{r.pending[last].At, r.pending[last].Identification}
		}
	}
}

// ended: the home agent ended one registration, or all.
func (n *Node) ended(x *Response) {
	r := x.Registration
	if r.try == nil || r.try.purpose == x.Sent.Purpose {
		r.giveUp() // else it is already being registered again
	}
	switch {
	case x.Sent.Purpose == DeregisterOne:
		n.Tell(n.noteOf(r, note.Note{Kind: note.Deregistered, Level: note.Info, Took: n.now.Mono.Sub(x.Sent.At)}))
	case r == n.home:
		n.home.refusals = 0
		n.cameHome(x)
	case n.stopped:
		n.deregistered(r, true)
	}
}

// probedJudge registers again when a path was found dead: over every live
// uplink, when it was the path in use, and over that one last, so that it is
// kept when it answers after all.
func probedJudge(x *Probe) engine.Verdict {
	n, r := x.Node, x.Registration
	if x.Alive || !r.live || r.try != nil {
		return engine.Next()
	}
	if r == n.active && r.association.Replay() != assoc.Nonces {
		for _, c := range slices.Backward(n.choice) {
			if !r.of(c) {
				n.want(c, candidateAgent{address: r.Key.HomeAgent, association: r.association})
			}
		}
	}
	n.begin(r, Register)
	return engine.Next()
}

// Probe says what became known about a registration's path, through the stage
// Probed.
func (n *Node) Probe(r *Registration, alive bool, why string) {
	x := &Probe{Now: n.now, Node: n, Registration: r, Alive: alive, Why: why}
	engine.Pipeline[*Probe]{&n.Probed}.Run(x, new(engine.Position))
}

// RoundTrip is the smoothed round-trip time over a link, from request to
// reply; zero while it is unknown.
func (n *Node) RoundTrip(link string) time.Duration {
	if u := n.uplinks[link]; u != nil {
		return u.rtt
	}
	return 0
}
