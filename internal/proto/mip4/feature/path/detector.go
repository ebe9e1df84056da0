package path

import (
	"math"
	"slices"
	"time"
)

// A detector says whether a path is alive, from when probes were sent and what
// came back. It is told the time and keeps none.
type detector struct {
	pace pace

	heard    time.Time // the last sign of life: an answer, or any packet from the tunnel
	answered time.Time // the last answer; zero: never
	lastSent time.Time
	newest   time.Time // when the latest probe was sent that was answered
	pending  []probe   // unanswered, oldest first
	lost     []probe   // the last that were taken for lost, oldest first
	rtt, dev time.Duration
	guess    time.Duration // at the round trip, as long as none is measured; zero: none
	outcomes outcomes
	pauses   pauses
}

type probe struct {
	seq uint16
	at  time.Time
	n   uint64 // lost: the number of its outcome
}

const (
	// patience is that of most paces.
	patience = 20 * time.Millisecond
	// maxPending and maxLost bound what is kept of probes that nobody answers.
	maxPending, maxLost = 128, 32
	// losing is the loss from which on each probe that is overdue is a doubt: what
	// copies are for.
	losing = 0.03
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

// begin starts anew at a time: nothing is known yet but perhaps about how long a round
// trip takes.
func (d *detector) begin(p pace, now time.Time, guess time.Duration) {
	*d = detector{pace: p, heard: now, guess: guess}
}

// sent takes a probe that leaves now.
func (d *detector) sent(seq uint16, now time.Time) {
	if len(d.pending) >= maxPending {
		d.pending = d.pending[1:]
	}
	d.pending = append(d.pending, probe{seq: seq, at: now})
	d.lastSent = now
}

// answer takes the answer to a probe; false when none was sent or it was
// answered already. One that has lain about unread tells nothing of how long the
// path takes.
func (d *detector) answer(seq uint16, now time.Time, lay bool) bool {
	for i, p := range d.pending {
		if p.seq != seq {
			continue
		}
		due := d.expected()
		if !lay {
			d.resumed(p, now)
			d.measure(now.Sub(p.at))
		}
		d.newest = later(d.newest, p.at)
		d.outcomes.add(true)
		d.heard, d.answered = now, now
		// What was sent before this one and is overdue is lost; the rest may
		// be in disorder.
		rest := d.pending[:0]
		for j, o := range d.pending {
			switch {
			case j == i:
			case j < i && now.Sub(o.at) > due+d.pace.patience:
				o.n = d.outcomes.add(false)
				if d.lost = append(d.lost, o); len(d.lost) > maxLost {
					d.lost = d.lost[1:]
				}
			default:
				rest = append(rest, o)
			}
		}
		d.pending = rest
		return true
	}
	return d.overtaken(seq, now, lay)
}

// overtaken takes the answer to a probe that was taken for lost, since one that was
// sent later was answered before it.
func (d *detector) overtaken(seq uint16, now time.Time, lay bool) bool {
	i := slices.IndexFunc(d.lost, func(p probe) bool { return p.seq == seq })
	if i < 0 {
		return false
	}
	d.outcomes.correct(d.lost[i].n)
	if !lay {
		d.measure(now.Sub(d.lost[i].at))
	}
	d.heard, d.answered = now, now
	d.lost = slices.Delete(d.lost, i, i+1)
	return true
}

// awaited is when the next answer that would be news should have come after the
// usual round trip: to the first probe after those that were answered. Zero when
// nothing is awaited.
func (d *detector) awaited() time.Time {
	for _, p := range d.pending {
		if p.at.After(d.newest) {
			return p.at.Add(d.rtt)
		}
	}
	return time.Time{}
}

// resumed learns from the answer to p how long the path pauses.
func (d *detector) resumed(p probe, now time.Time) {
	if !p.at.After(d.newest) {
		return
	}
	if d.rtt != 0 {
		if pause := now.Sub(d.awaited()); pause <= d.pace.limit/2 {
			d.pauses.add(pause, now)
		}
	}
}

// dubiousAt is when the path will be in doubt if nothing is answered until then:
// when it has been silent for longer than it pauses now and then, and a quarter, so
// that what is ordinary of it is no doubt. What pauses for half of the time that
// makes it dead is not ordinary. Zero when nothing is awaited.
func (d *detector) dubiousAt() time.Time {
	at := d.awaited()
	if at.IsZero() || d.rtt == 0 {
		return time.Time{}
	}
	slack := d.expected() - d.rtt
	if d.outcomes.often < losing {
		slack = max(slack, d.pauses.usual()*5/4)
	}
	return at.Add(slack)
}

// dubious says that the path is in doubt.
func (d *detector) dubious(now time.Time) bool {
	at := d.dubiousAt()
	return d.overdue(now) > 0 && (at.IsZero() && d.rtt == 0 || !at.IsZero() && !at.After(now))
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
		return max(time.Second, 2*d.guess)
	}
	return d.rtt + max(4*d.dev, d.pace.patience)
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

// deaf says that no probe over the path was ever answered, nor over another one, which
// answers says: perhaps the home agent answers none.
func (d *detector) deaf(answers bool) bool { return !d.knows(answers) && len(d.pending) >= deafAfter }

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

// doubts says that a probe is overdue, so that others should follow it quickly.
func (d *detector) doubts(now time.Time) bool { return d.overdue(now) > 0 }

// knows says whether silence tells anything.
func (d *detector) knows(answers bool) bool { return !d.answered.IsZero() || answers }

// dead says that the path is. A path that never answered tells nothing, unless
// the home agent is known to answer.
func (d *detector) dead(now time.Time, answers bool) bool {
	if !d.knows(answers) {
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

// next is when to look again; interval is between probes while all is well, and answers
// says that the home agent is known to answer them.
func (d *detector) next(now time.Time, interval time.Duration, answers bool) time.Time {
	if d.lastSent.IsZero() {
		return now
	}
	if d.deaf(answers) {
		return d.lastSent.Add(max(interval, deafInterval))
	}
	if d.doubts(now) {
		at := d.lastSent.Add(d.pace.burst)
		if doubt := d.dubiousAt(); d.pace.doubtful && doubt.After(now) && doubt.Before(at) {
			return doubt
		}
		return at
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
	bits  uint64
	n     int
	ever  uint64
	often float64 // the part that was lost, of some hundreds
}

// memory is of how many probes the loss is that makes a path a losing one.
const memory = 256

// add takes an outcome, and gives its number.
func (o *outcomes) add(answered bool) uint64 {
	o.bits <<= 1
	o.often -= o.often / memory
	if answered {
		o.bits |= 1
	} else {
		o.often += 1.0 / memory
	}
	o.n = min(o.n+1, 64)
	o.ever++
	return o.ever
}

// correct takes the answer to a probe that was taken for lost.
func (o *outcomes) correct(number uint64) {
	if age := o.ever - number; age < 64 {
		o.bits |= 1 << age
	}
	o.often = max(0, o.often-1.0/memory)
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
