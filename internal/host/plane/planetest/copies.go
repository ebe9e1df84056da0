package planetest

import (
	"net/netip"
	"testing"

	"careof/internal/core/forward"
	"careof/internal/host/offload"
	"careof/internal/host/plane/nstest"
	"careof/wire/encap"
)

// Redundant packets go into every tunnel for copies, others into the one that
// sends; of numbered packets that come in, by whichever tunnel of the entry, the
// first copy is forwarded.
func testCopies(t *testing.T, open Open) {
	s := NewScene(t, open, 1420)
	second := netip.MustParseAddr("198.51.100.11")
	s.MN.Address("eth0", "198.51.100.11/24")
	s.HA.In(func() { must(t, offload.Segment("wan0")) })
	wire, out := tap(t, s.R, "eth0"), tap(t, s.CN, "eth0")
	class, err := forward.ParseClass("dscp ef")
	if err != nil {
		t.Fatal(err)
	}
	all, err := forward.ParseClass("net 0.0.0.0/0")
	if err != nil {
		t.Fatal(err)
	}
	marked := func(src, dst netip.Addr) []byte {
		p, err := encap.AppendUDP(nil, encap.IPv4{TOS: 46 << 2, TTL: 64}, netip.AddrPortFrom(src, 4000), netip.AddrPortFrom(dst, 4001), make([]byte, 100))
		must(t, err)
		return p
	}
	for _, shape := range Shapes {
		if shape.T.Encap == encap.Minimal || shape.T.Inside == encap.Minimal || shape.T.HasKey {
			continue
		}
		t.Run(shape.Name, func(t *testing.T) {
			one, two := AtAgent(shape.T), AtAgent(shape.T)
			two.Peer, two.Mode = netip.AddrPortFrom(second, MobilePort), forward.Receive
			one.Copies, two.Copies = true, true
			e := AgentEntry(one, two)
			e.Redundant = []forward.Class{class}
			Put(t, s.Agent, e)
			sent := func(from *nstest.Node, packet []byte, want int) (ways map[netip.Addr]int, numbers map[uint32]bool) {
				t.Helper()
				ways, numbers = make(map[netip.Addr]int), make(map[uint32]bool)
				SendRaw(t, from, packet, packet, packet)
				countTo(want, wire, func(p []byte) bool {
					if addr4(p[12:]) != Agent || !isTunnelOf(p) {
						return false
					}
					h, inner, err := pull(p)
					if err != nil || inner[9] != packet[9] {
						return false // the correspondent answers that nobody listens
					}
					ways[h.Dst]++
					if h.HasSeq {
						numbers[h.Seq] = true
					}
					return true
				})
				return ways, numbers
			}
			if ways, numbers := sent(s.CN, UDPPacket(Correspondent, Home, 100), 3); ways[CareOf] != 3 || ways[second] != 0 || len(numbers) != 0 {
				t.Errorf("other packets: %v, numbers %v", ways, numbers)
			}
			if ways, numbers := sent(s.CN, marked(Correspondent, Home), 6); ways[CareOf] != 3 || ways[second] != 3 || len(numbers) != 3 {
				t.Errorf("redundant packets: %v, numbers %v", ways, numbers)
			}
			everything := e
			everything.Redundant = append(everything.Redundant, all)
			Put(t, s.Agent, everything)
			if ways, _ := sent(s.HA, UDPPacket(Agent, Home, 100), 3); ways[CareOf] != 3 || ways[second] != 0 {
				t.Errorf("what the home agent itself says: %v", ways)
			}
			if ways, _ := sent(s.CN, UDPPacket(Correspondent, Home, 100), 6); ways[CareOf] != 3 || ways[second] != 3 {
				t.Errorf("all other packets: %v", ways)
			}
			for n, from := range []netip.Addr{second, CareOf} {
				if came := s.taken(t, n == 0, shape.T, out, forge(t, numbered(shape.T, from, 77), marked(Home, Correspondent))) != nil; came != (n == 0) {
					t.Errorf("copy %d is forwarded: %v", n, came)
				}
			}
			// Nothing is redundant any more, or not yet: copies that are under way come
			// in, and everything goes one way.
			one.Copies, two.Copies = false, false
			e = AgentEntry(one, two)
			e.Numbered = true
			Put(t, s.Agent, e)
			if ways, numbers := sent(s.CN, marked(Correspondent, Home), 3); ways[CareOf] != 3 || ways[second] != 0 || len(numbers) != 0 {
				t.Errorf("with nothing redundant: %v, numbers %v", ways, numbers)
			}
			for n, from := range []netip.Addr{second, CareOf} {
				if came := s.taken(t, n == 0, shape.T, out, forge(t, numbered(shape.T, from, 78), marked(Home, Correspondent))) != nil; came != (n == 0) {
					t.Errorf("with nothing redundant, copy %d is forwarded: %v", n, came)
				}
			}
			// What has a number comes by another protocol than what has none, in some
			// shapes, and must all be through before the next.
			if s.taken(t, true, shape.T, out, forge(t, numbered(shape.T, CareOf, 80), marked(Home, Correspondent))) == nil {
				t.Error("with nothing redundant, the next number is not forwarded")
			}
			if s.taken(t, true, shape.T, out, forge(t, header(shape.T, CareOf, Agent), marked(Home, Correspondent))) == nil {
				t.Error("what has no number is not forwarded")
			}
			if shape.T.Encap == encap.UDP && shape.T.Inside != encap.GRE {
				// GRE has sequence numbers of its own, and what comes by another
				// protocol than a packet after it may come later.
				e.Numbered = false
				Put(t, s.Agent, e)
				if s.taken(t, false, shape.T, out, forge(t, numbered(shape.T, CareOf, 79), marked(Home, Correspondent))) != nil {
					t.Error("a number that was not agreed is forwarded")
				}
			}
			Apply(t, s.Agent, forward.Change{Op: forward.Delete, Entry: AgentEntry()})
		})
	}
}

// numbered is the header of a copy.
func numbered(t forward.Tunnel, from netip.Addr, seq uint32) encap.Header {
	h := header(t, from, Agent)
	if h.Kind == encap.UDP {
		h.Inner = encap.GRE
	} else {
		h.Kind = encap.GRE
	}
	h.HasSeq, h.Seq = true, seq
	return h
}

func isTunnelOf(p []byte) bool {
	switch encap.Kind(p[9]) {
	case encap.IPIP, encap.GRE, encap.UDP:
		return true
	}
	return false
}
