package subscriber

import (
	"careof/internal/core/aaa"
	"careof/internal/core/binding"
	"careof/internal/core/engine"
	"careof/internal/core/note"
	"careof/internal/proto/mip4/ha"
)

// orders lets AAA end and change sessions (RFC 5176 sections 2.1 and 2.2).
//
//rfc:5176#2.1
//rfc:5176#2.2
func (s *homeSessions) orders() {
	engine.AddCommand(&s.agent.Desk, func(e aaa.End) (any, error) { return s.end(e), nil })
	engine.AddCommand(&s.agent.Desk, func(c aaa.Change) (any, error) { return s.change(c), nil })
}

// each calls do for every node with bindings that the order means.
func (s *homeSessions) each(e aaa.End, do func(*ha.Node)) (n int) {
	list := s.agent.NodeList
	if e.NAI != "" {
		list = func() []*ha.Node {
			if one := s.agent.NodeNamed(e.NAI); one != nil {
				return []*ha.Node{one}
			}
			return nil
		}
	}
	for _, node := range list() {
		if len(node.Bindings()) > 0 && fits(e, node.Identity().NAI, node.Home(), s.open[node]) {
			do(node)
			n++
		}
	}
	return n
}

// end ends bindings. A node that only AAA knows is asked about anew before it is
// served again.
func (s *homeSessions) end(e aaa.End) int {
	return s.each(e, func(n *ha.Node) {
		s.said(n, "ended")
		if s.home != nil {
			s.home.forget(n)
		}
		s.agent.Remove(n, binding.ID{}, ByAAA)
	})
}

// change shortens what bindings have left, or lets an adopted node go on.
func (s *homeSessions) change(c aaa.Change) int {
	until := s.agent.Now().Mono.Add(c.Lifetime)
	return s.each(c.End, func(n *ha.Node) {
		s.said(n, "lifetime "+c.Lifetime.String())
		if s.home != nil {
			if w := s.home.words[n]; w != nil {
				w.until, w.grant.Lifetime, w.dirty = until, c.Lifetime, true
			}
		}
		for _, b := range n.Bindings() {
			if b.Expires.IsZero() || b.Expires.After(until) {
				s.agent.Update(n, b.ID, func(b *binding.Binding) { b.Expires = until })
			}
		}
	})
}

func (s *homeSessions) said(n *ha.Node, what string) {
	s.agent.Tell(note.Note{Kind: Ordered, Level: note.Info, NAI: string(n.Identity().NAI), HomeAddress: n.Home(), Why: what})
}

// orders lets AAA end visits.
func (s *foreignSessions) orders() {
	engine.AddCommand(&s.agent.Desk, func(e aaa.End) (any, error) {
		n := 0
		for _, v := range s.agent.Visitors() {
			if fits(e, v.NAI, v.HomeAddress, s.open[v.Key()]) {
				s.agent.Tell(note.Note{Kind: Ordered, Level: note.Info, NAI: string(v.NAI), HomeAddress: v.HomeAddress, HomeAgent: v.HomeAgent, Why: "ended"})
				s.agent.Depart(v, VisitByAAA)
				n++
			}
		}
		return n, nil
	})
}
