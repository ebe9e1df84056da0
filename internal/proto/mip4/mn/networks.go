package mn

import (
	"net/netip"
	"slices"

	"careof/internal/core/forward"
)

// A MobileNetwork is a network behind the node, which is a mobile router then
// (RFC 5177).
type MobileNetwork struct {
	Prefix netip.Prefix `json:"prefix,omitzero"` // invalid while the home agent has assigned none
	Link   string       `json:"interface"`       // that its hosts are on
	// Served says that the home agent has agreed to forward for it. Packets of
	// a network that is not served go nowhere.
	Served bool   `json:"served"`
	State  string `json:"state"` // for people
	// Assigned says that the prefix is the home agent's choice. This host has
	// its first address then.
	Assigned bool `json:"assigned,omitempty"`
}

// SetNetworks says which mobile networks there are. It is for a feature, which
// knows what the home agent agreed to.
func (n *Node) SetNetworks(list []MobileNetwork) { n.networks = slices.Clone(list) }

// networkStates are the mobile networks as they stand: what the home agent has
// agreed to serve waits while nothing is registered.
func (n *Node) networkStates() []MobileNetwork {
	list := slices.Clone(n.networks)
	home, _ := n.entry()
	for i := range list {
		m := &list[i]
		e := n.networkEntry(*m, home)
		if m.Served && e.HomeLink == "" && !slices.ContainsFunc(e.Tunnels, func(t forward.Tunnel) bool { return sending(t) == 1 }) {
			m.Served, m.State = false, unregistered
		}
	}
	return list
}

// unregistered is the state of a network that would be served if its router were
// registered.
const unregistered = "its router is not registered: packets go nowhere"

// NetworkKey is the key of a mobile network's forwarding entry. It does not name the home address, which may not be known yet when
// the network's packets have to be kept from leaving another way.
func NetworkKey(p netip.Prefix) forward.Key {
	return forward.Key(role + "/network/" + p.String())
}

// entries are what the data plane should do now: the home address's, and one
// for each mobile network.
func (n *Node) entries() []forward.Entry {
	var out []forward.Entry
	home, known := n.entry()
	if known {
		out = append(out, home)
	}
	for _, m := range n.networks {
		if m.Prefix.IsValid() {
			out = append(out, n.networkEntry(m, home))
		}
	}
	return out
}

// networkEntry is a mobile network's entry: its packets go the home address's
// way, and never another one. "the Mobile Router encapsulates the packet with a
// tunnel header ... if reverse tunnel is enabled. Otherwise, the packet is
// routed directly": this node does not register networks without one, for
// visited networks filter foreign sources (RFC 5177 sections 5 and 7).
//
//rfc:5177#5
//rfc:5177#7
func (n *Node) networkEntry(m MobileNetwork, home forward.Entry) forward.Entry {
	e := forward.Entry{
		Key: NetworkKey(m.Prefix), Role: forward.MobileNode, Inner: m.Prefix, Network: m.Link,
		HomeLink: home.HomeLink,
	}
	if m.Assigned {
		e.Gateway = m.Prefix.Addr().Next()
	}
	e.Redundant, e.Numbered = home.Redundant, home.Numbered
	switch {
	case e.HomeLink != "":
		e.Deliver = home.Deliver // of the home link's router
	case m.Served:
		e.Tunnels = n.networkTunnels(home)
	}
	return e
}

// networkTunnels are the tunnels of the home address. Through a foreign agent
// they begin at the home address, and the foreign agent tunnels them like any
// packet of it: "In Foreign Agent CoA mode, the tunnel between the Mobile
// Router and Home Agent is needed to allow the Foreign Agent to direct the
// decapsulated packet to the proper visiting Mobile Router" (RFC 5177 section
// 1.2).
//
//rfc:5177#7
func (n *Node) networkTunnels(home forward.Entry) (list []forward.Tunnel) {
	for _, r := range n.registrations() {
		if !r.live || r.CoLocated {
			continue
		}
		t := n.wrapped(r)
		t.Mode = forward.Receive
		if r == n.active && r.Reverse && !n.broken() {
			t.Mode = forward.Both
		}
		list = append(list, t)
	}
	for _, t := range home.Tunnels {
		if t.Local.Addr() == n.address {
			continue // through a foreign agent
		}
		list = append(list, t)
	}
	slices.SortStableFunc(list, func(a, b forward.Tunnel) int { return sending(b) - sending(a) })
	return list
}

func sending(t forward.Tunnel) int {
	if t.Mode == forward.Receive {
		return 0
	}
	return 1
}
