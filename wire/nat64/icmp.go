package nat64

import (
	"encoding/binary"
	"errors"
	"net/netip"
)

// An Error is an ICMPv6 error about a UDP datagram (RFC 4443 section 3), and what
// it is called in IPv4.
//
// It is easily forged: addresses and ports must be those of a live socket before
// anything of it is believed.
type Error struct {
	Type, Code       uint8 // of ICMP for IPv4
	MTU              int   // of IPv4 packets, when a datagram was too big; 0 otherwise
	Source, Dest     netip.Addr
	SrcPort, DstPort uint16
	HopLimit         uint8
	TrafficClass     uint8
	Length           int    // octets of the datagram, its UDP header included
	Quote            []byte // its begin
}

// ICMPv6 types of errors (RFC 4443 section 2.1), and those of IPv4 that they become.
const (
	unreachable6  = 1
	tooBig6       = 2
	timeExceeded6 = 3

	unreachable4  = 3
	timeExceeded4 = 11
	tooBigCode4   = 4
)

// unreachableCodes4 are the codes of an IPv4 "destination unreachable" that those
// of an IPv6 one become, as a translator has it (RFC 7915 section 5.2). That RFC was
// not at hand when this was written.
var unreachableCodes4 = [...]uint8{
	0: 1,  // no route: host unreachable
	1: 10, // administratively prohibited: the host is
	2: 1,  // beyond scope of source address: host unreachable
	3: 1,  // address unreachable: host unreachable
	4: 3,  // port unreachable
}

const (
	header4     = 20
	header6     = 40
	headerICMP6 = 8
	headerUDP   = 8
	protocolUDP = 17
	most4       = 1<<16 - 1
)

// LeastMTU is what every link with IPv6 carries (RFC 8200 section 5): a "too big"
// that says less is believed to say this.
const LeastMTU = 1280

// HeaderGrowth is by how many octets an IPv6 header is longer than an IPv4 one.
const HeaderGrowth = header6 - header4

var errNoError = errors.New("nat64: no ICMPv6 error about a UDP datagram")

// ParseError reads an ICMPv6 message, from its type on; its checksum is the
// receiver's to verify. A packet that was quoted with extension headers is none of
// ours, and of no use here.
//
//rfc:4443#3.1
//rfc:4443#3.2
//rfc:4443#3.3
func ParseError(b []byte) (e Error, err error) {
	if len(b) < headerICMP6+header6+headerUDP {
		return e, errNoError
	}
	switch kind, code := b[0], b[1]; {
	case kind == unreachable6 && int(code) < len(unreachableCodes4):
		e.Type, e.Code = unreachable4, unreachableCodes4[code]
	case kind == tooBig6:
		// "Code: Set to 0 (zero) by the originator and ignored by the receiver."
		mtu := min(uint64(binary.BigEndian.Uint32(b[4:])), most4)
		e.Type, e.Code, e.MTU = unreachable4, tooBigCode4, max(int(mtu), LeastMTU)-HeaderGrowth
	case kind == timeExceeded6:
		e.Type, e.Code = timeExceeded4, code
	default:
		return e, errNoError
	}
	q := b[headerICMP6:]
	first := binary.BigEndian.Uint32(q)
	e.Length = int(binary.BigEndian.Uint16(q[4:]))
	if first>>28 != 6 || q[6] != protocolUDP || e.Length < headerUDP || e.Length > most4-header4 {
		return Error{}, errNoError
	}
	e.TrafficClass, e.HopLimit = uint8(first>>20), q[7]
	e.Source, e.Dest = netip.AddrFrom16([16]byte(q[8:24])), netip.AddrFrom16([16]byte(q[24:40]))
	e.Quote = q[header6:min(len(q), header6+e.Length)]
	e.SrcPort, e.DstPort = binary.BigEndian.Uint16(e.Quote), binary.BigEndian.Uint16(e.Quote[2:])
	return e, nil
}
