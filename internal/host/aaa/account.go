package aaa

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"time"

	"layeh.com/radius"

	"careof/internal/core/aaa"
	"careof/internal/core/engine"
	"careof/internal/core/forward"
)

// A Ledger keeps the sessions that roles tell of, and has servers told of them
// (RFC 2866): of the start, of what goes on now and then, and of the end, with
// what the data plane has counted. Records go out in order; while no server
// takes them they wait. It is safe for concurrent use.
type Ledger struct {
	server Accountant
	usage  func(forward.Key) forward.Counters
	mono   func() time.Time

	mu       sync.Mutex
	interim  time.Duration // 0: as servers say
	sessions map[aaa.Session]*live
	byKey    map[forward.Key]aaa.Session
	interims engine.Agenda[aaa.Session]
	queue    []Record
	ready    chan struct{}
	lost     uint64
}

// maxQueue bounds the records that wait for a server. The oldest one goes then:
// the latest say more.
const maxQueue = 1 << 16

// A live session.
type live struct {
	about aaa.Account
	last  forward.Counters // as the plane told
	sum   forward.Counters // of the session
	gone  bool             // its entry was removed, and counted to the end
}

// A Record waits to be told.
type Record struct {
	about  aaa.Account
	sum    forward.Counters
	lasted time.Duration
	at     time.Time
	on     bool // Accounting-On: everything from before is over
}

// An Accountant has servers told of sessions: [RADIUS], [Attendant]. An error that
// is [aaa.ErrUnavailable] makes the record wait, any other one loses it.
type Accountant interface {
	record(ctx context.Context, r Record) error
}

// NewLedger makes a ledger. usage tells what an entry of the data plane has
// counted, and mono the time of sessions.
func NewLedger(r Accountant, interim time.Duration, usage func(forward.Key) forward.Counters, mono func() time.Time) *Ledger {
	return &Ledger{
		server: r, interim: interim, usage: usage, mono: mono,
		sessions: make(map[aaa.Session]*live), byKey: make(map[forward.Key]aaa.Session), ready: make(chan struct{}, 1),
	}
}

// Interim sets how often servers are told of sessions that go on; each session
// takes it over with its next record.
func (l *Ledger) Interim(every time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.interim = every
}

// Account takes what a role tells.
func (l *Ledger) Account(q aaa.Account) {
	l.mu.Lock()
	defer l.mu.Unlock()
	v := l.sessions[q.Session]
	if v == nil {
		if q.Moment == aaa.Stop {
			return
		}
		v = &live{}
		l.sessions[q.Session], l.byKey[q.Key] = v, q.Session
	}
	v.about = q
	l.interims.Clear(q.Session)
	if every := cmp.Or(q.Interim, l.interim); every > 0 && q.Moment != aaa.Stop {
		l.interims.Set(q.Session, l.mono().Add(every))
	}
	if q.Moment == aaa.Stop {
		// The role tells of the end when it asks for the entry's removal, and may be
		// heard first.
		if !v.gone {
			l.sample(v)
		}
		delete(l.sessions, q.Session)
		if l.byKey[q.Key] == q.Session {
			delete(l.byKey, q.Key)
		}
	} else {
		l.sample(v)
	}
	l.put(v)
}

// sample brings a session's sums up to date. An entry that was made anew has
// begun to count anew.
func (l *Ledger) sample(v *live) {
	v.gone = false
	now := l.usage(v.about.Key)
	add := func(sum *uint64, now, last uint64) {
		if now < last {
			last = 0
		}
		*sum += now - last
	}
	add(&v.sum.SentBytes, now.SentBytes, v.last.SentBytes)
	add(&v.sum.SentPackets, now.SentPackets, v.last.SentPackets)
	add(&v.sum.ReceivedBytes, now.ReceivedBytes, v.last.ReceivedBytes)
	add(&v.sum.ReceivedPackets, now.ReceivedPackets, v.last.ReceivedPackets)
	v.last = now
}

// put has a session's record told.
func (l *Ledger) put(v *live) {
	if len(l.queue) >= maxQueue {
		l.drop()
		l.lost++
	}
	l.queue = append(l.queue, Record{about: v.about, sum: v.sum, lasted: l.mono().Sub(v.about.Began), at: time.Now()})
	l.wake()
}

