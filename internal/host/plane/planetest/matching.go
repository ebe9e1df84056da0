package planetest

import (
	"context"
	"net/netip"
	"slices"
	"testing"
	"time"

	"careof/internal/core/forward"
	"careof/internal/host/clock"
	"careof/internal/host/offload"
	"careof/wire/encap"
)

// With simultaneous bindings every care-of address gets a copy.
//
//rfc:5944#4.4
func testSimultaneous(t *testing.T, open Open) {
	s := NewScene(t, open, 1420)
	second := netip.MustParseAddr("198.51.100.11")
	s.MN.Address("eth0", "198.51.100.11/24")
	// One by one: what leaves in trains would be seen as one long packet.
	s.HA.In(func() { must(t, offload.Segment("wan0")) })
	wire := tap(t, s.R, "eth0")
	for _, shape := range Shapes {
		t.Run(shape.Name, func(t *testing.T) {
			one, two := AtAgent(shape.T), AtAgent(shape.T)
			two.Peer = netip.AddrPortFrom(second, MobilePort)
			Put(t, s.Agent, AgentEntry(one, two))
			var packets [][]byte
			for range 5 {
				packets = append(packets, UDPPacket(Correspondent, Home, 100))
			}
			SendRaw(t, s.CN, packets...)
			got := make(map[netip.Addr]int)
			ours := func(p []byte) bool { return p[9] == uint8(shape.T.Encap) && addr4(p[12:]) == Agent }
			countTo(2*len(packets), wire, func(p []byte) bool {
				if !ours(p) {
					return false
				}
				h, inner, err := pull(p)
				if err != nil || !between(Correspondent, Home)(inner) || len(inner) != len(packets[0]) {
					t.Errorf("%v: % x", err, p)
				}
				got[h.Dst]++
				return true
			})
			if got[CareOf] != 5 || got[second] != 5 {
				t.Errorf("copies: %v", got)
			}
			// One of them ends; the other goes on alone.
			one.Until = clock.Mono().Add(-time.Second)
			Put(t, s.Agent, AgentEntry(one, two))
			SendRaw(t, s.CN, packets[0])
			clear(got)
			countTo(1, wire, func(p []byte) bool {
				if ours(p) {
					got[addr4(p[16:])]++
				}
				return ours(p)
			})
			if got[CareOf] != 0 || got[second] != 1 {
				t.Errorf("copies after the end of one: %v", got)
			}
		})
	}
}

// An entry for a prefix takes all of it, and nothing beside it.
func testMobileNetwork(t *testing.T, open Open) {
	s := NewScene(t, open, 1420)
	wire, out := tap(t, s.R, "eth0"), tap(t, s.CN, "eth0")
	for _, shape := range Shapes {
		t.Run(shape.Name, func(t *testing.T) {
			Put(t, s.Agent, forward.Entry{Key: "network", Role: forward.HomeAgent, Inner: netip.MustParsePrefix("10.20.0.0/25"), Tunnels: []forward.Tunnel{AtAgent(shape.T)}})
			inside, outside := netip.MustParseAddr("10.20.0.100"), netip.MustParseAddr("10.20.0.200")
			SendRaw(t, s.CN, UDPPacket(Correspondent, inside, 10), UDPPacket(Correspondent, outside, 10))
			if n := countTo(1, wire, tunnelled(shape.T)); n != 1 {
				t.Errorf("%d packets tunnelled, want 1", n)
			}
			h := header(shape.T, CareOf, Agent)
			SendRaw(t, s.R, forge(t, h, UDPPacket(inside, Correspondent, 10)), forge(t, h, UDPPacket(outside, Correspondent, 10)))
			if n := countTo(1, out, func(p []byte) bool { return p[9] == 17 && addr4(p[16:]) == Correspondent }); n != 1 {
				t.Errorf("%d packets taken, want 1", n)
			}
		})
	}
}

// The entry for the longest prefix counts, in whatever form its tunnel is.
func testLongestPrefix(t *testing.T, open Open) {
	s := NewScene(t, open, 1420)
	wire := tap(t, s.R, "eth0")
	elsewhere := netip.MustParseAddr("198.51.100.77")
	wide := AtAgent(forward.Tunnel{Encap: encap.IPIP})
	wide.Peer = netip.AddrPortFrom(elsewhere, 0)
	Put(t, s.Agent, forward.Entry{Key: "network", Role: forward.HomeAgent, Inner: HomeNetwork, Tunnels: []forward.Tunnel{wide}})
	for _, shape := range Shapes {
		t.Run(shape.Name, func(t *testing.T) {
			Put(t, s.Agent, AgentEntry(AtAgent(shape.T)))
			SendRaw(t, s.CN, UDPPacket(Correspondent, Home, 10), UDPPacket(Correspondent, Home.Next(), 10))
			var to []netip.Addr
			countTo(2, wire, func(p []byte) bool {
				ours := addr4(p[12:]) == Agent && p[9] != 1
				if ours {
					to = append(to, addr4(p[16:]))
				}
				return ours
			})
			slices.SortFunc(to, netip.Addr.Compare)
			if !slices.Equal(to, []netip.Addr{CareOf, elsewhere}) {
				t.Errorf("went to %v", to)
			}
		})
	}
}

