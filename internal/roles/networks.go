package roles

import (
	"careof/internal/config"
	"careof/internal/proto/mip4/feature/mobilenetwork"
)

// homeNetworks are mobile networks at a home agent.
func homeNetworks(c *config.HomeAgent) mobilenetwork.Config {
	out := mobilenetwork.Config{RefuseHome: c.MobileNetworks == config.Off}
	for _, p := range c.PrefixPools {
		out.Pools = append(out.Pools, mobilenetwork.Pool{Prefix: p.Prefix, Length: p.Length, PerNode: p.PerNode})
	}
	return out
}

// mobileNetworks are those behind a mobile router.
func mobileNetworks(c *config.MobileNode) mobilenetwork.Config {
	out := mobilenetwork.Config{Implicit: c.NetworkMode == config.NetworksImplicit}
	for _, n := range c.Networks {
		out.Networks = append(out.Networks, mobilenetwork.Network{Link: n.Interface, Prefix: n.Prefix, Length: n.Length})
	}
	return out
}
