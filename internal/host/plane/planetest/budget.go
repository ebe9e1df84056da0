package planetest

import (
	"net/netip"
	"slices"
	"testing"

	"careof/internal/core/forward"
	"careof/internal/host/offload"
)

// An end that has not answered a challenge gets what its budget allows and three
// octets for each that comes from there, however often the entry is applied; what
// comes from there is forwarded. What it may not have goes to the spare tunnel.
func testBudget(t *testing.T, open Open) {
	s := NewScene(t, open, 1420)
	second := netip.MustParseAddr("198.51.100.11")
	s.MN.Address("eth0", "198.51.100.11/24")
	s.HA.In(func() { must(t, offload.Segment("wan0")) })
	wire, out := tap(t, s.R, "eth0"), tap(t, s.CN, "eth0")
	packet := [][]byte{UDPPacket(Correspondent, Home, 100)}
	for _, shape := range Shapes {
		t.Run(shape.Name, func(t *testing.T) {
			// sent sends packets, of which so many must leave at least, and says how
			// many octets went to both ends.
			sent := func(n, least int) (octets map[netip.Addr]int) {
				t.Helper()
				octets = make(map[netip.Addr]int)
				SendRaw(t, s.CN, slices.Repeat(packet, n)...)
				countTo(least, wire, func(p []byte) bool {
					ours := p[9] == uint8(shape.T.Encap) && addr4(p[12:]) == Agent
					if ours {
						octets[addr4(p[16:])] += len(p)
					}
					return ours
				})
				return octets
			}
			const budget = 500
			one, spare := AtAgent(shape.T), AtAgent(shape.T)
			Put(t, s.Agent, AgentEntry(one))
			whole := sent(1, 1)[CareOf]
			one.Budget = budget
			Put(t, s.Agent, AgentEntry(one))
			if got := sent(10, 1)[CareOf]; got > budget || got <= budget-whole {
				t.Errorf("%d octets of a budget of %d in packets of %d", got, budget, whole)
			}
			Put(t, s.Agent, AgentEntry(one))
			if p := s.inwards(t, shape.T, wire, tunnelled(shape.T), slices.Repeat(packet, 10)...); p != nil {
				t.Errorf("applied again: % x", p)
			}
			spare.Peer, spare.Mode, spare.Spare = netip.AddrPortFrom(second, MobilePort), forward.Receive, true
			Put(t, s.Agent, AgentEntry(one, spare))
			if got := sent(10, 10); got[CareOf] != 0 || got[second] != 10*whole {
				t.Errorf("with a spare tunnel: %v", got)
			}
			Put(t, s.Agent, AgentEntry(one))
			SendRaw(t, s.R, forge(t, header(shape.T, CareOf, Agent), UDPPacket(Home, Correspondent, 100)))
			if await(out, between(Home, Correspondent)) == nil {
				t.Error("what comes from there is not forwarded")
			}
			if got := sent(10, 3)[CareOf]; got < 3*whole || got >= 4*whole+whole {
				t.Errorf("%d octets more for one packet of %d", got, whole)
			}
			one.Budget = 0
			Put(t, s.Agent, AgentEntry(one))
			if got := sent(10, 10)[CareOf]; got != 10*whole {
				t.Errorf("validated: %d octets of %d", got, 10*whole)
			}
			Apply(t, s.Agent, forward.Change{Op: forward.Delete, Entry: AgentEntry()})
		})
	}
}
