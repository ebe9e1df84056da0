package natt

import (
	"time"

	"careof/internal/core/note"
	question "careof/internal/proto/mip4/feature/path"
	"careof/internal/proto/mip4/feature/vendor"
	"careof/internal/proto/mip4/mn"
	"careof/wire/encap"
	"careof/wire/mip4"
)

// Lengthened notes that a keepalive interval is longer than before.
const Lengthened note.Kind = "keepalive-lengthened"

// A search looks for a longer interval than the one that is left after a
// mapping was lost: halving goes too far, and what looked like a lost mapping
// may have been something else. "The strategy used to arrive at a keepalive
// interval when a NAT mapping is lost is implementation dependent" (RFC 3519
// section 4.10).
//
// It never touches the tunnel's mapping. From a port beside it the node asks
// the home agent two things: something that is answered at once, and some
// seconds later, when the NAT has seen both directions, something that is
// answered after a while, in which nobody sends from or to that port. When the
// answer arrives, that NAT keeps a mapping for so long. When none does, twice,
// it does not. The tunnel's interval is what was kept less a margin, and never
// more than what the home agent has assigned.
//
//rfc:3519#4.10
type search struct {
	stage stage
	next  time.Time // when to go on; zero: not before something happens
	trial uint      // counts questions; answers to others are late
	sent  time.Time // the last question
	hold  time.Duration
	heard bool // the present question has been answered
	fails int  // of trials in a row, with the same hold
	mute  int  // first questions in a row that were not answered

	bad    time.Duration // a mapping has not lasted so long; zero: not known of any
	badAt  time.Time
	grown  bool // the interval in use is what trials have found
	unable bool // the home agent does not answer later
}

// A stage is what a search waits for.
type stage uint8

const (
	resting stage = iota // for the next trial
	opened               // for the answer that comes at once
	holding              // for the one that comes later
)

const (
	// rest is between trials; it doubles while questions are not answered.
	rest = 30 * time.Second
	// openWait is from the first question to the second. Linux takes a UDP
	// flow for a lasting one when it goes both ways after two seconds.
	openWait = 5 * time.Second
	// holdWait is how late an answer may be.
	holdWait = 5 * time.Second
	// margin is what the interval is less than what was kept: time for an
	// echo request to be sent three times.
	margin = 5 * time.Second
	// step is the least difference that is worth a trial.
	step = 4 * time.Second
	// maxMute bounds how often rest doubles.
	maxMute = 6
)

// lost: the tunnel's mapping was, with that interval. If that was none that
// trials had found, they tell whether it was the NAT's time-out. Otherwise they
// are not to be trusted as far again.
func (s *search) lost(interval time.Duration, now time.Time) {
	if s.grown {
		s.worse(interval, now)
	}
	s.stage, s.next, s.fails, s.grown = resting, time.Time{}, 0, false
}

// worse: a mapping has not lasted for d.
func (s *search) worse(d time.Duration, now time.Time) {
	if s.bad == 0 || d < s.bad || now.Sub(s.badAt) >= lessonAge {
		s.bad, s.badAt = d, now
	}
}

// wanted is how long the next trial is, zero when none is worth it.
func (k *keepalive) wanted(now time.Time) time.Duration {
	s, low, top := &k.search, k.interval+margin, k.assigned+margin
	if k.interval >= k.assigned || s.unable {
		return 0
	}
	if s.bad != 0 && now.Sub(s.badAt) >= lessonAge {
		s.bad = 0
	}
	hold := min(low*3/2, top)
	if s.bad != 0 {
		if s.bad < low+step {
			return 0
		}
		hold = min(low+(s.bad-low)/2, top)
	}
	if hold = min(hold.Truncate(time.Second), question.MaxWait); hold <= low {
		return 0 // no home agent waits for longer
	}
	return hold
}

// rests ends a trial, and says when to begin the next one.
func (k *keepalive) rests(now time.Time, after time.Duration) {
	k.search.stage, k.search.next = resting, time.Time{}
	switch {
	case k.wanted(now) > 0:
		k.search.next = now.Add(after)
	case k.search.bad != 0 && k.interval < k.assigned && !k.search.unable:
		// Somebody may have mended the NAT by then.
		k.search.next = k.search.badAt.Add(lessonAge)
	}
}

// grow goes on with the search for a longer interval.
func (m *mobile) grow(k *keepalive) {
	now, s := m.node.Now().Mono, &k.search
	switch {
	case k.moved || k.lost || !k.registration.Live() || k.registration.Tunnel.Encap != encap.UDP || k.registration.Key.Agent.IsValid():
		s.stage, s.next = resting, time.Time{} // until it is registered again
	case k.awaiting:
		k.rests(now, rest) // nothing that is missing now says anything of a NAT
	case s.stage == resting:
		s.hold, s.stage = k.wanted(now), opened
		if s.hold == 0 || !m.linger(k, 0) {
			k.rests(now, rest)
			return
		}
		s.next = now.Add(openWait)
	case s.stage == opened:
		s.stage = holding
		if !s.heard || !m.linger(k, s.hold) {
			s.mute = min(s.mute+1, maxMute)
			k.rests(now, rest<<s.mute)
			return
		}
		s.next = now.Add(s.hold + holdWait)
	default:
		// Once may have been a lost packet.
		if s.fails++; s.fails >= 2 {
			s.fails = 0
			s.worse(s.hold, now)
			m.remember(k)
		}
		k.rests(now, rest)
	}
}

// linger asks for an answer after a while.
func (m *mobile) linger(k *keepalive, hold time.Duration) bool {
	s := &k.search
	s.trial++
	s.sent, s.heard = m.node.Now().Mono, false
	trial := s.trial
	return m.node.Linger(k.registration, hold == 0, hold+holdWait, func(v mn.Validation) {
		if s.trial == trial && !k.moved {
			m.lingered(k, v)
		}
	}, &mip4.CVSE{Vendor: vendor.Careof, VendorType: question.Question, Value: question.Later(hold)})
}

// lingered takes the answer.
func (m *mobile) lingered(k *keepalive, v mn.Validation) {
	now, s := m.node.Now().Mono, &k.search
	_, understood := vendor.Find(v.Message.Exts, false, vendor.Careof, question.Answer)
	switch {
	case !understood, s.stage == holding && now.Sub(s.sent) < s.hold:
		s.unable = true // another home agent, or an older one, which waits for nothing
		k.rests(now, rest)
	case s.stage == opened:
		s.heard, s.mute = true, 0
	case s.stage == holding:
		s.fails = 0
		if kept := min(s.hold-margin, k.assigned); kept > k.interval && !k.lost {
			k.interval, s.grown = kept, true
			m.remember(k)
			r := k.registration
			m.node.Tell(note.Note{
				Kind: Lengthened, Level: note.Info, Link: r.Key.Link, CareOfAddress: r.Key.CareOf, HomeAgent: r.Key.HomeAgent,
				Lifetime: kept, Why: "the NAT keeps a mapping for " + s.hold.String(),
			})
		}
		k.rests(now, rest)
	}
}

// remember keeps what is known of the NAT in the network of a link.
func (m *mobile) remember(k *keepalive) {
	m.learn(k.registration.Key.Link, lesson{interval: k.interval, bad: k.search.bad, badAt: k.search.badAt, grown: k.search.grown})
}
