package fa_test

import (
	"bytes"
	"net/netip"
	"strings"
	"testing"
	"time"

	"careof/internal/core/engine"
	"careof/internal/core/forward"
	"careof/internal/core/note"
	"careof/internal/proto/mip4/fa"
	"careof/wire/encap"
	"careof/wire/mip4"
)

// RFC 5944 section 3.7.2.2, read octet by octet: what the mobile node has
// authenticated, then the Foreign-Home authentication, and nothing else.
//
//rfc:5944#3.7.2.2
//rfc:5944#3.6.1.3
//rfc:3024#4.2.2-1
//rfc:3519#4.5-4
//rfc:5944#3.4-1
//rfc:5944#3.7.2-1
func TestARelayedRequestIsTheAuthenticatedPartAndThe34(t *testing.T) {
	d := newDriver(t, config())
	r := d.req()
	r.home, r.src, r.foreign = keyedHome, netip.AddrPortFrom(keyedHome, 40000), visitorKey
	// An NVSE for the foreign agent, the delivery style and a padding: all of
	// them are its own and stripped.
	r.after = []mip4.Payload{&mip4.EncapsulatingDelivery{}}
	r.rawAfter = []byte{134, 7, 0, 0, 0, 0, 9, 0, 1, 0}
	in := r.bytes(t)
	out := d.relayed(r)
	head := parse(t, in).Head()
	if e, n := parse(t, head).Find(mip4.ExtMobileHome); n != 1 || e.End != len(head) {
		t.Fatal("the golden part does not end with extension 32")
	}
	if !bytes.HasPrefix(out.Data, head) {
		t.Errorf("the authenticated part was changed:\n got %x\nwant %x", out.Data, head)
	}
	if want := len(head) + 2 + 4 + 16; len(out.Data) != want {
		t.Errorf("%d octets relayed, want %d: the head and extension 34", len(out.Data), want)
	}
	verify(t, out.Data, mip4.ExtForeignHome, foreignKey)
	if out.Src != netip.AddrPortFrom(careOf, 434) || out.Dst != netip.AddrPortFrom(homeAgent, 434) {
		t.Errorf("relayed from %v to %v", out.Src, out.Dst)
	}
	if out.Link != "" || out.HW != (engine.HardwareAddr{}) {
		t.Errorf("the way to the home agent is routing's: link %q, HW %v", out.Link, out.HW)
	}
}

// With a Mobile-AAA authentication (36) behind 32, the challenge and 36 are
// part of what the mobile node has authenticated (RFC 4721 section 3.2).
//
//rfc:5944#3.7.2.2
func TestTheChallengeBefore36IsNotStripped(t *testing.T) {
	d := newDriver(t, config())
	r := d.req()
	draft := mip4.NewRequest(mip4.RegistrationRequest{Flags: r.flags, Lifetime: 300, HomeAddress: home, HomeAgent: homeAgent, CareOfAddress: careOf, Identification: r.id})
	draft.Authenticate(mip4.ExtMobileHome, homeKey)
	draft.Add(mip4.ZoneAuthorizing, &mip4.Challenge{Value: []byte("challenge")})
	draft.Authenticate(mip4.ExtGeneralizedAuth, key(257, "aaa-aaa-aaa-aaa-"))
	in, err := draft.Seal()
	if err != nil {
		t.Fatal(err)
	}
	p := r.packet(t)
	p.Data = in
	sent := d.give(p)
	if len(sent) != 1 || !bytes.HasPrefix(sent[0].Data, in) {
		t.Fatalf("relayed %+v, want all of %x first", sent, in)
	}
}

