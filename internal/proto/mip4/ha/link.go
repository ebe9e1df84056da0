package ha

import (
	"slices"

	"careof/internal/core/engine"
	"careof/internal/core/forward"
)

// linkChanged learns the host's addresses, and from them where the home
// networks are attached whose link the configuration leaves open.
func (a *Agent) linkChanged(l engine.Link) {
	if l.Gone {
		delete(a.links, l.Name)
		return
	}
	a.links[l.Name] = l
	if !slices.Contains(a.cfg.Links, l.Name) {
		return
	}
	for i := range a.cfg.Networks {
		net := &a.cfg.Networks[i]
		if net.Link != "" || net.Virtual {
			continue
		}
		for _, p := range l.Addresses {
			if net.Prefix.Contains(p.Addr()) && net.Link == "" {
				net.Link = l.Name
				a.interceptNow(net)
			}
		}
	}
}

// interceptNow lets the entries of bindings that were restored before the home
// link was known intercept on it.
func (a *Agent) interceptNow(net *Network) {
	for _, n := range a.nodes {
		if !n.home.IsValid() || !net.Prefix.Contains(n.home) {
			continue
		}
		if e, live := a.entry(n); live {
			a.commit(n, engine.Commit{Changes: []forward.Change{{Op: forward.Put, Entry: e}}}, nil)
		}
	}
}
