package path

import (
	"net/netip"
	"time"

	"careof/internal/core/engine"
	"careof/internal/core/forward"
	"careof/internal/core/note"
	"careof/internal/proto/mip4/mn"
	"careof/wire/encap"
)

// Notes: a path was found dead, and it answers again for so long that it may be
// preferred again.
const (
	PathDead note.Kind = "path-dead"
	PathBack note.Kind = "path-back"
)

// mobile is the feature at a mobile node.
type mobile struct {
	cfg  Config
	node *mn.Node

	paths map[string]*track // by link
	// chosen is a moment after the last choice: what that has made due is done
	// in the next step.
	chosen time.Time
	// guessed is the link of a path that was left before the home agent could
	// answer over another one; empty when there is none.
	guessed string

	// The path in use, while it is watched.
	watched *mn.Registration
	alive   detector
	made    time.Time // when it can be probed; zero: the data plane has not made it
	asking  bool      // the data plane is being asked for its last use
	use     time.Time // when packets other than probes last went
	last    time.Time // when the data plane last received, as it said
	id, seq uint16

	answers    netip.Addr // the home agent that has answered an echo
	understood netip.Addr // the home agent that has answered a question as a careof one does
	replied    netip.Addr // the home agent that has answered any question
	knows      netip.Addr // the home agent that knows questions, as it has said over the path in use

	inquired  netip.Addr // the home agent that is asked whether it does
	inquiries int        // ... so often
	since     time.Time  // the last one, or what made it worth asking
}

// idleAfter is how long no packets but probes go until the path rests.
const idleAfter = 10 * time.Second

// addMobile adds the feature to a mobile node.
func addMobile(cfg Config, n *mn.Node) error {
	if cfg.Profile == Off {
		return nil
	}
	if cfg.FailBack == 0 {
		cfg.FailBack = DefaultFailBack
	}
	m := &mobile{cfg: cfg, node: n, paths: make(map[string]*track)}
	n.Heard.Add(Name, "track", m.heard)
	n.Choose.Add(Name, "quality", m.choose)
	n.Accepted.Add(Name, "alive", m.accepted)
	n.Denied.Add(Name, "proven", m.denied)
	n.Moved.Add(Name, "watch", m.moved)
	n.Timer(Name, m.deadline, m.due)
	n.OnPlane(Name, m.plane)
	n.OnUnreplied(m.unreplied)
	return nil
}

// pace is that of the profile over a link.
func (m *mobile) pace(link string) pace {
	p := paces[m.cfg.Profile]
	if m.node.Uplink(link).Metered {
		p = metered(p)
	}
	return p
}

// moved: another path is in use now.
func (m *mobile) moved(x *mn.Movement) engine.Verdict {
	m.watch(x.To)
	return engine.Next()
}

// accepted: an answer has come over the path, whatever was thought of it.
func (m *mobile) accepted(x *mn.Response) engine.Verdict {
	if m.guessed != "" && m.guessed != x.Registration.Key.Link {
		t := m.track(m.guessed)
		m.guessed = ""
		if t.dead && x.Now.Mono.Sub(t.since) > 2*m.track(x.Registration.Key.Link).rtt+wait {
			m.back(t, "the home agent was silent over the other path, too")
		}
	}
	if m.watched == nil && x.Registration == m.node.Active() {
		// Its link was attached anew, and it is what it was: nothing moves.
		m.watch(x.Registration)
	}
	if agent := x.Registration.Key.HomeAgent; m.inquired != agent {
		m.inquired, m.inquiries, m.since = agent, 0, x.Now.Mono
	}
	t := m.track(x.Registration.Key.Link)
	t.proven, t.unreplied = true, false
	if t.dead {
		t.dead = false
		if m.watched == x.Registration {
			m.begin(t)
		}
	}
	return engine.Next()
}

// denied: an answer as good as any, when the home agent has signed it.
func (m *mobile) denied(x *mn.Response) engine.Verdict {
	if x.Authentic {
		m.track(x.Registration.Key.Link).proven = true
	}
	return engine.Next()
}

// watch watches a registration's path; with nil, none.
func (m *mobile) watch(r *mn.Registration) {
	if m.watched != nil {
		t := m.track(m.watched.Key.Link)
		t.leave(m.alive)
		t.next = m.node.Now().Mono.Add(m.pace(m.watched.Key.Link).standby)
	}
	m.watched, m.asking, m.made = r, false, time.Time{}
	if r == nil {
		return
	}
	t := m.track(r.Key.Link)
	m.begin(t)
	m.alive.outcomes, m.alive.pauses = t.outcomes, t.pauses
	m.use = m.node.Now().Mono
}

// begin has the detector begin anew over a path.
func (m *mobile) begin(t *track) {
	m.alive.begin(m.pace(t.link), m.node.Now().Mono, max(t.rtt, m.node.RoundTrip(t.link)))
}

// watches says whether there is a path to watch: one over an address of the
// node's own, while there is another uplink to go to.
func (m *mobile) watches() bool {
	r := m.watched
	if r == nil || r != m.node.Active() || !m.node.Carries(r) || !r.Live() || !r.CoLocated || r.Key.Agent.IsValid() || m.node.AtHome() {
		return false
	}
	for _, c := range m.node.Candidates() {
		if !r.Of(c) {
			return true
		}
	}
	return false
}

// interval is between probes of the path in use while all is well.
func (m *mobile) interval(now time.Time) time.Duration {
	if p := m.alive.pace; p.idle > p.interval && now.Sub(m.use) >= idleAfter {
		return p.idle
	}
	return m.alive.often()
}

