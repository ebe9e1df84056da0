package diameter

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"time"
	"unicode/utf8"
)

// AVPFlags are the flags of an AVP (RFC 6733 section 4.1).
type AVPFlags uint8

// The flags. The P bit and the reserved ones are sent as 0 and ignored.
const (
	AVPVendor    AVPFlags = 0x80 // V: a Vendor-ID follows
	AVPMandatory AVPFlags = 0x40 // M: who does not understand the AVP must refuse the message
	AVPProtected AVPFlags = 0x20 // P: reserved
)

// String prints the letters that the RFC draws, a dash for a clear flag: "-M-".
func (f AVPFlags) String() string {
	s := []byte("---")
	for i, letter := range []byte("VMP") {
		if f&(0x80>>i) != 0 {
			s[i] = letter
		}
	}
	return string(s)
}

// An AVP is one attribute-value pair.
//
//rfc:6733#4.1
type AVP struct {
	Code   Code
	Flags  AVPFlags
	Vendor uint32 // with the V bit
	Data   []byte // without padding
	Offset int    // of the AVP's header in the message it was parsed from, in octets
}

// headerLen is the length of the AVP's header in octets.
func (a *AVP) headerLen() int {
	if a.Flags&AVPVendor != 0 {
		return 12
	}
	return 8
}

// row is the dictionary's, nil for an AVP that it does not have.
func (a *AVP) row() *Row {
	if a.Vendor != 0 {
		return nil
	}
	return rowOf(a.Code)
}

// String prints an AVP for messages: its name and value.
func (a AVP) String() string {
	if a.Vendor != 0 {
		return fmt.Sprintf("vendor %d AVP %d", a.Vendor, uint32(a.Code))
	}
	return fmt.Sprintf("%v %s", a.Code, a.Value())
}

// A List is AVPs in order: those of a message, or those of a Grouped AVP.
type List []AVP

// Limits of what is parsed: a message that has more is refused.
const (
	// MaxAVPs in one list.
	MaxAVPs = 512
	// MaxDepth of groups in groups.
	MaxDepth = 8
)

func pad(n int) int { return (n + 3) &^ 3 }

// parseList frames the AVPs in b from an offset on; offsets are counted from the start of b.
//
//rfc:6733#4.1
func parseList(b []byte, at int) (List, error) {
	var list List
	for at < len(b) {
		if len(list) == MaxAVPs {
			return list, &Error{Code: UnableToComply, Offset: at, What: fmt.Sprintf("more than %d AVPs", MaxAVPs)}
		}
		a := AVP{Offset: at}
		rest := b[at:]
		if len(rest) < 8 {
			// "an offending AVP header that is formulated by padding the incomplete AVP header with zero" (section 7.1.5).
			whole := append(append([]byte(nil), rest...), make([]byte, 8)...)
			a.Code = Code(binary.BigEndian.Uint32(whole))
			return list, &Error{Code: InvalidAVPLength, Offset: at, What: fmt.Sprintf("%d octets left for the header of an AVP", len(rest)), Failed: List{{Code: a.Code}}}
		}
		a.Code, a.Flags = Code(binary.BigEndian.Uint32(rest)), AVPFlags(rest[4])
		n := int(uint24(rest[5:]))
		short := n < a.headerLen() || len(rest) < a.headerLen()
		if !short && a.Flags&AVPVendor != 0 {
			a.Vendor = binary.BigEndian.Uint32(rest[8:])
		}
		// "If a message is received with an invalid attribute length, the message MUST be rejected."
		if short || pad(n) > len(rest) {
			return list, &Error{Code: InvalidAVPLength, AVP: a.Code, Offset: at, What: fmt.Sprintf("AVP length %d, and %d octets are left", n, len(rest)), Failed: List{example(a)}}
		}
		a.Data = rest[a.headerLen():n:n]
		list = append(list, a)
		at += pad(n)
	}
	return list, nil
}

// example is an AVP with a header like a's and "a zero-filled payload of the minimum required length" (RFC 6733 section 7.5).
func example(a AVP) AVP {
	e := AVP{Code: a.Code, Flags: a.Flags &^ 0x3f, Vendor: a.Vendor}
	if r := e.row(); r != nil {
		e.Data = make([]byte, r.Kind.minimum())
	}
	return e
}

func appendList(dst []byte, list List) ([]byte, error) {
	for i := range list {
		a := &list[i]
		n := a.headerLen() + len(a.Data)
		if n >= 1<<24 {
			return nil, fmt.Errorf("diameter: %v: %d octets do not fit", a.Code, n)
		}
		dst = binary.BigEndian.AppendUint32(dst, uint32(a.Code))
		dst = append(dst, byte(a.Flags), byte(n>>16), byte(n>>8), byte(n))
		if a.Flags&AVPVendor != 0 {
			dst = binary.BigEndian.AppendUint32(dst, a.Vendor)
		}
		dst = append(dst, a.Data...)
		dst = append(dst, make([]byte, pad(n)-n)...)
	}
	return dst, nil
}

// Making AVPs.

// avp is an AVP of the dictionary, with the M bit as its row says.
func (c Code) avp(data []byte) AVP {
	a := AVP{Code: c, Data: data}
	if r := rowOf(c); r != nil && r.Mandatory {
		a.Flags = AVPMandatory
	}
	return a
}

// Octets makes an AVP of octets.
func (c Code) Octets(b []byte) AVP { return c.avp(b) }

// Text makes an AVP of a string: UTF8String, DiameterIdentity, DiameterURI, IPFilterRule.
func (c Code) Text(s string) AVP { return c.avp([]byte(s)) }

