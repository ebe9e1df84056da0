package path

import (
	"fmt"
	"net/netip"
	"slices"
	"time"

	"careof/internal/core/engine"
	"careof/internal/core/note"
	"careof/internal/proto/mip4/feature/vendor"
	"careof/internal/proto/mip4/mn"
	"careof/wire/mip4"
)

// A track is what is remembered of the path over a link.
type track struct {
	link     string
	outcomes outcomes      // of its last probes, of either kind
	pauses   pauses        // of it while it was in use
	rtt      time.Duration // smoothed
	heard    time.Time     // when something last came back; zero: never
	counted  time.Time     // when the last of outcomes was known

	proven   bool // something has come back over it since it is there, or was dead
	hurried  bool // it is not, and the first question over it does not wait for the others
	dead     bool
	since    time.Time     // of death
	row      int           // probes in a row that it left unanswered when it died in use
	hold     time.Duration // how long it must answer before it is preferred again
	good     time.Time     // it has answered without a gap since then; zero: it does not
	failed   time.Time     // the last failure, dead or not by now
	failures int

	next      time.Time // when to ask
	asked     time.Time // the question that is unanswered; zero: none is
	misses    int       // in a row
	unreplied bool      // requests over it were not answered since, though questions may be
	held      bool      // loss or round trip are beyond what the configuration allows
	heldWhy   string
	settled   bool      // ... for as long as it takes
	better    time.Time // it has been clearly better than the path in use since then; zero: it is not
	downs     []time.Time
	flapped   bool // it was held back for them
}

const (
	// wait is the least time that a question's answer is waited for.
	wait = time.Second
	// again is between questions that get no answer, and missed how many of
	// those are enough on a path that loses none otherwise; at most missedMost
	// of them, or so many that they are hardly lost by chance.
	again         = time.Second
	missed        = 3
	missedMost    = 12
	missedMistake = 1e-4
	// recent is how long a failure is remembered, and maxHold how often the
	// time to hold doubles at most.
	recent  = 10 * time.Minute
	maxHold = 3
	// mute is between questions to a home agent that has never answered one.
	mute = 10 * time.Minute
	// foreignPace is the least time between questions to a home agent that
	// counts them as requests, and commits them to its disk.
	foreignPace = 30 * time.Second
)

func (m *mobile) track(link string) *track {
	t := m.paths[link]
	if t == nil {
		t = &track{link: link}
		m.paths[link] = t
	}
	return t
}

// leave keeps what was measured of a path that was in use.
func (t *track) leave(d detector) {
	t.outcomes, t.pauses = d.outcomes, d.pauses
	t.asked, t.misses, t.better, t.settled = time.Time{}, 0, time.Time{}, false
	if d.rtt > 0 {
		t.rtt = d.rtt
	}
	t.heard, t.counted = later(t.heard, d.answered), later(t.counted, d.answered)
}

// fail notes a death.
func (t *track) fail(now time.Time, hold time.Duration) {
	if t.failed.IsZero() || now.Sub(t.failed) > recent {
		t.failures = 0
	}
	t.failures++
	t.dead, t.proven, t.row, t.since, t.failed, t.counted, t.good = true, false, 0, now, now, now, time.Time{}
	t.hold = hold << min(t.failures-1, maxHold)
}

func deathWhy(lost, needed int) string {
	return fmt.Sprintf("%d probes in a row were not answered (%d would do), and nothing else came", lost, needed)
}

// heard begins a track anew when its link is attached to another network, and
// counts how often it goes.
func (m *mobile) heard(x *mn.Hearing) engine.Verdict {
	t := m.track(x.New.Name)
	now := x.Now.Mono
	if x.Old.Up && !x.Old.Gone && (!x.New.Up || x.New.Gone) {
		t.downs = append(slices.DeleteFunc(t.downs, func(at time.Time) bool { return now.Sub(at) > flapping }), now)
	}
	if x.Attached {
		downs := t.downs
		*t = track{link: t.link, downs: downs}
		m.since = now
		if m.watched != nil && m.watched.Key.Link == t.link {
			m.watched = nil // until it is registered again
		}
	}
	return engine.Next()
}

// standbys are the candidates to ask over: those that are not in use, and the
// one that is when it was found dead.
func (m *mobile) standbys() (list []mn.Candidate) {
	if m.node.Active() == nil || !m.node.Active().Live() || m.node.AtHome() {
		return nil
	}
	for _, c := range m.node.Candidates() {
		if !m.node.Active().Of(c) && !c.Agent.IsValid() {
			list = append(list, c)
		}
	}
	return list
}

