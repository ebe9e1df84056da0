package mn

import (
	"net/netip"

	"careof/internal/core/assoc"
	"careof/internal/core/engine"
)

// unkeyed stands for the association with a home agent while there is none.
var unkeyed, _ = assoc.New(0, assoc.None, assoc.Key{}, assoc.Timestamps)

// Unkeyed is the association that a hook puts into an [Attempt] to send it as if
// none were shared with the home agent.
func Unkeyed() *assoc.Association { return unkeyed }

// Keyed says whether the registration shares an association with its home agent.
func (r *Registration) Keyed() bool { return r.association != unkeyed }

// keyed is the association with a home agent: the configured one, else what a
// feature has brought.
func (r *roster) keyed(agent netip.Addr, configured *assoc.Association) *assoc.Association {
	if configured == unkeyed || configured == nil || r.keys[agent] == configured {
		if a := r.keys[agent]; a != nil {
			return a
		}
	}
	return configured
}

// SetAssociation is how a feature brings an association with a home agent that
// has none by configuration; nil takes it away. Requests that are unanswered are
// not forgotten: their replies are checked with the new one.
func (n *Node) SetAssociation(agent netip.Addr, a *assoc.Association) {
	if a == nil {
		a = unkeyed
		delete(n.roster.keys, agent)
	} else {
		n.roster.keys[agent] = a
	}
	for _, r := range n.links {
		if r.Key.HomeAgent == agent {
			r.association = a
		}
	}
}

// A ForeignKey is an association with a foreign agent.
type ForeignKey struct {
	Agent       netip.Addr
	Association *assoc.Association
}

// ListForeignKeys has what is shown of associations include those with foreign
// agents that a feature has brought.
func (n *Node) ListForeignKeys(list func() []ForeignKey) { n.foreignKeys = append(n.foreignKeys, list) }

// OnDemand says whether associations with the home agent are a feature's to bring.
func (n *Node) OnDemand(agent netip.Addr) bool {
	if !n.cfg.KeysOnDemand {
		return false
	}
	for _, h := range n.cfg.HomeAgents {
		if h.Address == agent {
			return h.Association == unkeyed
		}
	}
	return n.cfg.Association == unkeyed
}

// ForeignAssociation is the configured association with a foreign agent, nil when
// there is none.
func (n *Node) ForeignAssociation(agent, careOf netip.Addr) *assoc.Association {
	return n.cfg.ForeignAgents.with(agent, careOf)
}

// replyKeys fills in what a reply is checked with.
func replyKeys(x *Response) engine.Verdict {
	r := x.Registration
	x.Association = r.association
	if r.Key.Agent.IsValid() {
		x.Foreign = x.Node.cfg.ForeignAgents.with(r.Key.Agent, r.Key.CareOf)
	}
	return engine.Next()
}
