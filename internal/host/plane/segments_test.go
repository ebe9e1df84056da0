package plane

import (
	"net/netip"
	"testing"

	"careof/internal/core/forward"
	"careof/wire/encap"
)

// What TCP connections announce fits with the number of a copy into both tunnels, from
// the time on that copies are agreed: a full segment is not what a doubt leaves out.
func TestSegmentsLeaveRoomForTheNumberOfACopy(t *testing.T) {
	over := func(link string, kind encap.Kind, mode forward.Mode, mtu int) forward.Tunnel {
		return forward.Tunnel{
			Local: netip.MustParseAddrPort("192.0.2.7:0"), Peer: netip.MustParseAddrPort("198.51.100.1:434"),
			Link: link, Encap: kind, Mode: mode, MTU: mtu,
		}
	}
	secured := over("wlan0", encap.UDP, forward.Both, 0)
	secured.Inside, secured.PeerKey = encap.WireGuard, forward.KeyOf([32]byte{1})
	for name, c := range map[string]struct {
		numbered bool
		tunnels  []forward.Tunnel
		want     int
	}{
		"nothing is agreed":         {false, []forward.Tunnel{over("wlan0", encap.UDP, forward.Both, 0)}, 0},
		"the path in use is narrow": {false, []forward.Tunnel{over("wlan0", encap.UDP, forward.Both, 1300), over("lte0", encap.UDP, forward.Receive, 1200)}, 1300},
		"over UDP":                  {true, []forward.Tunnel{over("wlan0", encap.UDP, forward.Both, 0), over("lte0", encap.UDP, forward.Receive, 0)}, 1400 - 32 - 8},
		"IP in IP":                  {true, []forward.Tunnel{over("wlan0", encap.IPIP, forward.Both, 0)}, 1500 - 20 - 8},
		"the second is narrow":      {true, []forward.Tunnel{over("wlan0", encap.UDP, forward.Both, 1300), over("lte0", encap.UDP, forward.Receive, 1200)}, 1192},
		"encrypted":                 {true, []forward.Tunnel{secured}, 0},
	} {
		h := &Host{underlays: map[string]int{"wlan0": 1500, "lte0": 1400}}
		e := forward.Entry{Role: forward.MobileNode, Numbered: c.numbered, Tunnels: c.tunnels}
		if got := h.carried(&e); got != c.want {
			t.Errorf("%s: %d, not %d", name, got, c.want)
		}
	}
}