// RFC 5944 sections 3.5.4 and 3.7.2.2: when 34 is there, and when it must not be.
//
//rfc:5944#3.5.4
//rfc:3024#4-1
//rfc:5944#3.5.4-1
//rfc:5944#3.5.4-3
//rfc:5944#3.5.4-4
//rfc:5944#3.7.1-7
//rfc:5944#3.7.2.2-3
//rfc:5944#3.8.2.2-4
func TestWhenThe34IsAppended(t *testing.T) {
	for _, c := range []struct {
		name string
		edit func(*request)
		want int
	}{
		{"registration", func(*request) {}, 1},
		{"home agent without an association", func(r *request) { r.agent = plainHA }, 0},
		{"deregistration", func(r *request) { r.lifetime = 0 }, 0},
		{"deregistration of all", func(r *request) { r.lifetime, r.careOf = 0, home }, 0},
		{"deregistration of another agent's address", func(r *request) { r.lifetime, r.careOf = 0, plainHA }, 0},
		{"co-located", func(r *request) { r.flags, r.careOf = mip4.FlagD, netip.MustParseAddr("192.168.1.77") }, 0},
		{"second care-of address", func(r *request) { r.careOf = careOf2 }, 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			d := newDriver(t, config())
			r := d.req()
			c.edit(r)
			out := d.relayed(r)
			if _, n := parse(t, out.Data).Find(mip4.ExtForeignHome); n != c.want {
				t.Errorf("%d extensions 34, want %d", n, c.want)
			}
			want := careOf
			if r.careOf == careOf2 {
				want = careOf2
			}
			if out.Src.Addr() != want {
				t.Errorf("relayed from %v, want the care-of address %v", out.Src, want)
			}
		})
	}
}

// Every denial that the RFCs ask for, by the sentence that asks for it.
//
//rfc:5944#3.7.2.1
//rfc:5944#3.7.2
//rfc:5944#3.7.2.3
//rfc:3024#4.2.1
//rfc:3024#3.4-3
//rfc:3024#3.4-4
//rfc:3024#4.2.1-1
//rfc:3024#4.2.1-2
//rfc:3024#4.2.1-4
//rfc:3024#4.2.1-6
//rfc:2794#3-2
//rfc:5944#3.7.1-4
func TestDenials(t *testing.T) {
	style := []mip4.Payload{&mip4.EncapsulatingDelivery{}}
	for _, c := range []struct {
		name string
		code mip4.Code
		cfg  func(*fa.Config)
		edit func(*request)
	}{
		{"reserved bits, strictly", 70, func(c *fa.Config) { c.StrictReservedBits = true }, func(r *request) { r.flags |= mip4.FlagReservedX }},
		{"care-of address not offered by the foreign agent", 77, nil, func(r *request) { r.careOf = linkAddr }},
		{"requested Lifetime too long", 69, nil, func(r *request) { r.lifetime = 601 }},
		{"infinite Lifetime is too long", 69, nil, func(r *request) { r.lifetime = 0xffff }},
		{"home agent is one of my addresses", 116, nil, func(r *request) { r.agent = linkAddr }},
		{"home agent is my care-of address", 116, nil, func(r *request) { r.agent = careOf }},
		{"home agent 255.255.255.255", 116, nil, func(r *request) { r.agent = everybody }},
		{"no Mobile-Foreign authentication", 67, nil, func(r *request) { r.home = keyedHome }},
		{"wrong Mobile-Foreign authenticator", 67, nil, func(r *request) { r.home, r.foreign = keyedHome, key(301, "wrong-wrong-wron") }},
		{"unknown SPI of the Mobile-Foreign authentication", 67, nil, func(r *request) { r.home, r.foreign = keyedHome, key(302, "visitor-visitor-") }},
		{"neither home address nor NAI", 96, nil, func(r *request) { r.home, r.src = zero, netip.AddrPortFrom(zero, 40000) }},
		{"home address of no host", 70, nil, func(r *request) { r.home = allAgents }},
		{"home address is mine", 70, nil, func(r *request) { r.home, r.src = linkAddr, netip.AddrPortFrom(home, 40000) }},
		{"GRE not supported", 72, func(c *fa.Config) { c.Encapsulations = []encap.Kind{encap.IPIP} }, func(r *request) { r.flags |= mip4.FlagG }},
		{"minimal not supported", 72, func(c *fa.Config) { c.Encapsulations = []encap.Kind{encap.GRE} }, func(r *request) { r.flags |= mip4.FlagM }},
		{"delivery style not supported", 79, func(c *fa.Config) { c.DirectDeliveryOnly = true }, func(r *request) { r.after = style }},
		{"delivery style without the T bit", 70, nil, func(r *request) { r.after, r.flags = style, 0 }},
		{"TTL is not 255", 76, nil, func(r *request) { r.ttl = 254 }},
		{"TTL is not 255 in a deregistration", 76, nil, func(r *request) { r.ttl, r.lifetime = 64, 0 }},
		{"reverse tunnel unavailable", 74, func(c *fa.Config) { c.ReverseTunnel = forward.ReverseTunnelRefused }, func(*request) {}},
		{"reverse tunnel mandatory", 75, func(c *fa.Config) { c.ReverseTunnel = forward.ReverseTunnelRequired }, func(r *request) { r.flags = 0 }},
		{"home agent not allowed", 65, func(c *fa.Config) { c.AllowHomeAgents = []netip.Prefix{netip.PrefixFrom(plainHA, 32)} }, func(*request) {}},
		{"too long to relay", 64, nil, func(r *request) {
			r.rawHead = tooLong
		}},
		{"too many visitors", 66, func(c *fa.Config) { c.MaxVisitors = 1 }, func(r *request) {
			r.home, r.src = netip.MustParseAddr("10.10.0.7"), netip.MustParseAddrPort("10.10.0.7:40000")
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			cfg := config()
			if c.cfg != nil {
				c.cfg(&cfg)
			}
			d := newDriver(t, cfg)
			if cfg.MaxVisitors == 1 {
				d.visit(d.req())
			}
			r := d.req()
			c.edit(r)
			out := d.denied(c.code, r)
			reply, _ := parse(t, out.Data).Reply()
			if reply.HomeAddress != r.home || reply.HomeAgent != r.agent || reply.Identification != r.id {
				t.Errorf("fields are not copied from the request: %+v", reply)
			}
			want := r.lifetime
			if c.code == mip4.CodeFALifetimeTooLong {
				want = 600 // "the maximum Lifetime value it is willing to accept"
			}
			if reply.Lifetime != want {
				t.Errorf("Lifetime %d, want %d", reply.Lifetime, want)
			}
			dst := r.home
			if c.code == 96 || c.name == "home address of no host" || c.name == "home address is mine" {
				dst = everybody
			}
			if out.Src != netip.AddrPortFrom(linkAddr, 434) || out.Dst != netip.AddrPortFrom(dst, 40000) {
				t.Errorf("sent from %v to %v", out.Src, out.Dst)
			}
			if out.Link != "eth1" || out.HW != nodeMAC {
				t.Errorf("sent to %v on %s, want the recorded link-layer address", out.HW, out.Link)
			}
			if r.home == keyedHome {
				verify(t, out.Data, mip4.ExtMobileForeign, visitorKey)
			} else if len(out.Data) > len(r.bytes(t)) {
				t.Error("the denial is longer than the request: amplification")
			}
			if d.pending() != 0 {
				t.Error("a denied request stays pending")
			}
		})
	}
}

