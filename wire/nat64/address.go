// Package nat64 is the IPv6 addresses that stand for IPv4 ones at a translator
// (RFC 6052).
package nat64

import (
	"errors"
	"fmt"
	"net/netip"
)

// A Prefix is a translator's: with an IPv4 address behind it, it is the IPv6
// address that stands for that one (RFC 6052 section 2.2).
type Prefix netip.Prefix

// reserved is octet 8, of which "bits 64 to 71 of the address are reserved for
// compatibility" and "MUST be set to zero" (RFC 6052 section 2.2).
const reserved = 8

// Lengths are the prefix lengths of RFC 6052 section 2.2, in bits: in the order of
// the codes that router advertisements have for them (RFC 8781 section 4).
var Lengths = [...]int{96, 64, 56, 48, 40, 32}

// PrefixOf takes a prefix of one of the lengths of RFC 6052 section 2.2, of
// addresses that a translator may have.
func PrefixOf(p netip.Prefix) (Prefix, error) {
	a := p.Addr()
	known := false
	for _, l := range Lengths {
		known = known || l == p.Bits()
	}
	switch {
	case !a.Is6() || a.Is4In6():
		return Prefix{}, errors.New("nat64: " + p.String() + " is no IPv6 prefix")
	case !known:
		return Prefix{}, fmt.Errorf("nat64: %v: a translator's prefix has 32, 40, 48, 56, 64 or 96 bits", p)
	case p != p.Masked():
		return Prefix{}, fmt.Errorf("nat64: %v has bits beyond its length", p)
	case a.As16()[reserved] != 0:
		return Prefix{}, fmt.Errorf("nat64: %v: bits 64 to 71 are not zero", p)
	case a.IsUnspecified(), a.IsMulticast(), a.IsLinkLocalUnicast(), a.IsLoopback():
		return Prefix{}, fmt.Errorf("nat64: %v is no unicast prefix", p)
	}
	return Prefix(p), nil
}

func (p Prefix) String() string { return netip.Prefix(p).String() }

// IsValid tells whether it is more than the zero value.
func (p Prefix) IsValid() bool { return netip.Prefix(p).IsValid() }

// To is the IPv6 address that stands for an IPv4 one.
func (p Prefix) To(v4 netip.Addr) netip.Addr {
	out, at := netip.Prefix(p).Addr().As16(), netip.Prefix(p).Bits()/8
	for _, octet := range v4.As4() {
		if at == reserved {
			at++
		}
		out[at] = octet
		at++
	}
	return netip.AddrFrom16(out)
}

// From is the IPv4 address that an IPv6 one stands for; ok is false for one that
// stands for none, as with bits behind the IPv4 address that are not zero.
func (p Prefix) From(v6 netip.Addr) (v4 netip.Addr, ok bool) {
	if !v6.Is6() {
		return v4, false
	}
	in, at := v6.As16(), netip.Prefix(p).Bits()/8
	var out [4]byte
	for i := range out {
		if at == reserved {
			at++
		}
		out[i] = in[at]
		at++
	}
	v4 = netip.AddrFrom4(out)
	return v4, p.To(v4) == v6.WithZone("")
}
