package mn

import (
	"cmp"
	"net/netip"
	"slices"
	"time"

	"careof/internal/core/assoc"
	"careof/internal/core/engine"
	"careof/internal/core/forward"
	"careof/internal/core/note"
	"careof/wire/mip4"
)

// A RegistrationKey names a registration. One uplink may have two at a time
// while its care-of address or its foreign agent changes.
type RegistrationKey struct {
	Link      string
	CareOf    netip.Addr
	HomeAgent netip.Addr
	Agent     netip.Addr // the foreign agent it goes through; invalid when it goes directly
}

func compareKeys(a, b RegistrationKey) int {
	return cmp.Or(cmp.Compare(a.Link, b.Link), a.CareOf.Compare(b.CareOf), a.HomeAgent.Compare(b.HomeAgent), a.Agent.Compare(b.Agent))
}

// A Registration is what the node keeps about one care-of address at one home
// agent. It is live while the home agent has accepted it; it may be on its
// way at the same time, to be renewed.
type Registration struct {
	Key RegistrationKey

	// CoLocated says that the care-of address is the node's own, and not the
	// foreign agent's.
	CoLocated bool

	// Tunnel is the tunnel agreed on, while the registration is live; none
	// when packets go plain to a foreign agent, which is Deliver.
	Tunnel  forward.Tunnel
	Deliver forward.Deliver
	// Plain says that the foreign agent tunnels back plain packets, too, when
	// there is a tunnel to it.
	Plain bool
	// Reverse says that reverse tunnelling was agreed.
	Reverse bool
	// Granted is the lifetime that the home agent granted.
	Granted time.Duration
	// Outer is the outer address and port that the home agent last saw, where a
	// feature learns it; invalid else. It is a NAT's where it is not the care-of
	// address.
	Outer netip.AddrPort
	// Message is what an agent last had to say to the user (RFC 4917), safe to
	// print. It changes nothing.
	Message string

	association *assoc.Association
	discover    bool // Key.HomeAgent is a directed broadcast

	live       bool
	forsaken   bool   // its path is dead, as far as a feature can tell: see Forsake
	accepted   uint64 // Identification of the accepted request
	acceptedAt order
	released   order     // the last request that ended it at a home agent which is not used any more
	since      time.Time // when the registration became live
	expires    time.Time // zero: never
	renewAt    time.Time

	try      *try
	retryAt  time.Time
	pending  []Sent // requests that may still be answered, oldest first
	lastSent time.Time
	portAt   time.Time // when a request last left from another port than before
	refusals int       // in a row
	denied   mip4.Code // with what it was refused last

	// repairs of what the home agent refused
	limit  time.Duration // of the requested lifetime; 0 for none
	clear  mip4.RequestFlags
	direct bool // no encapsulating delivery style
}

// A try is an attempt: a request and its retransmissions.
type try struct {
	purpose       Purpose
	transmissions int
	anew          bool // another tunnel may come of it; not of a plain renewal
	background    bool // asks whether the first home agent is back: once, and it may fail
	deferred      bool // denied with 133, waits for the answer to a later request
	reclaimed     bool // the last request was not answered in time, and the path in use was registered again: see reclaim
	translated    bool // see [Attempt]; of the last request
	unanswered    int  // requests that waited in vain
	fresh         bool // the next request leaves from another port
	repairs       int  // requests sent at once because an answer said what was wrong
	timeout       time.Duration
	octets        []byte // of the last request, for the identical retransmission under nonces
	sent          Sent
	before        time.Time        // when the request before that one was sent, or that one is the first
	tunnels       []forward.Tunnel // to expect
	until         time.Time        // of those tunnels
}

// A Sent is what is kept of a request until it is answered: "For each pending
// registration, the mobile node maintains the following information" (RFC
// 5944 section 3.6).
type Sent struct {
	engine.Slots // of the [Attempt]

	Identification uint64
	At             time.Time // monotonic, of its first transmission
	Purpose        Purpose
	Request        mip4.RegistrationRequest // with the requested lifetime and care-of address
	Src, Dst       netip.AddrPort
	HW             engine.HardwareAddr // of the foreign agent
	encapsulating  bool                // the delivery style that was asked for
	repeated       bool                // sent again unchanged: a round trip cannot be measured
}

// life is how long after its first transmission a request may be answered.
//
//rfc:5944#3.6.2.2-4
func (s *Sent) life() time.Duration {
	if l := lifetimeOf(s.Request.Lifetime); s.Purpose == Register && l < pendingFor {
		return l
	}
	return pendingFor
}

const (
	// maxPending bounds the requests of a registration that may still be answered.
	maxPending = 8
	// pendingFor is how long a request may still be answered. The remaining
	// lifetime of the request bounds it too.
	pendingFor = time.Minute
	// maxRepairs bounds the requests that answers provoke within one attempt,
	// so that a confused home agent gets no more than a few.
	maxRepairs = 3
	// failedAfter is how many unanswered requests make the node try another
	// home agent.
	failedAfter = 3
	// believed is how many requests over a path that carries packets may be lost:
	// where three packets in ten are, each way, one attempt in fifty loses so many.
	believed = 6
	// freshEvery: behind a NAT the first request that is not answered, and each
	// that comes so many after it, makes the next one leave from another port.
	// Not each: a NAT has room for so many mappings, and a home agent that is
	// down needs none of them.
	freshEvery = 3
	// refusedFirst is the pause after a denial that cannot be repaired; it
	// doubles up to the retransmission cap.
	refusedFirst = 5 * time.Second
)

