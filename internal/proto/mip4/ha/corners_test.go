package ha_test

import (
	"net/netip"
	"testing"
	"time"

	"careof/internal/core/assoc"
	"careof/internal/core/binding"
	"careof/internal/core/engine"
	"careof/internal/core/forward"
	"careof/internal/proto/mip4/ha"
	"careof/wire/mip4"
)

// The corners that home agents cut. corners_test.go at the root of the
// repository lists all of them.

// relayed is a request through the foreign agent that shares a key.
func (d *driver) relayed(signed bool) *request {
	r := d.req()
	r.flags, r.careOf = mip4.FlagT, foreignAddr
	r.src, r.link = netip.AddrPortFrom(foreignAddr, 434), "wan0"
	if signed {
		r.foreign = mustAssoc(d.t, 300, "foreign-foreign-", assoc.Timestamps)
	}
	return r
}

// With an association between the agents extension 34 is demanded of a
// registration (132), not of a deregistration, and is in every reply; without
// one it has no business there.
//
//rfc:5944#3.5.4
//rfc:5944#3.8.2.1
//rfc:5944#3.8.3.3
//rfc:5944#3.5.4-5
func TestCornerE01_ForeignHomeAuthentication(t *testing.T) {
	d := newDriver(t, config(t))
	key := mustAssoc(t, 300, "foreign-foreign-", assoc.Timestamps)
	verify(t, d.want(mip4.CodeHAForeignAgentAuth, d.relayed(false)), mip4.ExtForeignHome, key)
	if len(d.bindings()) != 0 {
		t.Fatal("bound without the foreign agent's authenticator")
	}
	verify(t, d.want(mip4.CodeAccepted, d.relayed(true)), mip4.ExtForeignHome, key)
	off := d.relayed(false)
	off.lifetime = 0
	verify(t, d.want(mip4.CodeAccepted, off), mip4.ExtForeignHome, key)
	if len(d.bindings()) != 0 {
		t.Error("the deregistration without 34 was not carried out")
	}
	stranger := d.relayed(true)
	stranger.careOf = netip.MustParseAddr("203.0.113.9")
	stranger.src = netip.AddrPortFrom(stranger.careOf, 434)
	if p := d.send(stranger); p != nil {
		t.Errorf("a 34 without an association is answered with %d", p.Code)
	}
}

// A request that was captured is no use after a restart of the home agent: not
// at once, not when the clock has gone back with it.
//
//rfc:5944#5.7.1
func TestCornerE02_ReplayAfterARestart(t *testing.T) {
	for _, away := range []time.Duration{time.Second, -3 * time.Second, 0} {
		d := newDriver(t, config(t))
		captured := d.req()
		d.want(mip4.CodeAccepted, captured)
		moved := d.req()
		moved.careOf = careOf2
		moved.src = netip.AddrPortFrom(careOf2, 40000)
		d.want(mip4.CodeAccepted, moved)
		d = d.restart(config(t), away)
		d.want(mip4.CodeIdentificationMismatch, captured)
		if b := d.bindings(); len(b) != 1 || b[0].CareOfAddress != careOf2 {
			t.Errorf("after %v and a replay: %+v", away, b)
		}
	}
}

// Nonces: a new one in every reply, denials too; a repeat of an accepted
// request gets the old reply with the old nonce, and not 133.
//
//rfc:5944#5.7.2
//rfc:5944#3.8.2.2
func TestCornerE03_NoncesAndRepeats(t *testing.T) {
	d := newDriver(t, config(t))
	seen := map[uint32]bool{}
	fresh := func(p *reply) uint32 {
		t.Helper()
		n := uint32(p.Identification >> 32)
		if seen[n] {
			t.Errorf("code %d: the nonce %08x was there before", p.Code, n)
		}
		seen[n] = true
		return n
	}
	n := fresh(d.want(mip4.CodeIdentificationMismatch, d.nonce(0, 1)))
	denied := d.nonce(n, 2)
	denied.agent = netip.MustParseAddr("198.51.100.9")
	n = fresh(d.want(mip4.CodeUnknownHomeAgent, denied))
	good := d.nonce(n, 3)
	first := d.want(mip4.CodeAccepted, good)
	fresh(first)
	// The reply was lost; the mobile node sends the same octets again.
	again := d.want(mip4.CodeAccepted, good)
	if again.Identification != first.Identification {
		t.Errorf("the repeat's reply has %016x, the first %016x", again.Identification, first.Identification)
	}
	fresh(d.want(mip4.CodeIdentificationMismatch, d.nonce(n, 4)))
}

