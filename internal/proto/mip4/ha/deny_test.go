package ha_test

import (
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"
	"time"

	"careof/internal/core/assoc"
	"careof/internal/core/forward"
	"careof/internal/core/ident"
	"careof/internal/core/note"
	"careof/internal/proto/mip4/ha"
	"careof/wire/encap"
	"careof/wire/mip4"
)

// "If the home agent receives a Registration Request from a mobile node with
// which it does not have any security association, the home agent MUST
// silently discard the Registration Request", and likewise "without any
// authorization-enabling extension".
//
//rfc:5944#3.8.2.1
//rfc:3024#4-2
//rfc:3115#1.1-1
//rfc:5944#3.2-2
//rfc:5944#3.5.2-1
func TestStrangersGetSilence(t *testing.T) {
	none := netip.AddrFrom4([4]byte{})
	for _, c := range []struct {
		name   string
		change func(*request)
	}{
		{"unknown home address", func(r *request) { r.home = netip.MustParseAddr("10.10.0.77") }},
		{"no home address and no name", func(r *request) { r.home = none }},
		{"unknown name", func(r *request) { r.home, r.nai = none, "nobody@fleet" }},
		{"the name of another", func(r *request) { r.home, r.nai = none, "van@fleet" }},
		{"a name in the wrong form", func(r *request) { r.nai = "a@b@c" }},
		{"unknown SPI", func(r *request) { r.key = mustAssoc(t, 999, "0123456789abcdef", assoc.Timestamps) }},
		{"wrong key", func(r *request) { r.key = mustAssoc(t, 256, "fedcba9876543210", assoc.Timestamps) }},
		{"unsigned", func(r *request) { r.key = nil }},
		{"source is broadcast", func(r *request) { r.src = netip.MustParseAddrPort("255.255.255.255:9") }},
		{"source is multicast", func(r *request) { r.src = netip.MustParseAddrPort("224.0.0.9:9") }},
		{"source is nobody", func(r *request) { r.src = netip.MustParseAddrPort("0.0.0.0:9") }},
		{"source is ourselves", func(r *request) { r.src = netip.AddrPortFrom(agentAddr, 9) }},
		{"source port 0", func(r *request) { r.src = netip.AddrPortFrom(careOf, 0) }},
		{"unknown home address at the broadcast address", func(r *request) {
			r.home, r.dst = netip.MustParseAddr("10.10.0.77"), netip.MustParseAddrPort("10.10.0.255:434")
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			d := newDriver(t, config(t))
			r := d.req()
			c.change(r)
			d.silence(r)
			if got := d.counter("messages_ignored"); got != 1 {
				t.Errorf("counted %d times", got)
			}
			// A wrong key at one end is the operator's most likely mistake:
			// it has a counter of its own.
			want := uint64(0)
			if c.name == "wrong key" || c.name == "unknown SPI" || c.name == "the name of another" {
				want = 1
			}
			if got := d.counter("authenticators_wrong"); got != want {
				t.Errorf("%d wrong authenticators counted, want %d", got, want)
			}
		})
	}
}

// No message of any kind from anybody makes the agent speak or panic.
//
//rfc:4064#6-1
//rfc:4064#9-1
//rfc:5944#3.8-1
func TestOtherMessagesAreIgnored(t *testing.T) {
	d := newDriver(t, config(t))
	p := d.req().packet(t)
	whole := p.Data
	for n := range whole {
		p.Data = whole[:n]
		d.silent(p)
	}
	for typ := range 256 {
		if mip4.MessageType(typ) == mip4.TypeRegistrationRequest {
			continue
		}
		p.Data = slices.Clone(whole)
		p.Data[0] = byte(typ)
		d.silent(p)
	}
}

// Every bit of a request is protected: flipped, it is never accepted, and
// nothing is kept.
//
//rfc:3024#4-2
func TestNoBitCanBeFlipped(t *testing.T) {
	d := newDriver(t, config(t))
	r := d.req()
	r.nai = ""
	p := r.packet(t)
	whole := p.Data
	for bit := range len(whole) * 8 {
		p.Data = slices.Clone(whole)
		p.Data[bit/8] ^= 0x80 >> (bit % 8)
		d.silent(p)
	}
	if len(d.bindings()) != 0 {
		t.Fatal("a forged request was accepted")
	}
	p.Data = whole
	if got := d.sendRaw(p); got == nil || got.Code != mip4.CodeAccepted {
		t.Fatal("the true request is not accepted after the forged ones")
	}
}

