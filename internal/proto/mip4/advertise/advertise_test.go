package advertise_test

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"testing"
	"time"

	"careof/internal/core/engine"
	"careof/internal/proto/mip4/advertise"
	"careof/wire/adv4"
)

var (
	linkAddr  = netip.MustParseAddr("192.168.1.1")
	careOf    = netip.MustParseAddr("203.0.113.1")
	home      = netip.MustParseAddr("10.10.0.5")
	everyone  = netip.MustParseAddr("224.0.0.1")
	broadcast = netip.MustParseAddr("255.255.255.255")
	nodeMAC   = engine.HardwareAddr{2, 0, 0, 0, 0, 5}
	agentMAC  = engine.HardwareAddr{2, 0, 0, 0, 0, 1}
)

func config() advertise.Config {
	return advertise.Config{
		Links:                []advertise.Link{{Name: "eth1", Foreign: true}},
		Interval:             10 * time.Second,
		RegistrationLifetime: 10 * time.Minute,
		CareOfAddresses:      []netip.Addr{careOf},
		Flags:                adv4.FlagT | adv4.FlagG,
	}
}

type sent struct {
	at time.Duration
	engine.SendDiscovery
	*adv4.Message
	adv4.MobilityAgent
}

type driver struct {
	t     *testing.T
	a     *advertise.Advertiser
	began time.Time
	now   engine.Now
	sent  []sent
	other []engine.Action
}

func newDriver(t *testing.T, cfg advertise.Config, seed uint64) *driver {
	t.Helper()
	a, err := advertise.New(cfg, rand.New(rand.NewPCG(seed, 2)))
	if err != nil {
		t.Fatal(err)
	}
	d := &driver{t: t, a: a, began: time.Unix(1000, 0)}
	d.now = engine.Now{Mono: d.began, Wall: time.Unix(1e9, 0)}
	return d
}

func (d *driver) step(ev engine.Event) {
	d.t.Helper()
	for _, act := range d.a.Step(d.now, ev) {
		s, ok := act.(engine.SendDiscovery)
		if !ok {
			d.other = append(d.other, act)
			continue
		}
		m, err := adv4.Parse(s.Data)
		if err != nil {
			d.t.Fatal(err)
		}
		agent, err := m.ForMobileNode()
		if err != nil {
			d.t.Fatal(err)
		}
		d.sent = append(d.sent, sent{d.now.Mono.Sub(d.began), s, m, agent})
	}
}

func (d *driver) up() {
	d.t.Helper()
	d.link(true, netip.PrefixFrom(linkAddr, 24))
}

func (d *driver) link(up bool, addrs ...netip.Prefix) {
	d.t.Helper()
	d.step(engine.LinkChanged{Link: engine.Link{Name: "eth1", Up: up, MTU: 1500, HW: agentMAC, Addresses: addrs}})
}

func (d *driver) advance(by time.Duration) {
	d.t.Helper()
	end := d.now.Mono.Add(by)
	for {
		at := d.a.Deadline()
		if at.IsZero() || at.After(end) {
			break
		}
		d.now.Mono = at
		d.step(engine.Wake{})
	}
	d.now.Mono = end
}

func solicitation() engine.Discovery {
	return engine.Discovery{Link: "eth1", Src: home, Dst: netip.MustParseAddr("224.0.0.2"), TTL: 1, HW: nodeMAC, Data: adv4.AppendSolicitation(nil)}
}

