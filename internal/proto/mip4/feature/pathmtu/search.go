package pathmtu

import (
	"math"
	"slices"
	"time"
)

// A search finds the length of the longest packet that a path carries: RFC 8899
// section 5, with several probes in a round, since a round trip each would take
// seconds. It is told the time and keeps none.
//
// Probes are lost by chance too. How often shows by those that are no longer
// than one that was answered, and only what would be a strange chance counts.
type search struct {
	least, most int // lengths to look between
	size        int // the longest one that may be sent: RFC 8899's PLPMTU

	state    state
	low      int         // the longest that was answered
	lost     map[int]int // how many of each length were not
	answered int         // how many were
	round    []probe
	ends     time.Time // of the round
	rounds   int
	rtt      time.Duration
	hint     int // what a router has said to be the longest; 0: none has
}

type probe struct {
	token    uint64
	size     int
	at       time.Time
	answered bool
}

type state uint8

const (
	idle       state = iota
	confirming       // that size still gets through
	searching        // what gets through, now that size does not
	raising          // whether more does
)

const (
	// parts is into how many a round divides what is in doubt.
	parts = 6
	// A search for whose rounds nothing was answered ends after fruitless, any
	// other one after mostRounds.
	fruitless  = 3
	mostRounds = 16
	// believed is how improbable it shall be that a length which got through
	// before is lost by chance alone, and enough the same of any other.
	believed, enough = 1e-6, 1e-2
	// leastWait and mostWait bound how long answers are waited for.
	leastWait = 150 * time.Millisecond
	mostWait  = 3 * time.Second
)

// begin starts anew: size is what is believed, from before or of the link.
func (s *search) begin(least, most, size int, rtt time.Duration) {
	*s = search{least: min(least, most), most: most, size: min(size, most), rtt: rtt}
}

// wait is how long a round's answers are waited for.
func (s *search) wait() time.Duration {
	if s.rtt == 0 {
		return time.Second
	}
	return min(max(2*s.rtt+50*time.Millisecond, leastWait), mostWait)
}

// confirm tells the lengths to probe to see whether size still gets through.
func (s *search) confirm() []int {
	s.clear(confirming)
	return []int{s.size}
}

// raise tells those to see whether more does.
//
//rfc:8899#5.3.1
func (s *search) raise() []int {
	s.clear(raising)
	s.low = s.size
	return append(between(s.low, s.most), s.most)
}

// clear forgets the search before.
func (s *search) clear(to state) {
	s.state, s.low, s.lost, s.answered, s.rounds = to, 0, make(map[int]int), 0, 0
}

// sent takes the probes of a round.
func (s *search) sent(round []probe, now time.Time) {
	s.round, s.ends = round, now.Add(s.wait())
}

// answer takes the answer to one; false when there is none like that.
func (s *search) answer(token uint64, now time.Time) bool {
	i := slices.IndexFunc(s.round, func(p probe) bool { return p.token == token && !p.answered })
	if i < 0 || s.state == idle {
		return false
	}
	p := &s.round[i]
	p.answered = true
	if took := now.Sub(p.at); s.rtt == 0 || took > s.rtt {
		s.rtt = took
	} else {
		s.rtt += (took - s.rtt) / 8
	}
	s.low, s.answered = max(s.low, p.size), s.answered+1
	if !slices.ContainsFunc(s.round, func(p probe) bool { return !p.answered }) {
		s.ends = now
	}
	return true
}

// over ends a round: it tells the lengths of the next one, none when the search
// has ended. size is what may be sent from now on.
//
//rfc:8899#4.3
//rfc:8899#5.3.2
func (s *search) over() []int {
	for _, p := range s.round {
		if !p.answered {
			s.lost[p.size]++
		}
	}
	s.rounds++
	switch {
	case s.state == confirming && s.answered > 0:
		s.state, s.hint = idle, 0
		return nil
	case s.state == confirming:
		s.state = searching
		sizes := append([]int{s.least}, between(s.least, s.most)...)
		if s.hint > s.least && s.hint < s.size {
			sizes = s.with(sizes, s.hint)
		}
		s.hint = 0
		return s.with(append(sizes, s.most), s.size)
	case s.low == 0:
		// Not even the shortest: it is not for their length that they are
		// lost, or nobody answers.
		if s.rounds > fruitless {
			s.state = idle
			return nil
		}
		return s.again()
	case s.state == searching && s.low >= s.size || s.rounds > mostRounds:
		s.state = idle // it was chance, or nobody can tell
		return nil
	case s.state == searching && s.chance(s.low+1, s.size) <= believed:
		s.state = raising // from low
	}
	high := s.high()
	if s.state == raising {
		s.size = s.low
		if s.low >= s.most || high-s.low <= 1 && s.chance(high, high) <= enough {
			s.state = idle
			return nil
		}
	}
	sizes := between(s.low, high)
	if high <= s.most {
		sizes = s.with(sizes, high)
	}
	if s.state == searching {
		// Something that gets through, and something that should.
		sizes = s.with(s.with(sizes, s.low), s.size)
	}
	return sizes
}

// high is the shortest length above low of which one was lost.
func (s *search) high() int {
	high := s.most + 1
	for size := range s.lost {
		if size > s.low && size < high {
			high = size
		}
	}
	return high
}

// chance is how probable it is that what was lost of these lengths was lost as
// anything is over this path.
func (s *search) chance(from, to int) float64 {
	byChance, lost := 0, 0
	for size, n := range s.lost {
		switch {
		case size <= s.low:
			byChance += n
		case size >= from && size <= to:
			lost += n
		}
	}
	return math.Pow(float64(byChance+1)/float64(byChance+s.answered+2), float64(lost))
}

// with adds a length to a round that has it not.
func (s *search) with(sizes []int, size int) []int {
	if !slices.Contains(sizes, size) {
		sizes = append(sizes, size)
	}
	slices.Sort(sizes)
	return sizes
}

// again is the round once more.
func (s *search) again() (sizes []int) {
	for _, p := range slices.Backward(s.round) {
		sizes = append(sizes, p.size)
	}
	return sizes
}

// failed says that a search ended without any answer.
func (s *search) failed() bool { return s.state == idle && s.low == 0 && s.rounds > fruitless }

// between divides what lies between two lengths, without them.
func between(low, high int) (sizes []int) {
	step := max(1, (high-low)/parts)
	for size := low + step; size < high && len(sizes) < parts; size += step {
		sizes = append(sizes, size)
	}
	return sizes
}
