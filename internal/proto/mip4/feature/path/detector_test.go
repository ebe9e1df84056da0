package path

import (
	"math/rand/v2"
	"testing"
	"time"
)

// A road is a path in virtual time: a detector probes over it.
type road struct {
	now     time.Time
	d       detector
	seq     uint16
	back    []arrival
	trip    func(at time.Duration) (rtt time.Duration, lost bool) // of a probe sent then
	data    func(at time.Duration) bool                           // whether packets come in
	started time.Time
	sent    int
}

type arrival struct {
	at  time.Time
	seq uint16
}

func newRoad(p Profile, trip func(time.Duration) (time.Duration, bool)) *road {
	start := time.Unix(1000, 0)
	r := &road{now: start, started: start, trip: trip, data: func(time.Duration) bool { return false }}
	r.d.begin(paces[p], start, 0)
	return r
}

// run probes until a time after the start, or until the path is dead, and says
// when that was; 0 when it was not.
func (r *road) run(until time.Duration) (died time.Duration) {
	for {
		next := r.d.next(r.now, r.d.often(), true)
		which := -1
		for i, a := range r.back {
			if !a.at.After(next) {
				next, which = a.at, i
			}
		}
		if next.Before(r.now) {
			next = r.now
		}
		if r.now = next; r.now.Sub(r.started) > until {
			return 0
		}
		if which >= 0 {
			a := r.back[which]
			r.back = append(r.back[:which:which], r.back[which+1:]...)
			r.d.answer(a.seq, r.now, false)
			continue
		}
		at := r.now.Sub(r.started)
		if r.data(at) {
			r.d.life(r.now)
		}
		if r.d.dead(r.now, true) {
			return at
		}
		if !r.d.doubts(r.now) && !r.d.lastSent.IsZero() && r.now.Sub(r.d.lastSent) < r.d.often() {
			continue
		}
		r.seq++
		r.sent++
		r.d.sent(r.seq, r.now)
		if rtt, lost := r.trip(at); !lost {
			r.back = append(r.back, arrival{r.now.Add(rtt), r.seq})
		}
	}
}

// promised is within which time a black hole is noticed while packets go.
var promised = map[Profile]time.Duration{Default: time.Second, Fast: 250 * time.Millisecond, Battery: 15 * time.Second}

func TestABlackHoleIsNoticedWithinTheProfilesTime(t *testing.T) {
	for profile, limit := range promised {
		for _, rtt := range []time.Duration{2 * time.Millisecond, 50 * time.Millisecond, 100 * time.Millisecond} {
			for step := range 20 {
				// Wherever between two probes it opens.
				hole := time.Minute + time.Duration(step)*11*time.Millisecond
				r := newRoad(profile, func(at time.Duration) (time.Duration, bool) { return rtt, at+rtt/2 >= hole })
				died := r.run(2 * time.Minute)
				if died == 0 || died < hole || died-hole > limit+max(0, rtt-50*time.Millisecond) {
					t.Errorf("%v, round trip %v: a hole at %v was noticed at %v", profile, rtt, hole, died)
				}
			}
		}
	}
}

// So it is on a path that dies before a probe over it was answered, when the home agent
// is known to answer them: a second more, since its round trip is not known.
func TestABlackHoleIsNoticedOnAPathThatWasJustTaken(t *testing.T) {
	for profile, limit := range promised {
		r := newRoad(profile, func(time.Duration) (time.Duration, bool) { return 0, true })
		if died := r.run(time.Minute); died == 0 || died > limit+time.Second {
			t.Errorf("%v: noticed after %v", profile, died)
		}
	}
}

// A long path is none, whose round trip is known from the requests over it.
func TestALongPathThatWasJustTakenIsNoBlackHole(t *testing.T) {
	for profile := range promised {
		const rtt = 1500 * time.Millisecond
		r := newRoad(profile, func(time.Duration) (time.Duration, bool) { return rtt, false })
		r.d.guess = rtt
		if died := r.run(time.Minute); died != 0 {
			t.Errorf("%v: taken for dead at %v", profile, died)
		}
	}
}

func TestThreePacketsInTenLostAreNoBlackHole(t *testing.T) {
	for profile := range promised {
		for seed := range uint64(20) {
			luck := rand.New(rand.NewPCG(seed, 1))
			lossy := 10 * time.Second
			// Out of the blue; in each direction, but where all is to be fast.
			loss := 1 - 0.7*0.7
			if profile == Fast {
				loss = 0.3
			}
			r := newRoad(profile, func(at time.Duration) (time.Duration, bool) {
				lost := at > lossy && luck.Float64() < loss
				return 50 * time.Millisecond, lost
			})
			if died := r.run(10 * time.Minute); died != 0 {
				t.Errorf("%v, seed %d: taken for dead at %v", profile, seed, died)
			}
		}
	}
}

