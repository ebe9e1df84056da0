package ha

import (
	"fmt"
	"net/netip"
	"slices"

	"careof/internal/core/binding"
	"careof/internal/core/engine"
	"careof/internal/core/forward"
	"careof/internal/core/ident"
	"careof/internal/core/note"
	"careof/wire/mip4"
)

// networks are the mobile networks of a mobile router, each in the data plane
// as an entry of its own with the tunnels of the router's bindings.
//
// "the Home Agent MUST store the Mobile Network Prefixes associated with the
// Mobile Router in the corresponding registration entry" (RFC 5177 section
// 6.2.1). They belong to the router and not to one of its simultaneous
// bindings: its last accepted request names all of them.
//
//rfc:5177#6.2.1
type networks struct {
	held []netip.Prefix // registered
	laid []netip.Prefix // what the data plane may have entries of
}

// Networks are the mobile networks that the node has registered, in order. The
// slice must not be changed.
func (n *Node) Networks() []netip.Prefix {
	if n.networks == nil {
		return nil
	}
	return n.networks.held
}

// hold makes these the node's mobile networks.
//
//rfc:5177#6.2.1-1
func (n *Node) hold(list []netip.Prefix) {
	switch {
	case n.networks == nil && len(list) == 0:
		return
	case n.networks == nil:
		n.networks = new(networks)
	}
	n.networks.held = slices.Clone(list)
	slices.SortFunc(n.networks.held, netip.Prefix.Compare)
}

// vacate notes that a node has no binding left, or does nothing when it has
// one. A mobile network is no longer bound than its router: "the Home Agent
// removes the tunnel to the Mobile Router and all routes using this tunnel"
// (RFC 5177 section 6.1).
//
//rfc:5177#6.1
//rfc:5177#6.7
//rfc:5177#6.7-1
func (a *Agent) vacate(n *Node) {
	if n.list.Len() == 0 {
		n.freed = a.Now().Mono
		n.hold(nil)
	}
}

// settled forgets the entries that the data plane has certainly lost: a commit
// is true, and no other one of the node is on its way.
func (n *Node) settled() {
	if n.networks == nil || n.turn.commits > 0 {
		return
	}
	n.networks.laid = n.networks.held
	if len(n.networks.held) == 0 {
		n.networks = nil
	}
}

// networkKey is the key of a mobile network's forwarding entry: the router's,
// and the prefix.
func (n *Node) networkKey(p netip.Prefix) forward.Key {
	return n.Key() + "/" + forward.Key(p.String())
}

// networkEntry is the forwarding entry of a mobile network: the router's own
// with other inner addresses. Proxy ARP is for the home address alone, and so
// are broadcasts.
//
//rfc:5177#6.5
//rfc:5177#6.5-1
//rfc:5177#7-3
func (n *Node) networkEntry(p netip.Prefix, home forward.Entry) forward.Entry {
	return forward.Entry{
		Key: n.networkKey(p), Role: home.Role, Inner: p, Router: n.home, Tunnels: home.Tunnels, Redundant: home.Redundant, Numbered: home.Numbered,
	}
}

// puts makes the data plane have the node's entry and those of its mobile
// networks, and no others.
//
// "If there are any subnet routes via the tunnel to the Mobile Router that are
// not specified in the Mobile Network extensions, these routes are removed"
// (RFC 5177 section 6.1).
//
//rfc:5177#6.1
//rfc:5177#6.3-3
//rfc:5177#6.3-4
//rfc:5177#6.3-5
//rfc:5177#6.3-6
func (n *Node) puts(home forward.Entry) []forward.Change {
	out := append(n.withdrawals(), forward.Change{Op: forward.Put, Entry: home})
	for _, p := range n.Networks() {
		out = append(out, forward.Change{Op: forward.Put, Entry: n.networkEntry(p, home)})
	}
	if n.networks != nil {
		n.networks.laid = n.networks.held
		for i := range out {
			if out[i].Op == forward.Delete {
				// Gone when this is true, and not before.
				n.networks.laid = append(slices.Clone(n.networks.laid), out[i].Entry.Inner)
			}
		}
	}
	return out
}

