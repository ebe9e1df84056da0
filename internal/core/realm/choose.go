package realm

import (
	"net/netip"

	"careof/internal/core/mipapp"
	"careof/wire/diameter"
)

// A target is the home agent that was chosen for a node.
type target struct {
	agent   mipapp.Identity
	address netip.Addr // invalid when the home agent itself will tell
	visited bool       // in the visited network
	offered bool       // by that network, as a candidate
}

// choose finds the home agent for a node: "First, the AAAH checks whether an HA has
// been requested by the MN by checking the MIP-Home-Agent-Address AVP and the
// MIP-Home-Agent-Host AVP"; "If the requested HA belongs to a permitted
// administrative domain, the AAAH SHOULD use the given HA for the session" (RFC
// 4004 section 3.1).
//
//rfc:4004#3.1
//rfc:4004#3.2
//rfc:4004#6
//rfc:4004#3.1-3
//rfc:4004#3.1-4
//rfc:4004#3.1-5
//rfc:4004#3.1-6
func (s *Server) choose(q mipapp.AMR, known *session) (target, diameter.ResultCode) {
	visitedAllowed := s.cfg.HomeAgentAt != AtHome && q.Foreign.Host != "" && s.partner(q.Foreign.Realm)
	switch {
	case q.Agent.Host != "" && s.home(q.Agent.Realm):
		if a := s.own(func(a HomeAgent) bool { return a.Host == q.Agent.Host }); a != nil {
			return s.atHome(a), diameter.Success
		}
		return target{}, diameter.HANotAvailable
	case q.Agent.Host != "":
		// The visited network says by the bit that it is willing: "If the AAAF
		// authorizes the use of the requested home agent, the AAAF MUST set the
		// Home-Agent-In-Foreign-Network bit".
		if !visitedAllowed || q.Features&diameter.HomeAgentInForeign == 0 {
			return target{}, diameter.NoForeignHAService
		}
		return target{agent: q.Agent, address: q.HomeAgent, visited: true}, diameter.Success
	case q.HomeAgent.IsValid():
		if a := s.own(func(a HomeAgent) bool { return a.Address == q.HomeAgent }); a != nil {
			return s.atHome(a), diameter.Success
		}
		if q.Features&diameter.HomeAgentInForeign != 0 && !visitedAllowed {
			return target{}, diameter.NoForeignHAService
		}
		if known != nil && known.address == q.HomeAgent && visitedAllowed {
			return target{agent: known.agent, address: known.address, visited: true}, diameter.Success
		}
		return target{}, diameter.HANotAvailable
	}
	// "If the Home-Address-Allocatable-Only-in-Home-Realm flag is set, then the AAAH
	// MUST allocate an HA in the home realm".
	if s.cfg.HomeAgentAt == VisitedPreferred && visitedAllowed && q.Candidate != "" &&
		q.Features&diameter.ForeignHAAvailable != 0 && q.Features&diameter.HomeAddressOnlyHome == 0 {
		return target{agent: mipapp.Identity{Host: q.Candidate, Realm: q.Foreign.Realm}, visited: true, offered: true}, diameter.Success
	}
	if known != nil {
		if a := s.own(func(a HomeAgent) bool { return a.Host == known.agent.Host }); a != nil {
			return s.atHome(a), diameter.Success // it keeps the one that it has
		}
	}
	if a := s.least(func(HomeAgent) bool { return true }); a != nil {
		return s.atHome(a), diameter.Success
	}
	return target{}, diameter.HANotAvailable
}

func (s *Server) own(fits func(HomeAgent) bool) *HomeAgent {
	for i := range s.cfg.HomeAgents {
		if fits(s.cfg.HomeAgents[i]) {
			return &s.cfg.HomeAgents[i]
		}
	}
	return nil
}

func (s *Server) atHome(a *HomeAgent) target {
	return target{agent: mipapp.Identity{Host: a.Host, Realm: s.cfg.Identity.Realm}, address: a.Address}
}

// least is the home agent that has the fewest sessions, the first of several: "by
// using a load-balancing algorithm to keep the load on all home agents equal" (RFC
// 4004 section 3.1).
func (s *Server) least(fits func(HomeAgent) bool) *HomeAgent {
	load := make(map[string]int)
	for _, one := range s.sessions {
		load[one.agent.Host]++
	}
	for _, v := range s.visits {
		load[v.agent]++
	}
	var best *HomeAgent
	for i := range s.cfg.HomeAgents {
		a := &s.cfg.HomeAgents[i]
		if fits(*a) && (best == nil || load[a.Host] < load[best.Host]) {
			best = a
		}
	}
	return best
}
