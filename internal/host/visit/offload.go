package visit

import (
	"encoding/binary"
	"iter"

	"golang.org/x/sys/unix"

	"careof/wire/encap"
)

// offloadHeader is the length of struct virtio_net_hdr, which stands before
// every frame.
const offloadHeader = 10

// An offload says what was left undone about a packet.
type offload struct {
	checksum      bool  // the checksum is the pseudo header's sum yet
	kind          uint8 // of segmentation, 0 for none
	segment       int   // octets of payload in a segment
	start, offset int   // where the checksummed part begins in the packet, and where in it the checksum stands
}

// parseOffload reads the header, which counts from the frame's beginning.
func parseOffload(b []byte) offload {
	u16 := func(at int) int { return int(binary.NativeEndian.Uint16(b[at:])) }
	return offload{
		checksum: b[0]&unix.VIRTIO_NET_HDR_F_NEEDS_CSUM != 0, kind: b[1] &^ unix.VIRTIO_NET_HDR_GSO_ECN,
		segment: u16(4), start: u16(6) - frameHeader, offset: u16(8),
	}
}

const (
	udpLength   = 4
	tcpSequence = 4
	tcpOffset   = 12
	tcpFlags    = 13

	tcpFIN = 0x01
	tcpPSH = 0x08
	tcpCWR = 0x80
)

// wirePackets yields the packet as it would be on a wire: with its checksum, and
// in segments. What nobody can finish is nothing.
func wirePackets(o offload, packet []byte) iter.Seq[[]byte] {
	return func(yield func([]byte) bool) {
		if !o.checksum {
			if o.kind == unix.VIRTIO_NET_HDR_GSO_NONE {
				yield(packet)
			}
			return
		}
		if o.start < 20 || o.start+o.offset+2 > len(packet) {
			return
		}
		head := o.start + 8
		switch o.kind {
		case unix.VIRTIO_NET_HDR_GSO_NONE:
			// The sum goes on from the pseudo header's, which is in the field.
			o.put(packet)
			yield(packet)
			return
		case unix.VIRTIO_NET_HDR_GSO_TCPV4:
			if o.start+20 > len(packet) {
				return
			}
			head = max(o.start+20, o.start+int(packet[o.start+tcpOffset]>>4)*4)
		case unix.VIRTIO_NET_HDR_GSO_UDP_L4:
		default:
			return
		}
		if ip := int(packet[0]&15) * 4; ip < 20 || ip > o.start || head > len(packet) || o.start+o.offset+2 > head || o.segment < 1 {
			return
		}
		for at := head; at < len(packet); at += o.segment {
			if !yield(o.cut(packet, head, at)) {
				return
			}
		}
	}
}

// cut is the segment whose payload begins at at.
func (o *offload) cut(packet []byte, head, at int) []byte {
	end := min(at+o.segment, len(packet))
	number := (at - head) / o.segment
	p := append(append(make([]byte, 0, head+end-at), packet[:head]...), packet[at:end]...)
	binary.BigEndian.PutUint16(p[2:], uint16(len(p)))
	binary.BigEndian.PutUint16(p[4:], binary.BigEndian.Uint16(p[4:])+uint16(number))
	p[10], p[11] = 0, 0
	binary.BigEndian.PutUint16(p[10:], encap.Checksum(p[:int(p[0]&15)*4]))
	l4 := p[o.start:]
	if o.kind == unix.VIRTIO_NET_HDR_GSO_UDP_L4 {
		binary.BigEndian.PutUint16(l4[udpLength:], uint16(len(l4)))
	} else {
		binary.BigEndian.PutUint32(l4[tcpSequence:], binary.BigEndian.Uint32(l4[tcpSequence:])+uint32(at-head))
		if end < len(packet) {
			l4[tcpFlags] &^= tcpFIN | tcpPSH
		}
		if number > 0 {
			l4[tcpFlags] &^= tcpCWR
		}
	}
	binary.BigEndian.PutUint16(l4[o.offset:], pseudoSum(p, len(l4)))
	o.put(p)
	return p
}

// put completes a checksum.
func (o *offload) put(packet []byte) {
	l4 := packet[o.start:]
	sum := encap.Checksum(l4)
	if sum == 0 {
		sum = 0xffff // 0 means none in UDP; the two are equal elsewhere
	}
	binary.BigEndian.PutUint16(l4[o.offset:], sum)
}

// pseudoSum is the one's complement sum of the pseudo header of n octets.
func pseudoSum(ip []byte, n int) uint16 {
	sum := uint32(ip[9]) + uint32(n)
	for i := 12; i < 20; i += 2 {
		sum += uint32(binary.BigEndian.Uint16(ip[i:]))
	}
	for sum > 0xffff {
		sum = sum>>16 + sum&0xffff
	}
	return uint16(sum)
}