// What the RFCs let pass.
//
//rfc:5944#3.3
//rfc:3024#4.2.1
//rfc:3024#4.2.1-3
//rfc:5944#3.7-5
func TestAcceptedRequests(t *testing.T) {
	for _, c := range []struct {
		name string
		cfg  func(*fa.Config)
		edit func(*request)
	}{
		{"r and x are ignored on reception", nil, func(r *request) { r.flags |= mip4.FlagReservedR | mip4.FlagReservedX }},
		{"to All Agents Multicast with a TTL of 1", nil, func(r *request) { r.dst, r.ttl = netip.AddrPortFrom(allAgents, 434), 1 }},
		{"without T the TTL is of no matter", nil, func(r *request) { r.flags, r.ttl = 0, 64 }},
		{"co-located, with T and any TTL", nil, func(r *request) {
			r.flags, r.ttl, r.careOf = mip4.FlagD|mip4.FlagT, 64, netip.MustParseAddr("192.168.1.77")
		}},
		{"deregistration where reverse tunnelling is refused", func(c *fa.Config) { c.ReverseTunnel = forward.ReverseTunnelRefused }, func(r *request) { r.lifetime = 0 }},
		{"deregistration without T where it is required", func(c *fa.Config) { c.ReverseTunnel = forward.ReverseTunnelRequired }, func(r *request) { r.lifetime, r.flags = 0, 0 }},
		{"the own home agent of the same box", func(c *fa.Config) { c.OwnHomeAgents = []netip.Addr{linkAddr} }, func(r *request) { r.agent = linkAddr }},
		{"home address 0 with a NAI", nil, func(r *request) { r.home, r.nai, r.src = zero, "van@fleet", netip.AddrPortFrom(zero, 68) }},
		{"an extension of the mobile node for its home agent, unknown here", nil, func(r *request) { r.rawHead = []byte{99, 1, 7} }},
		{"an unknown skippable extension behind 32", nil, func(r *request) { r.rawAfter = []byte{200, 2, 7, 7} }},
		{"longest lifetime", nil, func(r *request) { r.lifetime = 600 }},
		{"M and G where only M is supported", func(c *fa.Config) { c.Encapsulations = []encap.Kind{encap.Minimal} }, func(r *request) { r.flags |= mip4.FlagM | mip4.FlagG }},
	} {
		t.Run(c.name, func(t *testing.T) {
			cfg := config()
			if c.cfg != nil {
				c.cfg(&cfg)
			}
			d := newDriver(t, cfg)
			r := d.req()
			c.edit(r)
			d.relayed(r)
		})
	}
}