// registration finds or makes the registration with this key.
func (n *Node) registration(k RegistrationKey, agent candidateAgent) *Registration {
	r := n.links[k]
	if r == nil {
		r = &Registration{Key: k, CoLocated: !k.Agent.IsValid()}
		n.links[k] = r
	}
	r.association, r.discover = n.roster.keyed(k.HomeAgent, agent.association), agent.discover
	return r
}

// registrations lists all in the order of their keys.
func (n *Node) registrations() []*Registration {
	list := make([]*Registration, 0, len(n.links))
	for _, r := range n.links {
		list = append(list, r)
	}
	slices.SortFunc(list, func(a, b *Registration) int { return compareKeys(a.Key, b.Key) })
	return list
}

// Registration is the registration with this key, nil when there is none.
func (n *Node) Registration(k RegistrationKey) *Registration { return n.links[k] }

// Live says whether the home agent has accepted the registration.
func (r *Registration) Live() bool { return r.live }

// Expires is when the registration ends, on the monotonic clock; zero for never.
func (r *Registration) Expires() time.Time { return r.expires }

// Association is shared with the home agent.
func (r *Registration) Association() *assoc.Association { return r.association }

// Asked is when the last request of a present attempt was sent, on the monotonic
// clock; zero without one.
func (r *Registration) Asked() time.Time {
	if r.try == nil {
		return time.Time{}
	}
	return r.try.sent.At
}

func (r *Registration) deadline() time.Time {
	at := r.retryAt
	if r.live {
		at = engine.Earliest(at, r.expires, r.renewAt)
	}
	return at
}

// idle says that nothing is kept that matters any more.
func (r *Registration) idle(mono time.Time) bool {
	r.pending = slices.DeleteFunc(r.pending, func(s Sent) bool {
		return mono.Sub(s.At) > s.life()
	})
	return !r.live && r.try == nil && r.retryAt.IsZero() && len(r.pending) == 0
}

// giveUp ends the attempt. Its requests may still be answered.
func (r *Registration) giveUp() { r.try, r.retryAt = nil, time.Time{} }

// end makes the registration not live.
func (r *Registration) end() {
	r.live, r.forsaken, r.expires, r.renewAt, r.accepted = false, false, time.Time{}, time.Time{}, 0
}

// lifetimeOf reads a Lifetime field.
func lifetimeOf(s uint16) time.Duration { return time.Duration(s) * time.Second }

// begin starts an attempt: its first request leaves now.
func (n *Node) begin(r *Registration, p Purpose) {
	u := n.uplinks[r.Key.Link]
	if u == nil {
		return
	}
	r.try = &try{purpose: p, timeout: u.firstTimeout(), anew: u.attached || !r.live}
	u.attached = false
	r.retryAt = time.Time{}
	n.transmit(r)
}

// retry is called when an attempt's timer runs out.
func (n *Node) retry(r *Registration) {
	if r.try == nil {
		return
	}
	if r.try.background && r.try.transmissions > 0 {
		r.giveUp()
		return
	}
	if r.try.transmissions > 0 && r.try.purpose == Register && n.postponed(r) {
		r.giveUp()
		return
	}
	if n.reclaim(r) {
		return
	}
	if r.try.transmissions >= failedAfter && r.try.purpose == Register {
		n.failed(r)
		if r.try == nil {
			return
		}
	}
	if r.try.purpose == DeregisterAll && r != n.home && r.try.transmissions >= failedAfter {
		n.deregistered(r, false)
		return
	}
	if r.try.transmissions == 2 && r.try.purpose == Register {
		n.silent(r)
	}
	if t := r.try; t.transmissions > 0 {
		t.unanswered++
		t.fresh = t.translated && t.unanswered%freshEvery == 1
	}
	n.transmit(r)
	if r.try != nil && n.displaces(r) {
		r.retryAt = engine.Earliest(r.retryAt, n.now.Mono.Add(n.uplinks[r.Key.Link].firstTimeout()))
	}
	if r.try != nil && r.try.transmissions >= 2 {
		n.rechoose = true // the path may be suspect: others may do better
	}
}

// expired: the lifetime ran out before a renewal was accepted.
func (n *Node) expired(r *Registration) { n.Lose(r, "lifetime ran out") }

// Narrow says how long the packets are that a live registration's tunnel
// carries; 0 lets the data plane work it out.
func (n *Node) Narrow(r *Registration, mtu int) {
	if r.live && r.Tunnel.Peer.IsValid() {
		r.Tunnel.MTU = mtu
	}
}

// Lose ends a live registration that the home agent does not hold any more.
// The node then chooses anew, and registers again where it can.
func (n *Node) Lose(r *Registration, why string) {
	if !r.live {
		return
	}
	r.end()
	n.Tell(n.noteOf(r, note.Note{Kind: note.Lost, Level: note.Warn, Why: why}))
	n.succeed(r)
}

// noteOf fills in what a registration says about itself.
func (n *Node) noteOf(r *Registration, t note.Note) note.Note {
	t.Link, t.CareOfAddress, t.HomeAgent = r.Key.Link, r.Key.CareOf, r.Key.HomeAgent
	return t
}
