package fa_test

import (
	"math/rand/v2"
	"net/netip"
	"testing"

	"careof/internal/core/assoc"
	"careof/internal/core/ident"
	"careof/internal/proto/mip4/fa"
)

// Mistakes in the configuration are found at construction: "Each foreign agent
// MUST be configured with a care-of address".
//
//rfc:5944#3.7.1-1
func TestConfigurationIsChecked(t *testing.T) {
	for _, c := range []struct {
		name   string
		change func(*fa.Config)
	}{
		{"no care-of address", func(c *fa.Config) { c.CareOfAddresses = nil }},
		{"care-of address is multicast", func(c *fa.Config) { c.CareOfAddresses[0] = allAgents }},
		{"no link", func(c *fa.Config) { c.Links = nil }},
		{"home agent is nobody", func(c *fa.Config) { c.HomeAgents[0].Address = zero }},
		{"home agent twice", func(c *fa.Config) { c.HomeAgents = append(c.HomeAgents, c.HomeAgents[0]) }},
		{"home agent without a key", func(c *fa.Config) { c.HomeAgents[0].Keys = nil }},
		{"SPI twice", func(c *fa.Config) { c.HomeAgents[0].Keys = []*assoc.Association{foreignKey, foreignKey} }},
		{"mobile node without a name", func(c *fa.Config) { c.MobileNodes[0].Node = ident.Node{} }},
		{"negative limit", func(c *fa.Config) { c.MaxPending = -1 }},
	} {
		cfg := config()
		cfg.CareOfAddresses = append([]netip.Addr(nil), cfg.CareOfAddresses...)
		c.change(&cfg)
		if _, err := fa.New(cfg, rand.New(rand.NewPCG(1, 2))); err == nil {
			t.Errorf("%s: accepted", c.name)
		}
	}
	if _, err := fa.New(config(), rand.New(rand.NewPCG(1, 2))); err != nil {
		t.Error(err)
	}
}
