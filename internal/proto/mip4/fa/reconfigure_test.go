package fa_test

import (
	"net/netip"
	"testing"
	"time"

	"careof/internal/core/assoc"
	"careof/internal/core/forward"
	"careof/internal/proto/mip4/fa"
	"careof/wire/mip4"
)

func (d *driver) reconfigure(cfg fa.Config) {
	d.t.Helper()
	if r := d.command(fa.Reconfigure{Config: cfg}); r.Err != nil {
		d.t.Fatal(r.Err)
	}
}

func TestVisitsOutliveAnotherConfiguration(t *testing.T) {
	d := newDriver(t, config())
	d.visit(d.req())
	changes := len(d.changes)
	d.advance(time.Second)
	d.announced = nil
	cfg := config()
	cfg.MaxLifetime = 77 * time.Second
	cfg.ReverseTunnel = forward.ReverseTunnelRequired
	cfg.HomeAgents[0].Keys = []*assoc.Association{key(333, "another-another-")}
	d.reconfigure(cfg)
	if got := d.accepted(); len(got) != 1 || got[0] != home || len(d.changes) != changes {
		t.Errorf("visitors %v, the data plane was told %v", got, d.changes[changes:])
	}
	// The new limits are advertised at once and hold from now on.
	d.advance(time.Second)
	if len(d.announced) == 0 {
		t.Fatal("nothing is advertised")
	}
	if _, a := advertisement(t, d.announced[len(d.announced)-1]); a.Lifetime != 77 {
		t.Errorf("advertised a lifetime of %d s", a.Lifetime)
	}
	r := d.req()
	r.flags, r.lifetime = 0, 60
	d.denied(mip4.CodeFAReverseTunnelMandatory, r)
	r = d.req()
	r.lifetime = 60
	verify(t, d.relayed(r).Data, mip4.ExtForeignHome, key(333, "another-another-"))
}

func TestAForeignAgentRefusesWhatItCannotChange(t *testing.T) {
	for name, change := range map[string]func(*fa.Config){
		"links":   func(c *fa.Config) { c.Links = []string{"eth7"} },
		"care-of": func(c *fa.Config) { c.CareOfAddresses = []netip.Addr{careOf2} },
		"a limit": func(c *fa.Config) { c.MaxLifetime = time.Millisecond },
	} {
		t.Run(name, func(t *testing.T) {
			d := newDriver(t, config())
			cfg := config()
			cfg.ReverseTunnel = forward.ReverseTunnelRequired
			change(&cfg)
			if r := d.command(fa.Reconfigure{Config: cfg}); r.Err == nil {
				t.Fatal("taken")
			}
			r := d.req()
			r.flags = 0
			d.relayed(r)
		})
	}
}