// What one advertisement says.
//
//rfc:5944#2.1
//rfc:5944#2.1.1
//rfc:5944#2.3.1
//rfc:5944#D-1
//rfc:1256#4.1-4
func TestAnAdvertisement(t *testing.T) {
	d := newDriver(t, config(), 1)
	d.up()
	d.advance(time.Second)
	if len(d.sent) == 0 {
		t.Fatal("nothing within a second of the link coming up")
	}
	s := d.sent[0]
	if s.Link != "eth1" || s.Src != linkAddr || s.Dst != everyone || s.HW != (engine.HardwareAddr{}) {
		t.Errorf("sent %+v", s.SendDiscovery)
	}
	if s.Code != adv4.CodeRouter || s.Message.Lifetime != 30 || len(s.Routers) != 1 || s.Routers[0].Addr != linkAddr {
		t.Errorf("header %+v", s.Message)
	}
	if s.Sequence != 0 || s.MobilityAgent.Lifetime != 600 || s.Flags != adv4.FlagF|adv4.FlagT|adv4.FlagG || len(s.CareOfAddresses) != 1 {
		t.Errorf("extension %+v", s.MobilityAgent)
	}
	if _, n := s.Message.Find(adv4.ExtPrefixLengths); n != 0 {
		t.Error("prefix lengths without being asked for")
	}
}

// Settings by link: section 2.3.
//
//rfc:5944#2.3
//rfc:5944#2.1.2
//rfc:5944#2.1-3
//rfc:5944#2.3-8
func TestSettingsOfALink(t *testing.T) {
	for _, c := range []struct {
		name  string
		link  advertise.Link
		flags adv4.Flags
		check func(sent) bool
	}{
		{"a home agent", advertise.Link{Home: true}, adv4.FlagH | adv4.FlagG, func(s sent) bool { return len(s.CareOfAddresses) == 0 }},
		{"both", advertise.Link{Home: true, Foreign: true}, adv4.FlagH | adv4.FlagF | adv4.FlagG | adv4.FlagT, nil},
		{"registration required", advertise.Link{Foreign: true, Registration: true}, adv4.FlagR | adv4.FlagF | adv4.FlagG | adv4.FlagT, nil},
		{"no common traffic", advertise.Link{Foreign: true, NoCommonTraffic: true}, adv4.FlagF | adv4.FlagG | adv4.FlagT, func(s sent) bool { return s.Code == 16 }},
		{"no router addresses", advertise.Link{Foreign: true, NoRouters: true, PrefixLengths: true}, adv4.FlagF | adv4.FlagG | adv4.FlagT, func(s sent) bool {
			e, n := s.Message.Find(adv4.ExtPrefixLengths)
			return len(s.Routers) == 0 && n == 1 && len(e.Body) == 0
		}},
		{"prefix lengths", advertise.Link{Foreign: true, PrefixLengths: true}, adv4.FlagF | adv4.FlagG | adv4.FlagT, func(s sent) bool {
			p := s.Prefixes()
			return len(p) == 1 && p[0] == netip.MustParsePrefix("192.168.1.0/24") && len(s.Data)%2 == 0
		}},
		{"broadcast", advertise.Link{Foreign: true, Broadcast: true}, adv4.FlagF | adv4.FlagG | adv4.FlagT, func(s sent) bool { return s.Dst == broadcast }},
	} {
		t.Run(c.name, func(t *testing.T) {
			cfg := config()
			c.link.Name = "eth1"
			cfg.Links = []advertise.Link{c.link}
			d := newDriver(t, cfg, 1)
			d.up()
			d.advance(time.Second)
			if s := d.sent[0]; s.Flags != c.flags || c.check != nil && !c.check(s) {
				t.Errorf("flags %v, want %v; %+v %+v", s.Flags, c.flags, s.Message, s.MobilityAgent)
			}
		})
	}
}

// "After booting, an agent MUST use the number 0 for its first advertisement.
// Each subsequent advertisement MUST use the sequence number one greater, with
// the exception that the sequence number 0xffff MUST be followed by sequence
// number 256."
//
//rfc:5944#2.3.2
func TestSequenceNumbersRollOverTo256(t *testing.T) {
	cfg := config()
	cfg.Interval = time.Second
	d := newDriver(t, cfg, 1)
	d.up()
	want := uint16(0)
	for len(d.sent) < 0x10000+300 {
		d.advance(time.Hour)
		d.link(false)
		d.up() // the link's state is no reboot
	}
	for i, s := range d.sent {
		if s.Sequence != want {
			t.Fatalf("advertisement %d has number %d, want %d", i, s.Sequence, want)
		}
		if want == 0xffff {
			want = 256
		} else {
			want++
		}
	}
}

