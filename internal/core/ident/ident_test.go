package ident

import (
	"net/netip"
	"testing"
)

// What is read as an address is one, and the same; and an IPv4 address in its
// usual form is read.
func FuzzParseAddress(f *testing.F) {
	for _, s := range []string{"192.0.2.1", "0.0.0.0", "255.255.255.255", "01.2.3.4", "1.2.3", "1.2.3.4.5", "1.2.3.", ".1.2.3", "256.1.1.1", "1..2.3", "", "00.0.0.0", "1.2.3.4 ", "::1", "1.2.3.1234"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		want, err := netip.ParseAddr(s)
		got, ok := ParseAddress(s)
		if isIPv4 := err == nil && want.Is4(); ok != isIPv4 || ok && got != want {
			t.Errorf("%q: %v %v, netip.ParseAddr: %v %v", s, got, ok, want, err)
		}
		if octets, same := ParseAddress([]byte(s)); octets != got || same != ok {
			t.Errorf("%q as octets: %v %v", s, octets, same)
		}
	})
}
