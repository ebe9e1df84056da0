package mn

import (
	"slices"

	"careof/internal/core/forward"
)

// A Redundancy is what a feature has agreed on with the home agent: which packets
// go over two uplinks. The zero value is nothing.
type Redundancy struct {
	// Agreed says that the home agent knows how. A second uplink is registered then.
	Agreed bool
	// Classes go over both. Without any the second uplink stands by.
	Classes []forward.Class
	// Sparing leaves out metered uplinks, and those that are no good, but for the
	// one in use.
	Sparing bool
	// Why says for people why these classes do, where nobody has configured them.
	Why string
}

func (r Redundancy) equal(o Redundancy) bool {
	return r.Agreed == o.Agreed && slices.Equal(r.Classes, o.Classes) && r.Sparing == o.Sparing && r.Why == o.Why
}

// SetRedundancy says what is agreed by now.
func (n *Node) SetRedundancy(r Redundancy) {
	if !n.redundancy.equal(r) {
		n.redundancy, n.rechoose = r, true
	}
}

// width is how many uplinks register at a time.
func (n *Node) width() int {
	switch {
	case n.plainOnly:
		return 1
	case n.redundancy.Agreed:
		return max(n.cfg.Simultaneous, forward.Copyable)
	}
	return n.cfg.Simultaneous
}

// wanted are the candidates to be registered while the tunnel works.
func (n *Node) wanted() []Candidate {
	all := min(n.width(), len(n.choice))
	if !n.redundancy.Agreed || !n.redundancy.Sparing {
		return n.choice[:all]
	}
	list := slices.Clone(n.choice[:1])
	for _, c := range n.choice[1:] {
		if len(list) < all && n.may(c) {
			list = append(list, c)
		}
	}
	return list
}

// may says whether a candidate may be registered to stand by.
func (n *Node) may(c Candidate) bool {
	return c.coLocates() && !c.Agent.IsValid() && c.Demoted == Preferable && !(n.redundancy.Sparing && n.Uplink(c.Link.Name).Metered)
}

// Copies says whether redundant packets go over a registration's path and
// another one.
func (n *Node) Copies(r *Registration) bool {
	return len(n.redundancy.Classes) > 0 && n.second(r)
}

// StandsBy says whether a registration's path is one that packets go over as soon
// as the one in use is in doubt.
func (n *Node) StandsBy(r *Registration) bool {
	return n.redundancy.Agreed && r != n.active && n.second(r) && slices.ContainsFunc(n.choice, func(c Candidate) bool { return r.of(c) && n.may(c) })
}

// besides says for people what a registration is for that is not the one in use.
func (n *Node) besides(r *Registration) string {
	switch {
	case r == n.active || n.active == nil || !n.redundancy.Agreed:
		return ""
	case n.Copies(r):
		return "it takes copies: packets go over " + n.active.Key.Link + " as well"
	}
	return "it stands by: packets go over " + n.active.Key.Link
}

// second says whether a registration is one of two or more that take copies.
func (n *Node) second(r *Registration) bool {
	if n.redundancy.Sparing && r != n.active && n.Uplink(r.Key.Link).Metered {
		return false
	}
	return r.live && r.CoLocated && r.Reverse && n.others(r)
}

// OnDoubt has run called while the path in use is in doubt.
func (t *tables) OnDoubt(run func(*Registration)) { t.doubtful = append(t.doubtful, run) }

// Doubt says that something that should have come over the path in use by now has
// not. It may be called often.
func (n *Node) Doubt(r *Registration) {
	for _, run := range n.doubtful {
		run(r)
	}
}

// Carries says whether packets go over a registration's path: it is the one in use, and
// the data plane has been made so.
func (n *Node) Carries(r *Registration) bool { return r != nil && r == n.carrying }

// Sound says whether the registration in use is live and its path is not known to
// be lost.
func (n *Node) Sound() bool { return !n.broken() && n.home == nil && !n.stopped }

// Spare is the live registration whose path stands by for the one in use; nil when
// there is none.
func (n *Node) Spare() *Registration {
	for _, r := range n.registrations() {
		if n.StandsBy(r) {
			return r
		}
	}
	return nil
}