// Code 131 "MAY" be sent for a wrong authenticator where no foreign agent has
// an association; it is rate limited, and signed with an association that the
// mobile node is likely to have.
//
//rfc:5944#3.8.2.1
func TestCode131WhereConfigured(t *testing.T) {
	cfg := config(t)
	cfg.BadAuthenticatorInterval = time.Second
	old := mustAssoc(t, 256, "0123456789abcdef", assoc.Timestamps)
	next := mustAssoc(t, 1256, "next-next-next-n", assoc.Timestamps)
	cfg.Nodes[0].Keys = []*assoc.Association{old, next}
	d := newDriver(t, cfg)
	r := d.req()
	r.key = mustAssoc(t, 1256, "not the next key", assoc.Timestamps)
	p := d.send(r)
	if p == nil || p.Code != mip4.CodeHAMobileNodeAuth || p.Identification != r.id {
		t.Fatalf("reply %+v", p)
	}
	verify(t, p, mip4.ExtMobileHome, old)
	if d.send(r) != nil {
		t.Error("a second 131 within the interval")
	}
	d.advance(time.Second)
	if d.send(r) == nil {
		t.Error("no 131 after the interval")
	}
	if len(d.store) != 0 || len(d.bindings()) != 0 {
		t.Error("a request that failed authentication left state")
	}
}

// Several keys of a node: both work while they are rotated.
//
//rfc:5944#3.2-1
//rfc:5944#3.5.1-2
func TestKeyRotation(t *testing.T) {
	cfg := config(t)
	next := mustAssoc(t, 1256, "next-next-next-n", assoc.Timestamps)
	cfg.Nodes[0].Keys = append(cfg.Nodes[0].Keys, next)
	d := newDriver(t, cfg)
	d.want(mip4.CodeAccepted, d.req())
	r := d.req()
	r.key = next
	d.want(mip4.CodeAccepted, r)
	// The mark is the node's, not the key's.
	r.key, r.src = cfg.Nodes[0].Keys[0], netip.AddrPortFrom(careOf, 40001)
	d.want(mip4.CodeIdentificationMismatch, r)
}

// The Foreign-Home rules of RFC 5944 section 3.8.2.1 a, c, d.
//
//rfc:5944#3.8.2.1
//rfc:5944#3.8.2.1-18
//rfc:5944#3.8.2.1-19
//rfc:5944#3.5.4
//rfc:5944#3.8.1
func TestForeignHomeAuthentication(t *testing.T) {
	right := mustAssoc(t, 300, "foreign-foreign-", assoc.Timestamps)
	wrong := mustAssoc(t, 300, "foreign-foreign?", assoc.Timestamps)
	badMN := mustAssoc(t, 256, "fedcba9876543210", assoc.Timestamps)
	const silence = mip4.Code(255)
	for _, c := range []struct {
		name   string
		change func(*request)
		code   mip4.Code
	}{
		{"valid", func(r *request) { r.foreign = right }, 0},
		{"missing", func(r *request) {}, 132},
		{"wrong", func(r *request) { r.foreign = wrong }, 132},
		{"unknown SPI", func(r *request) { r.foreign = mustAssoc(t, 301, "foreign-foreign-", assoc.Timestamps) }, 132},
		{"two", func(r *request) { r.foreign = right; r.rawAfter = make34(300) }, 132},
		{"no association, but an extension: discarded", func(r *request) {
			r.src, r.careOf, r.foreign = netip.MustParseAddrPort("203.0.113.9:434"), netip.MustParseAddr("203.0.113.9"), right
		}, silence},
		{"a deregistration needs none", func(r *request) { r.lifetime = 0 }, 0},
		{"but a wrong one is refused", func(r *request) { r.lifetime, r.foreign = 0, wrong }, 132},
		{"co-located: not demanded", func(r *request) { r.flags |= mip4.FlagD; r.careOf = careOf }, 0},
		{"co-located: verified when there", func(r *request) { r.flags |= mip4.FlagD; r.careOf = careOf; r.foreign = wrong }, 132},
		{"behind a NAT the care-of address selects it", func(r *request) {
			r.foreign, r.src = right, netip.MustParseAddrPort("100.64.0.1:9000")
		}, 0},
		{"wrong mobile node, valid 34: MUST 131", func(r *request) { r.key, r.foreign = badMN, right }, 131},
		{"wrong mobile node, wrong 34: silence", func(r *request) { r.key, r.foreign = badMN, wrong }, silence},
		{"wrong mobile node, missing 34: silence", func(r *request) { r.key = badMN }, silence},
	} {
		t.Run(c.name, func(t *testing.T) {
			cfg := config(t)
			cfg.BadAuthenticatorInterval = time.Second
			d := newDriver(t, cfg)
			r := d.req()
			r.flags = mip4.FlagT
			r.careOf, r.src = foreignAddr, netip.AddrPortFrom(foreignAddr, 434)
			c.change(r)
			p := d.send(r)
			// "SHOULD log the error as a security exception": where a key has
			// vouched for the request, and not what anybody can send.
			authentic := r.key != badMN || r.foreign == right
			logged := slices.ContainsFunc(d.notes, func(n note.Note) bool { return n.Level == note.Warn })
			if want := c.code != 0 && authentic; logged != want {
				t.Errorf("logged %v, want %v", logged, want)
			}
			if c.code == silence {
				if p != nil {
					t.Fatalf("code %d, want silence", p.Code)
				}
				return
			}
			if p == nil || p.Code != c.code {
				t.Fatalf("reply %+v, want code %d", p, c.code)
			}
			// 34 is in every reply towards a foreign agent with an
			// association: successes, denials, deregistrations.
			verify(t, p, mip4.ExtForeignHome, right)
			if last := p.message.Exts[len(p.message.Exts)-1]; last.Type != mip4.ExtForeignHome {
				t.Errorf("34 is not the last extension")
			}
		})
	}
}

