package planetest

import (
	"net/netip"
	"testing"
	"time"

	"careof/internal/core/forward"
)

// Another mobile node, whose packets say that what was sent before them is
// through.
var (
	laterHome   = netip.MustParseAddr("10.10.0.99")
	laterCareOf = netip.MustParseAddr("198.51.100.99")
)

// inwards sends packets from the correspondent, and returns the first of what
// fits on a link that the agent's tunnels go over, nil when there is none.
// Silence would only say that nothing came yet: a packet for another node
// follows in a tunnel of the shape, and what has not come before it comes no more.
func (s *Scene) inwards(t testing.TB, shape forward.Tunnel, next func() []byte, fits func([]byte) bool, packets ...[]byte) []byte {
	t.Helper()
	defer s.bindLater(t, shape)()
	SendRaw(t, s.CN, append(packets, UDPPacket(Correspondent, laterHome, 10))...)
	return before(t, next, fits, func(p []byte) bool { return addr4(p[16:]) == laterCareOf })
}

// outwards is inwards for what comes to the agent by tunnels, from the router.
func (s *Scene) outwards(t testing.TB, shape forward.Tunnel, next func() []byte, fits func([]byte) bool, packets ...[]byte) []byte {
	t.Helper()
	defer s.bindLater(t, shape)()
	SendRaw(t, s.R, append(packets, forge(t, header(shape, laterCareOf, Agent), UDPPacket(laterHome, Correspondent, 10)))...)
	return before(t, next, fits, func(p []byte) bool { return addr4(p[12:]) == laterHome && p[9] == 17 })
}

// taken is what comes out of the agent's tunnels of a packet that must, or must
// not, be forwarded to the correspondent; nil when nothing does.
func (s *Scene) taken(t testing.TB, must bool, shape forward.Tunnel, out func() []byte, packet []byte) []byte {
	t.Helper()
	if !must {
		return s.outwards(t, shape, out, between(Home, Correspondent), packet)
	}
	SendRaw(t, s.R, packet)
	return await(out, between(Home, Correspondent))
}

// bindLater binds the other node by a tunnel of the shape. What a fast path
// leaves alone goes a longer way than what it takes: the other node's packets
// take the longer one too, as of those of a node with redundant packets each
// is looked at.
func (s *Scene) bindLater(t testing.TB, shape forward.Tunnel) (unbind func()) {
	t.Helper()
	class, err := forward.ParseClass("dscp ef")
	if err != nil {
		t.Fatal(err)
	}
	tunnel := AtAgent(shape)
	tunnel.Peer, tunnel.Until, tunnel.MTU = netip.AddrPortFrom(laterCareOf, MobilePort), time.Time{}, 0
	e := forward.Entry{
		Key: "later", Role: forward.HomeAgent, Inner: netip.PrefixFrom(laterHome, 32),
		Tunnels: []forward.Tunnel{tunnel}, Redundant: []forward.Class{class},
	}
	Put(t, s.Agent, e)
	return func() { Apply(t, s.Agent, forward.Change{Op: forward.Delete, Entry: e}) }
}

// before returns the first packet that fits of those that come before the last
// one, which must come.
func before(t testing.TB, next func() []byte, fits, last func([]byte) bool) (found []byte) {
	t.Helper()
	if await(next, func(p []byte) bool {
		end := last(p)
		if !end && found == nil && fits(p) {
			found = append([]byte(nil), p...)
		}
		return end
	}) == nil {
		t.Errorf("what was sent last did not come")
	}
	return found
}
