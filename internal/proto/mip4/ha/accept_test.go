package ha_test

import (
	"net/netip"
	"slices"
	"testing"
	"time"

	"careof/internal/core/forward"
	"careof/internal/core/note"
	"careof/wire/encap"
	"careof/wire/mip4"
)

// "the home agent MUST update its mobility binding list for the requesting
// mobile node and MUST return a Registration Reply".
//
//rfc:5944#3.8.2.2
//rfc:5944#3.8.3.1
//rfc:5944#3.8.3.2
//rfc:3024#3.2-1
//rfc:3024#4.3.2-1
//rfc:5944#3.4-6
//rfc:5944#3.8.1-3
//rfc:5944#3.8.2-1
//rfc:5944#3.8.3-1
//rfc:5944#3.8.3-3
func TestAcceptedRequestBindsAndIsAnswered(t *testing.T) {
	d := newDriver(t, config(t))
	r := d.req()
	p := d.want(mip4.CodeAccepted, r)
	if p.Lifetime != 300 || p.HomeAddress != home || p.HomeAgent != agentAddr || p.Identification != r.id {
		t.Errorf("reply is %+v", p.RegistrationReply)
	}
	if p.Src != r.dst || p.Dst != r.src {
		t.Errorf("reply goes from %v to %v, want the request's addresses and ports exchanged", p.Src, p.Dst)
	}
	e, ok := d.entry(home)
	if !ok {
		t.Fatal("no forwarding entry")
	}
	want := forward.Tunnel{
		Local: netip.AddrPortFrom(agentAddr, 0), Peer: netip.AddrPortFrom(careOf, 0), Encap: encap.IPIP,
		Until: d.now.Mono.Add(300*time.Second - 10*time.Millisecond),
	}
	if e.Role != forward.HomeAgent || e.Inner != netip.PrefixFrom(home, 32) || e.Intercept != "eth0" || !slices.Equal(e.Tunnels, []forward.Tunnel{want}) {
		t.Errorf("entry is %+v\nwant tunnel %+v", e, want)
	}
	if k := d.kinds(); !slices.Equal(k, []note.Kind{note.Bound}) {
		t.Errorf("notes %v", k)
	}
}

// Whatever is told to a peer about the new state waits for the commit.
func TestReplyWaitsForTheCommit(t *testing.T) {
	d := newDriver(t, config(t))
	d.hold = true
	if p := d.send(d.req()); p != nil {
		t.Fatal("answered before the binding was durable and forwarding")
	}
	if len(d.notes) != 0 {
		t.Fatalf("told %v before it was true", d.notes)
	}
	d.release()
	if p := d.reply(); p == nil || p.Code != mip4.CodeAccepted {
		t.Fatal("no reply after the commit")
	}
}

// A failure of the commit removes the binding, keeps the mark and answers 130.
func TestFailedCommitIsAnsweredWith130(t *testing.T) {
	d := newDriver(t, config(t))
	d.broken = errTest
	r := d.req()
	p := d.want(mip4.CodeHAResources, r)
	if p.Identification != r.id {
		t.Error("Identification not copied")
	}
	if len(d.plane) != 0 || len(d.bindings()) != 0 {
		t.Error("the binding is still there")
	}
	d.want(mip4.CodeIdentificationMismatch, r)
	d.want(mip4.CodeAccepted, d.req())
	if d.counter("commits_failed") != 1 {
		t.Error("not counted")
	}
}

// On a full disk a denial cannot be made durable either. It is sent all the
// same, for it is what tells the node; lines about it are limited, and what was
// heard is no news later.
func TestAFullDiskIsAnsweredWith130(t *testing.T) {
	d := newDriver(t, config(t))
	d.broken, d.full = errTest, true
	first := d.req()
	d.want(mip4.CodeHAResources, first)
	for range 100 {
		d.want(mip4.CodeHAResources, d.req())
	}
	errors := 0
	for _, n := range d.notes {
		if n.Level >= note.Error {
			errors++
		}
	}
	if errors == 0 || errors > 8 {
		t.Errorf("%d lines of errors", errors)
	}
	if len(d.plane) != 0 || len(d.bindings()) != 0 {
		t.Error("there is a binding")
	}
	d.broken, d.full = nil, false
	d.want(mip4.CodeIdentificationMismatch, first)
	d.want(mip4.CodeAccepted, d.req())
}

