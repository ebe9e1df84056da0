package mn

import (
	"net/netip"
	"slices"
	"time"

	"careof/internal/core/engine"
	"careof/internal/core/note"
)

// An uplink is what the node keeps about one interface.
type uplink struct {
	link     engine.Link
	attached bool          // attached anew since the last attempt over it
	rtt      time.Duration // smoothed, request to reply; 0 while unknown
	requests bucket
	portAt   time.Time  // monotonic, when a request last left from another port than before
	own      netip.Addr // the co-located address that could be registered at the last choice

	search        search
	solicitations bucket
	distrusted    time.Time // own gives way to a foreign agent until then; zero: it does not

	// The agent that another one's prefixes made the node leave, and until
	// when it should be heard; mixed says that it was.
	left      netip.Addr
	leftUntil time.Time
	mixed     bool // prefixes tell of no move on this link
}

// A bucket is leave to send, which comes back with time.
type bucket struct {
	tokens int
	filled time.Time
}

// Rate of requests on one uplink. A link event starts a new attempt at once,
// so the one-second rule of RFC 5944 section 3.6.3 holds within an attempt;
// this bounds the attempts of a link that flaps: a short burst, and "a mobile
// node MUST NOT attempt to register more often than once per second" (section
// 3.6) on average.
const (
	burst  = 4
	refill = minimumInterval
)

// take takes leave to send one message now; otherwise it says when to ask again.
//
//rfc:5944#3.6
//rfc:5944#2.4.2-2
//rfc:5944#3.6-6
func (b *bucket) take(mono time.Time) (again time.Time, ok bool) {
	if b.filled.IsZero() {
		b.tokens, b.filled = burst, mono
	}
	if n := int(mono.Sub(b.filled) / refill); n > 0 {
		b.tokens = min(b.tokens+n, burst)
		b.filled = b.filled.Add(time.Duration(n) * refill)
	}
	if b.tokens == 0 {
		return b.filled.Add(refill), false
	}
	if b.tokens == burst {
		b.filled = mono // an idle bucket does not store the time it was full
	}
	b.tokens--
	return time.Time{}, true
}

// measure takes one round trip into the smoothed round-trip time.
func (u *uplink) measure(took time.Duration) {
	if u.rtt == 0 {
		u.rtt = took
		return
	}
	u.rtt += (took - u.rtt) / 8
}

// firstTimeout: "The minimum value SHOULD be large enough to account for the
// size of the messages, twice the round-trip time for transmission to the
// home agent, and at least an additional 100 milliseconds" and "MUST NOT be
// less than 1 second".
//
//rfc:5944#3.6.3
//rfc:5944#3.6.3-2
//rfc:5944#3.6.3-3
func (u *uplink) firstTimeout() time.Duration {
	return max(minimumInterval, 2*u.rtt+processing)
}

// heard takes the present state of a link.
func (n *Node) heard(link engine.Link) {
	if !n.allowed(link.Name) {
		return
	}
	u := n.uplinks[link.Name]
	if u == nil {
		if link.Gone {
			return
		}
		u = &uplink{}
		n.uplinks[link.Name] = u
	}
	link.Addresses = slices.Clone(link.Addresses)
	link.Gateways = slices.Clone(link.Gateways)
	x := &Hearing{Now: n.now, Node: n, Old: u.link, New: link}
	engine.Pipeline[*Hearing]{&n.Heard}.Run(x, new(engine.Position))
	wasUp, isUp := x.Old.Up && !x.Old.Gone, link.Up && !link.Gone
	switch {
	case isUp && !wasUp:
		n.Tell(note.Note{Kind: note.LinkUp, Link: link.Name})
	case wasUp && !isUp:
		n.Tell(note.Note{Kind: note.LinkDown, Link: link.Name})
	}
	u.link = link
	if !isUp || !wasUp || x.Old.Attachment != link.Attachment {
		// The link layer has another point of attachment: whoever was heard is
		// not there.
		for _, a := range n.agentsOn(link.Name) {
			if !a.restored {
				n.loseAgent(a, "the link has changed")
			}
		}
		u.search = search{}
		u.left, u.mixed = netip.Addr{}, false
	}
	if x.Attached {
		// The round-trip time and the NAT belonged to the network before.
		u.attached, u.rtt, u.distrusted = true, 0, time.Time{}
	}
	if link.Gone {
		// A rate limit outlives its interface, or a flapping driver would
		// reset it.
		u.link = engine.Link{Name: link.Name, Gone: true}
	}
	n.rechoose = true
}

// allowed says whether the configuration lets an interface be used.
func (n *Node) allowed(name string) bool {
	if name == n.cfg.HomeLink && name != "" || len(n.cfg.Uplinks) == 0 {
		return true
	}
	return slices.ContainsFunc(n.cfg.Uplinks, func(u UplinkConfig) bool { return u.Interface == name })
}

// Uplink is what is configured of an interface.
func (n *Node) Uplink(name string) UplinkConfig {
	for _, u := range n.cfg.Uplinks {
		if u.Interface == name {
			return u
		}
	}
	return UplinkConfig{Interface: name}
}

// candidate begins a Choice.
func (n *Node) candidate(u *uplink) Candidate {
	c := n.Uplink(u.link.Name)
	return Candidate{Link: u.link, Priority: c.Priority, Cost: c.Cost}
}

// heardAttachment: a link that came up, or whose addresses or gateway
// changed, is attached anew.
//
//rfc:5944#3.6-3
//rfc:5944#2.4.2-1
func heardAttachment(x *Hearing) engine.Verdict {
	if !x.New.Up || x.New.Gone {
		return engine.Next()
	}
	if !x.Old.Up || x.Old.Gone || x.Old.Attachment != x.New.Attachment ||
		!slices.Equal(x.Old.Addresses, x.New.Addresses) ||
		!slices.Equal(firstOf(x.Old.Gateways), firstOf(x.New.Gateways)) {
		x.Attached = true
	}
	return engine.Next()
}

func firstOf(list []netip.Addr) []netip.Addr { return list[:min(1, len(list))] }
