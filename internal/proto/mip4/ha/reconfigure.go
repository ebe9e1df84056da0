package ha

import (
	"fmt"
	"net/netip"
	"slices"

	"careof/internal/core/binding"
	"careof/internal/core/engine"
	"careof/internal/core/ident"
	"careof/internal/core/note"
)

// Unconfigured ends the bindings of a node that the configuration does not
// have any more, or to which it gives another home address.
const Unconfigured Reason = "not in the configuration any more"

// Reconfigure gives a running agent another configuration. It is a command,
// answered with Reconfigured; after an error nothing has changed.
//
// Nodes are told apart by their names. One that stays keeps its bindings, also
// when its keys change: a binding was authentic when it was made. The bindings
// of a node that goes end at once, and its replay mark stays, should it come
// back. New limits hold from a node's next registration on.
type Reconfigure struct {
	Config Config
	// Records are the stored ones of this role. A node that is new here may
	// have been served by an earlier process, whose replay mark holds.
	Records []engine.Record
}

// Reconfigured says what a [Reconfigure] came to, in this shard.
type Reconfigured struct {
	Added   int `json:"added"`   // nodes
	Removed int `json:"removed"` // nodes
	Ended   int `json:"ended"`   // bindings
}

// reconfigure is in two parts: everything that can be refused comes first.
func (a *Agent) reconfigure(c Reconfigure) (Reconfigured, error) {
	var done Reconfigured
	cfg := c.Config
	cfg.Shard, cfg.Shards = a.cfg.Shard, a.cfg.Shards
	cfg = cfg.withDefaults()
	if err := cfg.check(); err != nil {
		return done, err
	}
	if err := a.cfg.fixed(&cfg); err != nil {
		return done, err
	}
	taken, err := cfg.identities()
	if err != nil {
		return done, err
	}
	pools, err := makePools(&cfg, taken)
	if err != nil {
		return done, err
	}
	prefixes, err := cfg.prefixTable()
	if err != nil {
		return done, err
	}
	records := make(map[string][]byte)
	for _, r := range c.Records {
		if name, ok := nodeName(r.Key); ok {
			records[string(name)] = r.Value
		}
	}

	wanted := make(map[string]*MobileNode)
	for i := range cfg.Nodes {
		if n := &cfg.Nodes[i]; n.Shard(cfg.Shards) == cfg.Shard {
			wanted[n.String()] = n
		}
	}
	// Ends come first: the address of one may be the next one's.
	intercepts := make(map[*Node]string)
	former := make(map[string]*Node)
	var kept []*Node
	for _, n := range a.nodes {
		if n.removed {
			former[n.String()] = n
			continue
		}
		w := wanted[n.String()]
		if w == nil && n.adopted && !has(taken, n.config.HomeAddress) && n.keeps(n.config, pools) {
			kept = append(kept, n)
			intercepts[n] = a.intercept(n)
			continue
		}
		if w != nil && n.keeps(w, pools) {
			kept = append(kept, n)
			intercepts[n] = a.intercept(n)
			continue
		}
		done.Ended += a.Remove(n, binding.ID{}, Unconfigured)
		if w == nil {
			n.removed = true
			former[n.String()] = n
			done.Removed++
			continue
		}
		n.setHome(netip.Addr{})
		kept = append(kept, n)
	}
	old := a.cfg
	a.cfg, a.pools, a.prefixes = cfg, pools, prefixes
	a.learnLinks(&old)
	a.relate()
	a.byHome = ident.Addresses{}
	clear(a.byNAI)
	for _, n := range kept {
		if w := wanted[n.String()]; w != nil {
			n.config, n.adopted = w, false
			delete(wanted, n.String())
		}
		a.enter(n)
	}
	for i := range a.cfg.Nodes {
		w := &a.cfg.Nodes[i]
		if wanted[w.String()] != w {
			continue
		}
		done.Added++
		a.welcome(w, former[w.String()], records[w.String()])
	}
	for _, n := range kept {
		// The home network may have got a home link, or lost it.
		if e, live := a.entry(n); live && a.intercept(n) != intercepts[n] {
			a.commit(n, engine.Commit{Changes: n.puts(e)}, nil)
		}
		a.pruneNetworks(n)
	}
	return done, nil
}