// A refresh that cannot be made durable promises nothing and takes nothing: the
// binding ends when it would have ended, whether the disk has room then or not.
func TestAFailedRefreshLeavesTheBinding(t *testing.T) {
	for _, mended := range []bool{false, true} {
		d := newDriver(t, config(t))
		d.want(mip4.CodeAccepted, d.req())
		d.advance(100 * time.Second)
		before := d.bindings()
		d.broken = errTest
		d.want(mip4.CodeHAResources, d.req())
		if after := d.bindings(); len(after) != 1 || after[0].Left > before[0].Left || len(d.plane) != 1 {
			t.Fatalf("the binding was %+v and is %+v, entries %+v", before, after, d.plane)
		}
		if mended {
			d.broken = nil
		}
		d.advance(before[0].Left - time.Second)
		if e, there := d.entry(home); len(d.bindings()) != 1 || !there || len(e.Tunnels) != 1 {
			t.Errorf("mended %v: the binding ended early", mended)
		}
		d.advance(time.Second)
		if len(d.bindings()) != 0 {
			t.Errorf("mended %v: the binding outlived its lifetime", mended)
		}
	}
}

// An unchanged entry is not applied again: a plain refresh only extends.
func TestPlainRefreshOnlyExtends(t *testing.T) {
	d := newDriver(t, config(t))
	d.want(mip4.CodeAccepted, d.req())
	d.advance(100 * time.Second)
	d.changes, d.notes = nil, nil
	d.want(mip4.CodeAccepted, d.req())
	if len(d.changes) != 1 || d.changes[0].Op != forward.Extend {
		t.Fatalf("changes %+v", d.changes)
	}
	if k := d.kinds(); !slices.Equal(k, []note.Kind{note.Refreshed}) {
		t.Errorf("notes %v", k)
	}
	d.advance(299 * time.Second)
	if len(d.bindings()) != 1 {
		t.Error("the refreshed binding ended early")
	}
	d.advance(time.Second)
	if len(d.bindings()) != 0 {
		t.Error("the binding outlived its lifetime")
	}
}

// A move replaces and does not duplicate: the old tunnel only receives, for two
// seconds.
func TestMoveReplacesAndDrains(t *testing.T) {
	d := newDriver(t, config(t))
	d.want(mip4.CodeAccepted, d.req())
	d.kinds()
	r := d.req()
	r.careOf, r.src = careOf2, netip.AddrPortFrom(careOf2, 40000)
	moved := d.now.Mono
	d.want(mip4.CodeAccepted, r)
	e, _ := d.entry(home)
	if len(e.Tunnels) != 2 || e.Tunnels[0].Peer.Addr() != careOf2 || e.Tunnels[0].Mode != forward.Both {
		t.Fatalf("tunnels %+v", e.Tunnels)
	}
	old := e.Tunnels[1]
	if old.Peer.Addr() != careOf || old.Mode != forward.Receive || !old.Until.Equal(moved.Add(2*time.Second)) {
		t.Errorf("the replaced tunnel is %+v", old)
	}
	if b := d.bindings(); len(b) != 1 || b[0].CareOfAddress != careOf2 {
		t.Errorf("bindings %+v", b)
	}
	if k := d.kinds(); !slices.Equal(k, []note.Kind{note.Moved}) {
		t.Errorf("notes %v", k)
	}
	// And back within the two seconds: what is used again does not drain.
	d.want(mip4.CodeAccepted, d.req())
	e, _ = d.entry(home)
	if len(e.Tunnels) != 2 || e.Tunnels[0].Peer.Addr() != careOf || e.Tunnels[1].Peer.Addr() != careOf2 {
		t.Errorf("tunnels after moving back %+v", e.Tunnels)
	}
	d.advance(3 * time.Second)
	d.want(mip4.CodeAccepted, d.req())
	for e := range d.a.Entries() {
		if len(e.Tunnels) != 1 {
			t.Errorf("still draining after three seconds: %+v", e.Tunnels)
		}
	}
}

