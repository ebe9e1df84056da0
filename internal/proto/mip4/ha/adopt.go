package ha

import (
	"fmt"
	"slices"

	"careof/internal/core/engine"
	"careof/internal/core/ident"
)

// Adoption is how a feature brings in nodes that no configuration has: it makes
// a candidate for an exchange whose node is unknown, in the stage Identify, and
// adopts it once the request has turned out to be authentic. An adopted node is
// like any other from then on. When the feature lets it go, its replay mark
// stays, for that never goes back.

// AllowAdoption is called by the feature, before anything is restored: what is
// stored of nodes that no configuration has is then kept until they are adopted.
func (a *Agent) AllowAdoption() {
	if a.former == nil {
		a.former = make(map[string]nodeRecord)
	}
}

// Candidate makes a node that may be adopted. It has a name, associations, and
// either an address of its own, outside the pools, or none.
func (a *Agent) Candidate(m MobileNode) (*Node, error) {
	if m.NAI == "" {
		return nil, fmt.Errorf("ha: a node without a name cannot be adopted")
	}
	if err := a.cfg.checkNode(&m); err != nil {
		return nil, err
	}
	if err := a.addressFree(&m); err != nil {
		return nil, err
	}
	return &Node{config: &m, index: -1, home: m.HomeAddress, adopted: true}, nil
}

// addressFree says whether no other node has the node's own address.
//
//rfc:5944#3.8.3.2
func (a *Agent) addressFree(m *MobileNode) error {
	if !m.HomeAddress.IsValid() {
		return nil
	}
	if n := a.at(m.HomeAddress); n != nil && n.config.NAI != m.NAI {
		return fmt.Errorf("ha: home address %v of %s is another node's", m.HomeAddress, m.NAI)
	}
	if a.cfg.inPool(m.HomeAddress) {
		return fmt.Errorf("ha: home address %v of %s lies in a pool", m.HomeAddress, m.NAI)
	}
	return nil
}

// Adopt takes a candidate in, with the replay mark that an earlier life of it
// has left. It gives the node of that name that there is by now.
//
//rfc:5944#5.7
func (a *Agent) Adopt(n *Node) *Node {
	if there := a.byNAI[n.config.NAI]; there != nil {
		return there
	}
	name := n.String()
	if i := slices.IndexFunc(a.nodes, func(o *Node) bool { return o.removed && o.config.NAI == n.config.NAI && o.String() == name }); i >= 0 {
		old := a.nodes[i]
		home := old.home
		old.removed, old.adopted, old.config, old.last = false, true, n.config, nil
		old.setHome(n.config.HomeAddress)
		a.enter(old)
		a.restoreHome(old, home) // unless it is another node's by now
		return old
	}
	n.index = engine.Ordinal(len(a.nodes))
	a.nodes = append(a.nodes, n)
	a.enter(n)
	if r, left := a.former[name]; left {
		delete(a.former, name)
		n.mark, n.freed = r.mark, r.freed
		a.restoreHome(n, r.home)
	}
	return n
}

// Reassociate gives an adopted node what is known of it now. Its bindings stay,
// unless its address is another one.
func (a *Agent) Reassociate(n *Node, m MobileNode) error {
	if !n.adopted || m.NAI != n.config.NAI {
		return fmt.Errorf("ha: %s was not adopted", n)
	}
	if err := a.cfg.checkNode(&m); err != nil {
		return err
	}
	if m.HomeAddress == n.config.HomeAddress {
		n.config = &m
		return nil
	}
	if n.list.Len() > 0 {
		return fmt.Errorf("ha: %s has another home address now, and is registered with the old one", n)
	}
	if err := a.addressFree(&m); err != nil {
		return err
	}
	a.takeBack(n)
	a.byHome.Delete(n.home)
	n.config = &m
	n.setHome(m.HomeAddress)
	a.enter(n)
	return nil
}

// Disown lets an adopted node without bindings go, keys and all; only its replay
// mark stays, and a pool's address as long as nobody else needs it. It says whether
// the node could go: one that is being served cannot.
//
//rfc:5944#5.7
func (a *Agent) Disown(n *Node) bool {
	if !n.adopted || n.removed || n.list.Len() > 0 || n.turn != nil {
		return false
	}
	n.removed, n.last = true, nil
	n.config = &MobileNode{Node: n.config.Node}
	delete(a.byNAI, n.config.NAI)
	if a.at(n.home) == n {
		a.byHome.Delete(n.home)
	}
	return true
}

// NodeNamed finds a node by its NAI, nil when there is none.
func (a *Agent) NodeNamed(nai ident.NAI) *Node { return a.byNAI[nai] }

// NodeList lists all nodes, in the order in which they came.
func (a *Agent) NodeList() []*Node {
	return slices.DeleteFunc(slices.Clone(a.nodes), func(n *Node) bool { return n.removed })
}

// NodeAt is one of the nodes, in the order in which they came, from 0 to
// [Agent.Places] less one; nil in the place of one that is not configured any
// more.
func (a *Agent) NodeAt(i int) *Node {
	if n := a.nodes[i]; !n.removed {
		return n
	}
	return nil
}

// Places is how many nodes there are and were.
func (a *Agent) Places() int { return len(a.nodes) }

// Adopted says whether the node is in no configuration.
func (n *Node) Adopted() bool { return n.adopted }
