package translator

import (
	"encoding/binary"
	"errors"
	"net/netip"
	"time"

	"careof/wire/nat64"
)

// Types of options in router advertisements.
const (
	optionRDNSS  = 25 // RFC 8106 section 5.1
	optionPREF64 = 38 // RFC 8781 section 4
)

const (
	typeAdvertisement = 134 // ICMPv6, RFC 4861 section 4.2
	advertisementSize = 16  // without options
	optionUnit        = 8   // octets in which options count their length
)

// forever is a lifetime of all ones (RFC 8106 section 5.1).
const forever = 100 * 365 * 24 * time.Hour

// An advertised prefix or name server.
type advertised struct {
	prefix   nat64.Prefix  // of a PREF64 option, or
	server   netip.Addr    // of an RDNSS option
	lifetime time.Duration // from when it was told; 0 takes it back
}

var (
	errNotLocal = errors.New("translator: a router advertisement from beyond the link")
	errMangled  = errors.New("translator: a mangled router advertisement")
)

// readAdvertisement reads what an ICMPv6 router advertisement says of
// translators and name servers. Options that RFC 8781 and RFC 8106 have not
// foreseen are passed over; what only looks like an advertisement is an error,
// as RFC 4861 section 6.1.2 has it.
func readAdvertisement(b []byte, from netip.Addr, hopLimit int) ([]advertised, error) {
	switch {
	case !from.IsLinkLocalUnicast(), hopLimit != 255:
		return nil, errNotLocal
	case len(b) < advertisementSize, b[0] != typeAdvertisement, b[1] != 0:
		return nil, errMangled
	}
	var list []advertised
	for b = b[advertisementSize:]; len(b) > 0; {
		// "All included options have a length that is greater than zero."
		if len(b) < 2 || b[1] == 0 || int(b[1])*optionUnit > len(b) {
			return nil, errMangled
		}
		option := b[:int(b[1])*optionUnit]
		b = b[len(option):]
		switch option[0] {
		case optionPREF64:
			if a, ok := readPREF64(option); ok {
				list = append(list, a)
			}
		case optionRDNSS:
			list = append(list, readRDNSS(option)...)
		}
	}
	return list, nil
}

// readPREF64 reads the option of RFC 8781 section 4: type and length, 13 bits
// of lifetime in units of 8 s, 3 bits of a code for the prefix's length, and the
// prefix's first 96 bits.
func readPREF64(o []byte) (a advertised, ok bool) {
	if len(o) != 2*optionUnit {
		return a, false
	}
	scaled := binary.BigEndian.Uint16(o[2:])
	code := int(scaled & 7)
	if code >= len(nat64.Lengths) {
		// "The receiver MUST ignore the PREF64 option if the Prefix Length Code
		// field contains an undefined value."
		return a, false
	}
	var addr [16]byte
	copy(addr[:], o[4:16])
	p, err := nat64.PrefixOf(netip.PrefixFrom(netip.AddrFrom16(addr), nat64.Lengths[code]).Masked())
	return advertised{prefix: p, lifetime: time.Duration(scaled>>3) * 8 * time.Second}, err == nil
}

// readRDNSS reads the option of RFC 8106 section 5.1: type, length, two octets
// for nothing, the lifetime in seconds, and addresses.
func readRDNSS(o []byte) (list []advertised) {
	if len(o) < 3*optionUnit || len(o)%16 != 8 {
		return nil
	}
	life := time.Duration(binary.BigEndian.Uint32(o[4:])) * time.Second
	if binary.BigEndian.Uint32(o[4:]) == 1<<32-1 {
		life = forever
	}
	for o = o[8:]; len(o) > 0; o = o[16:] {
		a := netip.AddrFrom16([16]byte(o))
		if a.IsMulticast() || a.IsUnspecified() || a.IsLoopback() || a.Is4In6() {
			continue
		}
		list = append(list, advertised{server: a, lifetime: life})
	}
	return list
}
