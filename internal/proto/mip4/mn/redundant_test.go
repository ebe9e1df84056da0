package mn_test

import (
	"strings"
	"testing"
	"time"

	"careof/internal/core/engine"
	"careof/internal/core/forward"
	"careof/internal/proto/mip4/mn"
)

// agreeing makes a node take every acceptance for an agreement.
func agreeing(r mn.Redundancy) func(*mn.Node) error {
	return func(n *mn.Node) error {
		n.Accepted.Add("test", "agreed", func(x *mn.Response) engine.Verdict {
			x.Node.SetRedundancy(r)
			return engine.Next()
		})
		return nil
	}
}

// What is registered beside the uplink in use when the home agent knows of
// redundant packets: another one by an address of the node's own, where it is
// good for the purpose.
func TestWhatStandsBy(t *testing.T) {
	by := mn.Redundancy{Agreed: true, Sparing: true}
	all := by
	all.Classes = []forward.Class{forward.Everything}
	for name, c := range map[string]struct {
		agreed  mn.Redundancy
		change  func(*mn.Config)
		foreign bool
		want    string
		copies  int
		why     string // of the other one
	}{
		"nothing agreed":     {want: "wlan0 ipip both", why: "goes before 50"},
		"stands by":          {agreed: by, want: "wlan0 ipip both, lte0 ipip receive", why: "the home agent knows it already"},
		"takes copies":       {agreed: all, want: "wlan0 ipip both, lte0 ipip receive", copies: 2, why: "redundant packets go over it and another"},
		"metered":            {agreed: all, change: func(c *mn.Config) { c.Uplinks[1].Metered = true }, want: "wlan0 ipip both", why: "goes before 50"},
		"in use and metered": {agreed: all, change: func(c *mn.Config) { c.Uplinks[0].Metered = true }, want: "wlan0 ipip both, lte0 ipip receive", copies: 2, why: "redundant packets"},
		"a foreign agent":    {agreed: all, foreign: true, want: "wlan0 ipip both", why: "goes before 50"},
	} {
		t.Run(name, func(t *testing.T) {
			cfg := foreign(t)
			if c.change != nil {
				c.change(&cfg)
			}
			r := newRig(t, cfg, agreeing(c.agreed))
			r.other = granting(-1)
			r.up("wlan0", wifiAddress)
			r.run(time.Second)
			if c.foreign {
				r.bare("lte0", 1)
				a := advertA()
				a.Link = "lte0"
				r.step(a)
			} else {
				r.up("lte0", lteAddress)
			}
			r.run(3 * time.Second)
			if got := r.tunnels(); got != c.want {
				t.Errorf("%s, want %s", got, c.want)
			}
			copies := 0
			for _, t := range r.entry().Tunnels {
				if t.Copies {
					copies++
				}
			}
			if copies != c.copies || r.entry().Numbered != c.agreed.Agreed {
				t.Errorf("%d tunnels take copies: %+v", copies, r.entry())
			}
			r.step(engine.Command{Ticket: 1, Value: mn.ListUplinks{}})
			for _, u := range r.results[len(r.results)-1].Value.([]mn.UplinkInfo) {
				if u.Link == "lte0" && !strings.Contains(u.Why, c.why) {
					t.Errorf("shown as %q", u.Why)
				}
			}
		})
	}
}

// A registration is said to be the active one when packets go over it, and not when the
// data plane has only been told so.
func TestActiveIsWhatPacketsGoOver(t *testing.T) {
	r := newRig(t, foreign(t))
	r.other = granting(-1)
	r.up("lte0", lteAddress)
	r.run(time.Second)
	active := func() string {
		for _, i := range r.status().Registered {
			if i.Active {
				return i.Link
			}
		}
		return "none"
	}
	if got := active(); got != "lte0" {
		t.Fatalf("%s is active", got)
	}
	r.up("wlan0", wifiAddress)
	r.stalled = true // from the reply on
	r.run(time.Second)
	if got, link := active(), r.status().Link; got == "wlan0" || link != "wlan0" {
		t.Errorf("%s is active while the data plane takes nothing, and %s was accepted", got, link)
	}
	for len(r.held) > 0 {
		r.release()
	}
	r.stalled = false
	r.run(time.Second)
	if got := active(); got != "wlan0" {
		t.Errorf("%s is active", got)
	}
}