// standbyDeadline is when the next question is due, or an answer overdue, or a
// path may be preferred again.
func (m *mobile) standbyDeadline() (at time.Time) {
	for _, c := range m.standbys() {
		t := m.track(c.Link.Name)
		if !t.asked.IsZero() {
			at = engine.Earliest(at, t.asked.Add(m.patience(t)))
		} else {
			at = engine.Earliest(at, m.askAt(c, t))
		}
		at = engine.Earliest(at, m.backAt(t), m.settledAt(t), t.calmAt(m.node.Now().Mono))
	}
	return at
}

// patience is how long an answer is waited for.
func (m *mobile) patience(t *track) time.Duration { return max(wait, 3*t.rtt) }

// askAt is when the next question over a path is due. The node begins a second
// after it is registered, when the home agent has other things to do no more, and
// at once over a path that it waits for.
func (m *mobile) askAt(c mn.Candidate, t *track) time.Time {
	if t.next.IsZero() {
		t.next = m.node.Now().Mono.Add(wait)
		if m.node.Awaits(c) {
			t.next = m.node.Now().Mono.Add(time.Millisecond)
		}
	}
	return t.next
}

// backAt is when a dead path may be preferred again, if nothing happens before:
// where nobody answers questions it is tried after a while.
func (m *mobile) backAt(t *track) time.Time {
	if r := m.node.Active(); t.dead && r != nil && !m.answering(r.Key.HomeAgent) {
		return t.since.Add(t.hold)
	}
	return time.Time{}
}

// answering says that a home agent answers questions, as far as is known.
func (m *mobile) answering(agent netip.Addr) bool { return agent == m.replied || agent == m.knows }

// calmAt is when a link that went and came may be relied on again.
func (t *track) calmAt(now time.Time) time.Time {
	if n := len(t.downs); t.flapped && n >= flaps {
		return t.downs[n-flaps].Add(flapping + 1)
	}
	return time.Time{}
}

// settledAt is when a path has been better for long enough.
func (m *mobile) settledAt(t *track) time.Time {
	if t.better.IsZero() || t.settled {
		return time.Time{}
	}
	return t.better.Add(m.cfg.FailBack)
}

// standbyDue asks over every path whose time has come.
func (m *mobile) standbyDue(now time.Time) {
	for _, c := range m.standbys() {
		t := m.track(c.Link.Name)
		if at := m.backAt(t); !at.IsZero() && !at.After(now) {
			m.back(t, "it is tried again: the home agent answers no questions over paths that are not registered")
		}
		if at := m.settledAt(t); !at.IsZero() && !at.After(now) {
			t.settled = true
			m.node.Rechoose()
		}
		if t.flapped && t.flaps(now) < flaps {
			t.flapped = false
			m.node.Rechoose()
		}
		if !t.asked.IsZero() {
			if now.Sub(t.asked) < m.patience(t) {
				continue
			}
			m.miss(t, now)
		}
		if !m.askAt(c, t).After(now) {
			m.question(c, t, now)
		}
	}
}

// hurry asks over the other paths at once, since the one in use is in doubt: over
// those that have not been heard of just now, and when it is silent over all.
func (m *mobile) hurry(now time.Time, silent bool) {
	fresh := min(wait, m.alive.pace.limit/2) // so that the answer comes before the path's death
	for _, c := range m.standbys() {
		t := m.track(c.Link.Name)
		due := now.Sub(t.heard) > fresh && !t.next.After(now.Add(m.pace(t.link).standby))
		if t.asked.IsZero() && (due || silent) {
			m.question(c, t, now)
		}
	}
}

// answered says whether the home agent has answered over another path since
// then.
func (m *mobile) answered(since time.Time) bool {
	return slices.ContainsFunc(m.standbys(), func(c mn.Candidate) bool { return m.track(c.Link.Name).heard.After(since) })
}

// far says that the home agent, when it is asked over another path, answers too
// late to be waited for, and has answered there the last time. Then the path is
// left on a guess.
func (m *mobile) far(now time.Time) bool {
	return slices.ContainsFunc(m.standbys(), func(c mn.Candidate) bool {
		t := m.track(c.Link.Name)
		return !t.dead && t.misses == 0 && !t.heard.IsZero() && t.rtt > m.alive.pace.limit &&
			now.Sub(t.heard) <= m.pace(t.link).standby+m.patience(t)
	})
}

