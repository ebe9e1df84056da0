package advertise

import (
	"errors"
	"slices"
)

// Reconfigure gives a running advertiser another configuration for the same
// links. It is a command, answered with nil; after an error nothing has
// changed. The next advertisement on each link tells what is new, as soon as
// the rate limit allows.
type Reconfigure struct{ Config Config }

// Replace is [Reconfigure] for a role that embeds the advertiser. The next Step
// sends what is new.
func (a *Advertiser) Replace(cfg Config) error {
	cfg = cfg.withDefaults()
	if err := cfg.check(); err != nil {
		return err
	}
	names := func(list []Link) (names []string) {
		for _, l := range list {
			names = append(names, l.Name)
		}
		slices.Sort(names)
		return names
	}
	if !slices.Equal(names(cfg.Links), names(a.cfg.Links)) {
		return errors.New("advertise: a running agent cannot change its links")
	}
	if cfg.equal(&a.cfg) {
		return nil
	}
	a.cfg = cfg
	for _, l := range cfg.Links {
		p := a.place(l.Name)
		p.cfg = l
		if p.active() && !l.SolicitedOnly {
			p.hurry(a.now.Mono)
		}
	}
	return nil
}

func (c *Config) equal(o *Config) bool {
	return slices.Equal(c.Links, o.Links) && c.Interval == o.Interval && c.RegistrationLifetime == o.RegistrationLifetime &&
		slices.Equal(c.CareOfAddresses, o.CareOfAddresses) && c.Flags == o.Flags
}
