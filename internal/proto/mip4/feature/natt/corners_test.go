package natt_test

import (
	"net/netip"
	"testing"
	"time"

	"careof/internal/core/forward"
	"careof/internal/proto/mip4/feature/natt"
	"careof/wire/encap"
)

// The corner of NAT traversal at the home agent. corners_test.go at the root of
// the repository lists all corners.

// The reply goes to where the request came from; so do the data, from port 434;
// the port of a registration through a foreign agent is the first keepalive's,
// and until then nothing is sent; a keepalive from another address, or a packet
// that is none, moves nothing; a request through a new mapping does.
//
//rfc:3519#4.6
//rfc:3519#4.11
func TestCornerE12_WhereUDPTunnelsEnd(t *testing.T) {
	w := newHome(t, homeConfig(t), natt.Config{})
	if a := w.register(behindNAT()); a.send.Dst != public || a.udp == nil {
		t.Fatalf("reply to %v, extension 44 %v", a.send.Dst, a.udp)
	}
	want := forward.Tunnel{Local: netip.AddrPortFrom(agentAddr, 434), Peer: public, Encap: encap.UDP, Inside: encap.IPIP}
	got := w.tunnel()
	got.Until = time.Time{}
	if got != want {
		t.Fatalf("tunnel %+v, want %+v", got, want)
	}
	w.seen("203.0.113.77:50001", true)
	w.seen("203.0.113.78:50000", true)
	if got := w.tunnel(); got.Peer != public {
		t.Errorf("a packet moved the binding to %v", got.Peer)
	}
	again := behindNAT()
	again.src = netip.MustParseAddrPort("203.0.113.77:61000")
	if a := w.register(again); a.send.Dst != again.src || w.tunnel().Peer != again.src {
		t.Errorf("after a new mapping the reply goes to %v and the data to %v", a.send.Dst, w.tunnel().Peer)
	}

	w = newHome(t, homeConfig(t), natt.Config{})
	half := behindNAT()
	half.ask.Registration = true
	w.register(half)
	if got := w.tunnel(); !got.AnyPort || got.Peer.Port() != 0 {
		t.Fatalf("data before the keepalive: %+v", got)
	}
	w.seen("203.0.113.78:60000", true)
	w.seen("203.0.113.77:60000", false)
	if got := w.tunnel(); !got.AnyPort {
		t.Fatalf("bound by somebody else's keepalive: %+v", got)
	}
	w.seen("203.0.113.77:60000", true)
	if got := w.tunnel(); got.AnyPort || got.Peer.Port() != 60000 {
		t.Errorf("not bound by the keepalive: %+v", got)
	}
}
