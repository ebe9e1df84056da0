package redundant

import (
	"fmt"
	"time"

	"careof/internal/core/engine"
	"careof/internal/core/forward"
	"careof/internal/core/note"
	"careof/internal/proto/mip4/feature/vendor"
	"careof/internal/proto/mip4/mn"
	"careof/wire/mip4"
)

const (
	// calm is how long after the last doubt a path is good again. It doubles when
	// that was a mistake lately, as often as mistakes says.
	calm     = 10 * time.Second
	lately   = time.Minute
	mistakes = 3
	// again is between requests of which one should have been enough.
	again = time.Second
)

// Notes: all packets go over a second uplink besides, since the one in use is in
// doubt, and they do so no more.
const (
	InDoubt   note.Kind = "path-doubt"
	DoubtOver note.Kind = "path-doubt-over"
)

// mobile is the feature at a mobile node.
type mobile struct {
	cfg  Config
	node *mn.Node

	until   time.Time            // in doubt until then; zero: it is not
	ended   time.Time            // the last doubt
	row     int                  // of doubts that came lately after another
	inDoubt string               // the link
	since   time.Time            // of this doubt
	doubts  map[string]mn.Doubts // by link, but for the present one's time

	asked   ask // by the last request
	askedAt time.Time
	held    ask // what the home agent has agreed to; the zero ask: to nothing
}

// An ask is what a request asks for.
type ask struct {
	first mn.RegistrationKey // that the rest goes over
	all   bool               // everything is copied
}

// asks is what a pending request asked for.
var asks = new(engine.Slot[ask])

func addMobile(cfg Config, n *mn.Node) {
	m := &mobile{cfg: cfg, node: n, doubts: make(map[string]mn.Doubts)}
	n.Request.Add(Name, "ask", m.request)
	n.Accepted.Add(Name, "agreed", m.accepted)
	n.Moved.Add(Name, "calm", m.moved)
	n.Choose.Add(Name, "doubts", m.choose)
	n.Timer(Name, m.deadline, m.due)
	if cfg.InDoubt {
		n.OnDoubt(m.doubt)
	}
}

// classes are those to be copied.
func (m *mobile) classes(all bool) []forward.Class {
	if all {
		return []forward.Class{forward.Everything}
	}
	return m.cfg.Classes
}

// tell makes the node do what is agreed.
func (m *mobile) tell() {
	r := mn.Redundancy{Agreed: true, Classes: m.classes(!m.until.IsZero()), Sparing: len(m.cfg.Classes) == 0}
	if !m.until.IsZero() {
		r.Why = fmt.Sprintf("for now all packets go over it and another, since an answer over %s is overdue or was lately", m.inDoubt)
	}
	m.node.SetRedundancy(r)
}

// request asks. One that takes the place of all others asks for no more than is
// configured: nothing is left to be in doubt about.
func (m *mobile) request(x *mn.Attempt) engine.Verdict {
	if x.Purpose != mn.Register || x.Registration.Key.Agent.IsValid() {
		return engine.Next()
	}
	joins := x.Request.Flags.Has(mip4.FlagS)
	a := ask{first: x.Registration.Key, all: joins && !m.until.IsZero()}
	rank := byte(first)
	if active := m.node.Active(); joins && !m.node.Foremost(x.Registration) {
		rank = copies
		if active != nil {
			a.first = active.Key
		}
	}
	value := []byte{rank}
	for _, c := range m.classes(a.all) {
		value = c.Append(value)
	}
	x.Add(mip4.ZoneHome, &mip4.NVSE{Vendor: vendor.Careof, VendorType: Ask, Value: value})
	*asks.Of(x) = a
	m.asked, m.askedAt = a, x.Now.Mono
	return engine.Next()
}

