package nat

import (
	"net/netip"
	"slices"
	"time"
)

// quoteAt is where the quoted packet starts in an ICMP error (RFC 792: after eight octets of ICMP header).
const quoteAt = 8

// outboundError translates an ICMP error that an inside host sends about a packet it got: the quoted destination is the
// inside endpoint, and the receiver must see the external one.
//
//rfc:5508#4.2
func (b *Box) outboundError(now time.Time, p packet) ([]byte, Verdict) {
	q, ok := quoted(p)
	if !ok {
		return nil, Malformed
	}
	var port uint16
	if q.portless() {
		if inside, known := b.passIn(now, q.protocol, q.src); !known || inside != q.dst {
			return nil, NoMapping
		}
	} else {
		remote := netip.AddrPortFrom(q.src, q.sport)
		f := flow{protocol: q.protocol, inside: netip.AddrPortFrom(q.dst, q.dport)}
		if b.config.Kind == Symmetric {
			f.remote = remote
		}
		m := b.table.byInside[f]
		if m == nil {
			return nil, NoMapping
		}
		if _, v := b.mapIn(now, q.protocol, m.external, remote); v != Translated {
			return nil, v
		}
		port = m.external
	}
	return rewriteError(p, q, true, b.config.External, port), Translated
}

// inboundError translates an ICMP error about a packet that an inside host sent. It comes from any router on the path,
// so what counts is the quoted packet: it must have gone out through a mapping that still lives.
//
//rfc:5508#4.1
func (b *Box) inboundError(now time.Time, p packet) ([]byte, Verdict) {
	q, ok := quoted(p)
	if !ok {
		return nil, Malformed
	}
	if q.src != b.config.External {
		return nil, NoMapping
	}
	var to netip.AddrPort
	if q.portless() {
		inside, known := b.passIn(now, q.protocol, q.dst)
		if !known {
			return nil, NoMapping
		}
		to = netip.AddrPortFrom(inside, 0)
	} else {
		m, v := b.mapIn(now, q.protocol, q.sport, netip.AddrPortFrom(q.dst, q.dport))
		if v != Translated {
			return nil, v
		}
		to = m.flow.inside
	}
	return rewriteError(p, q, false, to.Addr(), to.Port()), Translated
}

// quoted parses the packet inside an ICMP error. One that quotes a later fragment, another ICMP error or too little has no
// endpoint to go by.
func quoted(p packet) (packet, bool) {
	start := p.header + quoteAt
	if p.more || len(p.b) < start {
		return packet{}, false
	}
	q, ok := parse(p.b[start:], true)
	if !ok || q.later || q.protocol == protocolICMP && q.icmpType != icmpEchoRequest && q.icmpType != icmpEchoReply {
		return packet{}, false
	}
	return q, true
}

// rewriteError gives the error and the packet quoted in it their new endpoint: outbound the outer source and the quoted
// destination, inbound the other two.
func rewriteError(p, q packet, outbound bool, addr netip.Addr, port uint16) []byte {
	out := p.copy()
	start := p.header + quoteAt
	q.b = out.b[start : start+len(q.b)]
	// Nothing beyond the headers changes: compare that much, in whole words, for the ICMP checksum.
	head := min(len(q.b), q.header+20) &^ 1
	was := slices.Clone(q.b[:head])
	retarget(q, !outbound, addr, port)
	amend(out.b[p.header+2:p.header+4], was, q.b[:head])
	// The ICMP header itself holds no endpoint: change the address only.
	outer := out
	outer.later = true
	retarget(outer, outbound, addr, 0)
	return out.b
}
