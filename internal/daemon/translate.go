package daemon

import (
	"time"

	"careof/internal/config"
	"careof/internal/proto/mip4/feature/natt"
	"careof/internal/proto/mip4/ha"
	"careof/internal/proto/mip4/mn"
	"careof/wire/encap"
)

// homeAgent translates the [home-agent] section.
func homeAgent(c *config.HomeAgent) ha.Config {
	out := ha.Config{
		Addresses:            c.Addresses,
		LocalAddress:         c.LocalAddress,
		Port:                 c.Port,
		Links:                c.Interfaces,
		MaxLifetime:          c.MaxLifetime,
		ReverseTunnel:        policies[c.ReverseTunnel],
		Encapsulations:       c.Encapsulations,
		SimultaneousBindings: c.SimultaneousBindings,
	}
	for _, n := range c.Networks {
		network := ha.Network{Prefix: n.Prefix, Virtual: len(c.Interfaces) == 0}
		for _, r := range n.Pool {
			network.Pool = append(network.Pool, ha.Range{From: r.First, To: r.Last})
		}
		out.Networks = append(out.Networks, network)
	}
	for i := range c.MobileNodes {
		n := &c.MobileNodes[i]
		out.Nodes = append(out.Nodes, ha.MobileNode{
			Node: n.Identity(), Keys: n.Associations, Source: n.Source, Prefixes: n.Prefixes,
		})
	}
	for _, f := range c.ForeignAgents {
		out.ForeignAgents = append(out.ForeignAgents, ha.ForeignAgent{Address: f.Address, Keys: f.Associations})
	}
	return out
}

var policies = map[config.ReverseTunnel]ha.Policy{
	config.ReverseTunnelAllowed:  ha.Allowed,
	config.ReverseTunnelRequired: ha.Required,
	config.ReverseTunnelRefused:  ha.Refused,
}

var modes = map[config.NATTraversal]natt.Mode{
	config.NATTraversalAuto:  natt.Auto,
	config.NATTraversalForce: natt.Force,
	config.NATTraversalOff:   natt.Off,
}

// mobileNode translates the [mobile-node] section.
func mobileNode(c *config.MobileNode) mn.Config {
	out := mn.Config{
		HomeAddress: c.HomeAddress,
		HomeNetwork: c.HomeNetwork,
		NAI:         c.NAI,
		Association: c.Associations[0],
		Routes:      c.Routes.Prefixes,
		Lifetime:    c.Lifetime.Truncate(time.Second),
	}
	if !c.Encapsulation.Auto && c.Encapsulation.Kind != encap.UDP {
		out.Encapsulation = c.Encapsulation.Kind
	}
	for _, h := range c.HomeAgents {
		out.HomeAgents = append(out.HomeAgents, mn.HomeAgent{Address: h.Addr, Name: h.Name})
	}
	for _, u := range c.Uplinks {
		out.Uplinks = append(out.Uplinks, mn.UplinkConfig{Interface: u.Interface, Priority: u.Priority})
	}
	return out
}