// RFC 5944 section 1.8, and packets from strangers: no state, no note, no answer.
//
//rfc:5944#1.8
//rfc:5944#3.7-2
//rfc:5944#3.7-3
func TestSilence(t *testing.T) {
	for _, c := range []struct {
		name string
		edit func(*request)
	}{
		{"unknown extension 0-127 behind 32", func(r *request) { r.rawAfter = []byte{99, 1, 7} }},
		{"two delivery style extensions", func(r *request) {
			r.after = []mip4.Payload{&mip4.EncapsulatingDelivery{}, &mip4.EncapsulatingDelivery{}}
		}},
		{"not from a visitors' link", func(r *request) { r.link = "eth0" }},
		{"no link-layer source", func(r *request) { r.hw = engine.HardwareAddr{} }},
		{"link-layer source is a group", func(r *request) { r.hw = engine.HardwareAddr{1, 0, 0x5e, 0, 0, 1} }},
		{"from a broadcast address", func(r *request) { r.src = netip.AddrPortFrom(everybody, 434) }},
		{"from my own address", func(r *request) { r.src = netip.AddrPortFrom(linkAddr, 434) }},
		{"on its way to somebody else", func(r *request) { r.dst = netip.AddrPortFrom(plainHA, 434) }},
		{"from port 0", func(r *request) { r.src = netip.AddrPortFrom(home, 0) }},
	} {
		t.Run(c.name, func(t *testing.T) {
			d := newDriver(t, config())
			r := d.req()
			c.edit(r)
			d.silence(r.packet(t))
		})
	}
	d := newDriver(t, config())
	p := d.req().packet(t)
	for n := range p.Data {
		cut := p
		cut.Data = p.Data[:n]
		m, err := mip4.Parse(cut.Data)
		if err == nil {
			if _, n := m.Find(mip4.ExtMobileHome); n == 0 {
				continue // whole in itself, without authentication: the home agent's business
			}
		}
		d.silence(cut)
	}
	for typ := range 256 {
		if typ == 1 {
			continue
		}
		other := p
		other.Data = append([]byte{byte(typ)}, p.Data[1:]...)
		d.silence(other)
	}
}

// "except in cases where the foreign agent would be required to send out more
// than one such denial per second to the same mobile node".
//
//rfc:5944#3.7.2
//rfc:3024#4.2.1
//rfc:3024#4.2.1-5
func TestOneDenialASecond(t *testing.T) {
	d := newDriver(t, config())
	bad := func() *request { r := d.req(); r.ttl = 64; return r }
	d.denied(76, bad())
	for range 10 {
		if sent := d.give(bad().packet(t)); len(sent) > 0 {
			t.Fatal("a second denial within a second")
		}
		d.advance(90 * time.Millisecond)
	}
	other := bad()
	other.hw = otherMAC
	d.wantDenial(76, d.give(other.packet(t)))
	d.denied(76, bad())
	if got := d.counter("denials_suppressed"); got != 10 {
		t.Errorf("%d denials suppressed, want 10", got)
	}
}

// "SHOULD log the event as a security exception", but not more than once a
// second: anybody can cause it.
//
//rfc:5944#3.7.2.1
func TestAWrong33IsLoggedAsASecurityException(t *testing.T) {
	d := newDriver(t, config())
	for range 5 {
		r := d.req()
		r.home, r.foreign = keyedHome, key(301, "wrong-wrong-wron")
		d.give(r.packet(t))
	}
	warned := 0
	for _, n := range d.notes {
		if n.Kind == note.Discarded && n.Level == note.Warn {
			warned++
		}
	}
	if warned != 1 {
		t.Errorf("%d security exceptions logged, want 1", warned)
	}
}