// Reverse tunnelling off means that the tunnel only sends; it then never drains.
//
//rfc:3024#4.3
//rfc:3024#4.3.1-3
func TestForwardTunnelOnlyWithoutT(t *testing.T) {
	d := newDriver(t, config(t))
	r := d.req()
	r.flags = mip4.FlagD
	d.want(mip4.CodeAccepted, r)
	if e, _ := d.entry(home); len(e.Tunnels) != 1 || e.Tunnels[0].Mode != forward.Send {
		t.Fatalf("entry %+v", e)
	}
	r = d.req()
	r.careOf, r.src = careOf2, netip.AddrPortFrom(careOf2, 40000)
	d.want(mip4.CodeAccepted, r)
	if e, _ := d.entry(home); len(e.Tunnels) != 1 || e.Tunnels[0].Mode != forward.Both {
		t.Fatalf("a tunnel that never received drains: %+v", e)
	}
}

// "If the 'S' bit is set and the home agent supports simultaneous mobility
// bindings, the previous mobility binding entries are retained. Otherwise, the
// home agent removes all previous entries".
//
//rfc:5944#3.8.2.2
func TestSimultaneousBindings(t *testing.T) {
	d := newDriver(t, config(t))
	at := func(i byte, flags mip4.RequestFlags) *request {
		r := d.req()
		r.flags |= flags
		r.careOf = netip.AddrFrom4([4]byte{192, 0, 2, i})
		r.src = netip.AddrPortFrom(r.careOf, 40000)
		return r
	}
	for i := byte(1); i <= 3; i++ {
		d.want(mip4.CodeAccepted, at(i, mip4.FlagS))
	}
	e, _ := d.entry(home)
	if len(e.Tunnels) != 3 {
		t.Fatalf("%d tunnels, want three real ones", len(e.Tunnels))
	}
	for _, tn := range e.Tunnels {
		if tn.Mode != forward.Both {
			t.Errorf("tunnel %+v does not send", tn)
		}
	}
	// "rejecting any registrations that would cause its limit to be exceeded,
	// and returning a Registration Reply with a Code of 135".
	d.want(mip4.CodeTooManyBindings, at(4, mip4.FlagS))
	// A renewal of one of the three is not too many.
	d.want(mip4.CodeAccepted, at(2, mip4.FlagS))
	if n := len(d.bindings()); n != 3 {
		t.Fatalf("%d bindings", n)
	}
	// "deletes only the entry containing the specified Care-of Address".
	r := at(2, 0)
	r.lifetime = 0
	d.want(mip4.CodeAccepted, r)
	if b := d.bindings(); len(b) != 2 || b[0].CareOfAddress != netip.MustParseAddr("192.0.2.1") || b[1].CareOfAddress != netip.MustParseAddr("192.0.2.3") {
		t.Fatalf("bindings %+v", b)
	}
	if e, _ := d.entry(home); len(e.Tunnels) != 2 {
		t.Fatalf("tunnels %+v: a deregistration never drains", e.Tunnels)
	}
	// Without S all previous ones go.
	d.want(mip4.CodeAccepted, at(9, 0))
	if b := d.bindings(); len(b) != 1 || b[0].CareOfAddress != netip.MustParseAddr("192.0.2.9") {
		t.Fatalf("bindings %+v", b)
	}
}

