package lease

import (
	"net/netip"
	"slices"
)

// private are the networks that may be connected directly, where they are no
// larger than what a site has for itself.
var private = []netip.Prefix{
	netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("172.16.0.0/12"), netip.MustParsePrefix("192.168.0.0/16"),
	netip.MustParsePrefix("169.254.0.0/16"), netip.MustParsePrefix("100.64.0.0/10"),
}

// Connected tells whether the lease's network becomes a route over the link. A
// network that names public addresses as its own, or private ones that the
// tunnel is for, would have what is sent to them in the clear: they are reached
// through the gateway, and so through the tunnel. So are private networks of a
// size that draws other sites' addresses in. Without a gateway a small one is
// let in.
func (l Lease) Connected(tunnelled []netip.Prefix) bool {
	const small, site = 24, 16
	network := l.Address.Masked()
	if slices.ContainsFunc(tunnelled, network.Overlaps) {
		return false
	}
	if network.Bits() < site {
		return false
	}
	for _, p := range private {
		if p.Bits() <= network.Bits() && p.Contains(network.Addr()) {
			return true
		}
	}
	return !l.Gateway.IsValid() && network.Bits() >= small
}
