package path

import (
	"math"
	"time"
)

// A detector says whether a path is alive, from when probes were sent and what
// came back. It is told the time and keeps none.
type detector struct {
	pace pace

	heard    time.Time // the last sign of life: an answer, or any packet from the tunnel
	answered time.Time // the last answer; zero: never
	lastSent time.Time
	pending  []probe // unanswered, oldest first
	rtt, dev time.Duration
	outcomes outcomes
}

type probe struct {
	seq uint16
	at  time.Time
}

const (
	// patience is the least that a round trip may take longer than usual.
	patience = 20 * time.Millisecond
	// maxPending bounds what is kept of probes that nobody answers.
	maxPending = 128
	// leastLost is how many probes in a row must be lost on a path that loses
	// none otherwise, and mostLost on any.
	leastLost, mostLost = 5, 32
	// lately is of how many probes a loss that has just begun is judged by.
	lately = 8
	// mistake is how improbable it shall be that loss alone looks like death.
	mistake = 1e-6
	// deafAfter is after how many probes one that never answered is probed at
	// deafInterval only.
	deafAfter    = 8
	deafInterval = 30 * time.Second
	// oneWayLeast is how long, beside the limit, packets may come in while no
	// probe is answered: then it is the other direction that is dead. A queue of
	// 800 ms that is there at once, behind an upload that begins, is none.
	oneWayLeast = 1100 * time.Millisecond
)

// begin starts anew at a time: nothing is known yet.
func (d *detector) begin(p pace, now time.Time) { *d = detector{pace: p, heard: now} }

// sent takes a probe that leaves now.
func (d *detector) sent(seq uint16, now time.Time) {
	if len(d.pending) >= maxPending {
		d.pending = d.pending[1:]
	}
	d.pending = append(d.pending, probe{seq, now})
	d.lastSent = now
}

// answer takes the answer to a probe; false when none was sent or it was
// answered already.
func (d *detector) answer(seq uint16, now time.Time) bool {
	for i, p := range d.pending {
		if p.seq != seq {
			continue
		}
		due := d.expected()
		d.measure(now.Sub(p.at))
		d.outcomes.add(true)
		d.heard, d.answered = now, now
		// What was sent before this one and is overdue is lost; the rest may
		// be in disorder.
		rest := d.pending[:0]
		for j, o := range d.pending {
			switch {
			case j == i:
			case j < i && now.Sub(o.at) > due+patience:
				d.outcomes.add(false)
			default:
				rest = append(rest, o)
			}
		}
		d.pending = rest
		return true
	}
	return false
}

// life takes another sign of life.
func (d *detector) life(at time.Time) {
	if at.After(d.heard) {
		d.heard = at
	}
}

// measure smooths the round trip as RFC 6298 section 2 does for TCP.
func (d *detector) measure(took time.Duration) {
	if d.rtt == 0 {
		d.rtt, d.dev = took, took/2
		return
	}
	off := took - d.rtt
	d.dev += (off.Abs() - d.dev) / 4
	d.rtt += off / 8
}

// expected is how long after it was sent a probe is overdue.
func (d *detector) expected() time.Duration {
	if d.rtt == 0 {
		return time.Second
	}
	return d.rtt + max(4*d.dev, patience)
}

// overdue counts the probes that should have been answered by now.
func (d *detector) overdue(now time.Time) (n int) {
	due := d.expected()
	for _, p := range d.pending {
		if now.Sub(p.at) >= due {
			n++
		}
	}
	return n
}

// lateSince is when the first probe that is not answered was overdue.
func (d *detector) lateSince() time.Time { return d.pending[0].at.Add(d.expected()) }

// deaf says that no probe over the path was ever answered: perhaps the home
// agent answers none.
func (d *detector) deaf() bool { return d.answered.IsZero() && len(d.pending) >= deafAfter }

// needed is how many probes must be lost in a row: on a path that is known to
// lose some, so many that this would hardly be chance.
func (d *detector) needed() int {
	_, loss := d.outcomes.rate()
	if n, now := d.outcomes.of(lately); n == lately {
		loss = max(loss, now)
	}
	return inARow(loss, mistake, leastLost, mostLost)
}

// inARow is how many probes in a row must be lost so that this is no chance, as
// improbable as mistake, on a path with this loss; between two bounds.
func inARow(loss, mistake float64, least, most int) int {
	if loss < 0.01 {
		return least
	}
	return min(max(int(math.Ceil(math.Log(mistake)/math.Log(min(loss, 0.99)))), least), most)
}

// doubts says that a probe is overdue.
func (d *detector) doubts(now time.Time) bool { return d.overdue(now) > 0 }

// dead says that the path is. A path that never answered tells nothing, unless
// the home agent is known to answer.
func (d *detector) dead(now time.Time, answers bool) bool {
	if d.answered.IsZero() && !answers {
		return false
	}
	lost := d.overdue(now)
	if lost < d.needed() {
		return false
	}
	// A path that rested is silent since the first probe that got no answer,
	// and not since it was last heard.
	first := d.pending[0].at
	silent, unanswered := now.Sub(later(d.heard, first)), now.Sub(later(d.answered, first))
	return silent >= d.pace.limit || unanswered >= max(d.pace.limit, oneWayLeast)
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

// often is how often to probe while packets go. Where a round trip is longer than
// the limit, what is sent once a probe is overdue comes back too late to tell
// anything: so many must be on the way already that they are enough.
func (d *detector) often() time.Duration {
	if d.rtt > d.pace.limit {
		return min(d.pace.interval, d.pace.limit/(leastLost+2))
	}
	return d.pace.interval
}

// next is when to look again; interval is between probes while all is well.
func (d *detector) next(now time.Time, interval time.Duration) time.Time {
	if d.lastSent.IsZero() {
		return now
	}
	if d.deaf() {
		return d.lastSent.Add(max(interval, deafInterval))
	}
	if d.doubts(now) {
		return d.lastSent.Add(d.pace.burst)
	}
	at := d.lastSent.Add(interval)
	if len(d.pending) > 0 {
		if due := d.pending[0].at.Add(d.expected()); due.Before(at) {
			at = due
		}
	}
	return at
}

// outcomes are of the last probes: a bit each, 1 for an answer, the latest
// lowest.
type outcomes struct {
	bits uint64
	n    int
}

func (o *outcomes) add(answered bool) {
	o.bits <<= 1
	if answered {
		o.bits |= 1
	}
	o.n = min(o.n+1, 64)
}

// rate is of how many probes which part was lost.
func (o *outcomes) rate() (n int, loss float64) { return o.of(64) }

// of is the rate of the last few.
func (o *outcomes) of(last int) (n int, loss float64) {
	if n = min(o.n, last); n == 0 {
		return 0, 0
	}
	lost := 0
	for i := range n {
		if o.bits>>i&1 == 0 {
			lost++
		}
	}
	return n, float64(lost) / float64(n)
}