// "The actual transmission time for each advertisement SHOULD be slightly
// randomized", at least three within a Lifetime; the first three come at most
// 16 seconds apart.
//
//rfc:5944#2.1
//rfc:1256#4.3
//rfc:5944#2.1-7
//rfc:5944#2.3-1
//rfc:5944#2.3-2
//rfc:5944#3.7-1
//rfc:1256#4.1-3
//rfc:1256#4.3-2
func TestWhenAdvertisementsAreSent(t *testing.T) {
	cfg := config()
	cfg.Interval = 100 * time.Second
	differ := map[time.Duration]bool{}
	for seed := range uint64(20) {
		d := newDriver(t, cfg, seed)
		d.up()
		d.advance(time.Hour)
		for i := 1; i < len(d.sent); i++ {
			gap := d.sent[i].at - d.sent[i-1].at
			differ[gap] = true
			switch {
			case i < 3 && gap > 16*time.Second:
				t.Errorf("initial advertisement %d after %v", i, gap)
			case i >= 3 && (gap < 75*time.Second || gap > 100*time.Second):
				t.Errorf("advertisement %d after %v", i, gap)
			}
		}
	}
	if len(differ) < 100 {
		t.Errorf("only %d different intervals", len(differ))
	}
}

// "All mobility agents SHOULD respond to Agent Solicitations"; "MUST NOT
// require that the IP Source Address is the address of a neighbor".
//
//rfc:5944#2.3
//rfc:5944#2.1
//rfc:5944#2.1-1
//rfc:5944#2.1-4
//rfc:5944#2.3-4
//rfc:1256#4.2-1
func TestSolicitationsAreAnsweredByUnicast(t *testing.T) {
	for _, c := range []struct {
		name   string
		edit   func(*engine.Discovery)
		answer netip.Addr // invalid: none
	}{
		{"from a foreign home address", func(*engine.Discovery) {}, home},
		{"from 0.0.0.0", func(s *engine.Discovery) { s.Src = netip.IPv4Unspecified() }, everyone},
		{"to All Agents Multicast", func(s *engine.Discovery) { s.Dst = netip.MustParseAddr("224.0.0.11") }, home},
		{"with a TTL of 2", func(s *engine.Discovery) { s.TTL = 2 }, netip.Addr{}},
		{"on another link", func(s *engine.Discovery) { s.Link = "eth0" }, netip.Addr{}},
		{"my own, looped", func(s *engine.Discovery) { s.HW = agentMAC }, netip.Addr{}},
		{"a wrong checksum", func(s *engine.Discovery) { s.Data[2] ^= 1 }, netip.Addr{}},
		{"Code 1", func(s *engine.Discovery) { s.Data = []byte{10, 1, 0xf5, 0xfe, 0, 0, 0, 0} }, netip.Addr{}},
		{"an advertisement", func(s *engine.Discovery) { s.Data = []byte{9, 0, 0xf7, 0xfd, 0, 2, 0, 0} }, netip.Addr{}},
		{"cut short", func(s *engine.Discovery) { s.Data = s.Data[:7] }, netip.Addr{}},
	} {
		t.Run(c.name, func(t *testing.T) {
			d := newDriver(t, config(), 1)
			d.up()
			d.advance(5 * time.Second)
			d.sent = nil
			s := solicitation()
			c.edit(&s)
			d.step(s)
			if !c.answer.IsValid() {
				if len(d.sent) > 0 {
					t.Errorf("answered with %+v", d.sent[0].SendDiscovery)
				}
				return
			}
			if len(d.sent) != 1 || d.sent[0].Dst != c.answer || d.sent[0].HW != nodeMAC {
				t.Fatalf("answered with %+v, want one to %v at %v", d.sent, c.answer, nodeMAC)
			}
		})
	}
}

