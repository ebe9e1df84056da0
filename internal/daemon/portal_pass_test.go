package daemon

import (
	"net/netip"
	"slices"
	"testing"

	"careof/internal/host/dhcp"
)

// A network that names a host of the home network, the home agent or this host
// as its portal does not get what programs send there.
func TestAPortalIsNotWhereTheTunnelLeads(t *testing.T) {
	at := netip.MustParseAddr
	g := dhcp.Guard{Never: []netip.Addr{at("198.51.100.1")}, Tunnelled: []netip.Prefix{netip.MustParsePrefix("10.10.0.0/24")}}
	for _, wrong := range []string{"10.10.0.9", "198.51.100.1", "127.0.0.1", "::1", "0.0.0.0", "224.0.0.5", "255.255.255.255", "169.254.1.1"} {
		if out, err := passable(g, []netip.Addr{at(wrong)}); len(out) > 0 || err == nil {
			t.Errorf("%s: %v, %v", wrong, out, err)
		}
	}
	good := at("10.99.0.1")
	if out, err := passable(g, []netip.Addr{at("10.10.0.9"), good}); err != nil || !slices.Equal(out, []netip.Addr{good}) {
		t.Errorf("%v, %v", out, err)
	}
}
