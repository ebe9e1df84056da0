package notification

import (
	"fmt"
	"net/netip"
	"slices"
	"time"

	"careof/internal/core/assoc"
	"careof/internal/core/engine"
	"careof/internal/core/note"
	"careof/wire/mip4"
)

const (
	// between is the least time between two notifications to one peer.
	between = time.Second
	// maxTries bounds what the life of a registration without an end does not.
	maxTries = 10
	// patience is how long a command waits for the answer. The notification is
	// retransmitted beyond it.
	patience = 5 * time.Second
	// maxOut bounds what is on its way at a time.
	maxOut = 1024
)

// A recipient names who is told: about whom, and at which address.
type recipient struct {
	direction mip4.Direction
	home, at  netip.Addr
}

// A parcel is a notification on its way.
type parcel struct {
	fixed
	ticket engine.Ticket // of the command
	waits  bool          // it is yet to be answered
	note   note.Note
	until  time.Time // monotonic: the end of the registration; zero: none
	// make builds the message with this Identification.
	make func(fixed) (engine.Send, error)
	// authentic checks an acknowledgement's authenticator.
	authentic func(*mip4.Message) bool
	// again makes the parcel anew, of the registration as it is by now; an error
	// when there is none that it could be told over.
	again func() (*parcel, error)

	ids   []uint64 // sent, the latest last
	wait  time.Duration
	code  mip4.NotificationCode
	heard bool
	stays bool   // it is for the agent that served the node when it was ordered
	why   string // it ended before its time
}

func (p *parcel) to() recipient {
	if p.direction == mip4.HomeAgentToForeignAgent {
		return recipient{p.direction, p.home, p.careOf}
	}
	return recipient{p.direction, p.home, p.agent}
}

// A courier sends notifications until they are acknowledged.
type courier struct {
	cfg  Config
	now  func() engine.Now
	do   func(...engine.Action)
	tell func(note.Note)

	last   uint64
	out    map[uint64]*parcel
	agenda engine.Agenda[uint64] // retransmissions
	asked  engine.Agenda[uint64] // commands whose patience ends
	said   map[recipient]saying
}

// A saying is the last notification to a peer.
type saying struct {
	at    time.Time     // monotonic
	id    uint64        // 0 once the peer has refused it
	ahead time.Duration // of the peer's clock before ours, as it says
}

func newCourier(c Config, now func() engine.Now, do func(...engine.Action), tell func(note.Note)) courier {
	return courier{cfg: c, now: now, do: do, tell: tell, out: make(map[uint64]*parcel), said: make(map[recipient]saying)}
}

// send takes a notification.
func (c *courier) send(p *parcel) {
	if len(c.out) >= maxOut {
		c.do(engine.Result{Ticket: p.ticket, Err: fmt.Errorf("%w: %d others are on their way", ErrCannot, len(c.out))})
		return
	}
	c.last++
	p.wait, p.waits = c.cfg.First, true
	c.out[c.last] = p
	c.asked.Set(c.last, c.now().Mono.Add(patience))
	c.transmit(c.last, p)
}

// transmit sends the message with a new Identification: "When timestamps are
// used, a new notification Identification is chosen for each retransmission";
// "The minimum time between GNMs MUST NOT be less than 1 second. Each successive
// retransmission timeout period SHOULD be at least twice the previous period"
// (RFC 6098 section 4.3). It ends with the registration.
//
//rfc:6098#4.3
func (c *courier) transmit(key uint64, p *parcel) {
	now := c.now()
	if !p.until.IsZero() && !now.Mono.Before(p.until) || len(p.ids) == maxTries {
		c.end(key, p)
		return
	}
	who := p.to()
	before, spoken := c.said[who]
	if soonest := before.at.Add(between); spoken && soonest.After(now.Mono) {
		c.agenda.Set(key, soonest)
		return
	}
	if !spoken && len(c.said) >= maxOut {
		for r, s := range c.said {
			if now.Mono.Sub(s.at) > between && s.id < assoc.Timestamp(now.Wall) {
				delete(c.said, r)
			}
		}
	}
	// "the 64-bit Identification used in a GNM from the sender MUST be greater
	// than that used in any previous GNM" (RFC 6098 section 7.1.1).
	p.id = max(assoc.Timestamp(now.Wall.Add(before.ahead)), before.id+1)
	s, err := p.make(p.fixed)
	if err != nil {
		c.take(key)
		c.report(p, err)
		return
	}
	if len(p.ids) == 0 {
		n := p.note
		n.Kind, n.Level = Notifying, note.Info
		c.tell(n)
	}
	p.ids = append(p.ids, p.id)
	c.said[who] = saying{now.Mono, p.id, before.ahead}
	c.agenda.Set(key, now.Mono.Add(p.wait))
	p.wait = min(2*p.wait, c.cfg.Longest)
	c.do(s)
}

