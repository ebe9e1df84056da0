package mn

import (
	"cmp"
	"fmt"
	"net/netip"
	"time"

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
			Active: active, Unanswered: n.unanswered(c), Quality: c.Quality, Keepalive: c.Keepalive, Doubts: c.Doubts, Answered: n.now.WallOf(c.Quality.Answered), Measured: n.now.WallOf(c.Quality.Measured),
		})
	}
	return list
}

// unanswered is how many requests of the present attempt over a candidate got no
// answer, but for the last one, which still may.
func (n *Node) unanswered(c Candidate) int {
	if r := n.attempt(c); r != nil && r.refusals == 0 {
		return max(0, r.try.transmissions-1)
	}
	return 0
}

// attempt is the registration that is being asked for over a candidate.
func (n *Node) attempt(c Candidate) *Registration {
	for _, r := range n.registrations() {
		if r.of(c) && r.try != nil && r.try.purpose == Register {
			return r
		}
	}
	return nil
}

// silence is how many requests in a row must be unanswered to be spoken of: one is
// lost now and then.
const silence = 2

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
	// Held back, and the first choice all the same: nothing else is there.
	spare := c.Demoted == Held && (rival == nil || compareCandidates(c, *rival) < 0)
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
		case n.Awaits(*rival):
			why = "in use until something comes back over " + rival.Link.Name + ": " + reason(*rival, c)
		default:
			why = "in use, and " + rival.Link.Name + " would be preferred: " + reason(*rival, c)
		}
		if spare {
			why += "; it would be held back otherwise"
		}
		if lost := n.unanswered(c); lost >= silence {
			why += fmt.Sprintf("; the home agent has left the last %d requests over it unanswered", lost)
		}
		if c.Why != "" {
			why += "; " + c.Why
		}
	case c.Unusable != "":
		return unusable, c.Unusable
	case c.Demoted != Preferable && !spare:
		state, why = c.Demoted.String(), c.Why
	default:
		state, why = standby, n.awaited(c)
		if why == "" {
			why = "preferred, and being registered"
			if rival != nil && compareCandidates(*rival, c) <= 0 {
				why = rival.Link.Name + " is used: " + reason(*rival, c)
			} else if n.Awaits(c) {
				why = "preferred, and registered when a question over it is answered"
			} else if lost := n.unanswered(c); lost >= silence {
				why += fmt.Sprintf(": the last %d requests over it were not answered", lost)
			}
		}
		if spare {
			why = "to be used for want of another, and held back otherwise; " + why
		}
		if c.Why != "" {
			why += "; " + c.Why
		}
	}
	if r := n.live(c); r != nil {
		switch {
		case n.Copies(r):
			why += "; " + cmp.Or(n.redundancy.Why, "redundant packets go over it and another")
		case n.StandsBy(r):
			why += "; the home agent knows it already"
		}
	}
	return state, why
}

// awaited says what a node waits for that is registered over no uplink; empty for
// one that is.
func (n *Node) awaited(c Candidate) string {
	switch _, known := n.roster.current(); {
	case n.atHome || n.home != nil:
		return "the node is at home"
	case n.stopped:
		return "the node was told to end its registrations"
	case n.active != nil && n.active.live && !n.broken():
		return ""
	case !known:
		return "nothing is registered yet: the home agent's name is being asked for"
	}
	const yet = "nothing is registered yet"
	switch r := n.attempt(c); {
	case r == nil:
		return yet
	case r.refusals > 0:
		s := fmt.Sprintf("denied: %d %v", uint8(r.denied), r.denied)
		if wait := r.retryAt.Sub(n.now.Mono); wait > 0 {
			s += fmt.Sprintf("; asked again in %v", wait.Round(time.Second))
		}
		return s
	case r.try.transmissions > silence:
		return fmt.Sprintf("%s: %d requests over it were not answered", yet, r.try.transmissions-1)
	}
	return yet
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
