package tun

import (
	"encoding/binary"

	"careof/wire/encap"
)

const (
	// headroom is free in front of every packet read from the device, for the
	// encapsulation's headers and, before that, for the virtual header.
	headroom = 64
	// maxPacket is the longest IPv4 packet.
	maxPacket = 1<<16 - 1
	// intakeSize is what is read at once: a few trains, or some thousand
	// small packets, and yet it stays in a processor's cache.
	intakeSize = 4 * (maxPacket + headroom)
	// maxArrivals bounds how long the first of them waits.
	maxArrivals = 256
)

// An intake is packets as they were read from the device, one behind the other.
type intake struct {
	memory   []byte
	used     int
	arrivals []arrival
}

// An arrival is what the device handed over in one piece, at [headroom] of buf.
type arrival struct {
	buf []byte
	n   int
	// Of a train: the length of its headers, and of the payload of each
	// packet but the last. size is 0 for a single packet.
	head, size int
}

func newIntake() *intake {
	return &intake{memory: make([]byte, intakeSize), arrivals: make([]arrival, 0, maxArrivals)}
}

func (in *intake) reset() { in.used, in.arrivals = 0, in.arrivals[:0] }

func (in *intake) hasRoom() bool {
	return len(in.arrivals) < maxArrivals && len(in.memory)-in.used >= headroom+maxPacket
}

// next is where the virtual header and the packet behind it go.
func (in *intake) next() []byte {
	return in.memory[in.used+headroom-virtualHeader : in.used+headroom+maxPacket]
}

// took says that n octets are at next.
func (in *intake) took(n int) {
	v := in.next()
	n -= virtualHeader
	if n <= 0 {
		return
	}
	a := arrival{buf: in.memory[in.used : in.used+headroom+n : in.used+headroom+n], n: n}
	if a.parse(v) {
		in.arrivals = append(in.arrivals, a)
		in.used += (headroom + n + 63) &^ 63
	}
}

// parse reads the virtual header v, and reports whether the packet can be
// used. Lengths in it that the packet's own headers tell better are not
// believed: of forwarded packets the kernel gives them as it likes.
func (a *arrival) parse(v []byte) bool {
	order := binary.NativeEndian
	pkt := a.buf[headroom:]
	start, at := int(order.Uint16(v[6:])), int(order.Uint16(v[8:]))
	kind := v[1] &^ virtualECN
	if kind == 0 {
		if v[0]&needsChecksum == 0 {
			return true
		}
		if start+at+2 > len(pkt) {
			return false
		}
		// The sum goes on from the pseudo header's, which is in the field.
		sum := encap.Checksum(pkt[start:])
		if sum == 0 && len(pkt) > 9 && pkt[9] == protoUDP {
			sum = 0xffff // RFC 768: 0 would say that there is none
		}
		binary.BigEndian.PutUint16(pkt[start+at:], sum)
		return true
	}
	if len(pkt) < 20 || pkt[0]>>4 != 4 {
		return false // IPv6 has no tunnels here
	}
	f, ok := flowOf(pkt)
	if !ok || kind != virtualTCP && kind != virtualUDP || (kind == virtualTCP) != (f.protocol == protoTCP) {
		return false
	}
	size := int(order.Uint16(v[4:]))
	if size == 0 {
		return false
	}
	a.head, a.size = f.head, size
	return true
}