// make34 is a Foreign-Home authentication extension that authenticates nothing.
func make34(spi uint32) []byte {
	return append([]byte{34, 20, byte(spi >> 24), byte(spi >> 16), byte(spi >> 8), byte(spi)}, make([]byte, 16)...)
}

// Every other denial, with its code and its counter, and what of the
// Identification goes into it: all 64 bits.
//
//rfc:5944#3.8.2.3
//rfc:5944#3.8.3.2
//rfc:3024#3.4
//rfc:3024#4.3.1-1
//rfc:3024#4.3.1-2
//rfc:3024#3.4-3
//rfc:3024#3.4-5
//rfc:5944#3.4-6
//rfc:5944#3.8.2-2
//rfc:5944#3.8.3-2
func TestDenials(t *testing.T) {
	for _, c := range []struct {
		name   string
		config func(*ha.Config)
		change func(*request)
		code   mip4.Code
	}{
		{"129 another node's home address", nil, func(r *request) {
			r.nai, r.key = "van@fleet", mustAssoc(t, 257, "van-van-van-van-", assoc.Timestamps)
		}, 129},
		{"129 source is not the care-of address", nil, func(r *request) { r.src = netip.MustParseAddrPort("203.0.113.77:4000") }, 129},
		{"129 care-of address is the home agent", nil, func(r *request) { r.careOf = agentAddr }, 129},
		{"129 care-of address in a home network", nil, func(r *request) {
			r.careOf = netip.MustParseAddr("10.10.0.200")
			r.src = netip.AddrPortFrom(r.careOf, 4000)
		}, 129},
		{"129 care-of address in another agent's home network", func(c *ha.Config) {
			c.OtherHomeNetworks = []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24")}
		}, func(*request) {}, 129},
		{"129 home address with a lifetime", nil, func(r *request) { r.careOf, r.src = home, netip.AddrPortFrom(home, 434) }, 129},
		{"134 care-of address is multicast", nil, func(r *request) { r.careOf = netip.MustParseAddr("224.0.0.5") }, 134},
		{"134 care-of address is broadcast", nil, func(r *request) { r.careOf = netip.MustParseAddr("255.255.255.255") }, 134},
		{"134 care-of address is a loopback", nil, func(r *request) { r.careOf = netip.MustParseAddr("127.0.0.1") }, 134},
		{"134 care-of address is zero", nil, func(r *request) { r.careOf = netip.AddrFrom4([4]byte{}) }, 134},
		{"134 reserved bit r", strict, func(r *request) { r.flags |= mip4.FlagReservedR }, 134},
		{"134 reserved bit x", strict, func(r *request) { r.flags |= mip4.FlagReservedX }, 134},
		{"0 reserved bits are ignored", nil, func(r *request) { r.flags |= mip4.FlagReservedR | mip4.FlagReservedX }, 0},
		{"136 the Home Agent field names another", nil, func(r *request) { r.agent = netip.MustParseAddr("198.51.100.9") }, 136},
		{"136 the Home Agent field is zero", nil, func(r *request) { r.agent = netip.AddrFrom4([4]byte{}) }, 136},
		{"137 reverse tunnelling refused", func(c *ha.Config) { c.ReverseTunnel = forward.ReverseTunnelRefused }, func(*request) {}, 137},
		{"0 reverse tunnelling refused, not asked for", func(c *ha.Config) { c.ReverseTunnel = forward.ReverseTunnelRefused }, func(r *request) { r.flags = mip4.FlagD }, 0},
		{"138 reverse tunnelling required", func(c *ha.Config) { c.ReverseTunnel = forward.ReverseTunnelRequired }, func(r *request) { r.flags = mip4.FlagD }, 138},
		{"0 reverse tunnelling required, asked for", func(c *ha.Config) { c.ReverseTunnel = forward.ReverseTunnelRequired }, func(*request) {}, 0},
		{"139 encapsulation", func(c *ha.Config) { c.Encapsulations = []encap.Kind{encap.IPIP} }, func(r *request) { r.flags |= mip4.FlagG }, 139},
	} {
		t.Run(c.name, func(t *testing.T) {
			cfg := config(t)
			if c.config != nil {
				c.config(&cfg)
			}
			d := newDriver(t, cfg)
			r := d.req()
			c.change(r)
			p := d.want(c.code, r)
			if p.Identification != r.id {
				t.Errorf("Identification %x, want all of %x", p.Identification, r.id)
			}
			if p.HomeAgent != agentAddr || p.HomeAddress != r.home {
				t.Errorf("reply names %v and %v", p.HomeAgent, p.HomeAddress)
			}
			if c.code == 0 {
				return
			}
			if len(d.plane) != 0 || len(d.bindings()) != 0 {
				t.Error("denied, and bound")
			}
			if got := d.counter("denied_" + itoa(c.code)); got != 1 {
				t.Errorf("counted %d times", got)
			}
			if k := d.kinds(); !slices.Equal(k, []note.Kind{note.Denied}) {
				t.Errorf("notes %v", k)
			}
			// The Identification is used up, and durably so.
			d.want(mip4.CodeIdentificationMismatch, r)
			d.restart(cfg, time.Second).want(mip4.CodeIdentificationMismatch, r)
		})
	}
}

