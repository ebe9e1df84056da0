package ha_test

import (
	"net/netip"
	"slices"
	"testing"

	"careof/internal/core/binding"
	"careof/internal/core/engine"
	"careof/internal/core/forward"
	"careof/internal/core/note"
	"careof/internal/proto/mip4/ha"
	"careof/wire/mip4"
)

// fromHome is the deregistration of a node that is back on its home link.
func (d *driver) fromHome() *request {
	r := d.req()
	r.lifetime, r.careOf = 0, home
	r.src, r.link, r.hw = netip.AddrPortFrom(home, 434), "eth0", nodeMAC
	return r
}

// "If the Lifetime is zero and the Care-of Address equals the mobile node's
// home address, the home agent deletes all of the entries"; the reply goes
// "directly onto the home network ... bypassing any mobility binding list
// entry", after interception has ended with a gratuitous ARP that names the
// mobile node.
//
//rfc:5944#3.8.2.2
//rfc:5944#3.8.3.1
//rfc:5944#4.6
func TestDeregistrationFromHome(t *testing.T) {
	d := newDriver(t, config(t))
	for i := byte(1); i <= 2; i++ {
		r := d.req()
		r.flags |= mip4.FlagS
		r.careOf = netip.AddrFrom4([4]byte{192, 0, 2, i})
		r.src = netip.AddrPortFrom(r.careOf, 40000)
		d.want(mip4.CodeAccepted, r)
	}
	d.changes, d.notes = nil, nil
	p := d.want(mip4.CodeAccepted, d.fromHome())
	if p.Lifetime != 0 {
		t.Errorf("lifetime %d", p.Lifetime)
	}
	if p.Link != "eth0" || p.HW != nodeMAC || p.Dst != netip.AddrPortFrom(home, 434) {
		t.Errorf("reply goes to %v at %v on %q", p.Dst, p.HW, p.Link)
	}
	if len(d.changes) != 1 || d.changes[0].Op != forward.Delete || d.changes[0].ReturnedTo != nodeMAC || d.changes[0].Entry.Intercept != "eth0" {
		t.Errorf("changes %+v", d.changes)
	}
	if len(d.plane) != 0 || len(d.bindings()) != 0 || !d.a.Deadline().IsZero() {
		t.Error("something is left")
	}
	if k := d.kinds(); !slices.Equal(k, []note.Kind{note.Unbound}) {
		t.Errorf("notes %v", k)
	}
}

// The reply bypasses the binding also when it is a rejection; the binding
// stays, and ARP is not touched.
//
//rfc:5944#3.8.3.1
func TestRejectedDeregistrationFromHome(t *testing.T) {
	d := newDriver(t, config(t))
	d.want(mip4.CodeAccepted, d.req())
	d.changes = nil
	r := d.fromHome()
	r.agent = netip.MustParseAddr("198.51.100.9")
	p := d.want(mip4.CodeUnknownHomeAgent, r)
	if p.Link != "eth0" || p.HW != nodeMAC {
		t.Errorf("reply goes to %v on %q", p.HW, p.Link)
	}
	old := d.fromHome()
	old.id -= 60 << 32
	p = d.want(mip4.CodeIdentificationMismatch, old)
	if p.Link != "eth0" || p.HW != nodeMAC {
		t.Errorf("the 133 goes to %v on %q", p.HW, p.Link)
	}
	if len(d.changes) != 0 || len(d.bindings()) != 1 {
		t.Error("a rejected deregistration changed something")
	}
}