// revise looks at what is on its way about a home address, whose registration
// has changed: it goes at once to where the node is now, or ends when that cannot
// be. An agent is told only "as long as there is an active binding for the MN at
// the FA" (RFC 6098 section 4.6), and no other one instead.
//
//rfc:6098#4.6
func (c *courier) revise(home netip.Addr) {
	var keys []uint64
	for key, p := range c.out {
		if p.home == home {
			keys = append(keys, key)
		}
	}
	slices.Sort(keys)
	for _, key := range keys {
		p := c.out[key]
		now, err := p.again()
		if err != nil {
			p.why = err.Error()
			c.end(key, p)
			continue
		}
		moved := now.home != p.home || now.agent != p.agent || now.careOf != p.careOf
		if moved && p.stays {
			p.why = "the node has moved on"
			c.end(key, p)
			continue
		}
		p.fixed, p.until, p.make, p.authentic, p.again, p.note = now.fixed, now.until, now.make, now.authentic, now.again, now.note
		if moved {
			p.wait = c.cfg.First
			c.transmit(key, p)
		}
	}
}

// acknowledged takes an acknowledgement. "The receiver MUST verify that the
// low-order 32 bits of any GNAM Identification field are identical to the bits
// it sent in the GNM" (RFC 6098 section 7.1); one to an earlier try is as good.
//
//rfc:6098#4.5.4
//rfc:6098#4.6.4
//rfc:6098#4.7.2
//rfc:6098#7.1
func (c *courier) acknowledged(m *mip4.Message, f fixed) {
	if int(f.direction) >= len(back) {
		return
	}
	var keys []uint64
	for key, p := range c.out {
		if p.direction == back[f.direction] && p.home == f.home && p.agent == f.agent && p.careOf == f.careOf &&
			slices.ContainsFunc(p.ids, func(id uint64) bool { return uint32(id) == uint32(f.id) }) {
			keys = append(keys, key)
		}
	}
	slices.Sort(keys)
	for _, key := range keys {
		p := c.out[key]
		if !p.authentic(m) {
			continue
		}
		p.heard, p.code = true, f.code
		if f.code != mismatch(p.direction) {
			c.end(key, p)
			return
		}
		// The peer's clock is another, or it has just started: "the low-order 32
		// bits ... identical to those in the rejected GNM attempt, before using the
		// high-order bits for clock re-synchronization" (RFC 6098 section 7.1.1). The
		// next try has its time.
		wall := c.now().Wall
		last := c.said[p.to()]
		last.id = 0 // nothing as great has been accepted
		last.ahead = assoc.TimeOf(f.id&^0xffffffff|assoc.Timestamp(wall)&0xffffffff, wall).Sub(wall).Round(time.Second)
		c.said[p.to()] = last
		return
	}
}

// mismatch is the code by which who is told in this direction says that the
// Identification is wrong.
func mismatch(to mip4.Direction) mip4.NotificationCode {
	const reason = 5
	switch to {
	case mip4.HomeAgentToMobileNode, mip4.ForeignAgentToMobileNode:
		return mip4.NotificationDeniedMobileNode + reason
	case mip4.MobileNodeToHomeAgent, mip4.ForeignAgentToHomeAgent:
		return mip4.NotificationDeniedHomeAgent + reason
	}
	return mip4.NotificationDeniedForeignAgent + reason
}

// take takes a parcel off the courier's hands.
func (c *courier) take(key uint64) {
	delete(c.out, key)
	c.agenda.Clear(key)
	c.asked.Clear(key)
}

func (c *courier) end(key uint64, p *parcel) {
	c.take(key)
	n := p.note
	n.Code = uint8(p.code)
	switch {
	case !p.heard:
		n.Kind, n.Level, n.Why = Unanswered, note.Warn, p.why
	case p.code == mip4.NotificationAccepted:
		n.Kind, n.Level = Told, note.Info
	default:
		n.Kind, n.Level, n.Why = Refused, note.Warn, p.code.String()
	}
	c.tell(n)
	c.answer(p, true)
}

// answer answers the command, once.
func (c *courier) answer(p *parcel, over bool) {
	if !p.waits {
		return
	}
	p.waits = false
	c.do(engine.Result{Ticket: p.ticket, Value: Report{Direction: p.direction, Sent: len(p.ids), Answered: p.heard, Code: p.code, Over: over}})
}

func (c *courier) report(p *parcel, err error) {
	if p.waits {
		c.do(engine.Result{Ticket: p.ticket, Err: fmt.Errorf("%w: %w", ErrCannot, err)})
	}
}

func (c *courier) next() time.Time { return engine.Earliest(c.agenda.Next(), c.asked.Next()) }

// due retransmits, and answers commands that have waited long enough.
func (c *courier) due() {
	mono := c.now().Mono
	for key, due := c.asked.Due(mono); due; key, due = c.asked.Due(mono) {
		c.answer(c.out[key], false)
	}
	for key, due := c.agenda.Due(mono); due; key, due = c.agenda.Due(mono) {
		c.transmit(key, c.out[key])
	}
}
