package daemon

import (
	"fmt"

	"careof/internal/config"
	"careof/internal/core/engine"
	"careof/internal/host/drive"
	"careof/internal/proto/mip4/feature/natt"
	"careof/internal/proto/mip4/ha"
	"careof/internal/proto/mip4/standard"
	"careof/wire/encap"
)

// shards is into how many machines a home agent is divided: one does more
// registrations than one network interface delivers.
const shards = 1

// machines makes the machines of the configured roles, and their drivers.
func (d *daemon) machines() error {
	if c := d.cfg.HomeAgent; c != nil {
		features := standard.Features(standard.Config{NATTraversal: natt.Config{Mode: modes[c.NATTraversal], Keepalive: c.Keepalive}})
		var list []engine.Machine
		for i := range shards {
			one := homeAgent(c)
			one.Shard, one.Shards = i, shards
			m, err := standard.HomeAgent(one, features, luck())
			if err != nil {
				return fmt.Errorf("home-agent: %w", err)
			}
			list = append(list, m)
		}
		d.home = drive.New(roleHomeAgent, d.world(), list, ha.Route(homeAgent(c), shards))
	}
	if c := d.cfg.MobileNode; c != nil {
		features := standard.Features(standard.Config{NATTraversal: mobileTraversal(c)})
		m, err := standard.MobileNode(mobileNode(c), features, luck())
		if err != nil {
			return fmt.Errorf("mobile-node: %w", err)
		}
		d.mobile = drive.New(roleMobileNode, d.world(), []engine.Machine{m}, nil)
	}
	return nil
}

// mobileTraversal: asking for UDP encapsulation is asking for it everywhere.
func mobileTraversal(c *config.MobileNode) natt.Config {
	out := natt.Config{Mode: modes[c.NATTraversal]}
	if !c.Encapsulation.Auto && c.Encapsulation.Kind == encap.UDP {
		out.Mode = natt.Force
	}
	return out
}
