package fa_test

import (
	"bytes"
	"net/netip"
	"testing"
	"time"

	"careof/internal/core/engine"
	"careof/internal/core/forward"
	"careof/internal/proto/mip4/fa"
	"careof/wire/mip4"
)

// The corners that foreign agents cut. corners_test.go at the root of the
// repository lists all of them.

// authorized is a request with 32, a challenge and 36 behind it, and what is
// for the foreign agent behind that.
func (d *driver) authorized(forAgent ...mip4.Payload) engine.Packet {
	d.t.Helper()
	r := d.req()
	m := mip4.NewRequest(mip4.RegistrationRequest{Flags: r.flags, Lifetime: 300, HomeAddress: keyedHome, HomeAgent: homeAgent, CareOfAddress: careOf, Identification: r.id})
	m.Authenticate(mip4.ExtMobileHome, homeKey)
	m.Add(mip4.ZoneAuthorizing, &mip4.Challenge{Value: []byte("challenge")})
	m.Authenticate(mip4.ExtGeneralizedAuth, key(257, "aaa-aaa-aaa-aaa-"))
	for _, p := range forAgent {
		m.Add(mip4.ZoneForeign, p)
	}
	m.Authenticate(mip4.ExtMobileForeign, visitorKey)
	b, err := m.Seal()
	if err != nil {
		d.t.Fatal(err)
	}
	p := r.packet(d.t)
	p.Src, p.Data = netip.AddrPortFrom(keyedHome, 40000), b
	return p
}

// Hop by hop: what the mobile node has authorized passes octet by octet, with
// the challenge and 36 behind 32; what is for the foreign agent (130, 33) goes
// no further; what it adds comes behind, and no authenticator of others covers
// it. Likewise on the way back.
//
//rfc:5944#3.7.2.2
//rfc:5944#3.7.3.2
func TestCornerE04_WhatPassesAForeignAgent(t *testing.T) {
	d := newDriver(t, config())
	in := d.authorized(&mip4.EncapsulatingDelivery{})
	sent := d.give(in)
	if len(sent) != 1 {
		t.Fatalf("%d datagrams", len(sent))
	}
	before, after := parse(t, in.Data), parse(t, sent[0].Data)
	head := before.Head()
	if last, _ := before.Find(mip4.ExtGeneralizedAuth); len(head) != last.End || !bytes.Equal(after.Raw[:len(head)], head) {
		t.Fatalf("%x became %x", head, after.Raw)
	}
	for _, gone := range []mip4.ExtType{mip4.ExtMobileForeign, mip4.ExtEncapsulatingDelivery} {
		if _, n := after.Find(gone); n != 0 {
			t.Errorf("%v went on to the home agent", gone)
		}
	}
	verify(t, sent[0].Data, mip4.ExtForeignHome, foreignKey)
	if e, _ := after.Find(mip4.ExtForeignHome); e.Off != len(head) || e.End != len(after.Raw) {
		t.Error("the agent added more than extension 34")
	}

	a := answerTo(t, sent[0])
	reply := a.bytes(t)
	signed, _ := parse(t, reply).Find(mip4.ExtMobileHome)
	out := d.give(engine.Packet{Link: "eth0", Src: a.src, Dst: a.dst, TTL: 60, Data: reply})
	if len(out) != 1 || !bytes.Equal(out[0].Data[:signed.End], reply[:signed.End]) {
		t.Fatalf("%x became %v", reply, out)
	}
	verify(t, out[0].Data, mip4.ExtMobileForeign, visitorKey)
	if _, n := parse(t, out[0].Data).Find(mip4.ExtForeignHome); n != 0 {
		t.Error("extension 34 went on to the mobile node")
	}
}

// Extensions for the foreign agent that it does not know: 0 to 127 discard the
// message, 128 and more are skipped; padding hides nothing that follows it; what
// is the home agent's to know is relayed unread.
//
//rfc:5944#1.8
func TestCornerE05_UnknownExtensions(t *testing.T) {
	unknown, skippable, padding := []byte{60, 2, 1, 2}, []byte{200, 2, 1, 2}, []byte{0}
	for _, c := range []struct {
		name    string
		tail    []byte
		relayed bool
	}{
		{"skippable", skippable, true},
		{"not skippable", unknown, false},
		{"padding", padding, true},
		{"not skippable, behind padding", append(bytes.Clone(padding), unknown...), false},
		{"not skippable, behind a skippable one", append(bytes.Clone(skippable), unknown...), false},
	} {
		d := newDriver(t, config())
		r := d.req()
		r.rawAfter = c.tail
		if c.relayed {
			if m := parse(t, d.relayed(r).Data); len(m.Tail()) != 1 {
				t.Errorf("%s: what was for the agent went on: %v", c.name, m.Exts)
			}
		} else {
			d.silence(r.packet(t))
		}
	}
	d := newDriver(t, config())
	r := d.req()
	r.rawHead = unknown
	if m := parse(t, d.relayed(r).Data); len(m.Exts) != 3 {
		t.Errorf("an extension for the home agent did not pass: %v", m.Exts)
	}
}