// A deregistration that did not come over the home link names nobody in a
// gratuitous ARP, and its reply takes the ordinary way.
func TestDeregistrationFromAway(t *testing.T) {
	d := newDriver(t, config(t))
	d.want(mip4.CodeAccepted, d.req())
	d.changes = nil
	r := d.req()
	r.lifetime, r.careOf, r.hw = 0, home, nodeMAC // all of them, from the care-of address
	p := d.want(mip4.CodeAccepted, r)
	if p.Link != "" || p.HW != (engine.HardwareAddr{}) || p.Dst != r.src {
		t.Errorf("reply goes to %v on %q", p.Dst, p.Link)
	}
	if len(d.changes) != 1 || d.changes[0].ReturnedTo != (engine.HardwareAddr{}) {
		t.Errorf("changes %+v", d.changes)
	}
	// Claiming to be at home from another link: the reply goes to the home
	// link, for whoever really is there.
	d.want(mip4.CodeAccepted, d.req())
	d.changes = nil
	r = d.fromHome()
	r.link = "wan0"
	p = d.want(mip4.CodeAccepted, r)
	if p.Link != "eth0" || p.HW != (engine.HardwareAddr{}) {
		t.Errorf("reply goes to %v on %q", p.HW, p.Link)
	}
	if d.changes[0].ReturnedTo != (engine.HardwareAddr{}) {
		t.Error("a neighbour of another link is announced at home")
	}
}

// With a virtual home network there is no link to intercept on.
func TestVirtualHomeNetwork(t *testing.T) {
	cfg := config(t)
	cfg.Links = nil
	d := newDriver(t, cfg)
	d.want(mip4.CodeAccepted, d.req())
	if e, _ := d.entry(home); e.Intercept != "" {
		t.Errorf("intercepts on %q", e.Intercept)
	}
	d.changes = nil
	r := d.req()
	r.lifetime, r.careOf = 0, home
	d.want(mip4.CodeAccepted, r)
	if d.changes[0].ReturnedTo != (engine.HardwareAddr{}) {
		t.Error("announced on no link")
	}
}

// Deregistering what is not bound succeeds and changes nothing: the mobile
// node gets what it wanted.
func TestDeregistrationWithoutBinding(t *testing.T) {
	d := newDriver(t, config(t))
	d.want(mip4.CodeAccepted, d.fromHome())
	r := d.req()
	r.lifetime = 0
	d.want(mip4.CodeAccepted, r)
	if len(d.changes) != 0 {
		t.Errorf("changes %+v", d.changes)
	}
	// "the home agent MUST also transmit a gratuitous ARP", which here no end
	// of interception brings about.
	if want := []engine.Announce{{Link: "eth0", Address: home, HW: nodeMAC}}; !slices.Equal(d.announced, want) {
		t.Errorf("announced %+v", d.announced)
	}
	// One that names another care-of address leaves the binding alone.
	d.want(mip4.CodeAccepted, d.req())
	r = d.req()
	r.lifetime, r.careOf = 0, careOf2
	d.want(mip4.CodeAccepted, r)
	if len(d.bindings()) != 1 {
		t.Error("another binding was deregistered")
	}
}

// The hooks of features hear of every beginning and end, when it is true.
func TestBoundAndUnboundHooks(t *testing.T) {
	var heard []string
	d := newDriver(t, config(t), func(a *ha.Agent) {
		a.OnBound(func(n *ha.Node, b binding.Binding) { heard = append(heard, "bound "+b.CareOfAddress.String()) })
		a.OnUnbound(func(n *ha.Node, b binding.Binding, why ha.Reason) {
			heard = append(heard, string(why)+" "+b.CareOfAddress.String())
		})
	})
	d.hold = true
	d.send(d.req())
	if len(heard) != 0 {
		t.Fatal("heard before it was true")
	}
	d.release()
	d.sent = nil
	d.tick()
	r := d.req()
	r.careOf, r.src = careOf2, netip.AddrPortFrom(careOf2, 40000)
	d.want(mip4.CodeAccepted, r)
	d.advance(300e9)
	d.want(mip4.CodeAccepted, d.req())
	d.want(mip4.CodeAccepted, d.fromHome())
	want := []string{
		"bound 192.0.2.7", "replaced 192.0.2.7", "bound 192.0.2.8", "expired 192.0.2.8",
		"bound 192.0.2.7", "deregistered 192.0.2.7",
	}
	if !slices.Equal(heard, want) {
		t.Errorf("heard %q\nwant  %q", heard, want)
	}
}
