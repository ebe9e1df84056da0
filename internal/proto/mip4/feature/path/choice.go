package path

import (
	"fmt"
	"slices"
	"time"

	"careof/internal/core/engine"
	"careof/internal/proto/mip4/mn"
)

const (
	// flapping is the time within which a link that goes flaps times is one
	// that cannot be relied on; it is again when it has gone less often.
	flapping = time.Minute
	flaps    = 5
	// enough is how many probes loss is judged by at least: of a path in use, of
	// another, which is judged by no more than ofStandby since they are rare.
	enoughInUse, enoughStandby, ofStandby = 32, 8, 16
	// worth is how much better another path of equal priority and cost must be,
	// beside a third.
	worth = 20 * time.Millisecond
	// stale is the age from which on it is said how old a measurement is.
	stale = 10 * time.Second
	// lossWeight is the round trip that losing everything counts for.
	lossWeight = time.Second
)

// choose says what is known of each candidate. A path that is dead comes last,
// one that is held back before that, whatever their priorities.
func (m *mobile) choose(x *mn.Choice) engine.Verdict {
	now := x.Now.Mono
	m.chosen = now.Add(time.Millisecond)
	active, asked := m.node.Active(), m.standbys()
	for i := range x.Candidates {
		c := &x.Candidates[i]
		if c.Unusable != "" || c.Home {
			continue
		}
		t := m.track(c.Link.Name)
		used := active != nil && active.Live() && active.Of(*c)
		c.Quality = m.quality(t, used)
		c.Quality.Probed = used && m.watches() || slices.ContainsFunc(asked, func(o mn.Candidate) bool { return o.Link.Name == t.link })
		if lost := m.unanswered(t, used, now); lost > 0 {
			// Whatever was measured before.
			c.Quality.Probes, c.Quality.Loss = lost, 1
			if !t.dead {
				c.Quality.Measured = m.alive.lastSent
				since := m.alive.answered
				if since.IsZero() {
					since = m.alive.lateSince()
				}
				c.Why = fmt.Sprintf("no probe over it has been answered for %v, and the home agent answers over no other", now.Sub(since).Round(time.Second))
			}
		}
		switch {
		case t.dead:
			c.Demoted, c.Why = mn.Dead, m.deadWords(t, now)
		case !used && t.flaps(now) >= flaps:
			c.Demoted, t.flapped = mn.Held, true
			c.Why = fmt.Sprintf("its link went down %d times within a minute", t.flaps(now))
		case t.held:
			c.Demoted, c.Why = mn.Held, t.heldWhy
			if q := c.Quality; !q.Probed && !q.Measured.IsZero() && now.Sub(q.Measured) > stale {
				c.Why += fmt.Sprintf(", when it was last probed, %v ago", now.Sub(q.Measured).Round(time.Second))
			}
		}
		c.Unproven = !t.proven && !used && active != nil && m.answering(active.Key.HomeAgent)
		if !c.Unproven {
			t.hurried = false
		} else if !t.hurried && !t.dead && t.asked.IsZero() {
			t.hurried, t.next = true, time.Time{}
		}
		switch {
		case used:
			c.Preference = 1
		case t.settled:
			c.Preference = 2
		}
	}
	return engine.Next()
}

func (m *mobile) deadWords(t *track, now time.Time) string {
	s := fmt.Sprintf("dead for %v", now.Sub(t.since).Round(time.Second))
	if t.unreplied && !t.good.IsZero() {
		s += "; questions over it are answered, and requests are not: perhaps it leads through this node's own tunnel"
	}
	switch {
	case !t.good.IsZero():
		return s + fmt.Sprintf("; it answers again, and is preferred again after %v of that, of which %v have passed", t.hold, now.Sub(t.good).Round(time.Second))
	case !m.backAt(t).IsZero():
		s += fmt.Sprintf("; tried again in %v", m.backAt(t).Sub(now).Round(time.Second))
	}
	if t.heard.IsZero() {
		s += "; nothing has ever come back over it: its network may block the home agent's UDP port"
	}
	return s
}

