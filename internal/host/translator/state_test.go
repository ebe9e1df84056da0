package translator

import (
	"net/netip"
	"testing"
	"time"

	"careof/internal/core/engine"
	"careof/wire/nat64"
)

var (
	start  = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	stable = netip.MustParseAddr("2001:db8:6::5")
	other  = netip.MustParseAddr("2001:db8:7::5")
)

// onLink is the state of a link with IPv6 alone.
func onLink(sources ...netip.Addr) *state {
	s := &state{wanted: true}
	s.attach(kernelState{index: 3, up: true, mtu: 1500, sources: sources, routed: true})
	return s
}

func pathOf(t *testing.T, s *state, now time.Time, want Path) {
	t.Helper()
	s.choose(now)
	if s.path != want || !s.has {
		t.Errorf("at %v the path is %+v (%t), want %+v", now.Sub(start), s.path, s.has, want)
	}
}

func noPath(t *testing.T, s *state, now time.Time) {
	t.Helper()
	if s.choose(now); s.has {
		t.Errorf("at %v the path is %+v", now.Sub(start), s.path)
	}
}

// A translator is believed in for as long as it is advertised, and no longer than
// until a router takes it back.
//
//rfc:8781#4
//rfc:8781#4.1
func TestAnAdvertisedPrefixEnds(t *testing.T) {
	s, p := onLink(stable), prefix(t, "64:ff9b::/96")
	noPath(t, s, start)
	s.hear(router, []advertised{{prefix: p, lifetime: time.Minute}}, start)
	want := Path{Source: stable, Prefix: p, Origin: Advertised, MTU: 1500}
	pathOf(t, s, start.Add(59*time.Second), want)
	if at := s.wake(); at != start.Add(time.Minute) {
		t.Errorf("the next thing is due at %v", at)
	}
	noPath(t, s, start.Add(time.Minute))

	s.hear(router, []advertised{{prefix: p, lifetime: time.Minute}}, start)
	s.hear(netip.MustParseAddr("fe80::2"), []advertised{{prefix: p}}, start) // another router has nothing to take back
	pathOf(t, s, start, want)
	s.hear(router, []advertised{{prefix: p}}, start)
	noPath(t, s, start)
}

// What is written comes before what routers advertise, and that before what name
// servers tell; and a prefix in use stays while it is told of from as good a place.
//
//rfc:8781#5.1
func TestWhoIsBelieved(t *testing.T) {
	first, second, named, written := prefix(t, "2001:db8:64::/96"), prefix(t, "2001:db8:65::/96"), prefix(t, "2001:db8:66::/96"), prefix(t, "2001:db8:67::/96")
	s := onLink(stable)
	s.answered([]nat64.Prefix{named}, time.Hour, start)
	pathOf(t, s, start, Path{Source: stable, Prefix: named, Origin: Named, MTU: 1500})
	s.hear(router, []advertised{{prefix: first, lifetime: time.Minute}}, start)
	pathOf(t, s, start, Path{Source: stable, Prefix: first, Origin: Advertised, MTU: 1500})
	later := start.Add(30 * time.Second)
	s.hear(router, []advertised{{prefix: second, lifetime: time.Minute}, {prefix: first, lifetime: time.Minute}}, later)
	pathOf(t, s, later, Path{Source: stable, Prefix: first, Origin: Advertised, MTU: 1500})
	s.configured = written
	pathOf(t, s, later, Path{Source: stable, Prefix: written, Origin: Configured, MTU: 1500})
	s.configured = nat64.Prefix{}
	pathOf(t, s, later.Add(2*time.Minute), Path{Source: stable, Prefix: named, Origin: Named, MTU: 1500})
	noPath(t, s, start.Add(time.Hour))
}

// A strangers' flood of prefixes leaves no more in memory than a few.
func TestFewPrefixesAreRemembered(t *testing.T) {
	s := onLink(stable)
	for i := range 1000 {
		from := netip.AddrFrom16([16]byte{0xfe, 0x80, 14: byte(i >> 8), 15: byte(i)})
		s.hear(from, []advertised{{prefix: prefix(t, "64:ff9b::/96"), lifetime: time.Hour}}, start)
	}
	if len(s.told) > maxTold {
		t.Errorf("%d are remembered", len(s.told))
	}
}

