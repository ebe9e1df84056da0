package tun

import (
	"encoding/binary"

	"careof/wire/encap"
)

const (
	protoTCP = 6

	tcpSeq      = 4
	tcpOffset   = 12
	tcpFlags    = 13
	tcpChecksum = 16

	tcpFIN = 0x01
	tcpPSH = 0x08
	tcpCWR = 0x80
)

// whole makes an inner packet fit for the device, which takes packets as they
// are on a wire. The kernel merges TCP segments as they come in, those inside
// IP-in-IP and GRE too (GRO, which network cards' drivers use unless told
// otherwise), and raw sockets get the result: one long segment, with the sum of
// the pseudo header in the place of its checksum. So do packets that never
// were on a wire. A packet whose checksum has that value by chance is given
// the same one again.
//
// It returns nil when the packet is whole, and else what to take in its place,
// with deviceOffset octets in front of each, until the batch is written. mtu is the longest packet that the tunnel carries.
func (b *batch) whole(inner []byte, mtu int) (parts [][]byte) {
	head := int(inner[0]&15) * 4
	if inner[9] != protoTCP || binary.BigEndian.Uint16(inner[6:])&0x3fff != 0 || len(inner) < head+20 {
		return nil
	}
	tcp := inner[head:]
	pseudo := pseudoSum(inner, len(tcp))
	if binary.BigEndian.Uint16(tcp[tcpChecksum:]) != pseudo {
		return nil
	}
	head += int(tcp[tcpOffset]>>4) * 4
	if head > len(inner) || head >= mtu {
		return nil
	}
	if len(inner) <= mtu {
		// The sum goes on from the pseudo header's, which is in the field.
		binary.BigEndian.PutUint16(tcp[tcpChecksum:], encap.Checksum(tcp))
		return nil
	}
	ip := head - int(tcp[tcpOffset]>>4)*4
	id, seq, flags := binary.BigEndian.Uint16(inner[4:]), binary.BigEndian.Uint32(tcp[tcpSeq:]), tcp[tcpFlags]
	payload := inner[head:]
	for off := 0; off < len(payload); off += mtu - head {
		n := min(mtu-head, len(payload)-off)
		part := b.room(deviceOffset + head + n)
		p := part[deviceOffset:]
		copy(p, inner[:head])
		copy(p[head:], payload[off:off+n])
		binary.BigEndian.PutUint16(p[2:], uint16(len(p)))
		binary.BigEndian.PutUint16(p[4:], id+uint16(len(parts)))
		p[10], p[11] = 0, 0
		binary.BigEndian.PutUint16(p[10:], encap.Checksum(p[:ip]))
		tcp := p[ip:]
		binary.BigEndian.PutUint32(tcp[tcpSeq:], seq+uint32(off))
		tcp[tcpFlags] = flags
		if off+n < len(payload) {
			tcp[tcpFlags] &^= tcpFIN | tcpPSH
		}
		if off > 0 {
			tcp[tcpFlags] &^= tcpCWR
		}
		binary.BigEndian.PutUint16(tcp[tcpChecksum:], pseudoSum(p, len(tcp)))
		binary.BigEndian.PutUint16(tcp[tcpChecksum:], encap.Checksum(tcp))
		parts = append(parts, part)
	}
	return parts
}

// room gives a buffer that lasts until the batch is written.
func (b *batch) room(n int) []byte {
	start := len(b.arena)
	if start+n > cap(b.arena) {
		// What was given out before keeps its own memory.
		b.arena = make([]byte, 0, max(2*cap(b.arena), 2*maxPacket))
		start = 0
	}
	b.arena = b.arena[:start+n]
	return b.arena[start : start+n : start+n]
}

// pseudoSum is the one's complement sum of the pseudo header of a TCP segment
// of n octets (RFC 9293 section 3.1).
func pseudoSum(ip []byte, n int) uint16 {
	sum := uint32(protoTCP) + uint32(n)
	for i := 12; i < 20; i += 2 {
		sum += uint32(binary.BigEndian.Uint16(ip[i:]))
	}
	for sum > 0xffff {
		sum = sum>>16 + sum&0xffff
	}
	return uint16(sum)
}