// Each simultaneous binding has its own lifetime.
//
//rfc:5944#4.2.3-8
func TestSimultaneousBindingsExpireAlone(t *testing.T) {
	d := newDriver(t, config(t))
	a := d.req()
	a.flags |= mip4.FlagS
	a.lifetime = 100
	d.want(mip4.CodeAccepted, a)
	b := d.req()
	b.flags |= mip4.FlagS
	b.careOf, b.src, b.lifetime = careOf2, netip.AddrPortFrom(careOf2, 1), 200
	d.want(mip4.CodeAccepted, b)
	// Refreshing one must not extend the other: no Extend of the whole entry.
	d.changes = nil
	d.advance(2 * time.Second)
	b.id = d.req().id
	d.want(mip4.CodeAccepted, b)
	if len(d.changes) != 1 || d.changes[0].Op != forward.Put {
		t.Errorf("changes %+v", d.changes)
	}
	d.advance(99 * time.Second)
	if e, _ := d.entry(home); len(e.Tunnels) != 1 || e.Tunnels[0].Peer.Addr() != careOf2 {
		t.Fatalf("tunnels %+v", e.Tunnels)
	}
	d.advance(110 * time.Second)
	if len(d.plane) != 0 {
		t.Error("entry outlives its last binding")
	}
}

// "a home agent SHOULD respond with Code 1 if it does not support simultaneous
// registrations".
//
//rfc:5944#3.8.3.2
func TestCode1WhenSimultaneousBindingsAreUnsupported(t *testing.T) {
	cfg := config(t)
	cfg.SimultaneousBindings = 1
	d := newDriver(t, cfg)
	d.want(mip4.CodeAccepted, d.req())
	r := d.req()
	r.flags |= mip4.FlagS
	r.careOf, r.src = careOf2, netip.AddrPortFrom(careOf2, 9)
	d.want(mip4.CodeAcceptedNoSimultaneous, r)
	if b := d.bindings(); len(b) != 1 || b[0].CareOfAddress != careOf2 {
		t.Errorf("bindings %+v, want the new one alone", b)
	}
}

// The Lifetime rules of RFC 5944 sections 3.8.2.2 and 3.8.3.2.
//
//rfc:5944#3.8.3.2
//rfc:5944#3.4-2
//rfc:5944#3.8-2
//rfc:5944#3.8.2.2-5
//rfc:5944#3.8.2.2-7
//rfc:5944#4.2.3-7
func TestLifetimeIsCopiedOrReducedAndNeverGrows(t *testing.T) {
	for _, c := range []struct {
		name      string
		max       time.Duration
		asked     uint16
		granted   uint16
		endsAfter time.Duration
	}{
		{"copied", 600 * time.Second, 60, 60, time.Minute},
		{"reduced to the own maximum", 600 * time.Second, 3600, 600, 10 * time.Minute},
		{"infinity reduced", 600 * time.Second, 0xffff, 600, 10 * time.Minute},
		{"infinity granted", 1<<63 - 1, 0xffff, 0xffff, 0},
		{"65534 is a number", 1<<63 - 1, 0xfffe, 0xfffe, 65534 * time.Second},
	} {
		t.Run(c.name, func(t *testing.T) {
			cfg := config(t)
			cfg.MaxLifetime = c.max
			d := newDriver(t, cfg)
			r := d.req()
			r.lifetime = c.asked
			began := d.now.Mono
			if p := d.want(mip4.CodeAccepted, r); p.Lifetime != c.granted {
				t.Errorf("granted %d, want %d", p.Lifetime, c.granted)
			}
			if c.endsAfter == 0 {
				if !d.a.Deadline().IsZero() {
					t.Error("an infinite binding has a deadline")
				}
				if e, _ := d.entry(home); !e.Tunnels[0].Until.IsZero() {
					t.Error("an infinite tunnel ends")
				}
				return
			}
			if want := began.Add(c.endsAfter); !d.a.Deadline().Equal(want) {
				t.Errorf("expires after %v", d.a.Deadline().Sub(began))
			}
			d.kinds()
			d.sent = nil
			d.advance(c.endsAfter)
			if k := d.kinds(); !slices.Equal(k, []note.Kind{note.Expired}) || len(d.plane) != 0 {
				t.Errorf("notes %v, %d entries", k, len(d.plane))
			}
			// "MUST NOT generate a Registration Reply to indicate that the
			// Lifetime has expired".
			if len(d.sent) != 0 {
				t.Error("sent something on expiry")
			}
		})
	}
}