// Another network's translator is not this one's: what was told is forgotten when
// the link goes down, loses its addresses, or is another interface. An address in
// use stays as long as the link has it, since the translator knows the node by it.
func TestWhatALinkForgets(t *testing.T) {
	p := prefix(t, "64:ff9b::/96")
	good := kernelState{index: 3, up: true, mtu: 1500, sources: []netip.Addr{stable}, routed: true}
	for name, change := range map[string]func(*kernelState){
		"down":              func(k *kernelState) { k.up = false },
		"without addresses": func(k *kernelState) { k.sources = nil },
		"another interface": func(k *kernelState) { k.index++ },
	} {
		s := onLink(stable)
		s.hear(router, []advertised{{prefix: p, lifetime: time.Hour}}, start)
		s.answered([]nat64.Prefix{p}, time.Hour, start)
		k := good
		change(&k)
		s.attach(k)
		s.attach(good)
		if s.choose(start); s.has {
			t.Errorf("%s: the path is still %+v", name, s.path)
		}
	}

	s := onLink(stable)
	s.hear(router, []advertised{{prefix: p, lifetime: time.Hour}}, start)
	pathOf(t, s, start, Path{Source: stable, Prefix: p, Origin: Advertised, MTU: 1500})
	both := good
	both.sources = []netip.Addr{other, stable}
	s.attach(both)
	pathOf(t, s, start, Path{Source: stable, Prefix: p, Origin: Advertised, MTU: 1500})
	both.sources = both.sources[:1]
	s.attach(both)
	pathOf(t, s, start, Path{Source: other, Prefix: p, Origin: Advertised, MTU: 1500})
	both.routed = false
	s.attach(both)
	noPath(t, s, start)
	// An advertisement comes before the address that it brings has been tried.
	s = &state{wanted: true}
	tentative := good
	tentative.sources = nil
	s.attach(tentative)
	s.hear(router, []advertised{{prefix: p, lifetime: time.Hour}}, start)
	s.attach(tentative)
	s.attach(good)
	pathOf(t, s, start, Path{Source: stable, Prefix: p, Origin: Advertised, MTU: 1500})
}

// Routers and name servers are asked on links that need it alone, routers three
// times (RFC 4861 section 10), name servers less and less often.
//
//rfc:4861#6.3.7
//rfc:7050#3
func TestHowOftenSomebodyIsAsked(t *testing.T) {
	s := onLink(stable)
	solicited, asked := 0, 0
	for now := start; now.Before(start.Add(10 * time.Minute)); now = now.Add(100 * time.Millisecond) {
		if s.solicit(now) {
			solicited++
		}
		if s.ask(now) {
			asked++
			s.answered(nil, 0, now)
		}
	}
	if solicited != 3 || asked < 10 || asked > 20 {
		t.Errorf("%d solicitations and %d questions in ten minutes", solicited, asked)
	}
	for name, change := range map[string]func(*state){
		"it has IPv4":           func(s *state) { s.wanted = false },
		"a prefix is written":   func(s *state) { s.configured = prefix(t, "64:ff9b::/96") },
		"it has no address yet": func(s *state) { s.attach(kernelState{index: 3, up: true, routed: true}) },
		"it is advertised": func(s *state) {
			s.hear(router, []advertised{{prefix: prefix(t, "64:ff9b::/96"), lifetime: time.Hour}}, start)
		},
	} {
		s := onLink(stable)
		change(s)
		if s.solicit(start) || s.ask(start) {
			t.Errorf("%s, and somebody was asked", name)
		}
	}
}

// New connections have an address of the whole Internet's before one of the site's,
// and one that stays before one for a day.
func TestTheBestSource(t *testing.T) {
	a, b, c := netip.MustParseAddr("fd00::1"), netip.MustParseAddr("2001:db8::9"), netip.MustParseAddr("2001:db8::1:1")
	if got := sortSources([]source{{a, false}, {b, true}, {c, false}}); got[0] != c || got[1] != b || got[2] != a {
		t.Errorf("in order: %v", got)
	}
}

// The router that is used tells networks apart: its link-layer address is looked
// for until it is known, and stays known while the kernel forgets it; another router
// in its place is told of.
func TestTheRouterOfAPath(t *testing.T) {
	s, p := onLink(stable), prefix(t, "64:ff9b::/96")
	s.configured = p
	first, second := netip.MustParseAddr("fe80::1"), netip.MustParseAddr("fe80::2")
	hw := engine.HardwareAddr{2, 0, 0, 0, 0, 1}
	with := func(list ...nextHop) {
		s.attach(kernelState{index: 3, up: true, mtu: 1500, sources: []netip.Addr{stable}, routed: true, routers: list})
	}
	want := Path{Source: stable, Prefix: p, MTU: 1500}
	with(nextHop{addr: first})
	pathOf(t, s, start, want)
	if at := s.wake(); at != start.Add(firstLook) {
		t.Errorf("the router is looked for again at %v", at)
	}
	with(nextHop{first, hw})
	want.Router = hw
	pathOf(t, s, start, want)
	if at := s.wake(); !at.IsZero() {
		t.Errorf("the router that is known is looked for at %v", at)
	}
	with(nextHop{second, engine.HardwareAddr{2, 0, 0, 0, 0, 2}}, nextHop{addr: first})
	pathOf(t, s, start, want)
	with(nextHop{second, engine.HardwareAddr{2, 0, 0, 0, 0, 2}})
	want.Router[5] = 2
	pathOf(t, s, start, want)
	with(nextHop{addr: first})
	want.Router = engine.HardwareAddr{}
	pathOf(t, s, start, want)
	looks := 0
	for at := s.wake(); !at.IsZero() && looks < 100; at = s.wake() {
		pathOf(t, s, at, want)
		looks++
	}
	if looks == 0 || looks > maxLooks {
		t.Errorf("looked for %d times", looks)
	}
}