// With the S bit a second care-of address is added and not put in the first
// one's place; its deregistration leaves the first; an agent without
// simultaneous bindings says so.
//
//rfc:5944#3.8.2.2
//rfc:5944#3.8.3.2
func TestCornerE06_SimultaneousBindings(t *testing.T) {
	two := func(cfg int) (*driver, *reply, *request) {
		c := config(t)
		c.SimultaneousBindings = cfg
		d := newDriver(t, c)
		d.want(mip4.CodeAccepted, d.req())
		r := d.req()
		r.flags |= mip4.FlagS
		r.careOf, r.src = careOf2, netip.AddrPortFrom(careOf2, 40000)
		p := d.send(r)
		d.tick()
		return d, p, r
	}
	sending := func(d *driver) (to []netip.Addr) {
		e, _ := d.entry(home)
		for _, tn := range e.Tunnels {
			if tn.Mode != forward.Receive {
				to = append(to, tn.Peer.Addr())
			}
		}
		return to
	}
	d, p, r := two(2)
	if to := sending(d); p == nil || p.Code != mip4.CodeAccepted || len(to) != 2 {
		t.Fatalf("reply %+v, copies go to %v", p, to)
	}
	r.lifetime, r.id = 0, d.req().id
	d.want(mip4.CodeAccepted, r)
	if to := sending(d); len(to) != 1 || to[0] != careOf {
		t.Errorf("after the deregistration of one care-of address packets go to %v", to)
	}
	d, p, _ = two(1)
	if to := sending(d); p == nil || p.Code != mip4.CodeAcceptedNoSimultaneous || len(to) != 1 || to[0] != careOf2 {
		t.Errorf("without simultaneous bindings: reply %+v, packets go to %v", p, to)
	}
}

// ARP, seen from the home agent: it intercepts for bound nodes only, the reply
// leaves when that is so; when the node is back, interception ends with a
// gratuitous ARP that names it before the reply; a rejection changes nothing.
//
//rfc:5944#4.6
//rfc:5944#3.8.2.2-9
//rfc:5944#4.2.3-1
//rfc:5944#4.2.3-2
//rfc:5944#4.6-18
func TestCornerE08_InterceptionFollowsTheBinding(t *testing.T) {
	d := newDriver(t, config(t))
	refused := d.req()
	refused.agent = netip.MustParseAddr("198.51.100.9")
	d.want(mip4.CodeUnknownHomeAgent, refused)
	if len(d.plane) != 0 || len(d.changes) != 0 {
		t.Fatal("a rejected request intercepts")
	}
	d.hold = true
	if p := d.send(d.req()); p != nil {
		t.Fatal("the reply left before the address is intercepted")
	}
	d.release()
	if e, _ := d.entry(home); e.Intercept != "eth0" || d.reply() == nil {
		t.Fatalf("bound and not intercepted: %+v", e)
	}
	d.tick()
	d.changes = nil
	rejected := d.fromHome()
	rejected.agent = netip.MustParseAddr("198.51.100.9")
	d.want(mip4.CodeUnknownHomeAgent, rejected)
	if len(d.changes) != 0 {
		t.Fatalf("a rejected deregistration changes %+v", d.changes)
	}
	d.hold = true
	if p := d.send(d.fromHome()); p != nil {
		t.Fatal("the reply left before the interception ended")
	}
	d.release()
	if len(d.changes) != 1 || d.changes[0].Op != forward.Delete || d.changes[0].ReturnedTo != nodeMAC || len(d.plane) != 0 {
		t.Errorf("changes %+v", d.changes)
	}
}