// accepted takes the answer.
func (m *mobile) accepted(x *mn.Response) engine.Verdict {
	if _, agreed := vendor.Find(x.Message.Authorized(), false, vendor.Careof, Agreed); !agreed {
		if m.held = (ask{}); !m.until.IsZero() {
			m.end(x.Now.Mono)
		}
		m.node.SetRedundancy(mn.Redundancy{})
		return engine.Next()
	}
	m.held = *asks.Of(&x.Sent)
	m.tell()
	return engine.Next()
}

// doubt: something over the path in use is overdue. Copies cost little, and what
// is not copied is lost if the path is dead.
func (m *mobile) doubt(r *mn.Registration) {
	spare := m.node.Spare()
	if spare == nil || r != m.node.Active() {
		return
	}
	now := m.node.Now().Mono
	if m.until.IsZero() {
		if m.ended.IsZero() || now.Sub(m.ended) > lately {
			m.row = 0
		} else {
			m.row = min(m.row+1, mistakes)
		}
	}
	if !m.until.IsZero() && m.inDoubt != r.Key.Link {
		m.count(now)
		m.until = time.Time{}
	}
	if m.until.IsZero() {
		d := m.doubts[r.Key.Link]
		d.Times++
		m.doubts[r.Key.Link], m.since = d, now
		m.node.Tell(note.Note{Kind: InDoubt, Level: note.Info, Link: r.Key.Link, CareOfAddress: r.Key.CareOf, HomeAgent: r.Key.HomeAgent,
			Why: "an answer over it is overdue: all packets go over it and " + spare.Key.Link})
	}
	m.until, m.inDoubt = now.Add(calm<<m.row), r.Key.Link
	m.tell()
	if !m.asked.all {
		m.node.Renew(spare)
	}
}

// moved: what was in doubt is not in use any more.
func (m *mobile) moved(x *mn.Movement) engine.Verdict {
	if !m.until.IsZero() {
		m.end(x.Now.Mono)
	}
	return engine.Next()
}

func (m *mobile) end(now time.Time) {
	m.count(now)
	m.until, m.ended = time.Time{}, now
	m.tell()
}

// count adds a doubt's time, and says that it is over.
func (m *mobile) count(now time.Time) {
	d := m.doubts[m.inDoubt]
	d.Lasted += now.Sub(m.since)
	m.doubts[m.inDoubt] = d
	m.node.Tell(note.Note{Kind: DoubtOver, Level: note.Info, Link: m.inDoubt, Took: now.Sub(m.since), Why: "packets go over one uplink again"})
}

// choose says of each uplink how often it was in doubt.
func (m *mobile) choose(x *mn.Choice) engine.Verdict {
	for i := range x.Candidates {
		c := &x.Candidates[i]
		c.Doubts = m.doubts[c.Link.Name]
		if !m.until.IsZero() && m.inDoubt == c.Link.Name {
			c.Doubts.Lasted += x.Now.Mono.Sub(m.since)
		}
	}
	return engine.Next()
}

// apart is when the home agent is to be asked anew, since what it has agreed to
// is not what the node does; zero: it is the same.
func (m *mobile) apart() time.Time {
	r := m.node.Active()
	if m.held == (ask{}) || r == nil || !r.Live() || r.Key.Agent.IsValid() || m.held == (ask{first: r.Key, all: !m.until.IsZero()}) {
		return time.Time{}
	}
	return m.askedAt.Add(again)
}

func (m *mobile) deadline() time.Time { return engine.Earliest(m.until, m.apart()) }

// due ends a doubt, and asks again.
func (m *mobile) due() {
	now := m.node.Now().Mono
	if !m.until.IsZero() && !m.until.After(now) {
		m.end(now)
	}
	if at := m.apart(); at.IsZero() || at.After(now) {
		return
	}
	m.askedAt = now
	if !m.node.Sound() {
		return // what takes the lost one's place will ask
	}
	r := m.node.Active()
	if spare := m.node.Spare(); spare != nil && !m.until.IsZero() {
		r = spare // the one in doubt may be dead
	}
	m.node.Renew(r)
}