func strict(c *ha.Config) { c.StrictReservedBits = true }

func itoa(c mip4.Code) string {
	return string([]byte{'0' + byte(c/100), '0' + byte(c/10%10), '0' + byte(c%10)})
}

// "home agents MUST deny Registration Requests that are sent to the
// subnet-directed broadcast address of the home network", answered with 136 and
// the own unicast address; some routers turn the address into 255.255.255.255.
//
//rfc:5944#3.8.2.1
//rfc:5944#3.8.3.1
//rfc:5944#3.6.1.2-13
func TestHomeAgentDiscovery(t *testing.T) {
	for _, dst := range []string{"10.10.0.255", "255.255.255.255", "224.0.0.11"} {
		for _, field := range []string{"10.10.0.255", "255.255.255.255", "198.51.100.1"} {
			t.Run(dst+" naming "+field, func(t *testing.T) {
				d := newDriver(t, config(t))
				r := d.req()
				r.dst = netip.AddrPortFrom(netip.MustParseAddr(dst), port)
				r.agent = netip.MustParseAddr(field)
				p := d.want(mip4.CodeUnknownHomeAgent, r)
				if p.HomeAgent != agentAddr || p.Src != netip.AddrPortFrom(agentAddr, port) || p.Dst != r.src {
					t.Errorf("names %v, %v -> %v", p.HomeAgent, p.Src, p.Dst)
				}
				if len(d.bindings()) != 0 {
					t.Error("bound")
				}
				// The mobile node takes the time from it too.
				r = d.req()
				r.dst = netip.AddrPortFrom(netip.MustParseAddr(dst), port)
				r.id = assoc.Timestamp(d.now.Wall.Add(-time.Hour))
				now := d.now.Wall
				p = d.want(mip4.CodeUnknownHomeAgent, r)
				if got := assoc.TimeOf(p.Identification, now).Sub(now); got < -time.Second || got > time.Second {
					t.Errorf("the high half is %v off the home agent's time", got)
				}
			})
		}
	}
}

