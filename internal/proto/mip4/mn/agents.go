package mn

import (
	"net/netip"
	"slices"
	"time"

	"careof/internal/core/assoc"
	"careof/internal/core/engine"
	"careof/internal/core/note"
)

// A candidateAgent is a home agent that may be registered with.
type candidateAgent struct {
	address     netip.Addr
	association *assoc.Association
	discover    bool // the address is a directed broadcast: the answer names the home agent
}

// A roster keeps the home agents and which one is tried.
type roster struct {
	cfg       *Config
	names     map[string][]netip.Addr // what names resolved to last
	found     []candidateAgent        // learnt from code 136, or assigned
	sentTo    netip.Addr              // the home agent that another one has sent the node to, while that has not accepted it
	index     int
	asking    int // names being resolved
	failures  int // rounds in which nothing resolved
	resolveAt time.Time
	resolveBy time.Time // when the answers to the questions are overdue
	round     int       // of questions; an answer to an earlier one is late
	returnAt  time.Time // when to ask whether the first one is back; zero while it is in use

	refused  []netip.Addr // home agents that have refused since the last pause
	refusals int          // pauses because all have, in a row
	restful  time.Time    // the end of the last one

	keys map[netip.Addr]*assoc.Association // see Node.SetAssociation
}

func (r *roster) init(cfg *Config) {
	r.cfg, r.names, r.keys = cfg, make(map[string][]netip.Addr), make(map[netip.Addr]*assoc.Association)
}

// list is every home agent known now, in the order to try.
//
//rfc:5944#3.6.1.2-12
func (r *roster) list() []candidateAgent {
	list := slices.Clone(r.found)
	add := func(a candidateAgent) {
		if !slices.ContainsFunc(list, func(o candidateAgent) bool { return o.address == a.address }) {
			list = append(list, a)
		}
	}
	for _, h := range r.cfg.HomeAgents {
		if h.Name == "" {
			add(candidateAgent{address: h.Address, association: h.Association})
			continue
		}
		for _, a := range r.names[h.Name] {
			add(candidateAgent{address: a, association: h.Association})
		}
	}
	if r.cfg.Assigned && len(list) == 0 {
		// Whoever the foreign agent knows.
		return append(list, candidateAgent{address: netip.IPv4Unspecified(), association: r.cfg.Association})
	}
	if len(r.cfg.HomeAgents) == 0 && len(list) == 0 {
		// "the mobile node MUST set the Home Agent field to the
		// subnet-directed broadcast address of the mobile node's home
		// network" (RFC 5944 section 3.6.1.2).
		list = append(list, candidateAgent{directedBroadcast(r.cfg.HomeNetwork), r.cfg.Association, true})
	}
	for i := range list {
		list[i].association = r.keyed(list[i].address, list[i].association)
	}
	return list
}

// current is the home agent to try.
func (r *roster) current() (candidateAgent, bool) {
	list := r.list()
	if len(list) == 0 {
		return candidateAgent{}, false
	}
	return list[r.index%len(list)], true
}

// at is the place of a home agent in the list, negative when it is not there.
func (r *roster) at(address netip.Addr) int {
	return slices.IndexFunc(r.list(), func(a candidateAgent) bool { return a.address == address })
}

// next goes to the next home agent, and says whether it is another one.
func (r *roster) next() bool {
	before, _ := r.current()
	if r.found != nil && len(r.cfg.HomeAgents) == 0 {
		r.found = nil // discover again
	}
	r.index++
	after, ok := r.current()
	return ok && after.address != before.address
}

// adopt makes the home agent that an answer named the one to try.
//
//rfc:5944#3.6.2.3
func (r *roster) adopt(address netip.Addr, association *assoc.Association) {
	r.found = []candidateAgent{{address: address, association: association}}
	r.index = 0
}

// Hold says when no answer to a renewal is no reason to go to another home agent:
// nothing comes back from any.
func (n *Node) Hold(holds func(*Registration) bool) { n.holds = holds }

// failed goes to the next home agent when the present one does not answer or
// refuses, and has names resolved again: the address may have changed. While
// a registration is live, it must be the one that is not answered.
func (n *Node) failed(r *Registration) {
	agent, ok := n.roster.current()
	if !ok || agent.address != r.Key.HomeAgent {
		return
	}
	if a := n.active; a != nil && a.live && a != r && a.Key.HomeAgent != agent.address && agent.address == n.roster.sentTo {
		// It was sent there in vain: the one that serves, serves on.
		n.roster.sentTo = netip.Addr{}
		r.giveUp()
		if i := n.roster.at(a.Key.HomeAgent); i >= 0 {
			n.roster.index = i
		} else {
			n.roster.adopt(a.Key.HomeAgent, a.association)
		}
		if a.try == nil {
			n.begin(a, Register)
		}
		n.rechoose = true
		return
	}
	if a := n.active; a != nil && a.live && (a.try == nil || a.try.transmissions < failedAfter || n.holds != nil && n.holds(a)) {
		return
	}
	n.resolve()
	if !n.roster.next() {
		return
	}
	for _, o := range n.registrations() {
		if o.Key.HomeAgent == agent.address && o.try != nil && o != n.active {
			o.giveUp()
		}
	}
	n.rechoose = true
}

