package nat64

import (
	"bytes"
	"encoding/binary"
	"net/netip"
	"testing"
)

// about is an ICMPv6 error of 8 octets about a UDP datagram with that many octets.
func about(kind, code uint8, mtu uint32, length int) []byte {
	b := binary.BigEndian.AppendUint32([]byte{kind, code, 0, 0}, mtu)
	b = append(b, 0x6a, 0x10, 0, 0) // traffic class 0xa1
	b = binary.BigEndian.AppendUint16(b, uint16(length))
	b = append(b, 17, 61)
	b = append(b, netip.MustParseAddr("2001:db8:6::5").AsSlice()...)
	b = append(b, netip.MustParseAddr("2001:db8:64::198.51.100.1").AsSlice()...)
	b = binary.BigEndian.AppendUint16(b, 40000)
	b = binary.BigEndian.AppendUint16(b, 434)
	b = binary.BigEndian.AppendUint16(b, uint16(length))
	return append(b, 0, 0, 4, 4, 0, 0)
}

// What routers in a network with IPv6 say of a datagram is said as an IPv4 host
// would have been told.
//
//rfc:4443#3.1
//rfc:4443#3.2
//rfc:4443#3.3
func TestErrorsInIPv4(t *testing.T) {
	for _, c := range []struct {
		name       string
		kind, code uint8
		mtu        uint32
		want       Error
	}{
		{"too big", 2, 0, 1400, Error{Type: 3, Code: 4, MTU: 1380}},
		{"too big, with a code", 2, 7, 1400, Error{Type: 3, Code: 4, MTU: 1380}},
		{"less than every link carries", 2, 0, 1279, Error{Type: 3, Code: 4, MTU: 1260}},
		{"nothing at all", 2, 0, 0, Error{Type: 3, Code: 4, MTU: 1260}},
		{"more than any packet has", 2, 0, 1<<32 - 1, Error{Type: 3, Code: 4, MTU: 65515}},
		{"no route", 1, 0, 0, Error{Type: 3, Code: 1}},
		{"prohibited", 1, 1, 0, Error{Type: 3, Code: 10}},
		{"port unreachable", 1, 4, 0, Error{Type: 3, Code: 3}},
		{"hop limit exceeded", 3, 0, 0, Error{Type: 11}},
	} {
		got, err := ParseError(about(c.kind, c.code, c.mtu, 1460))
		c.want.Source, c.want.Dest = netip.MustParseAddr("2001:db8:6::5"), netip.MustParseAddr("2001:db8:64::198.51.100.1")
		c.want.SrcPort, c.want.DstPort, c.want.HopLimit, c.want.TrafficClass, c.want.Length = 40000, 434, 61, 0xa1, 1460
		quote := got.Quote
		got.Quote = nil
		if err != nil || len(quote) != 12 || !equal(got, c.want) {
			t.Errorf("%s: %+v with %d octets, %v", c.name, got, len(quote), err)
		}
	}
}

func equal(a, b Error) bool {
	return a.Type == b.Type && a.Code == b.Code && a.MTU == b.MTU && a.Source == b.Source && a.Dest == b.Dest &&
		a.SrcPort == b.SrcPort && a.DstPort == b.DstPort && a.HopLimit == b.HopLimit && a.TrafficClass == b.TrafficClass && a.Length == b.Length
}

// What is no error, or about no UDP datagram, is nothing.
func TestWhatIsNoError(t *testing.T) {
	change := func(f func(b []byte)) []byte {
		b := about(2, 0, 1400, 1460)
		f(b)
		return b
	}
	for name, b := range map[string][]byte{
		"nothing": nil, "an echo request": about(128, 0, 0, 1460), "an unknown code": about(1, 9, 0, 1460), "a parameter problem": about(4, 1, 0, 1460),
		"cut off":             about(2, 0, 1400, 1460)[:55],
		"a length of nothing": about(2, 0, 1400, 7),
		"about IPv4":          change(func(b []byte) { b[8] = 0x45 }),
		"about TCP":           change(func(b []byte) { b[14] = 6 }),
	} {
		if e, err := ParseError(b); err == nil {
			t.Errorf("%s was taken for %+v", name, e)
		}
	}
}

func FuzzError(f *testing.F) {
	f.Add(about(2, 0, 1400, 1460))
	f.Add(about(1, 4, 0, 9))
	f.Fuzz(func(t *testing.T, b []byte) {
		e, err := ParseError(b)
		if err != nil {
			return
		}
		if e.MTU != 0 && (e.MTU < LeastMTU-HeaderGrowth || e.MTU > most4) || len(e.Quote) < headerUDP || len(e.Quote) > e.Length || !bytes.Contains(b, e.Quote) {
			t.Errorf("%+v", e)
		}
	})
}