// passes tells whether packets go through both ways, which they must or must not.
func (s *Scene) passes(t *testing.T, shape forward.Tunnel, must bool) (in, out bool) {
	t.Helper()
	wire, lan := tap(t, s.R, "eth0"), tap(t, s.CN, "eth0")
	packet := UDPPacket(Correspondent, Home, 10)
	if must {
		SendRaw(t, s.CN, packet)
		in = await(wire, tunnelled(shape)) != nil
	} else {
		in = s.inwards(t, shape, wire, tunnelled(shape), packet) != nil
	}
	return in, s.taken(t, must, shape, lan, forge(t, header(shape, CareOf, Agent), UDPPacket(Home, Correspondent, 10))) != nil
}

// A tunnel ends by itself, and a refresh moves its end.
func testUntil(t *testing.T, open Open) {
	s := NewScene(t, open, 1420)
	for _, shape := range Shapes {
		t.Run(shape.Name, func(t *testing.T) {
			check := func(when string, want bool) {
				t.Helper()
				if in, out := s.passes(t, shape.T, want); in != want || out != want {
					t.Errorf("%s: inwards %v, outwards %v, want %v", when, in, out, want)
				}
			}
			extend := func(until time.Time) {
				Apply(t, s.Agent, forward.Change{Op: forward.Extend, Entry: forward.Entry{Key: AgentKey, Role: forward.HomeAgent, Inner: netip.PrefixFrom(Home, 32)}, Until: until})
			}
			one := AtAgent(shape.T)
			one.Until = clock.Mono().Add(time.Hour)
			Put(t, s.Agent, AgentEntry(one))
			check("within its life", true)
			extend(clock.Mono().Add(-time.Millisecond))
			check("after its end", false)
			extend(clock.Mono().Add(time.Hour))
			check("extended", true)
			extend(clock.Mono().Add(500 * time.Millisecond))
			until(t, "the end of its life", func() bool { in, out := s.passes(t, shape.T, false); return !in && !out })
			extend(time.Time{})
			check("without an end", true)
			Apply(t, s.Agent, forward.Change{Op: forward.Delete, Entry: AgentEntry()})
			check("deleted", false)
		})
	}
}

// until waits for something to become true.
func until(t *testing.T, what string, is func() bool) {
	t.Helper()
	for end := time.Now().Add(patience); !is(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("no %s", what)
		}
	}
}

// The tunnel that a move replaced receives until its end and sends nothing;
// an extension does not prolong it.
func testDrain(t *testing.T, open Open) {
	s := NewScene(t, open, 1420)
	for _, shape := range Shapes {
		t.Run(shape.Name, func(t *testing.T) {
			old, now := AtAgent(shape.T), AtAgent(shape.T)
			old.Mode = forward.Receive
			old.Until = clock.Mono().Add(time.Hour)
			now.Peer = netip.AddrPortFrom(CareOf.Next(), MobilePort)
			Put(t, s.Agent, AgentEntry(now, old))
			wire, out := tap(t, s.R, "eth0"), tap(t, s.CN, "eth0")
			SendRaw(t, s.CN, UDPPacket(Correspondent, Home, 10))
			p := await(wire, func(p []byte) bool { return addr4(p[12:]) == Agent && p[9] == uint8(shape.T.Encap) })
			if p == nil || addr4(p[16:]) != CareOf.Next() {
				t.Errorf("sent % x", p)
			}
			h := header(shape.T, CareOf, Agent)
			SendRaw(t, s.R, forge(t, h, UDPPacket(Home, Correspondent, 10)))
			if await(out, between(Home, Correspondent)) == nil {
				t.Error("the old tunnel takes nothing")
			}
			old.Until = clock.Mono().Add(-time.Millisecond)
			Put(t, s.Agent, AgentEntry(now, old))
			Apply(t, s.Agent, forward.Change{Op: forward.Extend, Entry: AgentEntry(), Until: clock.Mono().Add(time.Hour)})
			packet := forge(t, h, UDPPacket(Home, Correspondent, 10))
			if s.outwards(t, shape.T, out, between(Home, Correspondent), packet) != nil {
				t.Error("the old tunnel takes packets after its end")
			}
			Put(t, s.Agent, AgentEntry(AtAgent(forward.Tunnel{Encap: shape.T.Encap, Inside: shape.T.Inside, HasKey: shape.T.HasKey, Key: shape.T.Key, Mode: forward.Send})))
			if s.outwards(t, shape.T, out, between(Home, Correspondent), packet) != nil {
				t.Error("a tunnel that only sends takes packets")
			}
		})
	}
}