// withdrawals delete the entries of networks that are not the node's any more.
func (n *Node) withdrawals() (out []forward.Change) {
	if n.networks == nil {
		return nil
	}
	for _, p := range n.networks.laid {
		if !slices.Contains(n.networks.held, p) {
			out = append(out, forward.Change{Op: forward.Delete, Entry: forward.Entry{
				Key: n.networkKey(p), Role: forward.HomeAgent, Inner: p, Router: n.home,
			}})
		}
	}
	return out
}

// onlyEnds says that nothing is to be done for the node's mobile networks but
// to move their ends.
func (n *Node) onlyEnds() bool {
	return n.networks == nil || slices.Equal(n.networks.held, n.networks.laid)
}

// entries yields the node's forwarding entries, none when it is not bound.
func (a *Agent) entries(space []forward.Tunnel, n *Node, yield func(forward.Entry) bool) bool {
	home, live := a.entryIn(space, n)
	if !live {
		return true
	}
	if !yield(home) {
		return false
	}
	for _, p := range n.Networks() {
		if !yield(n.networkEntry(p, home)) {
			return false
		}
	}
	return true
}

// KeepNetworks says which of a node's mobile networks a restart brings back,
// and which stay when the configuration changes: allowed gives those that the
// node may still have. Without it there are none.
func (a *Agent) KeepNetworks(allowed func(*Node, []netip.Prefix) []netip.Prefix) {
	a.allowNetworks = allowed
}

// Assignable says which addresses mobile networks may have that are assigned to
// nodes, beside the configured ones.
func (a *Agent) Assignable(contains func(netip.Addr) bool) { a.assignable = contains }

// restoreNetworks are those of a record that the node may still have. They are
// in the data plane, if anything is.
func (a *Agent) restoreNetworks(n *Node, list []netip.Prefix) {
	if len(list) == 0 || n.list.Len() == 0 {
		return
	}
	if a.allowNetworks != nil {
		n.hold(a.allowNetworks(n, list))
	}
	if n.networks == nil {
		n.networks = new(networks)
	}
	n.networks.laid = list
}

// pruneNetworks takes mobile networks from a node that the configuration does
// not grant it any more.
func (a *Agent) pruneNetworks(n *Node) {
	if n.networks == nil || a.allowNetworks == nil {
		return
	}
	before := n.Networks()
	n.hold(a.allowNetworks(n, before))
	home, live := a.entry(n)
	if !live || slices.Equal(n.Networks(), before) {
		return
	}
	a.commit(n, engine.Commit{
		Records: []engine.Record{a.record(n)},
		Changes: n.puts(home),
		Then: []engine.Action{a.Telling(note.Note{
			Kind: note.Unbound, Level: note.Info, HomeAddress: n.home, NAI: string(n.config.NAI),
			Why: fmt.Sprintf("mobile networks %v: %s", minus(before, n.Networks()), Unconfigured),
		})},
	}, nil)
}

func minus(all, some []netip.Prefix) []netip.Prefix {
	return slices.DeleteFunc(slices.Clone(all), func(p netip.Prefix) bool { return slices.Contains(some, p) })
}

// An ownedNetwork is a row of the prefix table.
type ownedNetwork struct {
	prefix netip.Prefix
	node   int // in Config.Nodes
}

// prefixTable is the configured mobile networks of all nodes in the order of
// their addresses. No two overlap: packets for an address go to one router.
//
//rfc:5177#6.2.2
func (c *Config) prefixTable() ([]ownedNetwork, error) {
	var list []ownedNetwork
	for i := range c.Nodes {
		for _, p := range c.Nodes[i].Prefixes {
			if !p.IsValid() || !p.Addr().Is4() || p != p.Masked() || p.Bits() == 0 || p.Addr().IsMulticast() || slices.ContainsFunc(append(slices.Clone(c.Addresses), c.LocalAddress), p.Contains) {
				return nil, fmt.Errorf("ha: %v of mobile node %v cannot be a mobile network", p, &c.Nodes[i])
			}
			list = append(list, ownedNetwork{p, i})
		}
	}
	slices.SortStableFunc(list, func(a, b ownedNetwork) int { return a.prefix.Compare(b.prefix) })
	for i := 1; i < len(list); i++ {
		if a, b := list[i-1], list[i]; a.prefix.Overlaps(b.prefix) {
			return nil, fmt.Errorf("ha: mobile network %v of %v overlaps %v of %v", b.prefix, &c.Nodes[b.node], a.prefix, &c.Nodes[a.node])
		}
	}
	return list, nil
}