// A lifetime is never more than asked for, a repeat does not extend it, and
// 65535 is no number of seconds.
//
//rfc:5944#3.8.3.2
//rfc:5944#3.8.2.2
//rfc:5944#3.3
func TestCornerE09_Lifetimes(t *testing.T) {
	cfg := config(t)
	cfg.MaxLifetime = binding.Infinite
	d := newDriver(t, cfg)
	r := d.req()
	r.lifetime = 60
	if p := d.want(mip4.CodeAccepted, r); p.Lifetime != 60 {
		t.Errorf("granted %d s instead of 60", p.Lifetime)
	}
	ends := d.a.Deadline()
	d.advance(40 * time.Second)
	if p := d.want(mip4.CodeAccepted, r); p.Lifetime > 20 || !d.a.Deadline().Equal(ends) {
		t.Errorf("a repeat after 40 s gets %d s, the end moved by %v", p.Lifetime, d.a.Deadline().Sub(ends))
	}
	r = d.req()
	r.lifetime = mip4.LifetimeInfinite
	if p := d.want(mip4.CodeAccepted, r); p.Lifetime != mip4.LifetimeInfinite {
		t.Errorf("infinity was granted as %d s", p.Lifetime)
	}
	d.advance(65536 * time.Second)
	if len(d.bindings()) != 1 {
		t.Error("an infinite binding ended after 65535 s")
	}
}

// The reply finds a node that has come home, past the old tunnel, also when it
// is a rejection; on a host of several addresses it comes from the one that was
// asked; all broadcasts of a home network are heard as discovery.
//
//rfc:5944#3.8.3.1
//rfc:5944#3.8.2.1
//rfc:5944#3.5.4-2
func TestCornerE13_WhereRepliesComeFromAndGo(t *testing.T) {
	second := netip.MustParseAddr("198.51.100.2")
	cfg := config(t)
	cfg.Addresses = append(cfg.Addresses, second)
	d := newDriver(t, cfg)
	r := d.req()
	r.agent, r.dst = second, netip.AddrPortFrom(second, port)
	if p := d.want(mip4.CodeAccepted, r); p.Src != r.dst || p.HomeAgent != second {
		t.Errorf("asked at %v, answered from %v in the name of %v", r.dst, p.Src, p.HomeAgent)
	}
	stale := d.fromHome()
	stale.id -= 60 << 32
	for _, c := range []struct {
		r    *request
		code mip4.Code
	}{{stale, mip4.CodeIdentificationMismatch}, {d.fromHome(), mip4.CodeAccepted}} {
		if p := d.want(c.code, c.r); p.Link != "eth0" || p.HW != nodeMAC || p.Dst.Addr() != home {
			t.Errorf("code %d goes to %v at %v on %q", c.code, p.Dst, p.HW, p.Link)
		}
	}
	for _, to := range []string{"10.10.0.255", "255.255.255.255"} {
		r := d.req()
		r.agent, r.dst = netip.MustParseAddr("10.10.0.255"), netip.AddrPortFrom(netip.MustParseAddr(to), port)
		if p := d.want(mip4.CodeUnknownHomeAgent, r); p.Src.Addr() != agentAddr || p.HomeAgent != agentAddr {
			t.Errorf("sent to %v, answered from %v in the name of %v", to, p.Src, p.HomeAgent)
		}
	}
}

// A flood of old requests of one node does not get an answer each.
//
//rfc:5944#3.8.2.1
func TestCornerE20_ReplaysAreNotAnsweredOneByOne(t *testing.T) {
	d := newDriver(t, config(t))
	old := d.req()
	d.want(mip4.CodeAccepted, old)
	answers := 0
	for i := range 1000 {
		p := old.packet(t)
		p.Src = netip.AddrPortFrom(careOf2, uint16(1000+i))
		d.sent = nil
		d.step(p)
		answers += len(d.sent)
	}
	d.sent = nil
	if answers > 100 {
		t.Errorf("%d of 1000 replays were answered at once", answers)
	}
	d.advance(10 * time.Second)
	d.want(mip4.CodeAccepted, d.req())
}

// The issues with RFC 3344 that the working group settled (IETF 58), as RFC
// 5944 has them.