// "a mobility agent MUST limit the rate at which it sends broadcast or
// multicast Agent Advertisements".
//
//rfc:5944#2.3
//rfc:1256#4.3
//rfc:5944#2.3-5
//rfc:1256#4.3-3
func TestAFloodOfSolicitationsIsAnsweredByAFewAdvertisements(t *testing.T) {
	d := newDriver(t, config(), 1)
	d.up()
	d.advance(5 * time.Second)
	d.sent = nil
	for i := range 10000 {
		s := solicitation()
		s.HW[5] = byte(i)
		d.step(s)
		d.advance(time.Millisecond)
	}
	unicast, multicast := 0, 0
	for _, s := range d.sent {
		if s.HW == (engine.HardwareAddr{}) {
			multicast++
		} else {
			unicast++
		}
	}
	if unicast < 100 || unicast > 125 {
		t.Errorf("%d unicast answers in ten seconds", unicast)
	}
	if multicast < 3 || multicast > 20 {
		t.Errorf("%d multicast answers in ten seconds", multicast)
	}
}

// "a mobility agent MAY be configured to send Agent Advertisements only in
// response to an Agent Solicitation message".
//
//rfc:5944#2.3
func TestSolicitedOnly(t *testing.T) {
	cfg := config()
	cfg.Links[0].SolicitedOnly = true
	d := newDriver(t, cfg, 1)
	d.up()
	d.advance(time.Hour)
	if len(d.sent) > 0 {
		t.Fatal("advertised without being asked")
	}
	d.step(solicitation())
	if len(d.sent) != 1 {
		t.Error("not answered")
	}
	s := solicitation()
	s.HW = engine.HardwareAddr{}
	d.step(s)
	d.advance(time.Hour)
	if len(d.sent) != 2 || d.sent[1].Dst != everyone {
		t.Errorf("%d advertisements; one by multicast was due", len(d.sent))
	}
}

// A link that is down, or without an address, or gone.
//
//rfc:1256#4.3-5
//rfc:1256#4.3-6
func TestNothingIsSentWithoutALink(t *testing.T) {
	d := newDriver(t, config(), 1)
	d.advance(time.Hour)
	d.link(true)
	d.advance(time.Hour)
	d.link(false, netip.PrefixFrom(linkAddr, 24))
	d.advance(time.Hour)
	d.step(solicitation())
	if len(d.sent) > 0 {
		t.Fatal("advertised")
	}
	d.up()
	d.advance(time.Minute)
	before := len(d.sent)
	other := netip.MustParseAddr("192.168.2.1")
	d.link(true, netip.PrefixFrom(other, 24))
	d.advance(time.Second)
	if before == 0 || len(d.sent) == before || d.sent[before].Src != other {
		t.Error("a new address was not advertised at once")
	}
	d.link(false)
	n := len(d.sent)
	d.advance(time.Hour)
	if len(d.sent) != n || !d.a.Deadline().IsZero() {
		t.Error("advertised on a dead link")
	}
}

// "a final multicast advertisement on the interface, identical to its previous
// transmission but with a Lifetime field of zero".
//
//rfc:1256#4.3
func TestWithdrawal(t *testing.T) {
	d := newDriver(t, config(), 1)
	d.up()
	d.advance(time.Minute)
	d.sent = nil
	d.step(engine.Command{Ticket: 5, Value: advertise.Withdraw{}})
	if len(d.sent) != 1 || d.sent[0].Message.Lifetime != 0 || d.sent[0].Dst != everyone || d.sent[0].Flags != adv4.FlagF|adv4.FlagT|adv4.FlagG {
		t.Fatalf("sent %+v", d.sent)
	}
	if r, ok := d.other[0].(engine.Result); !ok || r.Ticket != 5 || r.Value != 1 {
		t.Errorf("answered %+v", d.other)
	}
	d.step(solicitation())
	d.advance(time.Hour)
	if len(d.sent) != 1 {
		t.Error("advertised after the withdrawal")
	}
}