// tooLong is an extension of the long format that leaves room for no other.
var tooLong = append([]byte{48, 0, 0xff, 0xb0}, make([]byte, 0xffb0)...)

// Every code from 64 to 88 that the registry gives a foreign agent of RFC 5944
// and RFC 3024 is sent by a test of this package, but for 73, which is "reserved
// and unavailable".
//
//rfc:5944#3.4
//rfc:3024#3.4
func TestEveryDenialCodeIsReachable(t *testing.T) {
	sent := make(map[mip4.Code]bool)
	reach := func(code mip4.Code, cfg fa.Config, edit func(*driver, *request), then func(*driver, engine.Send) []engine.Send) {
		t.Helper()
		d := newDriver(t, cfg)
		r := d.req()
		edit(d, r)
		out := d.give(r.packet(t))
		if then != nil && len(out) == 1 {
			out = then(d, out[0])
		}
		d.wantDenial(code, out)
		sent[code] = true
	}
	none := func(*driver, *request) {}
	with := func(edit func(*request)) func(*driver, *request) { return func(_ *driver, r *request) { edit(r) } }
	cfg := func(edit func(*fa.Config)) fa.Config { c := config(); edit(&c); return c }
	answered := func(edit func(*answer)) func(*driver, engine.Send) []engine.Send {
		return func(d *driver, s engine.Send) []engine.Send {
			a := answerTo(t, s)
			edit(a)
			return d.give(a.packet(t))
		}
	}
	icmp := func(code uint8) func(*driver, engine.Send) []engine.Send {
		return func(d *driver, s engine.Send) []engine.Send {
			d.step(engine.Bounced{From: homeAgent, Src: s.Src, Dst: s.Dst, Type: 3, Code: code, Data: s.Data})
			return d.take()
		}
	}
	reach(64, config(), with(func(r *request) { r.rawHead = tooLong }), nil)
	reach(65, cfg(func(c *fa.Config) { c.AllowHomeAgents = []netip.Prefix{} }), none, nil)
	reach(66, cfg(func(c *fa.Config) { c.MaxVisitors = 1 }), func(d *driver, r *request) {
		d.visit(d.req())
		r.home, r.src = keyedHome.Next(), netip.AddrPortFrom(keyedHome.Next(), 40000)
	}, nil)
	reach(67, config(), with(func(r *request) { r.home = keyedHome }), nil)
	reach(68, config(), none, answered(func(a *answer) { a.foreign = nil }))
	reach(69, config(), with(func(r *request) { r.lifetime = 601 }), nil)
	reach(70, config(), with(func(r *request) { r.home = allAgents }), nil)
	reach(71, config(), none, answered(func(a *answer) { a.agent = plainHA }))
	reach(72, cfg(func(c *fa.Config) { c.Encapsulations = []encap.Kind{encap.IPIP} }), with(func(r *request) { r.flags |= mip4.FlagG }), nil)
	reach(74, cfg(func(c *fa.Config) { c.ReverseTunnel = forward.ReverseTunnelRefused }), none, nil)
	reach(75, cfg(func(c *fa.Config) { c.ReverseTunnel = forward.ReverseTunnelRequired }), with(func(r *request) { r.flags = 0 }), nil)
	reach(76, config(), with(func(r *request) { r.ttl = 254 }), nil)
	reach(77, config(), with(func(r *request) { r.careOf = linkAddr }), nil)
	reach(78, config(), none, func(d *driver, _ engine.Send) []engine.Send { d.advance(8 * time.Second); return d.take() })
	reach(79, cfg(func(c *fa.Config) { c.DirectDeliveryOnly = true }), with(func(r *request) { r.after = []mip4.Payload{&mip4.EncapsulatingDelivery{}} }), nil)
	reach(80, config(), none, icmp(0))
	reach(81, config(), none, icmp(1))
	reach(82, config(), none, icmp(3))
	reach(88, config(), none, icmp(13))
	for code := mip4.CodeFAUnspecified; code <= mip4.CodeFAUnreachable; code++ {
		registered := !strings.HasPrefix(code.String(), "Code(") && code != mip4.CodeFAReserved73
		if registered != sent[code] {
			t.Errorf("code %d (%v): sent %v", code, code, sent[code])
		}
	}
}