// drop forgets the oldest record.
func (l *Ledger) drop() {
	l.queue[0] = Record{}
	l.queue = l.queue[1:]
}

func (l *Ledger) wake() {
	select {
	case l.ready <- struct{}{}:
	default:
	}
}

// gone reads the counters of entries that are about to be removed.
func (l *Ledger) gone(keys []forward.Key) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, k := range keys {
		if v := l.sessions[l.byKey[k]]; v != nil {
			l.sample(v)
			v.last, v.gone = forward.Counters{}, true
		}
	}
}

// Run tells servers until ctx ends.
func (l *Ledger) Run(ctx context.Context) {
	l.mu.Lock()
	l.queue = append([]Record{{on: true, at: time.Now()}}, l.queue...)
	l.mu.Unlock()
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		l.due()
		for l.tellOne(ctx) {
		}
		select {
		case <-ctx.Done():
			// What is known of ends that have come just now is worth a moment.
			last, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
			defer cancel()
			for l.tellOne(last) {
			}
			return
		case <-tick.C:
		case <-l.ready:
		}
	}
}

// due makes the interim records whose time has come.
func (l *Ledger) due() {
	l.mu.Lock()
	defer l.mu.Unlock()
	now := l.mono()
	for {
		id, due := l.interims.Due(now)
		if !due {
			return
		}
		v := l.sessions[id]
		v.about.Moment, v.about.Why = aaa.Interim, ""
		if every := cmp.Or(v.about.Interim, l.interim); every > 0 {
			l.interims.Set(id, now.Add(every))
		} else {
			l.interims.Clear(id)
		}
		l.sample(v)
		l.put(v)
	}
}

// tellOne tells the oldest record and says whether a server took it.
func (l *Ledger) tellOne(ctx context.Context) bool {
	l.mu.Lock()
	if len(l.queue) == 0 || ctx.Err() != nil {
		l.mu.Unlock()
		return false
	}
	r := l.queue[0]
	l.mu.Unlock()
	err := l.server.record(ctx, r)
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case errors.Is(err, aaa.ErrUnavailable):
		return false
	case err != nil:
		l.lost++ // it cannot be told, ever
	}
	if len(l.queue) > 0 && l.queue[0].at.Equal(r.at) && l.queue[0].about.Session == r.about.Session {
		l.drop()
	}
	return true
}

// seen is what the data plane has counted as it is seen from the user: Received is
// what he has sent. At a home agent that is what came out of the tunnel, at a
// foreign agent what went into it.
func (r *Record) seen() forward.Counters {
	c := r.sum
	if r.about.Role == "foreign-agent" {
		c.ReceivedBytes, c.SentBytes, c.ReceivedPackets, c.SentPackets = c.SentBytes, c.ReceivedBytes, c.SentPackets, c.ReceivedPackets
	}
	return c
}

// SessionStatus is a session as shown.
type SessionStatus struct {
	ID          string           `json:"id"`
	Role        string           `json:"role"`
	NAI         string           `json:"nai,omitempty"`
	HomeAddress string           `json:"home_address,omitempty"`
	Lasted      time.Duration    `json:"lasted"` // nanoseconds
	Counters    forward.Counters `json:"counters"`
}

// Lost is how many records were lost.
func (l *Ledger) Lost() uint64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.lost
}

// Status lists the sessions by id, how many records wait, and how many were lost.
func (l *Ledger) Status() (list []SessionStatus, waiting int, lost uint64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	now := l.mono()
	for id, v := range l.sessions {
		l.sample(v)
		s := SessionStatus{ID: id.String(), Role: v.about.Role, NAI: string(v.about.NAI), Lasted: now.Sub(v.about.Began), Counters: v.sum}
		if v.about.HomeAddress.IsValid() {
			s.HomeAddress = v.about.HomeAddress.String()
		}
		list = append(list, s)
	}
	slices.SortFunc(list, func(a, b SessionStatus) int { return strings.Compare(a.ID, b.ID) })
	return list, len(l.queue), l.lost
}

