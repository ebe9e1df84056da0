package nat

import (
	"encoding/binary"
	"net/netip"
	"slices"
)

const (
	protocolICMP = 1
	protocolTCP  = 6
	protocolUDP  = 17

	icmpEchoReply    = 0
	icmpUnreachable  = 3
	icmpSourceQuench = 4
	icmpEchoRequest  = 8
	icmpTimeExceeded = 11
	icmpParameter    = 12
)

// transport says where the fields of a translated protocol lie, as offsets from the transport header.
type transport struct {
	least            int // octets needed in a complete packet
	source, dest     int
	checksum         int
	optional, pseudo bool // checksum 0 means none (UDP); a pseudo header is summed
}

var transports = map[uint8]transport{
	protocolICMP: {least: 8, source: 4, dest: 4, checksum: 2},
	protocolTCP:  {least: 20, source: 0, dest: 2, checksum: 16, pseudo: true},
	protocolUDP:  {least: 8, source: 0, dest: 2, checksum: 6, optional: true, pseudo: true},
}

// packet is an IPv4 packet and what the box looks at. For ICMP queries sport and dport are the identifier and 0 on the
// side that has none.
type packet struct {
	b            []byte // cut to the total length
	header       int    // octets of IP header
	protocol     uint8
	src, dst     netip.Addr
	sport, dport uint16
	icmpType     uint8
	id           uint16
	more         bool // first fragment of several
	later        bool // fragment without a transport header
}

// parse checks the IPv4 header and reads the endpoints. A quoted packet may end after eight octets of payload.
func parse(b []byte, quoted bool) (packet, bool) {
	if len(b) < 20 || b[0]>>4 != 4 {
		return packet{}, false
	}
	p := packet{header: int(b[0]&15) * 4, protocol: b[9], id: binary.BigEndian.Uint16(b[4:])}
	total := int(binary.BigEndian.Uint16(b[2:]))
	if p.header < 20 || total < p.header || len(b) < p.header || (!quoted && len(b) < total) {
		return packet{}, false
	}
	p.b = b[:min(total, len(b))]
	p.src = netip.AddrFrom4([4]byte(b[12:16]))
	p.dst = netip.AddrFrom4([4]byte(b[16:20]))
	fragment := binary.BigEndian.Uint16(b[6:])
	if fragment&0x1fff != 0 {
		p.later = true
		return p, true
	}
	p.more = fragment&0x2000 != 0
	t, known := transports[p.protocol]
	if !known {
		return p, true
	}
	payload := p.b[p.header:]
	least := t.least
	if quoted {
		least = 8
	}
	if len(payload) < least {
		return packet{}, false
	}
	if p.protocol == protocolICMP {
		p.icmpType = payload[0]
		id := binary.BigEndian.Uint16(payload[4:])
		switch p.icmpType {
		case icmpEchoRequest:
			p.sport = id
		case icmpEchoReply:
			p.dport = id
		}
		return p, true
	}
	p.sport = binary.BigEndian.Uint16(payload[t.source:])
	p.dport = binary.BigEndian.Uint16(payload[t.dest:])
	return p, true
}

func (p packet) portless() bool {
	_, known := transports[p.protocol]
	return !known
}

// quotes reports whether the packet is an ICMP error that carries the start of another packet.
func (p packet) quotes() bool {
	if p.protocol != protocolICMP || p.later {
		return false
	}
	switch p.icmpType {
	case icmpUnreachable, icmpSourceQuench, icmpTimeExceeded, icmpParameter:
		return true
	}
	return false
}

func (p packet) copy() packet {
	p.b = slices.Clone(p.b)
	return p
}

// retarget writes a new source or destination endpoint into the packet and keeps its checksums right by adding the
// differences (RFC 1624), so that a packet which was damaged before stays damaged. In a quoted packet the transport
// checksum may be cut off; then there is nothing to mend. Fragments without a transport header and protocols without ports
// change their address only.
func retarget(p packet, source bool, addr netip.Addr, port uint16) {
	at := 16
	if source {
		at = 12
	}
	t, known := transports[p.protocol]
	ported := known && !p.later
	var sum []byte
	if ported && len(p.b) >= p.header+t.checksum+2 {
		sum = p.b[p.header+t.checksum:][:2]
		if t.optional && sum[0] == 0 && sum[1] == 0 {
			sum = nil
		}
	}
	fresh := addr.As4()
	for i := 0; i < 4; i += 2 {
		was, is := p.b[at+i:][:2], fresh[i:i+2]
		amend(p.b[10:12], was, is)
		if sum != nil && t.pseudo {
			amend(sum, was, is)
		}
		copy(was, is)
	}
	if ported {
		where := t.dest
		if source {
			where = t.source
		}
		was := p.b[p.header+where:][:2]
		is := binary.BigEndian.AppendUint16(nil, port)
		if sum != nil {
			amend(sum, was, is)
		}
		copy(was, is)
	}
	// RFC 768: "If the computed checksum is zero, it is transmitted as all ones".
	if sum != nil && t.optional && sum[0] == 0 && sum[1] == 0 {
		sum[0], sum[1] = 0xff, 0xff
	}
}

// amend updates the checksum field sum for octets that change from was to is. RFC 1624, equation 3: HC' = ~(~HC + ~m + m').
//
//rfc:1624#3
func amend(sum, was, is []byte) {
	s := uint32(^binary.BigEndian.Uint16(sum))
	for i := 0; i+1 < len(was); i += 2 {
		s += uint32(^binary.BigEndian.Uint16(was[i:])) + uint32(binary.BigEndian.Uint16(is[i:]))
		s = s&0xffff + s>>16
	}
	s = s&0xffff + s>>16
	binary.BigEndian.PutUint16(sum, ^uint16(s))
}