// Before the first keepalive nothing is forwarded, and the machine hears of
// that keepalive.
//
//rfc:3519#4.3
func testHalfBound(t *testing.T, open Open) {
	s := NewScene(t, open, 1420)
	half := AtAgent(forward.Tunnel{Encap: encap.UDP, AnyPort: true})
	half.Peer = netip.AddrPortFrom(CareOf, 0)
	Put(t, s.Agent, AgentEntry(half))
	if in, out := s.passes(t, forward.Tunnel{Encap: encap.UDP}, false); in || out {
		t.Errorf("half bound: inwards %v, outwards %v", in, out)
	}
	e := waitFor[forward.EndpointSeen](t, s.Agent)
	if e.Key != AgentKey || e.From != netip.AddrPortFrom(CareOf, MobilePort) || e.Echo {
		t.Errorf("event %+v", e)
	}
}

// A packet from a new outer endpoint is not forwarded, and the machine hears
// where it came from.
//
//rfc:3519#4.3
func testRebinding(t *testing.T, open Open) {
	s := NewScene(t, open, 1420)
	shape := forward.Tunnel{Encap: encap.UDP}
	s.Bind(t, shape)
	out := tap(t, s.CN, "eth0")
	h := header(shape, CareOf.Next(), Agent)
	h.SrcPort = 50000
	if s.outwards(t, shape, out, between(Home, Correspondent), forge(t, h, UDPPacket(Home, Correspondent, 10))) != nil {
		t.Error("forwarded")
	}
	e := waitFor[forward.EndpointSeen](t, s.Agent)
	if e.Key != AgentKey || e.From != netip.AddrPortFrom(CareOf.Next(), 50000) || e.Local != netip.AddrPortFrom(Agent, encap.Port) {
		t.Errorf("event %+v", e)
	}
}

// A keepalive of the mobile node is answered by the home agent's kernel
// through the tunnel, and the node hears of it.
//
//rfc:3519#4.9
func testKeepalives(t *testing.T, open Open) {
	s := NewScene(t, open, 1420)
	s.Bind(t, forward.Tunnel{Encap: encap.UDP})
	m, err := encap.AppendKeepalive(nil, &encap.Header{Kind: encap.UDP, Src: CareOf, Dst: Agent},
		&encap.Echo{Type: encap.EchoRequest, Src: Home, Dst: Agent, ID: 11, Seq: 22}, 1)
	if err != nil {
		t.Fatal(err)
	}
	at, peer := netip.AddrPortFrom(CareOf, MobilePort), netip.AddrPortFrom(Agent, encap.Port)
	if err := s.mobileSet.SendData(at, peer, "eth0", 0, [][]byte{m}); err != nil {
		t.Fatal(err)
	}
	got := waitFor[forward.EchoReply](t, s.Mobile)
	got.Received = time.Time{}
	if want := (forward.EchoReply{Key: MobileKey, From: peer, ID: 11, Seq: 22}); got != want {
		t.Errorf("event %+v, want %+v", got, want)
	}
}

// A packet that comes from the tunnel's other end does not go into it again.
//
//rfc:2003#3.2
//rfc:5944#4.2.3
//rfc:2003#3.2-2
func testLoops(t *testing.T, open Open) {
	s := NewScene(t, open, 1420)
	for _, shape := range Shapes {
		t.Run(shape.Name, func(t *testing.T) {
			s.Bind(t, shape.T)
			wire := tap(t, s.R, "eth0")
			nested := forge(t, header(shape.T, CareOf, Home), UDPPacket(Home, Correspondent, 10))
			// What came out of a tunnel with the care-of address as its
			// source, on its way to the home address.
			if p := s.inwards(t, shape.T, wire, tunnelled(shape.T), UDPPacket(CareOf, Home, 10), nested); p != nil {
				t.Errorf("tunnelled: % x", p)
			}
		})
	}
}