// question asks over one path.
func (m *mobile) question(c mn.Candidate, t *track, now time.Time) {
	every := m.pace(t.link).standby
	agent := m.node.Active().Key.HomeAgent
	if m.replied == agent && m.understood != agent {
		every = max(every, foreignPace)
	}
	if t.dead && t.hold > 0 && m.answering(agent) {
		every = min(every, max(t.hold/6, again)) // is it back?
	}
	t.next = now.Add(every)
	if m.node.Validate(c, func(v mn.Validation) { m.reply(t, v) }, &mip4.CVSE{Vendor: vendor.Careof, VendorType: Question}) {
		t.asked = now
	} else if t.next = now.Add(min(every, again)); m.node.Awaits(c) {
		t.next = now.Add(again / 10) // another request is under way, and answered soon
	}
}

// miss: a question was not answered.
func (m *mobile) miss(t *track, now time.Time) {
	t.asked, t.good, t.better, t.settled = time.Time{}, time.Time{}, time.Time{}, false
	if !m.answering(m.node.Active().Key.HomeAgent) {
		// Perhaps it is the home agent that answers no such question.
		if t.misses++; t.misses >= missed {
			t.next = now.Add(mute)
		}
		return
	}
	_, loss := t.outcomes.of(ofStandby)
	t.outcomes.add(false)
	t.counted = now
	t.misses++
	switch {
	case t.misses < inARow(loss, missedMistake, missed, missedMost):
		t.next = now
	case !t.dead:
		hold := m.cfg.FailBack
		if t.heard.IsZero() && !t.proven {
			hold = 0 // it has never been good, and so never failed: its first answer is news
		}
		t.fail(now, hold)
		m.node.Tell(note.Note{Kind: PathDead, Level: note.Info, Link: t.link, Why: "a standby path: nothing is answered over it"})
		m.node.Rechoose()
	}
}

// unreplied: so many requests over a path that is preferred to the one in use were not
// answered, and questions were. It is dead to the node: each request has the home agent
// send there what may be lost. When its time is over, one more request is enough on a path
// that loses none otherwise.
func (m *mobile) unreplied(r *mn.Registration, requests int) {
	t, now := m.track(r.Key.Link), m.node.Now().Mono
	_, loss := t.outcomes.of(ofStandby)
	needed := inARow(loss, missedMistake, missed, missedMost)
	if t.unreplied {
		needed = (needed + missed - 1) / missed
	}
	if t.dead || requests < needed || !m.answering(r.Key.HomeAgent) {
		return
	}
	t.fail(now, m.cfg.FailBack)
	t.unreplied = true
	m.node.Tell(note.Note{Kind: PathDead, Level: note.Info, Link: t.link, Why: "a standby path: requests over it are not answered"})
	m.node.Rechoose()
}

// reply takes an answer: any that is authentic came over the path.
func (m *mobile) reply(t *track, v mn.Validation) {
	now := m.node.Now().Mono
	r := m.node.Active()
	if r == nil || m.paths[t.link] != t || t.asked.IsZero() {
		return
	}
	m.replied = r.Key.HomeAgent
	if _, ok := vendor.Find(v.Message.Exts, false, vendor.Careof, Answer); ok {
		m.understood = r.Key.HomeAgent
	}
	t.asked, t.misses, t.row, t.heard, t.counted = time.Time{}, 0, 0, now, now
	t.outcomes.add(true)
	if !t.proven {
		t.proven = true
		m.node.Rechoose() // it may have been waited for
	}
	if t.rtt == 0 {
		t.rtt = v.Took
	}
	t.rtt += (v.Took - t.rtt) / 4
	if t.good.IsZero() {
		t.good = now
	}
	if t.dead && now.Sub(t.good) >= t.hold {
		m.back(t, fmt.Sprintf("it has answered for %v", now.Sub(t.good).Round(time.Second)))
	}
	m.compare(t, now)
}

// back: a dead path may be preferred again.
func (m *mobile) back(t *track, why string) {
	t.dead = false
	m.node.Tell(note.Note{Kind: PathBack, Level: note.Info, Link: t.link, Why: why})
	m.node.Rechoose()
}