// unanswered is how many probes in a row got no answer over a path that is dead, or
// that is used for want of a better one; 0 over one that answers.
func (m *mobile) unanswered(t *track, used bool, now time.Time) int {
	switch {
	case t.dead && t.good.IsZero():
		return t.row + t.misses
	case used && !t.dead && m.watches() && m.alive.dead(now, m.answers == m.watched.Key.HomeAgent):
		return m.alive.overdue(now)
	}
	return 0
}

// quality is what was measured.
func (m *mobile) quality(t *track, used bool) mn.Quality {
	q := mn.Quality{RoundTrip: t.rtt, Answered: t.heard, Measured: t.counted}
	q.Probes, q.Loss = t.outcomes.of(ofStandby)
	if used && m.watched == m.node.Active() && m.watched != nil && !t.dead {
		q.Probes, q.Loss = m.alive.outcomes.rate()
		q.Answered, q.Measured = later(q.Answered, m.alive.answered), later(q.Measured, m.alive.answered)
		if m.alive.rtt > 0 {
			q.RoundTrip = m.alive.rtt
		}
	}
	return q
}

// flaps counts how often the link went down lately.
func (t *track) flaps(now time.Time) (n int) {
	for _, at := range t.downs {
		if now.Sub(at) <= flapping {
			n++
		}
	}
	return n
}

// review judges the path in use against what the configuration allows of it.
func (m *mobile) review(now time.Time) {
	t := m.track(m.watched.Key.Link)
	q := m.quality(t, true)
	if q.Probes >= enoughInUse {
		m.limit(t, q, now)
	}
}

// limit holds a path back whose loss or round trip is beyond what the
// configuration allows, and lets it go when both have been well below for as
// long as a dead one must answer.
func (m *mobile) limit(t *track, q mn.Quality, now time.Time) {
	u := m.node.Uplink(t.link)
	loss, rtt := 100*q.Loss, q.RoundTrip
	why := ""
	switch {
	case u.MaxLoss > 0 && loss > float64(u.MaxLoss):
		why = fmt.Sprintf("%.1f %% of its probes were lost, more than max-loss (%d %%)", loss, u.MaxLoss)
	case u.MaxRoundTrip > 0 && rtt > u.MaxRoundTrip:
		why = fmt.Sprintf("it answered in %v, more than max-round-trip (%v)", rtt.Round(time.Millisecond), u.MaxRoundTrip)
	}
	switch {
	case why != "":
		t.heldWhy, t.good = why, time.Time{}
		if !t.held {
			t.held = true
			m.node.Rechoose()
		}
	case t.held && loss <= float64(u.MaxLoss)/2 && (u.MaxRoundTrip == 0 || rtt <= u.MaxRoundTrip*4/5):
		if t.good.IsZero() {
			t.good = now
		}
		if now.Sub(t.good) >= m.cfg.FailBack {
			t.held = false
			t.outcomes.n = min(t.outcomes.n, q.Probes) // what was before would hold it back at once when it is used
			m.node.Rechoose()
		}
	}
}

// compare looks whether a standby path has become much better than the path in
// use, for paths of equal priority and cost, and judges its limits.
func (m *mobile) compare(t *track, now time.Time) {
	q := m.quality(t, false)
	if q.Probes >= enoughStandby {
		m.limit(t, q, now)
	}
	r := m.node.Active()
	if r == nil {
		return
	}
	mine := m.quality(m.track(r.Key.Link), true)
	if mine.RoundTrip == 0 || q.RoundTrip == 0 || q.Probes < enoughStandby {
		return
	}
	score := func(q mn.Quality) time.Duration { return q.RoundTrip + time.Duration(q.Loss*float64(lossWeight)) }
	if theirs := score(q); theirs+theirs/3+worth >= score(mine) {
		t.better, t.settled = time.Time{}, false
	} else if t.better.IsZero() {
		t.better = now
	}
}