// routerOf is the configured node in whose mobile network an address lies.
func (a *Agent) routerOf(addr netip.Addr) (ident.Node, bool) {
	i, found := slices.BinarySearchFunc(a.prefixes, addr, func(o ownedNetwork, addr netip.Addr) int {
		if o.prefix.Contains(addr) {
			return 0
		}
		return o.prefix.Addr().Compare(addr)
	})
	if !found {
		return ident.Node{}, false
	}
	return a.cfg.Nodes[a.prefixes[i].node].Node, true
}

// judgeNested judges a care-of address in a mobile network. "The operation of
// each Mobile Router remains the same whether the Mobile Router attaches to
// another Mobile Router or to a fixed Access Router" (RFC 5177 section 8), but
// for its own network, through which it cannot be reached.
//
//rfc:5177#8
func (a *Agent) judgeNested(n *Node, careOf netip.Addr) (nested bool, v engine.Verdict) {
	own := slices.ContainsFunc(n.Networks(), func(p netip.Prefix) bool { return p.Contains(careOf) })
	router, nested := a.routerOf(careOf)
	if own || nested && router == n.config.Node {
		return true, engine.Deny(uint8(mip4.CodeHAProhibited), "the care-of address lies in the router's own mobile network")
	}
	return nested, engine.Next()
}

// underlay is the interface by which this host reaches a care-of address, or who
// relays for it, that lies in a mobile network without being there. Routing
// leads packets for it into the tunnel of the network's router, and that is right
// for a node that visits the router (RFC 5177 section 8): its requests have come
// out of that tunnel. Those of a node in another network with the same addresses
// have not, and it is reached the way that they came. Empty lets routing decide.
//
//rfc:5177#8
func (a *Agent) underlay(p *engine.Packet, to netip.Addr) string {
	if a.cfg.Device == "" || p.Link == a.cfg.Device || !a.inMobileNetwork(to) {
		return ""
	}
	return p.Link
}

// inMobileNetwork says whether packets for an address may go to a mobile router,
// now or as soon as it registers.
func (a *Agent) inMobileNetwork(addr netip.Addr) bool {
	_, configured := a.routerOf(addr)
	return configured || a.assignable != nil && a.assignable(addr)
}

// onlyBinding is the node's one binding when nothing of it changed but its end.
func (n *Node) onlyBinding(change binding.Change) (binding.Binding, bool) {
	if change != binding.Same || n.repair != 0 || !n.onlyEnds() {
		return binding.Binding{}, false
	}
	return n.list.Only()
}

// A BoundNetwork is a mobile network as shown.
type BoundNetwork struct {
	Prefix        netip.Prefix
	HomeAddress   netip.Addr // the router's
	NAI           string     // the router's
	CareOfAddress netip.Addr // the router's, of its latest binding
	Key           string     // of the forwarding entry
}

func (a *Agent) listNetworks() []BoundNetwork {
	list := []BoundNetwork{}
	for _, n := range a.nodes {
		for _, p := range n.Networks() {
			one := BoundNetwork{Prefix: p, HomeAddress: n.home, NAI: string(n.config.NAI), Key: string(n.networkKey(p))}
			for b := range n.list.Each() {
				one.CareOfAddress = b.CareOfAddress
			}
			list = append(list, one)
		}
	}
	slices.SortFunc(list, func(x, y BoundNetwork) int { return x.Prefix.Compare(y.Prefix) })
	return list
}