// Values of Acct-Status-Type and Acct-Terminate-Cause (RFC 2866).
const (
	statusStart   = 1
	statusStop    = 2
	statusInterim = 3
	statusOn      = 7

	causeUserRequest    = 1
	causeSessionTimeout = 5
	causeAdminReset     = 6
	causeNASError       = 9
	causeNASRequest     = 10
)

var causes = []struct {
	why   string
	cause uint32
}{
	{"deregistered", causeUserRequest},
	{"expired", causeSessionTimeout},
	{"cleared", causeAdminReset},
	{"ended by AAA", causeAdminReset},
	{"failed", causeNASError},
}

// record implements [Accountant]. Without servers there is nobody to tell.
func (r *RADIUS) record(ctx context.Context, rec Record) error {
	if r.Servers() == 0 {
		return nil
	}
	_, _, _, err := r.exchange(ctx, true, func(s *Server) *radius.Packet { return r.account(s, rec) })
	return err
}

// account makes an Accounting-Request (RFC 2866). Octets and packets are seen
// from the user: Input is what he has sent. At a home agent that is what came out
// of the tunnel, at a foreign agent what went into it.
func (r *RADIUS) account(s *Server, rec Record) *radius.Packet {
	q := rec.about
	if rec.on {
		p := radius.New(radius.CodeAccountingRequest, s.Secret)
		putText(p, attrNASIdentifier, r.cfg.Load().NASIdentifier)
		putAddr(p, attrNASIPAddress, r.cfg.Load().NASAddress)
		putU32(p, attrAcctStatusType, statusOn)
		putU32(p, attrEventTimestamp, uint32(rec.at.Unix()))
		return p
	}
	p := r.request(radius.CodeAccountingRequest, s, q.Subject)
	putU32(p, attrAcctStatusType, map[aaa.Moment]uint32{aaa.Start: statusStart, aaa.Interim: statusInterim, aaa.Stop: statusStop}[q.Moment])
	p.Add(attrAcctSessionID, radius.Attribute(q.Session.String()))
	putU32(p, attrAcctAuthentic, 1) // RADIUS
	putU32(p, attrEventTimestamp, uint32(rec.at.Unix()))
	putU32(p, attrAcctDelayTime, uint32(r.now().Sub(rec.at)/time.Second))
	if len(q.Class) > 0 {
		p.Add(attrClass, q.Class)
	}
	if q.Moment == aaa.Start {
		return p
	}
	seen := rec.seen()
	in, out, inPackets, outPackets := seen.ReceivedBytes, seen.SentBytes, seen.ReceivedPackets, seen.SentPackets
	putU32(p, attrAcctSessionTime, uint32(rec.lasted/time.Second))
	putU32(p, attrAcctInputOctets, uint32(in))
	putU32(p, attrAcctInputGigawords, uint32(in>>32))
	putU32(p, attrAcctOutputOctets, uint32(out))
	putU32(p, attrAcctOutputGigawords, uint32(out>>32))
	putU32(p, attrAcctInputPackets, uint32(inPackets))
	putU32(p, attrAcctOutputPackets, uint32(outPackets))
	if q.Moment == aaa.Stop {
		cause := uint32(causeNASRequest)
		for _, c := range causes {
			if strings.HasPrefix(q.Why, c.why) {
				cause = c.cause
			}
		}
		putU32(p, attrAcctTerminateCause, cause)
	}
	return p
}

// Metered is a data plane whose entries' last counts reach the ledger before the
// entries go.
func (l *Ledger) Metered(p forward.Plane) forward.Plane { return &metered{p, l} }

type metered struct {
	forward.Plane
	ledger *Ledger
}

// Apply implements [forward.Plane].
func (m *metered) Apply(ctx context.Context, changes []forward.Change) error {
	var keys []forward.Key
	for _, c := range changes {
		if c.Op == forward.Delete {
			keys = append(keys, c.Entry.Key)
		}
	}
	if len(keys) > 0 {
		m.ledger.gone(keys)
	}
	return m.Plane.Apply(ctx, changes)
}

// Adopts implements [forward.Adopter].
func (m *metered) Adopts() bool {
	a, ok := m.Plane.(forward.Adopter)
	return ok && a.Adopts()
}
