package nat64

import (
	"net/netip"
	"testing"
)

// The examples of RFC 6052 section 2.4: 192.0.2.33 by prefixes of all lengths.
//
//rfc:6052#2.4
func TestTheExamplesOfRFC6052(t *testing.T) {
	v4 := netip.MustParseAddr("192.0.2.33")
	for prefix, want := range map[string]string{
		"2001:db8::/32":         "2001:db8:c000:221::",
		"2001:db8:100::/40":     "2001:db8:1c0:2:21::",
		"2001:db8:122::/48":     "2001:db8:122:c000:2:2100::",
		"2001:db8:122:300::/56": "2001:db8:122:3c0:0:221::",
		"2001:db8:122:344::/64": "2001:db8:122:344:c0:2:2100::",
		"2001:db8:122:344::/96": "2001:db8:122:344::192.0.2.33",
		"64:ff9b::/96":          "64:ff9b::192.0.2.33",
	} {
		p, err := PrefixOf(netip.MustParsePrefix(prefix))
		if err != nil {
			t.Errorf("%s: %v", prefix, err)
			continue
		}
		six := netip.MustParseAddr(want)
		if got := p.To(v4); got != six {
			t.Errorf("%s: %v stands for %v, want %v", prefix, got, v4, six)
		}
		if got, ok := p.From(six); !ok || got != v4 {
			t.Errorf("%s: %v stands for %v, %t", prefix, six, got, ok)
		}
	}
}

// An address stands for an IPv4 one by one prefix only, and with nothing but zeros
// around it.
//
//rfc:6052#2.2
func TestAddressesThatStandForNone(t *testing.T) {
	for prefix, addr := range map[string]string{
		"64:ff9b::/96":          "64:ff9c::192.0.2.33",
		"2001:db8:122:344::/64": "2001:db8:122:344:1c0:2:2100::",  // the reserved octet
		"2001:db8:122:300::/56": "2001:db8:122:3c0:0:221::1",      // the suffix
		"2001:db8::/32":         "2001:db8:c000:221:ff00::",       // the reserved octet
		"2001:db8:100::/40":     "192.0.2.33",                     // no IPv6 address
		"2001:db8:122::/48":     "::ffff:192.0.2.33",              // another kind
		"2001:db8:122:344::/96": "2001:db8:122:344:1::192.0.2.33", // another prefix
	} {
		p, err := PrefixOf(netip.MustParsePrefix(prefix))
		if err != nil {
			t.Errorf("%s: %v", prefix, err)
		}
		if v4, ok := p.From(netip.MustParseAddr(addr)); ok {
			t.Errorf("%s: %s stands for %v", prefix, addr, v4)
		}
	}
}

// What is no translator's prefix is refused, whoever tells of it.
//
//rfc:6052#2.2
func TestPrefixesThatNoTranslatorHas(t *testing.T) {
	for _, s := range []string{
		"64:ff9b::/95", "64:ff9b::/0", "64:ff9b::/128", "2001:db8::/33", "::/96", "::/32", "fe80::/64", "ff02::/96", "10.0.0.0/32", "::ffff:10.0.0.0/96",
		"2001:db8::1/96", "2001:db8:0:0:100::/96",
	} {
		p := netip.MustParsePrefix(s)
		if got, err := PrefixOf(p); err == nil {
			t.Errorf("%s was taken for %v", s, got)
		}
	}
}

func FuzzPrefix(f *testing.F) {
	f.Add(netip.MustParseAddr("2001:db8:122:344:c0:2:2100::").AsSlice(), uint8(64))
	f.Fuzz(func(t *testing.T, b []byte, bits uint8) {
		addr, ok := netip.AddrFromSlice(b)
		if !ok {
			return
		}
		masked, err := addr.Prefix(int(bits))
		if err != nil {
			return
		}
		p, err := PrefixOf(masked)
		if err != nil {
			return
		}
		v4, ok := p.From(addr)
		if ok && p.To(v4) != addr {
			t.Errorf("%v: %v became %v", p, addr, v4)
		}
	})
}
