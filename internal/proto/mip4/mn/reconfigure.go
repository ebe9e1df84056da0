package mn

import (
	"fmt"
	"slices"

	"careof/internal/core/engine"
)

// Reconfigure gives a running node another configuration. It is a command,
// answered with nil; after an error nothing has changed.
//
// The tunnel in use goes on meanwhile. What the home agent has to know (a new
// lifetime, another key or encapsulation) is registered at once; another home
// agent is registered with before the old one is left. An uplink that goes is
// like a link that goes down.
type Reconfigure struct{ Config Config }

func (n *Node) reconfigure(cfg Config) error {
	if err := cfg.complete(); err != nil {
		return err
	}
	for _, f := range []struct {
		what string
		same bool
	}{
		{"home address", cfg.HomeAddress == n.cfg.HomeAddress},
		{"NAI", cfg.NAI == n.cfg.NAI},
		{"home network", cfg.HomeNetwork == n.cfg.HomeNetwork},
		{"home link", cfg.HomeLink == n.cfg.HomeLink},
		{"policy on foreign agents", cfg.ForeignAgents.Any == n.cfg.ForeignAgents.Any && slices.Equal(cfg.ForeignAgents.Allow, n.cfg.ForeignAgents.Allow)},
	} {
		if !f.same {
			return fmt.Errorf("mn: a running node cannot change its %s", f.what)
		}
	}
	old := n.cfg
	n.cfg = cfg
	for _, u := range n.uplinksByName() {
		if name := u.link.Name; !n.allowed(name) {
			n.abandon(name)
		}
	}
	agents := slices.EqualFunc(old.HomeAgents, cfg.HomeAgents, func(a, b HomeAgent) bool { return a.Address == b.Address && a.Name == b.Name })
	if !agents {
		n.roster.index, n.roster.found = 0, nil
		n.plainOnly = false
		n.resolve()
	}
	anew := old.Lifetime != cfg.Lifetime || old.Encapsulation != cfg.Encapsulation ||
		old.ReverseTunnel != cfg.ReverseTunnel || old.Broadcast != cfg.Broadcast
	candidates := n.roster.list()
	for _, r := range n.registrations() {
		i := slices.IndexFunc(candidates, func(a candidateAgent) bool { return a.address == r.Key.HomeAgent })
		if i < 0 {
			if r != n.active && r != n.home {
				r.giveUp() // nobody asks there any more
			}
			continue
		}
		if rekeyed := !r.association.Equal(candidates[i].association); anew || rekeyed {
			r.association, r.refusals = candidates[i].association, 0
			r.limit, r.clear, r.direct = 0, 0, false // repairs of what was asked before
			if r.live && r.try == nil && n.canRenew(r) {
				n.begin(r, Register)
				if r.try != nil {
					r.try.anew = true
				}
			}
		}
	}
	n.rechoose = true
	return nil
}

// abandon leaves an uplink that the configuration does not allow any more.
func (n *Node) abandon(name string) {
	for _, a := range n.agentsOn(name) {
		n.loseAgent(a, "the uplink is not configured any more")
	}
	for _, r := range n.registrations() {
		if r.Key.Link == name {
			r.giveUp()
		}
	}
	n.uplinks[name].link = engine.Link{Name: name, Gone: true}
	n.uplinks[name].search = search{}
}
