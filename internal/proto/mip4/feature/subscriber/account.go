package subscriber

import (
	"net/netip"
	"time"

	"careof/internal/core/aaa"
	"careof/internal/core/binding"
	"careof/internal/core/engine"
	"careof/internal/core/forward"
	"careof/internal/core/ident"
	"careof/internal/proto/mip4/fa"
	"careof/internal/proto/mip4/ha"
)

// A session is one that AAA was told of.
type session struct {
	id     aaa.Session
	began  time.Time  // monotonic
	careOf netip.Addr // last told
	key    forward.Key
}

// homeSessions are a home agent's: one for each node with a binding.
type homeSessions struct {
	cfg   Config
	agent *ha.Agent
	home  *home // nil: nobody is adopted
	open  map[*ha.Node]*session
	// restored are nodes whose sessions AAA is told of in the first step: before
	// it nobody hears.
	restored []*ha.Node
	since    time.Time // monotonic
}

// accountHome tells AAA of sessions, and takes its orders.
//
//rfc:5030#3.1
func accountHome(c Config, a *ha.Agent, h *home) {
	s := &homeSessions{cfg: c, agent: a, home: h, open: make(map[*ha.Node]*session)}
	a.OnBound(s.bound)
	a.OnRestored(func(n *ha.Node, _ binding.Binding) {
		s.since = a.Now().Mono
		s.restored = append(s.restored, n)
	})
	a.AddTimer(func() time.Time { return s.since }, s.resume)
	a.OnUnbound(s.unbound)
	s.orders()
}

// resume begins sessions for the bindings that a restart has brought back: the
// servers have been told that everything from before is over.
func (s *homeSessions) resume() {
	list := s.restored
	s.restored, s.since = nil, time.Time{}
	for _, n := range list {
		for _, b := range n.Bindings() {
			s.bound(n, b)
		}
	}
}

// bound: a node's first binding begins a session; another care-of address is
// worth a word. Renewals are not: AAA hears of those sessions now and then.
func (s *homeSessions) bound(n *ha.Node, b binding.Binding) {
	v := s.open[n]
	switch {
	case v == nil:
		v = &session{id: aaa.Session(s.agent.Rand().Uint64() | 1), began: s.agent.Now().Mono, careOf: b.CareOfAddress, key: n.Key()}
		s.open[n] = v
		s.tell(n, v, aaa.Start, "")
	case v.careOf != b.CareOfAddress:
		v.careOf = b.CareOfAddress
		s.tell(n, v, aaa.Interim, "")
	}
}

func (s *homeSessions) unbound(n *ha.Node, _ binding.Binding, why ha.Reason) {
	v := s.open[n]
	if v == nil || len(n.Bindings()) > 0 {
		return
	}
	delete(s.open, n)
	s.tell(n, v, aaa.Stop, string(why))
}

func (s *homeSessions) tell(n *ha.Node, v *session, m aaa.Moment, why string) {
	if !s.cfg.Account {
		return
	}
	q := aaa.Account{
		Role: ha.RoleName, Moment: m, Session: v.id, Key: v.key, Began: v.began, Why: why,
		Subject: aaa.Subject{NAI: n.Identity().NAI, HomeAddress: n.Home(), HomeAgent: s.agent.Config().Addresses[0], CareOfAddress: v.careOf},
	}
	if s.home != nil {
		if w := s.home.words[n]; w != nil {
			q.Class, q.Interim = w.grant.Class, w.grant.Interim
		}
	}
	s.agent.Ask(q, func(engine.Answer) {})
}

// foreignSessions are a foreign agent's: one for each visit.
type foreignSessions struct {
	agent *fa.Agent
	open  map[forward.Key]*session
}

func accountForeign(a *fa.Agent) {
	s := &foreignSessions{agent: a, open: make(map[forward.Key]*session)}
	a.OnArrived(s.arrived)
	a.OnDeparted(s.departed)
	s.orders()
}

func (s *foreignSessions) arrived(v *fa.Visitor) {
	if s.open[v.Key()] != nil {
		return
	}
	one := &session{id: aaa.Session(s.agent.Rand().Uint64() | 1), began: s.agent.Now().Mono, key: v.Key()}
	s.open[v.Key()] = one
	s.tell(v, one, aaa.Start, "")
}

func (s *foreignSessions) departed(v *fa.Visitor, why fa.Reason) {
	one := s.open[v.Key()]
	if one == nil || s.agent.VisitorOf(v.HomeAddress, v.HomeAgent) != nil {
		return
	}
	delete(s.open, v.Key())
	s.tell(v, one, aaa.Stop, string(why))
}

func (s *foreignSessions) tell(v *fa.Visitor, one *session, m aaa.Moment, why string) {
	s.agent.Ask(aaa.Account{
		Role: fa.RoleName, Moment: m, Session: one.id, Key: one.key, Began: one.began, Why: why,
		Subject: aaa.Subject{NAI: v.NAI, HomeAddress: v.HomeAddress, HomeAgent: v.HomeAgent, CareOfAddress: v.CareOf},
	}, func(engine.Answer) {})
}

// fits says whether an order means a session: the name is the node's NAI.
func fits(e aaa.End, nai ident.NAI, home netip.Addr, v *session) bool {
	var id aaa.Session
	if v != nil {
		id = v.id
	}
	return e.Fits(nai, home, id)
}
