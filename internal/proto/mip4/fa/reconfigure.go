package fa

import (
	"fmt"
	"slices"
)

// Reconfigure gives a running agent another configuration. It is a command,
// answered with nil; after an error nothing has changed.
//
// Visits stay as they were accepted: home agent and mobile node have agreed on
// them. New limits and keys hold from a visitor's next registration on.
type Reconfigure struct{ Config Config }

func (a *Agent) reconfigure(cfg Config) error {
	cfg = cfg.withDefaults()
	if err := cfg.check(); err != nil {
		return err
	}
	for _, f := range []struct {
		what string
		same bool
	}{
		{"interfaces", slices.Equal(cfg.Links, a.cfg.Links)},
		{"care-of addresses", slices.Equal(cfg.CareOfAddresses, a.cfg.CareOfAddresses)},
		{"port", cfg.Port == a.cfg.Port},
	} {
		if !f.same {
			return fmt.Errorf("fa: a running foreign agent cannot change its %s", f.what)
		}
	}
	if err := a.Advertiser.Replace(cfg.advertisement()); err != nil {
		return err
	}
	a.cfg = cfg
	a.relate()
	return nil
}

// relate takes over the associations of the configuration.
func (a *Agent) relate() {
	clear(a.agents)
	clear(a.nodesHome)
	clear(a.nodesNAI)
	for i := range a.cfg.HomeAgents {
		a.agents[a.cfg.HomeAgents[i].Address] = &a.cfg.HomeAgents[i]
	}
	for i := range a.cfg.MobileNodes {
		n := &a.cfg.MobileNodes[i]
		if n.HomeAddress.IsValid() {
			a.nodesHome[n.HomeAddress] = n
		}
		if n.NAI != "" {
			a.nodesNAI[n.NAI] = n
		}
	}
}
