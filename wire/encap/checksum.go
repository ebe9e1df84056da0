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

// add sums b on top of sum. One's complement sums may be formed of any word
// size and folded at the end (RFC 1071 section 2).
func add(sum uint64, b []byte) uint64 {
	if len(b) >= 64 {
		n := len(b) &^ 63
		sum, b = plus(sum, addBlocks(b[:n])), b[n:]
	}
	for len(b) >= 8 {
		sum = plus(sum, binary.BigEndian.Uint64(b))
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
	return plus(sum, rest)
}

// plus is the one's complement sum of two.
func plus(a, b uint64) uint64 {
	s, c := bits.Add64(a, b, 0)
	return s + c // s is at most 2^64-2 when there is a carry
}

// addBlocks sums blocks of 64 octets, with one chain of carries for each. The
// sum may be formed in either byte order and swapped at the end (RFC 1071
// section 2), so octets are loaded in the order that most processors like.
func addBlocks(b []byte) uint64 {
	var s, c uint64
	for len(b) >= 64 {
		p := (*[64]byte)(b)
		s, c = bits.Add64(s, binary.LittleEndian.Uint64(p[0:8]), 0)
		s, c = bits.Add64(s, binary.LittleEndian.Uint64(p[8:16]), c)
		s, c = bits.Add64(s, binary.LittleEndian.Uint64(p[16:24]), c)
		s, c = bits.Add64(s, binary.LittleEndian.Uint64(p[24:32]), c)
		s, c = bits.Add64(s, binary.LittleEndian.Uint64(p[32:40]), c)
		s, c = bits.Add64(s, binary.LittleEndian.Uint64(p[40:48]), c)
		s, c = bits.Add64(s, binary.LittleEndian.Uint64(p[48:56]), c)
		s, c = bits.Add64(s, binary.LittleEndian.Uint64(p[56:64]), c)
		s += c
		b = b[64:]
	}
	return uint64(bits.ReverseBytes16(^fold(s)))
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
