package nat

import "net/netip"

// oneToOne gives a packet the other address and leaves the rest as it is: every
// protocol, every port, every fragment. It has no state.
func oneToOne(p packet, outbound bool, addr netip.Addr) ([]byte, Verdict) {
	if p.quotes() {
		q, ok := quoted(p)
		if !ok {
			return nil, Malformed
		}
		// The quoted packet went the other way.
		return rewriteError(p, q, outbound, addr, q.port(!outbound)), Translated
	}
	out := p.copy()
	if p.protocol == protocolICMP {
		out.later = true // its checksum covers no address, and its other fields are no endpoint
	}
	retarget(out, outbound, addr, p.port(outbound))
	return out.b, Translated
}

// port is the port on one side, or an echo's identifier on either.
func (p packet) port(source bool) uint16 {
	switch {
	case p.protocol == protocolICMP:
		return p.sport | p.dport // one of them is 0
	case source:
		return p.sport
	default:
		return p.dport
	}
}
