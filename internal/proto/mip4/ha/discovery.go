package ha

import (
	"net/netip"
)

// isBroadcast says whether a is a broadcast or multicast address, as far as
// this host can know.
//
// "some routers change the IP Destination Address of a datagram from a
// subnet-directed broadcast address to 255.255.255.255 ... Home agent
// implementors should be prepared for both" (RFC 5944 section 3.8.2.1).
//
//rfc:5944#3.8.2.1
func (a *Agent) isBroadcast(addr netip.Addr) bool {
	if addr == limitedBroadcast || addr.IsMulticast() {
		return true
	}
	if a.cfg.own(addr) {
		return false
	}
	for i := range a.cfg.Networks {
		if p := a.cfg.Networks[i].Prefix; p.Bits() < 31 && addr == DirectedBroadcast(p) {
			return true
		}
	}
	for _, l := range a.links {
		for _, p := range l.Addresses {
			if p.Bits() < 31 && addr == DirectedBroadcast(p) {
				return true
			}
		}
	}
	return false
}

// identityFor is the identity that answers a request: the one that it names,
// else the one on the home network that it was broadcast to, else the first.
//
// "If the Home Agent field in the Registration Request contains a unicast
// address of this home agent, then that field MUST be copied into the Home
// Agent field of the Registration Reply. Otherwise, the home agent MUST set the
// Home Agent field in the Registration Reply to its unicast address" (RFC 5944
// section 3.8.3.2).
//
//rfc:5944#3.8.3.2
func (a *Agent) identityFor(x *Exchange) netip.Addr {
	var sameNetwork netip.Addr
	for _, own := range a.cfg.Addresses {
		if own == x.Request.HomeAgent {
			return own
		}
		if net, ok := a.cfg.network(own); ok && !sameNetwork.IsValid() && x.Home.IsValid() && net.Prefix.Contains(x.Home) {
			sameNetwork = own
		}
	}
	if sameNetwork.IsValid() {
		return sameNetwork
	}
	return a.cfg.Addresses[0]
}

// local is the address of this host under which it appears as identity:
// behind a 1:1 NAT another one.
func (a *Agent) local(identity netip.Addr) netip.Addr {
	if a.cfg.LocalAddress.IsValid() {
		return a.cfg.LocalAddress
	}
	return identity
}

// ownAddress says whether addr belongs to this host.
func (a *Agent) ownAddress(addr netip.Addr) bool {
	if a.cfg.own(addr) {
		return true
	}
	for _, l := range a.links {
		for _, p := range l.Addresses {
			if p.Addr() == addr {
				return true
			}
		}
	}
	return false
}
