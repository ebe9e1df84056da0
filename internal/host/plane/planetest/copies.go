package planetest

import (
	"net/netip"
	"testing"

	"careof/internal/core/forward"
	"careof/internal/host/offload"
	"careof/wire/encap"
)

// Redundant packets go into every tunnel for copies, others into the one that
// sends; of numbered packets that come in, by whichever tunnel of the entry, the
// first copy is forwarded.
func testCopies(t *testing.T, open Open) {
	s := NewScene(t, open, 1420)
	second := netip.MustParseAddr("198.51.100.11")
	s.MN.Address("eth0", "198.51.100.11/24")
	on(s.HA, func() { must(t, offload.Segment("wan0")) })
	wire, out := tap(t, s.R, "eth0"), tap(t, s.CN, "eth0")
	class, err := forward.ParseClass("dscp ef")
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
			sent := func(packet []byte) (ways map[netip.Addr]int, numbers map[uint32]bool) {
				t.Helper()
				ways, numbers = make(map[netip.Addr]int), make(map[uint32]bool)
				SendRaw(t, s.CN, packet, packet, packet)
				for p := wire(); p != nil; p = wire() {
					if len(p) < 20 || addr4(p[12:]) != Agent || !isTunnelOf(p) {
						continue
					}
					h, inner, err := pull(p)
					if err != nil || inner[9] != packet[9] {
						continue // the correspondent answers that nobody listens
					}
					ways[h.Dst]++
					if h.HasSeq {
						numbers[h.Seq] = true
					}
				}
				return ways, numbers
			}
			if ways, numbers := sent(UDPPacket(Correspondent, Home, 100)); ways[CareOf] != 3 || ways[second] != 0 || len(numbers) != 0 {
				t.Errorf("other packets: %v, numbers %v", ways, numbers)
			}
			if ways, numbers := sent(marked(Correspondent, Home)); ways[CareOf] != 3 || ways[second] != 3 || len(numbers) != 3 {
				t.Errorf("redundant packets: %v, numbers %v", ways, numbers)
			}
			for n, from := range []netip.Addr{second, CareOf} {
				h := header(shape.T, from, Agent)
				if h.Kind == encap.UDP {
					h.Inner = encap.GRE
				} else {
					h.Kind = encap.GRE
				}
				h.HasSeq, h.Seq = true, 77
				SendRaw(t, s.R, forge(t, h, marked(Home, Correspondent)))
				if came := first(out, between(Home, Correspondent)) != nil; came != (n == 0) {
					t.Errorf("copy %d is forwarded: %v", n, came)
				}
			}
			Apply(t, s.Agent, forward.Change{Op: forward.Delete, Entry: AgentEntry()})
		})
	}
}

func isTunnelOf(p []byte) bool {
	switch encap.Kind(p[9]) {
	case encap.IPIP, encap.GRE, encap.UDP:
		return true
	}
	return false
}