// Packets for home addresses that nobody has bound are answered as on any
// other network; others are not.
func testUnbound(t *testing.T, open Open) {
	s := NewScene(t, open, 1420)
	shape := forward.Tunnel{Encap: encap.IPIP}
	s.Bind(t, shape)
	answers, wire := tap(t, s.CN, "eth0"), tap(t, s.R, "eth0")
	SendRaw(t, s.CN, UDPPacket(Correspondent, Home.Next(), 10))
	if await(answers, isICMP(Correspondent, encap.DestinationUnreachable, encap.HostUnreachable)) == nil {
		t.Error("no host unreachable")
	}
	left := func(p []byte) bool { return addr4(p[12:]) == Agent || addr4(p[12:]) == Correspondent }
	if s.inwards(t, shape, wire, left, UDPPacket(Correspondent, netip.MustParseAddr("10.20.0.1"), 10)) != nil {
		t.Error("something left")
	}
	if p := s.outwards(t, shape, answers, func(p []byte) bool { return p[9] == 1 }); p != nil {
		t.Errorf("answered for a network that is not ours: % x", p)
	}
}

// List gives what was applied, with the end of the last extension.
func testList(t *testing.T, open Open) {
	s := NewScene(t, open, 1420)
	want := []forward.Entry{
		{Key: "a", Role: forward.HomeAgent, Inner: netip.MustParsePrefix("10.10.0.9/32"), Intercept: "lan0", Tunnels: []forward.Tunnel{AtAgent(forward.Tunnel{Encap: encap.GRE, HasKey: true, Key: 5})}},
		{Key: "b", Role: forward.HomeAgent, Inner: netip.MustParsePrefix("10.20.0.0/25"), Broadcast: true, Tunnels: []forward.Tunnel{AtAgent(forward.Tunnel{Encap: encap.Minimal})}},
		{Key: "c", Role: forward.MobileNode, Inner: netip.MustParsePrefix("10.10.0.7/32"), Routes: []netip.Prefix{HomeNetwork}, Tunnels: []forward.Tunnel{AtAgent(forward.Tunnel{Encap: encap.UDP})}},
	}
	for i := range want {
		want[i].Tunnels[0].Until = clock.Mono().Add(time.Hour)
	}
	for _, e := range []int{2, 0, 1, 0} {
		Put(t, s.Agent, want[e])
	}
	want[0].Tunnels[0].Until = clock.Mono().Add(2 * time.Hour)
	Apply(t, s.Agent, forward.Change{Op: forward.Extend, Entry: forward.Entry{Key: "a"}, Until: want[0].Tunnels[0].Until})
	got := slices.Collect(s.Agent.List(context.Background()))
	if !slices.EqualFunc(got, want, forward.Entry.Equal) {
		t.Errorf("listed %+v\nwant %+v", got, want)
	}
	for _, e := range want {
		Apply(t, s.Agent, forward.Change{Op: forward.Delete, Entry: e}, forward.Change{Op: forward.Delete, Entry: e})
	}
	if got := slices.Collect(s.Agent.List(context.Background())); len(got) != 0 {
		t.Errorf("listed after deletion: %+v", got)
	}
}

// Two entries for one inner address: packets from either's tunnel are taken,
// and when one goes the other works on.
func testShared(t *testing.T, open Open) {
	s := NewScene(t, open, 1420)
	a, b := AgentEntry(AtAgent(forward.Tunnel{Encap: encap.IPIP})), AgentEntry(AtAgent(forward.Tunnel{Encap: encap.GRE}))
	a.Key, b.Key = "a", "b"
	Put(t, s.Agent, a)
	Put(t, s.Agent, b)
	taken := func(kind encap.Kind, must bool) bool {
		shape := forward.Tunnel{Encap: kind}
		return s.taken(t, must, shape, tap(t, s.CN, "eth0"), forge(t, header(shape, CareOf, Agent), UDPPacket(Home, Correspondent, 10))) != nil
	}
	if !taken(encap.IPIP, true) || !taken(encap.GRE, true) {
		t.Error("not both are taken")
	}
	Apply(t, s.Agent, forward.Change{Op: forward.Delete, Entry: a})
	if taken(encap.IPIP, false) || !taken(encap.GRE, true) {
		t.Error("the wrong one is gone")
	}
	if in, _ := s.passes(t, forward.Tunnel{Encap: encap.GRE}, true); !in {
		t.Error("the other one sends no more")
	}
	Apply(t, s.Agent, forward.Change{Op: forward.Delete, Entry: b})
	if taken(encap.GRE, false) {
		t.Error("taken without an entry")
	}
}
