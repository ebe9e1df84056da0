package scene

import (
	"crypto/sha256"

	"careof/internal/config"
	"careof/internal/core/forward"
	"careof/internal/lab/check"
	"careof/internal/proto/mip4/fa"
	"careof/internal/proto/mip4/ha"
	"careof/internal/proto/mip4/mn"
	"careof/internal/proto/mip4/standard"
	"careof/internal/roles"
)

// A Tuning is the configuration of one simulated daemon; one of Home, Foreign
// and Mobile is set.
type Tuning struct {
	Node     string
	Home     *ha.Config
	Foreign  *fa.Config
	Mobile   *mn.Config
	Features standard.Config
}

// homeTuning is the tuning that a [home-agent] section asks for.
func homeTuning(node string, c *config.HomeAgent) Tuning {
	h, features := roles.HomeAgent(c)
	features.WireGuard.Own = publicKey(node)
	return Tuning{Node: node, Home: &h, Features: features}
}

// foreignTuning is the tuning that a [foreign-agent] section asks for.
func foreignTuning(node string, c *config.ForeignAgent) Tuning {
	f, features := roles.ForeignAgent(c, nil)
	return Tuning{Node: node, Foreign: &f, Features: features}
}

// mobileTuning is the tuning that a [mobile-node] section asks for.
func mobileTuning(node string, c *config.MobileNode) Tuning {
	m, features := roles.MobileNode(c)
	if m.Encrypted {
		features.WireGuard.Own = publicKey(node)
	}
	return Tuning{Node: node, Mobile: &m, Features: features}
}

// publicKey is that of a simulated host, where a tunnel of UDP stands for an
// encrypted one.
func publicKey(node string) forward.PublicKey { return forward.KeyOf(sha256.Sum256([]byte(node))) }

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
		c.Peers = append(c.Peers, check.Peer{Node: n.Node, Keys: n.Keys, Source: n.Source, Prefixes: n.Prefixes})
	}
	return c
}
