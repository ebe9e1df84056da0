package mn_test

import (
	"net/netip"
	"testing"
	"time"

	"careof/internal/core/assoc"
	"careof/internal/core/engine"
	"careof/internal/core/note"
	"careof/internal/proto/mip4/mn"
	"careof/wire/mip4"
)

// reconfigure gives the node another configuration.
func (r *rig) reconfigure(cfg mn.Config) {
	r.t.Helper()
	r.step(engine.Command{Ticket: 1, Value: mn.Reconfigure{Config: cfg}})
	if got := r.results[len(r.results)-1]; got.Err != nil {
		r.t.Fatal(got.Err)
	}
}

func TestRoutesChangeUnderARegistrationThatGoesOn(t *testing.T) {
	r := registered(t)
	requests := len(r.requests)
	cfg := config(t)
	cfg.Routes = []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}
	r.reconfigure(cfg)
	if got := r.entry(); len(got.Routes) != 1 || got.Routes[0] != cfg.Routes[0] || len(got.Tunnels) == 0 {
		t.Errorf("the entry is %+v", got)
	}
	if len(r.requests) != requests || r.status().State != "registered" {
		t.Errorf("%d requests, %s", len(r.requests)-requests, r.status().State)
	}
}

func TestWhatTheHomeAgentMustKnowIsRegisteredAtOnce(t *testing.T) {
	r := registered(t)
	r.run(5 * time.Second)
	cfg := config(t)
	cfg.Lifetime = 99 * time.Second
	key, err := assoc.New(4711, assoc.HMACSHA256, assoc.NewKey([]byte("the next key, longer than before")), assoc.Timestamps)
	if err != nil {
		t.Fatal(err)
	}
	cfg.Association = key
	r.other = always(answer{lifetime: -1, signer: key})
	lost := r.count(note.Lost)
	r.reconfigure(cfg)
	r.run(200 * time.Millisecond)
	q := r.last()
	e, n := q.m.Find(mip4.ExtMobileHome)
	a, err := q.m.Authentication(e)
	if n != 1 || err != nil || a.SPI != 4711 || !key.Verify(q.m.Covered(e), a.Authenticator) || q.request.Lifetime != 99 {
		t.Errorf("sent %+v, SPI %d, %v", q.request, a.SPI, err)
	}
	if s := r.status(); s.State != "registered" || r.count(note.Lost) != lost {
		t.Errorf("the node is %s", s.State)
	}
}

func TestAnUplinkThatGoesIsLeftAndOneThatComesIsUsed(t *testing.T) {
	r := registered(t)
	r.up("lte0", lteAddress)
	r.run(time.Second)
	cfg := config(t)
	cfg.Uplinks = cfg.Uplinks[1:]
	r.reconfigure(cfg)
	r.run(2 * time.Second)
	if s := r.status(); s.State != "registered" || s.Link != "lte0" {
		t.Fatalf("%s over %s", s.State, s.Link)
	}
	r.reconfigure(config(t))
	r.up("wlan0", wifiAddress) // the driver tells the links anew
	r.run(2 * time.Second)
	if s := r.status(); s.State != "registered" || s.Link != "wlan0" {
		t.Errorf("%s over %s", s.State, s.Link)
	}
}

func TestAnotherHomeAgentIsRegisteredWithBeforeTheOldIsLeft(t *testing.T) {
	r := registered(t)
	r.run(5 * time.Second)
	next := netip.MustParseAddr("198.51.100.9")
	cfg := config(t)
	cfg.HomeAgents = []mn.HomeAgent{{Address: next}}
	lost := r.count(note.Lost)
	r.reconfigure(cfg)
	if len(r.entry().Tunnels) == 0 {
		t.Error("nothing can be sent meanwhile")
	}
	r.run(2 * time.Second)
	if s := r.status(); s.State != "registered" || s.HomeAgent != next || r.count(note.Lost) != lost {
		t.Errorf("%s with %v", s.State, s.HomeAgent)
	}
}

func TestANodeRefusesWhatItCannotChange(t *testing.T) {
	for name, change := range map[string]func(*mn.Config){
		"home address":   func(c *mn.Config) { c.HomeAddress = netip.MustParseAddr("10.10.0.9") },
		"name":           func(c *mn.Config) { c.NAI = "van@fleet" },
		"foreign agents": func(c *mn.Config) { c.ForeignAgents.Any = true },
		"a lifetime":     func(c *mn.Config) { c.Lifetime = time.Millisecond },
	} {
		t.Run(name, func(t *testing.T) {
			r := registered(t)
			cfg := config(t)
			cfg.Routes = []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}
			change(&cfg)
			r.step(engine.Command{Ticket: 1, Value: mn.Reconfigure{Config: cfg}})
			if r.results[len(r.results)-1].Err == nil {
				t.Fatal("taken")
			}
			if got := r.entry(); got.Routes[0].Bits() != 0 {
				t.Errorf("the routes are %v", got.Routes)
			}
		})
	}
}
