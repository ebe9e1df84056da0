package path

import (
	"time"

	"careof/internal/proto/mip4/feature/vendor"
	"careof/internal/proto/mip4/mn"
	"careof/wire/mip4"
)

// inquireAt is when to ask the home agent over the path in use whether it knows
// questions, so that one can be waited for over another path: as long after it has
// accepted as is between questions, where there are more links than that one, and
// none of them is asked over anyway; and sooner and oftener, while a path is preferred
// over which nothing has come yet. Zero: not now.
func (m *mobile) inquireAt() time.Time {
	r := m.node.Active()
	if len(m.paths) < 2 || r == nil || !r.Live() || m.node.AtHome() || r.Key.Agent.IsValid() || r.Key.HomeAgent != m.inquired || m.answering(m.inquired) {
		return time.Time{}
	}
	pause, most := m.pace(r.Key.Link).standby, 1
	switch {
	case m.lacking(r):
		if pause, most = wait, missed; m.inquiries == 0 {
			pause = wait / 4 // it may just have been registered over, and be answered
		}
	case len(m.standbys()) > 0:
		most = 0
	}
	if m.inquiries >= most {
		return time.Time{}
	}
	return m.since.Add(pause)
}

// lacking says that a path is preferred to that of a registration, and that nothing
// has come back over it.
func (m *mobile) lacking(r *mn.Registration) bool {
	for _, c := range m.node.Candidates() {
		if r.Of(c) {
			return false
		}
		if t := m.track(c.Link.Name); !t.proven && !t.dead && !c.Agent.IsValid() {
			return true
		}
	}
	return false
}

// inquire asks. The question names an address that is nobody's: it ends nothing,
// whoever gets it.
func (m *mobile) inquire(now time.Time) {
	agent := m.inquired
	m.inquiries, m.since = m.inquiries+1, now
	m.node.Inquire(m.node.Active(), agent, func(v mn.Validation) {
		if _, ok := vendor.Find(v.Message.Exts, false, vendor.Careof, Answer); ok {
			m.knows = agent
			m.node.Rechoose()
		}
	}, &mip4.CVSE{Vendor: vendor.Careof, VendorType: Question})
}