// look is when to look at the path in use again.
func (m *mobile) look(now time.Time) time.Time {
	return m.alive.next(now, m.interval(now), m.answers == m.watched.Key.HomeAgent)
}

// deadline is when there is something to do.
func (m *mobile) deadline() time.Time {
	at := engine.Earliest(m.standbyDeadline(), m.inquireAt())
	if !m.node.Carries(m.watched) {
		m.made = time.Time{}
	}
	if m.watches() && !m.asking && !m.track(m.watched.Key.Link).dead {
		now := m.node.Now().Mono
		if m.made.IsZero() {
			m.made = now.Add(time.Millisecond) // not in the step in which it was
		}
		at = engine.Earliest(at, later(m.look(now), m.made))
	}
	if !at.IsZero() {
		at = later(later(at, m.chosen), m.node.Unread())
	}
	return at
}

// due does it.
func (m *mobile) due() {
	now := m.node.Now().Mono
	if m.watches() && !m.asking && !m.track(m.watched.Key.Link).dead && !m.look(now).After(now) {
		if m.alive.pace.doubtful && m.alive.dubious(now) && m.alive.knows(m.answers == m.watched.Key.HomeAgent) {
			m.node.Doubt(m.watched)
		}
		if m.alive.doubts(now) || m.alive.pace.idle != m.alive.pace.interval {
			m.ask()
		} else {
			m.probe(now)
		}
	}
	m.standbyDue(now)
	if at := m.inquireAt(); !at.IsZero() && !at.After(now) {
		m.inquire(now)
	}
}

// unread says that silence tells nothing now: the host has stood still, and what
// has arrived meanwhile is being read.
func (m *mobile) unread() bool { return m.node.Unread().After(m.node.Now().Mono) }

// ask learns from the data plane what has gone and come besides the probes.
func (m *mobile) ask() {
	r := m.watched
	m.asking = true
	m.node.Ask(engine.LastUse{Key: m.node.Key()}, func(a engine.Answer) {
		if m.watched != r || !m.asking {
			return
		}
		m.asking = false
		if use, ok := a.Value.(forward.Use); ok && a.Err == nil {
			m.alive.life(use.Received)
			// A probe of its own leaves within milliseconds.
			if use.Sent.Sub(m.alive.lastSent) > patience {
				m.use = later(m.use, use.Sent)
			}
			if use.Received.Sub(m.last) > patience {
				m.use = later(m.use, use.Received)
			}
		}
		if m.watches() && !m.track(r.Key.Link).dead && !m.unread() {
			m.probe(m.node.Now().Mono)
		}
	})
}

// probe judges the path and sends the next echo request over it: from the home
// address to the home agent, as any packet goes.
//
//rfc:3519#4.9
func (m *mobile) probe(now time.Time) {
	r := m.watched
	silent := m.alive.dead(now, m.answers == r.Key.HomeAgent)
	// A home agent that answers questions, and now over no path, is away
	// itself, for a restart perhaps. Leaving would help nobody.
	if silent {
		since := m.alive.heard
		if now.Sub(since) < m.alive.pace.limit {
			since = m.alive.lateSince() // packets come in, and no answer among them
		}
		known := m.replied != r.Key.HomeAgent || m.answered(since)
		if known || m.far(now) {
			m.die(now)
			m.guessed = ""
			if !known {
				m.guessed = r.Key.Link
			}
			return
		}
	}
	m.review(now)
	if m.alive.doubts(now) {
		m.hurry(now, silent)
	}
	interval := m.interval(now)
	if !m.alive.doubts(now) && !m.alive.lastSent.IsZero() && now.Sub(m.alive.lastSent) < interval {
		return // it was only to see whether one is overdue
	}
	if m.id == 0 {
		m.id = uint16(m.node.Rand().Uint32N(1<<16-1) + 1)
	}
	m.seq++
	packet, err := encap.AppendEcho(nil, &encap.Echo{
		Type: encap.EchoRequest, Src: m.node.HomeAddress(), Dst: r.Key.HomeAgent, ID: m.id, Seq: m.seq,
	}, m.seq)
	if err != nil {
		return // no home address that could be a source
	}
	m.alive.sent(m.seq, now)
	m.node.Emit(engine.Originate{Packet: packet})
}

// plane takes the answer to an echo.
func (m *mobile) plane(ev forward.Event) {
	reply, ok := ev.(forward.EchoReply)
	if !ok || reply.ID != m.id || reply.Key != m.node.Key() || m.watched == nil {
		return
	}
	now := m.node.Now().Mono
	if !m.alive.answer(reply.Seq, now, m.unread()) {
		return
	}
	m.last = reply.Received
	m.answers = m.watched.Key.HomeAgent
	t := m.track(m.watched.Key.Link)
	if t.dead && m.watched == m.node.Active() {
		// Late, but it came: nobody has taken over yet.
		t.dead, t.proven = false, true
		m.node.Trust(m.watched)
	}
}

// die: nothing comes back over the path in use.
func (m *mobile) die(now time.Time) {
	r := m.watched
	lost := m.alive.overdue(now)
	t := m.track(r.Key.Link)
	t.leave(m.alive)
	t.fail(now, m.cfg.FailBack)
	t.row = lost
	t.next = now.Add(m.pace(r.Key.Link).standby)
	m.node.Tell(note.Note{
		Kind: PathDead, Level: note.Warn, Link: r.Key.Link, CareOfAddress: r.Key.CareOf, HomeAgent: r.Key.HomeAgent,
		Took: now.Sub(m.alive.heard), Why: deathWhy(lost, m.alive.needed()),
	})
	m.node.Forsake(r)
}
