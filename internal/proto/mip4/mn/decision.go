package mn

import (
	"fmt"
	"net/netip"

	"careof/internal/core/engine"
)

// uplinkInfos lists the uplinks as a choice made now would order them.
func (n *Node) uplinkInfos() []UplinkInfo {
	x := &Choice{Now: n.now, Node: n}
	for _, u := range n.uplinksByName() {
		x.Candidates = append(x.Candidates, n.candidate(u))
	}
	engine.Pipeline[*Choice]{&n.Choose}.Run(x, new(engine.Position))
	list := []UplinkInfo{}
	for _, c := range x.Candidates {
		active := n.active != nil && n.active.live && n.active.of(c)
		state, why := n.decision(c, active, x.Candidates)
		list = append(list, UplinkInfo{
			Link: c.Link.Name, Priority: c.Priority, Cost: c.Cost, Metered: n.Uplink(c.Link.Name).Metered,
			Usable: c.Unusable == "", State: state, Why: why, Home: c.Home,
			CareOfAddress: c.CareOf, ForeignAgent: c.Agent, Gateways: append([]netip.Addr{}, c.Link.Gateways...),
			Active: active, Quality: c.Quality, Answered: n.now.WallOf(c.Quality.Answered),
		})
	}
	return list
}

// States of an uplink.
const (
	inUse    = "in-use"
	standby  = "standby"
	unusable = "unusable"
)

// decision says how an uplink stands, and why. A choice compares one thing
// after the other, so the first that differs between two uplinks is the reason.
func (n *Node) decision(c Candidate, active bool, all []Candidate) (state, why string) {
	var rival *Candidate // the first other one that could be used
	for i := range all {
		if o := &all[i]; o.Link.Name != c.Link.Name && o.Unusable == "" && !o.Home {
			rival = o
			break
		}
	}
	switch {
	case active && c.Unusable == "" && !n.active.forsaken:
		state = inUse
		switch {
		case rival == nil:
			why = "the only uplink that can be used"
		case compareCandidates(c, *rival) <= 0:
			why = reason(c, *rival)
		case n.registering(*rival):
			why = "in use until " + rival.Link.Name + " is registered: " + reason(*rival, c)
		default:
			why = "in use, and " + rival.Link.Name + " would be preferred: " + reason(*rival, c)
		}
		if c.Why != "" {
			why += "; " + c.Why
		}
	case c.Unusable != "":
		return unusable, c.Unusable
	case c.Demoted != Preferable:
		state, why = c.Demoted.String(), c.Why
	case n.active == nil || !n.active.live:
		state, why = standby, "nothing is registered yet"
	default:
		state, why = standby, "preferred, and being registered"
		if rival != nil && compareCandidates(*rival, c) <= 0 {
			why = rival.Link.Name + " is used: " + reason(*rival, c)
		}
		if c.Why != "" {
			why += "; " + c.Why
		}
	}
	if r := n.live(c); r != nil && n.copies(r) {
		why += "; redundant packets go over it and another"
	}
	return state, why
}

// live is the registration of a candidate, when the home agent has accepted it.
func (n *Node) live(c Candidate) *Registration {
	for _, r := range n.links {
		if r.live && r.of(c) {
			return r
		}
	}
	return nil
}

// registering says that a request over a candidate is on its way.
func (n *Node) registering(c Candidate) bool {
	for _, r := range n.links {
		if r.of(c) && r.try != nil {
			return true
		}
	}
	return false
}

// reason says why one candidate goes before another.
func reason(a, b Candidate) string {
	switch {
	case a.Demoted != b.Demoted:
		return fmt.Sprintf("%s is %v", b.Link.Name, b.Demoted)
	case a.Priority != b.Priority:
		return fmt.Sprintf("priority %d goes before %d", a.Priority, b.Priority)
	case a.Cost != b.Cost:
		return fmt.Sprintf("equal priority, and cost %d is less than %d", a.Cost, b.Cost)
	case a.Preference != b.Preference:
		return "equal priority and cost, and " + b.Link.Name + " is not so much better that a move is worth it"
	}
	return "equal priority and cost, and its name goes first"
}
