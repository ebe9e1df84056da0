package ha_test

import (
	"net/netip"
	"slices"
	"testing"
	"time"

	"careof/internal/core/engine"
	"careof/internal/core/note"
	"careof/wire/mip4"
)

// With several home links, the one that has an address in the home network is
// where its nodes are defended; also for bindings that were there before.
func TestHomeLinkIsTheOneWithAnAddressInTheNetwork(t *testing.T) {
	cfg := config(t)
	cfg.Links = []string{"eth0", "eth1"}
	d := newDriver(t, cfg)
	d.want(mip4.CodeAccepted, d.req())
	if e, _ := d.entry(home); e.Intercept != "" {
		t.Fatalf("intercepts on %q before any link is known", e.Intercept)
	}
	link := func(name, addr string) engine.LinkChanged {
		return engine.LinkChanged{Link: engine.Link{Name: name, Up: true, Addresses: []netip.Prefix{netip.MustParsePrefix(addr)}}}
	}
	d.step(link("eth0", "172.16.0.1/24"))
	d.step(link("wan0", "10.10.0.1/24")) // no home link by configuration
	d.step(link("eth1", "10.10.0.1/24"))
	if e, _ := d.entry(home); e.Intercept != "eth1" {
		t.Fatalf("intercepts on %q", e.Intercept)
	}
	d.advance(time.Second)
	r := d.fromHome()
	r.link = "eth1"
	if p := d.want(mip4.CodeAccepted, r); p.Link != "eth1" || p.HW != nodeMAC {
		t.Errorf("reply goes to %v on %q", p.HW, p.Link)
	}
}

// The addresses of the host's interfaces are no care-of addresses, and their
// broadcast addresses are how a home agent is discovered.
func TestAddressesOfLinksAreOurOwn(t *testing.T) {
	d := newDriver(t, config(t))
	d.step(engine.LinkChanged{Link: engine.Link{Name: "wan0", Up: true, Addresses: []netip.Prefix{netip.MustParsePrefix("192.0.2.7/24")}}})
	d.want(mip4.CodeHAProhibited, d.req())
	r := d.req()
	r.careOf, r.src = careOf2, netip.AddrPortFrom(careOf2, 40000)
	r.dst = netip.MustParseAddrPort("192.0.2.255:434")
	d.want(mip4.CodeUnknownHomeAgent, r)
	d.step(engine.LinkChanged{Link: engine.Link{Name: "wan0", Gone: true}})
	d.want(mip4.CodeAccepted, d.req())
}

// A binding that is over is over, also when the driver wakes the agent late:
// what comes then binds anew.
//
//rfc:5944#3.8.2.2
func TestLateWake(t *testing.T) {
	d := newDriver(t, config(t))
	d.want(mip4.CodeAccepted, d.req())
	d.now.Mono, d.now.Wall = d.now.Mono.Add(time.Hour), d.now.Wall.Add(time.Hour)
	d.kinds()
	d.want(mip4.CodeAccepted, d.req())
	if k := d.kinds(); !slices.Equal(k, []note.Kind{note.Expired, note.Bound}) {
		t.Errorf("notes %v", k)
	}
}