// fixed refuses what a running agent cannot change: where it is.
func (c *Config) fixed(other *Config) error {
	for _, f := range []struct {
		what string
		same bool
	}{
		{"addresses", slices.Equal(c.Addresses, other.Addresses)},
		{"local address", c.LocalAddress == other.LocalAddress},
		{"port", c.Port == other.Port},
		{"interfaces", slices.Equal(c.Links, other.Links)},
	} {
		if !f.same {
			return fmt.Errorf("ha: a running home agent cannot change its %s", f.what)
		}
	}
	return nil
}

// keeps says whether the node's home address is still its own under w.
func (n *Node) keeps(w *MobileNode, pools []*pool) bool {
	if !n.home.IsValid() || w.HomeAddress.IsValid() {
		return n.home == w.HomeAddress || !n.home.IsValid()
	}
	return slices.ContainsFunc(pools, func(p *pool) bool { return p.all[n.home] })
}

// enter makes a node that the configuration has be found.
func (a *Agent) enter(n *Node) {
	if n.config.NAI != "" {
		a.byNAI[n.config.NAI] = n
	}
	switch {
	case n.config.HomeAddress.IsValid():
		n.setHome(n.config.HomeAddress)
		a.byHome.Put(n.home, int(n.index))
	case n.home.IsValid():
		a.restoreHome(n, n.home)
	}
}

// welcome takes a new node in, or n that was here before, with the replay mark
// that it left: the mark never goes back, and so it holds also for a node that
// was out of the configuration for a while.
//
//rfc:5944#5.7
func (a *Agent) welcome(w *MobileNode, n *Node, record []byte) {
	if n != nil {
		home := n.home
		n.removed, n.config, n.home, n.last = false, w, netip.Addr{}, nil
		a.enter(n)
		a.restoreHome(n, home)
	} else {
		n = &Node{config: w, index: engine.Ordinal(len(a.nodes))}
		a.nodes = append(a.nodes, n)
		a.enter(n)
		var r nodeRecord
		if err := r.parse(a.Now(), record); err == nil {
			n.mark, n.freed = r.mark, r.freed
			a.restoreHome(n, r.home)
		}
	}
	a.warnInsecure(n)
}

// warnInsecure says that a node is served without authentication.
func (a *Agent) warnInsecure(n *Node) {
	if n.config.Keys[0].Authenticated() {
		return
	}
	a.Tell(note.Note{
		Kind: Insecure, Level: note.Warn, HomeAddress: n.home, NAI: string(n.config.NAI),
		Why: "algorithm none: anybody in " + n.config.Source.String() + " can move this node",
	})
}

// learnLinks lets networks that stay keep the home link that was found for
// them, and finds one for those that are new.
func (a *Agent) learnLinks(old *Config) {
	for i := range a.cfg.Networks {
		net := &a.cfg.Networks[i]
		for _, o := range old.Networks {
			if net.Link == "" && !net.Virtual && !o.Virtual && o.Prefix == net.Prefix {
				net.Link = o.Link
			}
		}
	}
	for _, name := range a.cfg.Links {
		if l, there := a.links[name]; there {
			a.linkChanged(l)
		}
	}
}

// relate takes over the associations with foreign agents.
func (a *Agent) relate() {
	clear(a.relays)
	for _, f := range a.cfg.ForeignAgents {
		a.relays[f.Address] = &Relay{Address: f.Address, keys: f.Keys}
	}
}

// identities are the home addresses that nodes have of their own; no two may
// have one name or address.
func (c *Config) identities() (*ident.Addresses, error) {
	names := make(map[ident.NAI]bool)
	homes := new(ident.Addresses)
	homes.Reserve(len(c.Nodes))
	for i := range c.Nodes {
		n := &c.Nodes[i]
		if n.NAI != "" && names[n.NAI] {
			return nil, fmt.Errorf("ha: mobile node %s is there twice", n.NAI)
		}
		if has(homes, n.HomeAddress) {
			return nil, fmt.Errorf("ha: home address %v belongs to two mobile nodes", n.HomeAddress)
		}
		if n.NAI != "" {
			names[n.NAI] = true
		}
		if n.HomeAddress.IsValid() {
			homes.Put(n.HomeAddress, i)
		}
	}
	return homes, nil
}

func has(t *ident.Addresses, a netip.Addr) bool {
	_, there := t.Get(a)
	return there
}
