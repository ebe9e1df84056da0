package scene

import (
	"careof/internal/config"
	"careof/internal/lab/check"
	"careof/internal/proto/mip4/feature/natt"
	"careof/internal/proto/mip4/ha"
	"careof/internal/proto/mip4/mn"
	"careof/internal/proto/mip4/standard"
)

// A Tuning is the configuration of one simulated daemon; one of Home and
// Mobile is set.
type Tuning struct {
	Node     string
	Home     *ha.Config
	Mobile   *mn.Config
	Features standard.Config
}

// homeTuning translates a [home-agent] section.
func homeTuning(node string, c *config.HomeAgent) (Tuning, error) {
	reverse, err := ha.ParsePolicy(c.ReverseTunnel.String())
	if err != nil {
		return Tuning{}, err
	}
	h := &ha.Config{
		Addresses: c.Addresses, LocalAddress: c.LocalAddress, Port: c.Port, Links: c.Interfaces, MaxLifetime: c.MaxLifetime,
		ReverseTunnel: reverse, Encapsulations: c.Encapsulations, SimultaneousBindings: c.SimultaneousBindings,
	}
	for _, n := range c.Networks {
		network := ha.Network{Prefix: n.Prefix, Virtual: len(c.Interfaces) == 0}
		for _, r := range n.Pool {
			network.Pool = append(network.Pool, ha.Range{From: r.First, To: r.Last})
		}
		h.Networks = append(h.Networks, network)
	}
	for i := range c.MobileNodes {
		m := &c.MobileNodes[i]
		h.Nodes = append(h.Nodes, ha.MobileNode{Node: m.Identity(), Keys: m.Associations, Source: m.Source, Prefixes: m.Prefixes})
	}
	mode, err := natt.ParseMode(c.NATTraversal.String())
	return Tuning{Node: node, Home: h, Features: standard.Config{NATTraversal: natt.Config{Mode: mode, Keepalive: c.Keepalive}}}, err
}

// mobileTuning translates a [mobile-node] section.
func mobileTuning(node string, c *config.MobileNode) (Tuning, error) {
	m := &mn.Config{
		HomeAddress: c.HomeAddress, HomeNetwork: c.HomeNetwork, NAI: c.NAI, Association: c.Associations[0],
		Routes: c.Routes.Prefixes, Lifetime: c.Lifetime,
	}
	if !c.Encapsulation.Auto {
		m.Encapsulation = c.Encapsulation.Kind
	}
	for _, h := range c.HomeAgents {
		m.HomeAgents = append(m.HomeAgents, mn.HomeAgent{Address: h.Addr, Name: h.Name})
	}
	for _, u := range c.Uplinks {
		m.Uplinks = append(m.Uplinks, mn.UplinkConfig{Interface: u.Interface, Priority: u.Priority})
	}
	mode, err := natt.ParseMode(c.NATTraversal.String())
	return Tuning{Node: node, Mobile: m, Features: standard.Config{NATTraversal: natt.Config{Mode: mode}}}, err
}

// checked is what the invariants need to know of a home agent.
func checked(h *ha.Config) check.Home {
	c := check.Home{Addresses: h.Addresses, Window: h.Window, MaxLifetime: h.MaxLifetime, Bindings: h.SimultaneousBindings}
	if c.MaxLifetime == 0 {
		c.MaxLifetime = ha.DefaultMaxLifetime
	}
	for _, n := range h.Networks {
		c.Networks = append(c.Networks, n.Prefix)
	}
	for _, n := range h.Nodes {
		c.Peers = append(c.Peers, check.Peer{Node: n.Node, Keys: n.Keys, Source: n.Source})
	}
	return c
}
