package binding

import (
	"encoding/binary"
	"math"
	"net/netip"
	"time"

	"careof/internal/core/forward"
	"careof/wire/encap"
)

// packed is a [Binding] of IPv4 addresses in a quarter of the room: most home
// addresses of a million have one of these, and nothing else.
type packed struct {
	identification           uint64
	lifetime, validated      uint32 // seconds; the latter Unix and one more, 0 for never
	since, renewed, expires  int64  // Unix nanoseconds, never for the zero time
	careOf                   uint32
	source, local, peer, own endpoint
	wrap                     uint32
	key, keyIn               uint32
	number, mtu              uint16
	bits                     uint8
	flags                    uint8
	encap, inside            encap.Kind
	mode                     forward.Mode
	hw                       [6]byte
	link                     string // of ReplyTo
}

// endpoint is an IPv4 address and a port, in network byte order.
type endpoint [6]byte

const (
	never    = math.MinInt64
	infinite = math.MaxUint32
)

// Bits of a packed binding.
const (
	bitNumbered = 1 << iota
	bitAnyPort
	bitHasKey
	bitBroadcast
	bitDecapsulates
)

// pack packs b, and reports whether that is possible: whether unpack would give
// the same again.
func pack(b *Binding) (p packed, ok bool) {
	t := &b.Tunnel
	p = packed{
		identification: b.Identification, lifetime: inSeconds(b.Lifetime),
		since: nanos(b.Since), renewed: nanos(b.Renewed), expires: nanos(b.Expires),
		careOf: word(b.CareOfAddress),
		source: endpointOf(b.Source), local: endpointOf(t.Local), peer: endpointOf(t.Peer), own: endpointOf(b.ReplyTo.Src),
		wrap: word(t.Wrap), key: t.Key, keyIn: t.KeyIn, number: b.ID.number, mtu: uint16(t.MTU), flags: b.Flags,
		encap: t.Encap, inside: t.Inside, mode: t.Mode, hw: b.ReplyTo.HW, link: b.ReplyTo.Link,
	}
	if !b.Validated.IsZero() {
		p.validated = uint32(b.Validated.Unix() + 1)
	}
	for i, set := range [...]bool{b.ID.numbered, t.AnyPort, t.HasKey, b.Broadcast, b.Decapsulates} {
		if set {
			p.bits |= 1 << i
		}
	}
	var again Binding
	p.unpack(&again)
	return p, again.equal(b)
}

// unpack sets b.
func (p *packed) unpack(b *Binding) {
	*b = Binding{
		CareOfAddress: address(p.careOf), Source: p.source.addrPort(),
		Identification: p.identification, Lifetime: ofSeconds(p.lifetime),
		Since: instant(p.since), Renewed: instant(p.renewed), Expires: instant(p.expires),
		Tunnel: forward.Tunnel{
			Local: p.local.addrPort(), Peer: p.peer.addrPort(), AnyPort: p.bits&bitAnyPort != 0,
			Encap: p.encap, Inside: p.inside, HasKey: p.bits&bitHasKey != 0, Key: p.key, KeyIn: p.keyIn,
			Mode: p.mode, Wrap: address(p.wrap), MTU: int(p.mtu),
		},
		Broadcast: p.bits&bitBroadcast != 0, Decapsulates: p.bits&bitDecapsulates != 0, Flags: p.flags,
		ReplyTo: ReplyTo{Link: p.link, Src: p.own.addrPort(), Dst: p.source.addrPort(), HW: p.hw},
	}
	if p.validated != 0 {
		b.Validated = time.Unix(int64(p.validated)-1, 0)
	}
	b.ID = p.id()
}

func inSeconds(d time.Duration) uint32 {
	if d == Infinite {
		return infinite
	}
	return uint32(d / time.Second)
}

func ofSeconds(s uint32) time.Duration {
	if s == infinite {
		return Infinite
	}
	return time.Duration(s) * time.Second
}

func (p *packed) id() ID {
	if p.bits&bitNumbered != 0 {
		return ByNumber(p.number)
	}
	return ID{careOf: address(p.careOf)}
}

// equal says whether two bindings are the same, instants by what they mean.
func (b *Binding) equal(other *Binding) bool {
	if !b.Since.Equal(other.Since) || !b.Renewed.Equal(other.Renewed) || !b.Expires.Equal(other.Expires) || !b.Validated.Equal(other.Validated) {
		return false
	}
	x, y := *b, *other
	for _, one := range []*Binding{&x, &y} {
		one.Since, one.Renewed, one.Expires, one.Validated = time.Time{}, time.Time{}, time.Time{}, time.Time{}
	}
	return x == y
}

func nanos(t time.Time) int64 {
	if t.IsZero() {
		return never
	}
	return t.UnixNano()
}

func instant(ns int64) time.Time {
	if ns == never {
		return time.Time{}
	}
	return time.Unix(0, ns)
}

// word is an IPv4 address as a number, 0 for none.
func word(a netip.Addr) uint32 {
	if !a.Is4() {
		return 0
	}
	b := a.As4()
	return binary.BigEndian.Uint32(b[:])
}

func address(w uint32) netip.Addr {
	if w == 0 {
		return netip.Addr{}
	}
	return netip.AddrFrom4([4]byte{byte(w >> 24), byte(w >> 16), byte(w >> 8), byte(w)})
}

func endpointOf(a netip.AddrPort) (e endpoint) {
	binary.BigEndian.PutUint32(e[:], word(a.Addr()))
	binary.BigEndian.PutUint16(e[4:], a.Port())
	return e
}

func (e *endpoint) addrPort() netip.AddrPort {
	return netip.AddrPortFrom(address(binary.BigEndian.Uint32(e[:])), binary.BigEndian.Uint16(e[4:]))
}