// An accepted visit and a request that waits are two things: neither a pending
// request nor its denial, its ICMP error or its end touches the visit; who
// waits for 7 seconds is told 78; ICMP errors become 80 to 88.
//
//rfc:5944#3.7.1
//rfc:5944#3.7.2
//rfc:5944#3.7.3
func TestCornerE10_AVisitAndWhatIsPending(t *testing.T) {
	renewal := func() (*driver, engine.Send) {
		d := newDriver(t, config())
		d.visit(d.req())
		d.advance(2 * time.Second)
		r := d.req()
		r.careOf, r.flags, r.hw = careOf2, mip4.FlagT|mip4.FlagG, otherMAC
		return d, d.relayed(r)
	}
	for name, ends := range map[string]func(d *driver, out engine.Send){
		"still pending": func(*driver, engine.Send) {},
		"denied": func(d *driver, out engine.Send) {
			a := answerTo(t, out)
			a.code = mip4.CodeHAProhibited
			d.delivered(a)
		},
		"unreachable": func(d *driver, out engine.Send) {
			d.step(engine.Bounced{From: plainHA, Src: out.Src, Dst: out.Dst, Type: 3, Code: 1, Data: out.Data})
			d.wantDenial(mip4.CodeFAHostUnreachable, d.take())
		},
		"timed out": func(d *driver, out engine.Send) {
			d.advance(7 * time.Second)
			d.wantDenial(mip4.CodeFATimeout, d.take())
		},
	} {
		d, out := renewal()
		before, ok := d.entry(home, homeAgent)
		if !ok || before.Deliver.HW != nodeMAC {
			t.Fatalf("%s: the visit's entry is %+v", name, before)
		}
		ends(d, out)
		after, ok := d.entry(home, homeAgent)
		if !ok || !after.Equal(before) || len(d.accepted()) != 1 {
			t.Errorf("%s: the visit's entry became %+v", name, after)
		}
	}
}

// What a foreign agent has to ask of a request for a reverse tunnel: that it
// comes from the link (76), and that it can have what it wants (74, 79, 72).
//
//rfc:3024#4.2.1
func TestCornerE11_ReverseTunnelRequests(t *testing.T) {
	for _, c := range []struct {
		name string
		tune func(*fa.Config)
		edit func(*request)
		code mip4.Code
	}{
		{"a router between", nil, func(r *request) { r.ttl = 254 }, mip4.CodeFATooDistant},
		{"the TTL of multicast", nil, func(r *request) { r.ttl = 1 }, mip4.CodeFATooDistant},
		{"encapsulating style that is not offered", func(c *fa.Config) { c.DirectDeliveryOnly = true },
			func(r *request) { r.after = []mip4.Payload{&mip4.EncapsulatingDelivery{}} }, mip4.CodeFADeliveryStyle},
		{"no reverse tunnels here", func(c *fa.Config) { c.ReverseTunnel = forward.ReverseTunnelRefused }, nil, mip4.CodeFAReverseTunnelUnavailable},
		{"reverse tunnels only", func(c *fa.Config) { c.ReverseTunnel = forward.ReverseTunnelRequired }, func(r *request) { r.flags = 0 }, mip4.CodeFAReverseTunnelMandatory},
	} {
		cfg := config()
		if c.tune != nil {
			c.tune(&cfg)
		}
		d := newDriver(t, cfg)
		r := d.req()
		if c.edit != nil {
			c.edit(r)
		}
		d.denied(c.code, r)
	}
	d := newDriver(t, config())
	r := d.req()
	r.flags, r.ttl = 0, 3 // without a reverse tunnel nobody asks
	d.relayed(r)
}