// Uint32 makes an AVP of 32 bits: Unsigned32, Integer32, Enumerated.
func (c Code) Uint32(v uint32) AVP { return c.avp(binary.BigEndian.AppendUint32(nil, v)) }

// Uint64 makes an AVP of 64 bits.
func (c Code) Uint64(v uint64) AVP { return c.avp(binary.BigEndian.AppendUint64(nil, v)) }

// Address makes an AVP of an address, with its family before it (RFC 6733 section 4.3.1).
func (c Code) Address(addr netip.Addr) AVP {
	addr = addr.Unmap()
	if addr.Is4() {
		return c.avp(append([]byte{0, familyIPv4}, addr.AsSlice()...))
	}
	return c.avp(append([]byte{0, familyIPv6}, addr.AsSlice()...))
}

// Time makes an AVP of a time, in whole seconds (RFC 6733 section 4.3.1).
func (c Code) Time(t time.Time) AVP { return c.Uint32(uint32(t.Unix() + epoch1900)) }

// Group makes a Grouped AVP.
//
//rfc:6733#4.4
func (c Code) Group(avps ...AVP) AVP {
	// An AVP that would not fit, of 16 MiB, would also not fit into a message, where Append reports it.
	data, err := appendList(nil, avps)
	if err != nil {
		data = make([]byte, 1<<24)
	}
	return c.avp(data)
}

// Address families of the Address format (IANA address family numbers).
const (
	familyIPv4 = 1
	familyIPv6 = 2
)

// epoch1900 is the seconds from 1900, where NTP begins, to 1970.
const epoch1900 = 2208988800

// Reading AVPs.

// Find returns the first AVP with a code of the IETF's.
func (l List) Find(c Code) (AVP, bool) {
	for i := range l {
		if l[i].Code == c && l[i].Vendor == 0 {
			return l[i], true
		}
	}
	return AVP{}, false
}

// All returns every AVP with a code of the IETF's, in order.
func (l List) All(c Code) List {
	var all List
	for i := range l {
		if l[i].Code == c && l[i].Vendor == 0 {
			all = append(all, l[i])
		}
	}
	return all
}

// Has reports whether there is such an AVP.
func (l List) Has(c Code) bool { _, ok := l.Find(c); return ok }

// Octets returns the data of the first such AVP.
func (l List) Octets(c Code) ([]byte, bool) { a, ok := l.Find(c); return a.Data, ok }

// Text returns the first such AVP as a string.
func (l List) Text(c Code) (string, bool) {
	a, ok := l.Find(c)
	if !ok {
		return "", false
	}
	return a.Text()
}

// Uint32 returns the first such AVP as a number of 32 bits.
func (l List) Uint32(c Code) (uint32, bool) {
	a, ok := l.Find(c)
	if !ok {
		return 0, false
	}
	return a.Uint32()
}

// Uint64 returns the first such AVP as a number of 64 bits.
func (l List) Uint64(c Code) (uint64, bool) {
	a, ok := l.Find(c)
	if !ok {
		return 0, false
	}
	return a.Uint64()
}

// Address returns the first such AVP as an address.
func (l List) Address(c Code) (netip.Addr, bool) {
	a, ok := l.Find(c)
	if !ok {
		return netip.Addr{}, false
	}
	return a.Address()
}

// Time returns the first such AVP as a time.
func (l List) Time(c Code) (time.Time, bool) {
	a, ok := l.Find(c)
	if !ok {
		return time.Time{}, false
	}
	return a.Time()
}

// Group returns the AVPs within the first such AVP.
func (l List) Group(c Code) (List, bool) {
	a, ok := l.Find(c)
	if !ok {
		return nil, false
	}
	return a.Group()
}

// Text returns the value as a string, which must be UTF-8.
func (a AVP) Text() (string, bool) { return string(a.Data), utf8.Valid(a.Data) }

// Uint32 returns the value as a number of 32 bits.
func (a AVP) Uint32() (uint32, bool) {
	if len(a.Data) != 4 {
		return 0, false
	}
	return binary.BigEndian.Uint32(a.Data), true
}

// Uint64 returns the value as a number of 64 bits.
func (a AVP) Uint64() (uint64, bool) {
	if len(a.Data) != 8 {
		return 0, false
	}
	return binary.BigEndian.Uint64(a.Data), true
}

// Address returns the value as an address; false for a family that is neither IPv4 nor IPv6.
func (a AVP) Address() (netip.Addr, bool) {
	if len(a.Data) < 2 {
		return netip.Addr{}, false
	}
	family, octets := binary.BigEndian.Uint16(a.Data), a.Data[2:]
	if family == familyIPv4 && len(octets) == 4 || family == familyIPv6 && len(octets) == 16 {
		return netip.AddrFromSlice(octets)
	}
	return netip.Addr{}, false
}

// Time returns the value as a time. "On 6h 28m 16s UTC, 7 February 2036, the time value will overflow": as SNTP has it, a clear first
// bit means the time from then on.
//
//rfc:6733#4.3.1
func (a AVP) Time() (time.Time, bool) {
	v, ok := a.Uint32()
	if !ok {
		return time.Time{}, false
	}
	seconds := int64(v)
	if v&(1<<31) == 0 {
		seconds += 1 << 32
	}
	return time.Unix(seconds-epoch1900, 0).UTC(), true
}

// Group returns the AVPs within the value. Their offsets are the message's.
func (a AVP) Group() (List, bool) {
	list, err := a.group()
	return list, err == nil
}

func (a AVP) group() (List, error) {
	list, err := parseList(a.Data, 0)
	base := a.Offset + a.headerLen()
	for i := range list {
		list[i].Offset += base
	}
	if e, ok := err.(*Error); ok {
		e.Offset += base
	}
	return list, err
}
