package plane

import (
	"net/netip"
	"testing"

	"careof/internal/core/engine"
)

// A move does not wait while the routes of another uplink are gone through for
// nothing; what may matter, and what is said once more, is gone through.
func TestOfAnUplinkOnlyWhatMattersIsNews(t *testing.T) {
	up := engine.Link{
		Name: "wlan0", Up: true, MTU: 1500,
		Addresses: []netip.Prefix{netip.MustParsePrefix("192.0.2.7/24")}, Gateways: []netip.Addr{netip.MustParseAddr("192.0.2.1")},
	}
	known := up
	known.GatewayHW = engine.HardwareAddr{2, 0, 0, 0, 0, 1}
	anew := known
	anew.Attachment++
	routeless := known
	routeless.Gateways = nil
	down := known
	down.Up = false
	bare := engine.Link{Name: "wlan0", MTU: 1500}
	gone := engine.Link{Name: "wlan0", Gone: true}

	h := &Host{told: make(map[string]engine.Link)}
	for i, step := range []struct {
		l           engine.Link
		indifferent bool
	}{
		{up, false}, {up, false}, {known, true}, {known, false}, {anew, false}, {known, false}, {routeless, false}, {known, false},
		{down, false}, {bare, true}, {bare, false}, {gone, false}, {bare, false}, {up, false},
	} {
		if got := h.indifferent(step.l); got != step.indifferent {
			t.Errorf("step %d, %+v: indifferent is %v", i, step.l, got)
		}
	}
}