// Issue 17: a home agent might have accepted a request to an address that it
// does not own. That was rejected: what it cannot support as home address is
// denied with 129, and another home agent's name with 136.
//
//rfc:5944#3.8.3.2
func TestIssue17_RequestsForOthersAreRejected(t *testing.T) {
	d := newDriver(t, config(t))
	r := d.req()
	r.home = netip.MustParseAddr("192.0.2.99")
	d.silence(r) // with no association there is nobody to answer
	r = d.req()
	r.home = netip.MustParseAddr("10.10.0.6") // another node's, under this node's name
	r.nai = "van@fleet"
	r.key = mustAssoc(t, 257, "van-van-van-van-", assoc.Timestamps)
	d.want(mip4.CodeHAProhibited, r)
	r = d.req()
	r.agent = netip.MustParseAddr("198.51.100.77")
	if p := d.want(mip4.CodeUnknownHomeAgent, r); p.HomeAgent != agentAddr {
		t.Errorf("the denial names %v, not the home agent's own address", p.HomeAgent)
	}
	if len(d.bindings()) != 0 {
		t.Error("bound")
	}
}

// Issue 19: several authorization-enabling extensions are allowed, and all of
// them count: one that is right does not make up for one that is not. Extension
// 36 is checked by whoever claims it.
//
//rfc:5944#3.8.2.1
func TestIssue19_AllAuthorizationEnablingExtensionsAreChecked(t *testing.T) {
	aaa := mustAssoc(t, 2000, "aaa-aaa-aaa-aaa-", assoc.Timestamps)
	with := func(d *driver, home, second *assoc.Association) engine.Packet {
		r := d.req()
		m := mip4.NewRequest(mip4.RegistrationRequest{Flags: r.flags, Lifetime: 300, HomeAddress: r.home, HomeAgent: r.agent, CareOfAddress: r.careOf, Identification: r.id})
		m.Authenticate(mip4.ExtMobileHome, home)
		m.Authenticate(mip4.ExtGeneralizedAuth, second)
		b, err := m.Seal()
		if err != nil {
			t.Fatal(err)
		}
		p := r.packet(t)
		p.Data = b
		return p
	}
	// What checks extension 36, as an AAA feature does.
	check := func(a *ha.Agent) {
		a.Claims.Add(ha.Claim{Feature: "aaa", Type: mip4.ExtGeneralizedAuth, Max: 1})
		a.Authenticate.Add("aaa", "mobile-aaa", func(x *ha.Exchange) engine.Verdict {
			e, n := x.Message.Find(mip4.ExtGeneralizedAuth)
			if n == 0 {
				return engine.Next()
			}
			auth, err := x.Message.Authentication(e)
			if err != nil || !aaa.Verify(x.Message.Covered(e), auth.Authenticator) {
				return engine.Deny(uint8(mip4.CodeHABadAAAAuth), "wrong Mobile-AAA authenticator")
			}
			return engine.Next()
		})
	}
	good := mustAssoc(t, 256, "0123456789abcdef", assoc.Timestamps)
	wrongHome := mustAssoc(t, 256, "not-the-home-key", assoc.Timestamps)
	wrongAAA := mustAssoc(t, 2000, "not-the-aaa-key-", assoc.Timestamps)
	for _, c := range []struct {
		name         string
		home, second *assoc.Association
		code         mip4.Code // 0: accepted
		silent       bool
	}{
		{"both right", good, aaa, mip4.CodeAccepted, false},
		{"the second one wrong", good, wrongAAA, mip4.CodeHABadAAAAuth, false},
		{"the first one wrong", wrongHome, aaa, 0, true},
	} {
		d := newDriver(t, config(t), check)
		switch p := d.sendRaw(with(d, c.home, c.second)); {
		case c.silent && p != nil:
			t.Errorf("%s: answered with %d", c.name, p.Code)
		case !c.silent && (p == nil || p.Code != c.code):
			t.Errorf("%s: reply %+v", c.name, p)
		}
		if accepted := len(d.bindings()) == 1; accepted != (c.code == mip4.CodeAccepted && !c.silent) {
			t.Errorf("%s: bound %v", c.name, accepted)
		}
	}
}