// Encapsulations by the M and G bits; 139 for what is not offered.
//
//rfc:3024#4.3
//rfc:5944#3.3
//rfc:3024#4.3.1-1
//rfc:3024#4.3.1-3
//rfc:3024#3.4-5
//rfc:3024#A.4-10
func TestEncapsulationIsTheOneAskedFor(t *testing.T) {
	all := encap.Kinds()
	for _, c := range []struct {
		name   string
		flags  mip4.RequestFlags
		offers []encap.Kind
		code   mip4.Code
		want   encap.Kind
	}{
		{"neither bit", 0, all, 0, encap.IPIP},
		{"M", mip4.FlagM, all, 0, encap.Minimal},
		{"G", mip4.FlagG, all, 0, encap.GRE},
		{"both", mip4.FlagM | mip4.FlagG, all, 0, encap.GRE},
		{"both, GRE not offered", mip4.FlagM | mip4.FlagG, []encap.Kind{encap.IPIP, encap.Minimal}, 0, encap.Minimal},
		{"M not offered", mip4.FlagM, []encap.Kind{encap.IPIP}, 139, 0},
		{"G not offered", mip4.FlagG, []encap.Kind{encap.IPIP}, 139, 0},
		{"IP-in-IP not offered", 0, []encap.Kind{encap.GRE}, 139, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			cfg := config(t)
			cfg.Encapsulations = c.offers
			d := newDriver(t, cfg)
			r := d.req()
			r.flags |= c.flags
			d.want(c.code, r)
			e, ok := d.entry(home)
			if ok != (c.code == 0) || (ok && e.Tunnels[0].Encap != c.want) {
				t.Errorf("entry %+v", e)
			}
		})
	}
}

// The B bit asks for the home network's broadcasts: "it MUST ignore the 'B'
// bit" is for home agents that do not support them.
//
//rfc:5944#3.8.2
func TestBroadcastBitReachesTheEntry(t *testing.T) {
	d := newDriver(t, config(t))
	r := d.req()
	r.flags |= mip4.FlagB
	d.want(mip4.CodeAccepted, r)
	if e, _ := d.entry(home); !e.Broadcast {
		t.Error("B bit lost")
	}
}

// Behind a 1:1 NAT the identity goes into messages, the local address into
// tunnels.
func TestLocalAddressBehindOneToOneNAT(t *testing.T) {
	cfg := config(t)
	cfg.LocalAddress = netip.MustParseAddr("10.0.0.4")
	d := newDriver(t, cfg)
	r := d.req()
	r.dst = netip.AddrPortFrom(cfg.LocalAddress, port) // as the NAT has rewritten it
	p := d.want(mip4.CodeAccepted, r)
	if p.HomeAgent != agentAddr || p.Src != r.dst {
		t.Errorf("reply names %v and comes from %v", p.HomeAgent, p.Src)
	}
	if e, _ := d.entry(home); e.Tunnels[0].Local.Addr() != cfg.LocalAddress {
		t.Errorf("tunnel starts at %v", e.Tunnels[0].Local)
	}
}

// A plain UDP port of any kind: the reply goes to the request's source port.
func TestReplyUsesTheRequestsPorts(t *testing.T) {
	d := newDriver(t, config(t))
	r := d.req()
	r.src = netip.AddrPortFrom(careOf, 434)
	if p := d.want(mip4.CodeAccepted, r); p.Dst.Port() != 434 || p.Src.Port() != 434 {
		t.Errorf("ports %v -> %v", p.Src, p.Dst)
	}
}
