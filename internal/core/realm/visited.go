package realm

import (
	"errors"
	"slices"

	"careof/internal/core/engine"
	"careof/internal/core/mipapp"
	"careof/wire/diameter"
)

// sendHome takes an AMR about a node of another realm there: "the AAAF transmits
// the AMR with the possibly modified MIP-Feature-Vector AVP to the AAAH" (RFC 4004
// section 7.5).
//
//rfc:4004#3.2
//rfc:4004#7.5
//rfc:4004#7.10
//rfc:4004#3.2-4
//rfc:4004#3.2-7
//rfc:4004#3.2-8
//rfc:4004#7.5-3
//rfc:4004#7.5-5
//rfc:4004#7.10-1
func (s *Server) sendHome(c engine.Command, v Arrived, q mipapp.AMR) {
	m := v.Message
	// "When the AAAF receives the AMR message, it MUST first verify that the sender
	// was an authorized foreign agent."
	switch {
	case !s.home(q.Origin.Realm) || s.cfg.Clients != nil && !slices.Contains(s.cfg.Clients, q.Origin.Host):
		s.refuse(c, m, q.User, diameter.AuthorizationRejected, "not a foreign agent of this realm")
		return
	case !s.partner(q.Realm):
		s.refuse(c, m, q.User, diameter.RealmNotServed, "no agreement with the home realm")
		return
	}
	leave, ok := s.enter(q.User)
	if !ok {
		s.answer(c, m.Answer(diameter.TooBusy))
		return
	}
	on := passed(m)
	// "Only the AAAF may set the Foreign-Home-Agent-Available and
	// Home-Agent-In-Foreign-Network flags to one."
	features := q.Features &^ (diameter.ForeignHAAvailable | diameter.HomeAgentInForeign)
	on.List = slices.DeleteFunc(on.List, func(a diameter.AVP) bool {
		return a.Code == diameter.MIPCandidateHomeAgentHost || a.Code == diameter.MIPOriginatingForeignAAA
	})
	offers := func(a HomeAgent) bool { return a.Visitors }
	offered := ""
	asked := s.own(func(a HomeAgent) bool {
		return a.Visitors && (q.Agent.Host != "" && a.Host == q.Agent.Host || q.Agent.Host == "" && q.HomeAgent.IsValid() && a.Address == q.HomeAgent)
	})
	switch {
	case asked != nil:
		features |= diameter.HomeAgentInForeign
		if q.Agent.Host == "" {
			on.List = append(on.List, diameter.MIPHomeAgentHost.Group(
				diameter.DestinationRealm.Text(s.cfg.Identity.Realm), diameter.DestinationHost.Text(asked.Host)))
		}
		offered = asked.Host
	case q.Features&diameter.HomeAgentRequested != 0 && q.Features&diameter.HomeAddressOnlyHome == 0:
		if a := s.least(offers); a != nil {
			features |= diameter.ForeignHAAvailable
			on.List = append(on.List, diameter.MIPCandidateHomeAgentHost.Text(a.Host))
			offered = a.Host
		}
	}
	if offered != "" {
		// "The MIP-Originating-Foreign-AAA AVP MUST only be used in cases when the home
		// agent is or may be allocated in a foreign domain."
		on.List = append(on.List, diameter.MIPOriginatingForeignAAA.Group(
			diameter.OriginRealm.Text(s.cfg.Identity.Realm), diameter.OriginHost.Text(s.cfg.Identity.Host)))
	}
	set(on, diameter.MIPFeatureVector.Uint32(uint32(features)))
	s.forward(Forward{Message: on, Proxied: true}, func(answer *diameter.Message, err error) {
		leave()
		if err != nil {
			s.answer(c, m.Answer(diameter.UnableToDeliver))
			return
		}
		if result, _ := answer.Result(); result.OK() {
			a, err := mipapp.ReadAMA(answer)
			if err == nil {
				s.visiting(q, a)
			}
		}
		s.answer(c, returned(m, answer))
	})
}

// visiting remembers a visitor's session.
func (s *Server) visiting(q mipapp.AMR, a mipapp.AMA) {
	one := s.visits[q.Session]
	if one == nil {
		if len(s.visits) >= s.cfg.MaxSessions {
			s.counters.Overflowed++
			return
		}
		one = &visit{user: q.User, since: s.Now().Mono}
		s.visits[q.Session] = one
	}
	one.attendant, one.server, one.homeAddress, one.homeAgent = q.Origin, a.Server, a.HomeAddress, a.HomeAgent
	one.agent = ""
	if own := s.own(func(h HomeAgent) bool { return h.Address == a.HomeAgent }); own != nil {
		one.agent = own.Host
	}
	one.until = s.Now().Mono.Add(max(a.Lifetime, grace))
	s.leaves.Set(q.Session, one.until.Add(grace))
}

// assigned takes a HAR to a home agent of this realm that the node's home realm
// has chosen: "the HAR is issued by the AAAH and forwarded by the AAAF to the HA"
// (RFC 4004 section 5.3).
//
//rfc:4004#3.2
//rfc:4004#5.3
//rfc:4004#6.2
func (s *Server) assigned(c engine.Command, v Arrived, q mipapp.HAR) {
	m := v.Message
	host := q.Candidate
	if host == "" {
		host = q.Agent.Host
	}
	a := s.own(func(a HomeAgent) bool { return a.Visitors && a.Host == host })
	if a == nil || !s.partner(q.Server.Realm) {
		// "This error is used by the AAAF to inform the AAAH that allocation of a home
		// agent in the foreign domain is not permitted at this time."
		s.counters.Refused++
		s.answer(c, mipapp.HAA{Result: diameter.NoForeignHAService, Why: "not offered to this realm", User: q.User}.Answer(m))
		return
	}
	leave, ok := s.enter(q.User)
	if !ok {
		s.answer(c, m.Answer(diameter.TooBusy))
		return
	}
	on := passed(m)
	set(on, diameter.DestinationHost.Text(a.Host))
	set(on, diameter.DestinationRealm.Text(s.cfg.Identity.Realm))
	keyed := q.Keys.MobileHome != nil || q.Keys.MobileForeign != nil || q.Keys.ForeignHome != nil
	s.forward(Forward{Message: on, Proxied: true, Secure: keyed && s.cfg.RequireTLS}, func(answer *diameter.Message, err error) {
		leave()
		if err != nil {
			code := diameter.HANotAvailable
			if errors.Is(err, ErrInsecure) {
				code = diameter.EndToEndMIPKeyEncryption
			}
			s.answer(c, mipapp.HAA{Result: code, Why: "the home agent does not answer", User: q.User}.Answer(m))
			return
		}
		s.answer(c, returned(m, answer))
	})
}
