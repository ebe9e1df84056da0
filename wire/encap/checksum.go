package encap

import (
	"encoding/binary"
	"math/bits"
)

// Checksum is the Internet checksum of b: the one's complement of the one's
// complement sum of its 16-bit words, an odd last octet counting as the high
// half of a word (RFC 1071). Over octets that contain their own valid
// checksum it is 0.
func Checksum(b []byte) uint16 { return fold(add(0, b)) }

// add sums b on top of sum, in pieces of eight octets. One's complement sums
// may be formed of any word size and folded at the end (RFC 1071 section 2).
func add(sum uint64, b []byte) uint64 {
	for len(b) >= 8 {
		s, c := bits.Add64(sum, binary.BigEndian.Uint64(b), 0)
		sum = s + c // s is at most 2^64-2 when there is a carry
		b = b[8:]
	}
	var rest uint64
	for len(b) >= 2 {
		rest += uint64(binary.BigEndian.Uint16(b))
		b = b[2:]
	}
	if len(b) == 1 {
		rest += uint64(b[0]) << 8
	}
	s, c := bits.Add64(sum, rest, 0)
	return s + c
}

// fold reduces a sum to 16 bits and complements it.
func fold(sum uint64) uint16 {
	sum = sum>>32 + sum&0xffffffff
	sum = sum>>32 + sum&0xffffffff
	sum = sum>>16 + sum&0xffff
	sum = sum>>16 + sum&0xffff
	sum = sum>>16 + sum&0xffff
	return ^uint16(sum)
}

// adjust changes the checksum in c for one 16-bit word that goes from old to
// now: RFC 1624 equation 3, HC' = ~(~HC + ~m + m').
func adjust(c []byte, old, now uint16) {
	sum := uint32(^binary.BigEndian.Uint16(c)) + uint32(^old) + uint32(now)
	sum = sum>>16 + sum&0xffff
	sum = sum>>16 + sum&0xffff
	binary.BigEndian.PutUint16(c, ^uint16(sum))
}