// turnedDown: a home agent refuses, and nothing can be repaired. The next one is
// asked at once; but when all have refused none is, until a pause that grows is
// over. Home agents that share their subscribers refuse alike, and a node that went
// from one to the other would not stop asking.
func (n *Node) turnedDown(r *Registration) {
	s := &n.roster
	if s.restful.After(n.now.Mono) {
		r.retryAt = s.restful
		return
	}
	if !slices.Contains(s.refused, r.Key.HomeAgent) {
		s.refused = append(s.refused, r.Key.HomeAgent)
	}
	list := s.list()
	if len(list) > 1 && !slices.ContainsFunc(list, func(a candidateAgent) bool { return !slices.Contains(s.refused, a.address) }) {
		s.refused = nil
		r.refusals = max(r.refusals-1, s.refusals) // pause has counted
		n.pause(r)
		s.refusals++
		s.restful = r.retryAt
		n.resolve()
		return
	}
	n.failed(r)
}

// returnEvery is how often a node that is registered with a later home agent of
// its list asks the first one whether it is back, with a random part of it.
const returnEvery = 5 * time.Minute

// settledWith makes the home agent that accepted the one to go on with. One
// that is not the first of the list is left again when the first answers.
func (n *Node) settledWith(address netip.Addr) {
	list := n.roster.list()
	if i := n.roster.at(address); i >= 0 {
		n.roster.index = i
	}
	n.roster.sentTo = netip.Addr{}
	n.roster.refused, n.roster.refusals, n.roster.restful = nil, 0, time.Time{}
	if len(list) > 0 && list[0].address != address && !list[0].discover && !n.cfg.Assigned {
		n.returnLater()
	} else {
		n.roster.returnAt = time.Time{}
	}
}

func (n *Node) returnLater() {
	if n.roster.returnAt.IsZero() {
		wait := 3*returnEvery/4 + time.Duration(n.rng.Int64N(int64(returnEvery/2)))
		n.roster.returnAt = n.now.Mono.Add(wait)
	}
}

// tryReturn sends the first home agent one request while the registration with
// another one serves on. When it is accepted, the first is used again and the
// other is told to end its binding.
func (n *Node) tryReturn() {
	n.roster.returnAt = time.Time{}
	list := n.roster.list()
	if len(list) == 0 || n.active == nil || list[0].address == n.active.Key.HomeAgent || list[0].discover {
		return
	}
	n.returnLater()
	if n.home != nil || n.stopped || n.broken() {
		return
	}
	k := n.active.Key
	k.HomeAgent = list[0].address
	r := n.registration(k, list[0])
	if r.try != nil || n.uplinks[k.Link] == nil {
		return
	}
	attached := n.uplinks[k.Link].attached
	n.begin(r, Register)
	n.uplinks[k.Link].attached = attached
	if r.try != nil {
		r.try.background = true
	}
}

// resolve asks for the addresses of home agents that are known by name.
func (n *Node) resolve() {
	if n.roster.asking > 0 || !n.roster.resolveAt.IsZero() {
		return
	}
	n.roster.round++
	round := n.roster.round
	for _, h := range n.cfg.HomeAgents {
		if h.Name == "" {
			continue
		}
		n.roster.asking++
		n.roster.resolveBy = n.now.Mono.Add(resolvePatience)
		n.Ask(engine.Resolve{Name: h.Name}, func(a engine.Answer) {
			if round == n.roster.round {
				n.resolved(h.Name, a)
			}
		})
	}
}

// unresolved gives up waiting for answers, and asks again later.
func (n *Node) unresolved() {
	n.roster.round++
	n.roster.asking, n.roster.resolveBy = 0, time.Time{}
	n.Tell(note.Note{Kind: note.Failed, Level: note.Warn, Why: "the resolver does not answer"})
	n.resolveLater()
}

const (
	resolveFirst = time.Second
	resolveCap   = time.Minute
	// resolvePatience is how long a resolver may take.
	resolvePatience = 15 * time.Second
)

// resolved takes the answer to one name. A name that no longer resolves keeps
// the addresses it had.
func (n *Node) resolved(name string, a engine.Answer) {
	if n.roster.asking--; n.roster.asking == 0 {
		n.roster.resolveBy = time.Time{}
	}
	var list []netip.Addr
	answer, _ := a.Value.([]netip.Addr)
	for _, addr := range answer {
		if addr = addr.Unmap(); unicast(addr) {
			list = append(list, addr)
		}
	}
	if len(list) > 0 {
		n.roster.failures = 0
		if !slices.Equal(n.roster.names[name], list) {
			n.roster.names[name] = list
			n.roster.index = 0
			n.rechoose = true
		}
		return
	}
	why := "home agent " + name + " has no IPv4 address"
	if a.Err != nil {
		why = "home agent " + name + ": " + a.Err.Error()
	}
	n.Tell(note.Note{Kind: note.Failed, Level: note.Warn, Why: why})
	n.resolveLater()
}

// resolveLater has names resolved again after a pause that grows.
func (n *Node) resolveLater() {
	wait := min(resolveFirst<<min(n.roster.failures, 6), resolveCap)
	n.roster.failures++
	n.roster.resolveAt = n.now.Mono.Add(wait)
}