// A home agent with several addresses answers discovery with the one on the
// node's home network.
func TestDiscoveryNamesTheAddressOnTheHomeNetwork(t *testing.T) {
	cfg := config(t)
	onLink := netip.MustParseAddr("10.10.0.1")
	cfg.Addresses = append(cfg.Addresses, onLink)
	d := newDriver(t, cfg)
	r := d.req()
	r.agent = netip.MustParseAddr("10.10.0.255")
	r.dst = netip.AddrPortFrom(r.agent, port)
	if p := d.want(mip4.CodeUnknownHomeAgent, r); p.HomeAgent != onLink || p.Src.Addr() != onLink {
		t.Errorf("names %v from %v", p.HomeAgent, p.Src)
	}
	r = d.req()
	r.agent, r.dst = onLink, netip.AddrPortFrom(onLink, port)
	if p := d.want(mip4.CodeAccepted, r); p.HomeAgent != onLink {
		t.Errorf("names %v", p.HomeAgent)
	}
	if e, _ := d.entry(home); e.Tunnels[0].Local.Addr() != onLink {
		t.Errorf("the tunnel starts at %v, not at the Home Agent of the reply", e.Tunnels[0].Local)
	}
}

// The unknown-extension rule: 0 to 127 discard the message, 128 to 255 are
// skipped, wherever they stand.
//
//rfc:5944#1.8
//rfc:3115#2-1
//rfc:3115#2.3-3
//rfc:6245#4.2-2
func TestUnknownExtensions(t *testing.T) {
	known := map[byte]bool{0: true, 32: true, 33: true, 34: true, 131: true}
	for typ := range 256 {
		if known[byte(typ)] {
			continue
		}
		raw := []byte{byte(typ), 4, 1, 2, 3, 4}
		if typ == 36 || (typ >= 38 && typ <= 43) || typ == 49 || typ == 50 {
			raw = []byte{byte(typ), 1, 0, 4, 1, 2, 3, 4} // long format
		}
		for _, after := range []bool{false, true} {
			d := newDriver(t, config(t))
			r := d.req()
			if after {
				r.rawAfter = raw
			} else {
				r.rawBefore = raw
			}
			p, err := mip4.Parse(r.bytes(t))
			if err != nil || len(p.Exts) != 2 {
				continue // another format: the frame is the codec's business
			}
			if typ < 128 {
				d.silence(r)
			} else {
				d.want(mip4.CodeAccepted, r)
			}
		}
	}
}

// What is not where it must be, or there too often, discards the message.
func TestMisplacedExtensionsDiscard(t *testing.T) {
	for _, c := range []struct {
		name   string
		change func(*request)
	}{
		{"NAI after the authenticator", func(r *request) { r.rawAfter = []byte("\x83\x09van@fleet") }},
		{"two NAIs", func(r *request) { r.nai, r.before = "van@fleet", []mip4.Payload{&mip4.NAI{Value: "van@fleet"}} }},
		{"34 before 32", func(r *request) { r.rawBefore = make34(300) }},
	} {
		t.Run(c.name, func(t *testing.T) {
			d := newDriver(t, config(t))
			r := d.req()
			c.change(r)
			d.silence(r)
		})
	}
}

// algorithm none: no authenticator, but a source prefix, and always said.
func TestNodeWithoutAuthentication(t *testing.T) {
	cfg := config(t)
	open, err := assoc.New(0, assoc.None, assoc.Key{}, assoc.Timestamps)
	if err != nil {
		t.Fatal(err)
	}
	cfg.Nodes = append(cfg.Nodes, ha.MobileNode{
		Node: ident.Node{HomeAddress: netip.MustParseAddr("10.10.0.9")},
		Keys: []*assoc.Association{open}, Source: netip.MustParsePrefix("192.0.2.0/24"),
	})
	d := newDriver(t, cfg)
	r := d.req()
	r.home, r.key = netip.MustParseAddr("10.10.0.9"), open
	p := d.want(mip4.CodeAccepted, r)
	if k := d.kinds(); len(k) == 0 || k[0] != ha.Insecure {
		t.Errorf("not announced at the start: %v", k)
	}
	if len(p.message.Exts) != 0 {
		t.Errorf("the reply has extensions %v", p.message.Exts)
	}
	r = d.req()
	r.home, r.key = netip.MustParseAddr("10.10.0.9"), open
	r.careOf = netip.MustParseAddr("203.0.113.50")
	r.src = netip.AddrPortFrom(r.careOf, 434)
	d.silence(r)
	var insecure int
	for _, a := range d.command(ha.ListAssociations{}).Value.([]ha.Association) {
		if a.Insecure {
			insecure++
		}
	}
	if insecure != 1 {
		t.Errorf("%d associations shown as insecure", insecure)
	}
	cfg.Nodes[len(cfg.Nodes)-1].Source = netip.Prefix{}
	if _, err := ha.New(cfg, rand.New(rand.NewPCG(1, 2))); err == nil {
		t.Error("accepted without a source prefix")
	}
}