func TestALossyPathThatDiesIsNoticedTheLongerTheMoreItLost(t *testing.T) {
	for seed := range uint64(20) {
		luck := rand.New(rand.NewPCG(seed, 2))
		hole := time.Minute
		r := newRoad(Default, func(at time.Duration) (time.Duration, bool) {
			return 50 * time.Millisecond, at >= hole || luck.Float64() < 0.5
		})
		if died := r.run(2 * time.Minute); died < hole || died > hole+2*time.Second {
			t.Errorf("seed %d: a hole at %v was noticed at %v", seed, hole, died)
		}
	}
}

// A queue of 800 ms fills and empties: the round trip is 850 ms at its top.
func TestAQueueThatFillsIsNoBlackHole(t *testing.T) {
	for _, fills := range []time.Duration{0, 200 * time.Millisecond, time.Second} {
		for _, profile := range []Profile{Default, Fast} {
			loaded := func(at time.Duration) bool { return at%(20*time.Second) > 10*time.Second }
			r := newRoad(profile, func(at time.Duration) (time.Duration, bool) {
				queue := time.Duration(0)
				if since := at % (20 * time.Second); since > 10*time.Second {
					queue = 800 * time.Millisecond
					if since -= 10 * time.Second; since < fills {
						queue = queue * since / fills
					}
				}
				return 50*time.Millisecond + queue, false
			})
			r.data = loaded // what fills it comes in, or its acknowledgements do
			if died := r.run(5 * time.Minute); died != 0 {
				t.Errorf("%v: a queue that fills within %v was taken for death at %v", profile, fills, died)
			}
		}
	}
}

// What comes in says nothing of the other direction.
func TestAPathThatDiesInOneDirectionIsNoticed(t *testing.T) {
	hole := time.Minute
	r := newRoad(Default, func(at time.Duration) (time.Duration, bool) { return 50 * time.Millisecond, at >= hole })
	r.data = func(time.Duration) bool { return true }
	if died := r.run(2 * time.Minute); died < hole+time.Second || died > hole+1300*time.Millisecond {
		t.Errorf("noticed at %v", died)
	}
}

// Over a long way nothing is learnt from the probes that are sent once one is
// overdue, so more are on the way before.
func TestOverALongWayABlackHoleIsNoticedNoLater(t *testing.T) {
	for _, rtt := range []time.Duration{200 * time.Millisecond, 600 * time.Millisecond} {
		hole := time.Minute
		r := newRoad(Fast, func(at time.Duration) (time.Duration, bool) { return rtt, at >= hole-rtt })
		if died := r.run(2 * time.Minute); died < hole || died > hole+200*time.Millisecond {
			t.Errorf("round trip %v: noticed after %v", rtt, died-hole)
		}
		if most := 50 * 120; r.sent > most {
			t.Errorf("round trip %v: %d probes in two minutes, more than %d", rtt, r.sent, most)
		}
	}
}

func TestAHomeAgentThatAnswersNoEchoIsNotADeadPath(t *testing.T) {
	r := newRoad(Default, func(time.Duration) (time.Duration, bool) { return 0, true })
	d := &r.d
	for i := range 100 {
		now := r.now.Add(time.Duration(i) * 100 * time.Millisecond)
		d.sent(uint16(i), now)
		if d.dead(now.Add(99*time.Millisecond), false) {
			t.Fatal("taken for dead")
		}
	}
	if at := d.next(r.now.Add(10*time.Second), d.pace.interval, false); at.Sub(d.lastSent) < deafInterval {
		t.Errorf("the next probe comes %v after the last", at.Sub(d.lastSent))
	}
}

func TestProbesAreFewWhileAllIsWell(t *testing.T) {
	for profile, most := range map[Profile]int{Default: 7 * 60, Fast: 26 * 60, Battery: 13} {
		r := newRoad(profile, func(time.Duration) (time.Duration, bool) { return 40 * time.Millisecond, false })
		if r.run(time.Minute); r.sent > most {
			t.Errorf("%v: %d probes in a minute, more than %d", profile, r.sent, most)
		}
	}
}

// What is answered after a later probe was has taken another way, and was not lost.
func TestAnAnswerThatWasOvertakenIsNoLoss(t *testing.T) {
	r := newRoad(Fast, func(at time.Duration) (time.Duration, bool) {
		if at > time.Second && at%time.Second < 50*time.Millisecond {
			return 200 * time.Millisecond, false
		}
		return 50 * time.Millisecond, false
	})
	r.run(time.Minute)
	if n, loss := r.d.outcomes.rate(); n < 64 || loss > 1.0/64 {
		t.Errorf("%.1f %% of %d probes were lost on a path that loses none", 100*loss, n)
	}
}