// A feature adds an extension, and sends one mobile node its own.
func TestFeaturesCompleteAdvertisements(t *testing.T) {
	d := newDriver(t, config(), 1)
	d.a.Advertise.Add("challenge", "add", func(x *advertise.Announcement) engine.Verdict {
		x.Draft.More = append(x.Draft.More, &adv4.Challenge{Value: []byte("four")})
		return engine.Next()
	})
	d.up()
	d.advance(time.Minute)
	for _, s := range d.sent {
		if c, n, err := adv4.Get[adv4.Challenge](s.Message); n != 1 || err != nil || string(c.Value) != "four" {
			t.Fatalf("challenge %q, %d, %v", c.Value, n, err)
		}
	}
	acts := d.a.Announce(d.now, "eth1", home, nodeMAC, func(a *adv4.Draft) { a.Agent.Sequence = 0 })
	s := acts[0].(engine.SendDiscovery)
	m, err := adv4.Parse(s.Data)
	if err != nil {
		t.Fatal(err)
	}
	if a, err := m.ForMobileNode(); err != nil || a.Sequence != 0 || s.Dst != home || s.HW != nodeMAC {
		t.Errorf("announced %+v: %+v, %v", s, a, err)
	}
}

// "An Agent Advertisement message MUST NOT have the 'B' bit set if the 'F' bit
// is not also set", and other contradictions.
//
//rfc:5944#2.1.1
//rfc:1256#4.1-2
func TestContradictionsAreRefused(t *testing.T) {
	for name, edit := range map[string]func(*advertise.Config){
		"neither home nor foreign agent":      func(c *advertise.Config) { c.Links[0].Foreign = false },
		"R without F":                         func(c *advertise.Config) { c.Links[0] = advertise.Link{Name: "eth1", Home: true, Registration: true} },
		"F without a care-of address":         func(c *advertise.Config) { c.CareOfAddresses = nil },
		"a flag that is settled by link":      func(c *advertise.Config) { c.Flags |= adv4.FlagB },
		"a reserved flag":                     func(c *advertise.Config) { c.Flags |= 1 },
		"a link twice":                        func(c *advertise.Config) { c.Links = append(c.Links, c.Links[0]) },
		"a link without a name":               func(c *advertise.Config) { c.Links[0].Name = "" },
		"an interval of a moment":             func(c *advertise.Config) { c.Interval = time.Millisecond },
		"a lifetime of less than a second":    func(c *advertise.Config) { c.RegistrationLifetime = time.Millisecond },
		"a multicast care-of address":         func(c *advertise.Config) { c.CareOfAddresses = []netip.Addr{everyone} },
		"an interval of more than 30 minutes": func(c *advertise.Config) { c.Interval = time.Hour },
	} {
		cfg := config()
		edit(&cfg)
		if _, err := advertise.New(cfg, rand.New(rand.NewPCG(1, 1))); err == nil {
			t.Errorf("%s: taken", name)
		}
	}
	if _, err := advertise.New(config(), nil); err == nil {
		t.Error("no source of randomness: taken")
	}
	for _, d := range []time.Duration{time.Second, 65534 * time.Second, advertise.InfiniteLifetime} {
		cfg := config()
		cfg.RegistrationLifetime = d
		a, err := advertise.New(cfg, rand.New(rand.NewPCG(1, 1)))
		if err != nil {
			t.Fatal(err)
		}
		want := fmt.Sprint(min(int64(d/time.Second), 0xffff))
		if got := fmt.Sprint(a.Status()[0].Lifetime); got != want {
			t.Errorf("lifetime %v is advertised as %s, want %s", d, got, want)
		}
	}
}