// "except in cases where the foreign agent would be required to send out more
// than one such denial per second to the same mobile node".
//
//rfc:5944#3.7.2
func TestCornerE20_OneDenialASecond(t *testing.T) {
	d := newDriver(t, config())
	bad := func() *request {
		r := d.req()
		r.ttl = 1
		return r
	}
	d.denied(mip4.CodeFATooDistant, bad())
	for range 50 {
		if sent := d.give(bad().packet(t)); len(sent) != 0 {
			t.Fatal("a second denial within the second")
		}
	}
	d.denied(mip4.CodeFATooDistant, bad())
}

// The issues with RFC 3344 that the working group settled (IETF 58), as RFC
// 5944 has them.

// Issues 9 and 18: a foreign agent's denial had a home agent's code, 136 or
// 137. Now it has one of its own range, 116: the Home Agent field is an address
// of the foreign agent, which is no home agent, or of nobody.
//
//rfc:5944#3.7.2
//rfc:5944#3.4
func TestIssue09_AForeignAgentDoesNotDenyWith136(t *testing.T) {
	invalidHomeAgent(t, linkAddr)
}

func TestIssue18_AForeignAgentDoesNotDenyWith137(t *testing.T) {
	for _, agent := range []netip.Addr{everybody, careOf2, allAgents} {
		invalidHomeAgent(t, agent)
	}
}

func invalidHomeAgent(t *testing.T, agent netip.Addr) {
	t.Helper()
	d := newDriver(t, config())
	r := d.req()
	r.agent = agent
	d.denied(mip4.CodeFAInvalidHomeAgent, r)
	if c := mip4.CodeFAInvalidHomeAgent; !c.FromForeignAgent() || c != mip4.CodeInvalidHomeAgentPrinted.Canonical() {
		t.Errorf("%d is no foreign agent's code", c)
	}
}

// Issue 20: whether the mobile node's authenticator is there, and right, is the
// home agent's to judge. A foreign agent relays a request without extension 32,
// and with a wrong one; what the home agent has authenticated in a reply it
// does not touch.
//
//rfc:5944#3.7.2.2
//rfc:5944#3.7.3.2
func TestIssue20_AForeignAgentDoesNotJudgeExtension32(t *testing.T) {
	d := newDriver(t, config())
	r := d.req()
	r.key = nil
	d.relayed(r)
	r = d.req()
	r.key = key(9999, "nobody-knows-it-")
	out := d.relayed(r)
	if !bytes.HasPrefix(out.Data, r.bytes(t)) {
		t.Error("what cannot be verified was changed")
	}
	a := answerTo(t, out)
	a.key = key(9999, "nobody-knows-it-")
	reply := a.bytes(t)
	signed, _ := parse(t, reply).Find(mip4.ExtMobileHome)
	if got := d.delivered(a); !bytes.Equal(got.Data[:signed.End], reply[:signed.End]) {
		t.Errorf("%x became %x", reply, got.Data)
	}
}

// Issue 21: what has to be relayed ends with the last authorization-enabling
// extension, also when that is not 32 but MN-AAA (36), with and without 32
// before it, and also when its subtype is one that nobody has assigned yet.
//
//rfc:5944#3.7.2.2
func TestIssue21_OtherAuthorizationsAreRelayed(t *testing.T) {
	for _, sub := range []uint8{mip4.AuthMobileAAA, 99} {
		for _, home := range []bool{false, true} {
			d := newDriver(t, config())
			r := d.req()
			m := mip4.NewRequest(mip4.RegistrationRequest{Flags: r.flags, Lifetime: 300, HomeAddress: r.home, HomeAgent: r.agent, CareOfAddress: r.careOf, Identification: r.id})
			if home {
				m.Authenticate(mip4.ExtMobileHome, homeKey)
			}
			in, err := m.Seal()
			if err != nil {
				t.Fatal(err)
			}
			// Type 36, subtype, length, SPI, authenticator.
			in = append(in, 36, sub, 0, 20, 0, 0, 1, 1)
			in = append(in, "sixteen octets!!"...)
			p := r.packet(t)
			p.Data = append(bytes.Clone(in), 130, 0) // for the foreign agent
			sent := d.give(p)
			if len(sent) != 1 || !bytes.HasPrefix(sent[0].Data, in) {
				t.Errorf("subtype %d: %x became %v", sub, in, sent)
			} else if _, n := parse(t, sent[0].Data).Find(mip4.ExtEncapsulatingDelivery); n != 0 {
				t.Errorf("subtype %d: what was for the foreign agent went on", sub)
			}
		}
	}
}
