package tun

import (
	"encoding/binary"

	"careof/wire/encap"
)

const (
	protoTCP = 6
	protoUDP = 17

	tcpSeq      = 4
	tcpOffset   = 12
	tcpFlags    = 13
	tcpChecksum = 16

	tcpFIN = 0x01
	tcpSYN = 0x02
	tcpRST = 0x04
	tcpPSH = 0x08
	tcpACK = 0x10
	tcpURG = 0x20
	tcpCWR = 0x80

	udpHeader   = 8
	udpLength   = 4
	udpChecksum = 6
)

// A flow is what the headers of a TCP or UDP packet say about trains.
type flow struct {
	protocol uint8
	ip, head int // length of the IP header, and with the transport header
}

// flowOf reads the headers of a packet that may be part of a train: TCP or
// UDP, and no fragment.
func flowOf(pkt []byte) (f flow, ok bool) {
	if len(pkt) < 20 {
		return f, false
	}
	f.protocol, f.ip = pkt[9], int(pkt[0]&15)*4
	if f.ip < 20 || binary.BigEndian.Uint16(pkt[6:])&0x3fff != 0 {
		return f, false
	}
	switch f.protocol {
	case protoTCP:
		if len(pkt) < f.ip+20 {
			return f, false
		}
		f.head = f.ip + int(pkt[f.ip+tcpOffset]>>4)*4
		return f, f.head >= f.ip+20 && f.head <= len(pkt)
	case protoUDP:
		f.head = f.ip + udpHeader
		return f, f.head <= len(pkt)
	}
	return f, false
}

// pseudoSum is the one's complement sum of the pseudo header of a TCP segment
// or UDP datagram of n octets (RFC 9293 section 3.1).
func pseudoSum(ip []byte, protocol uint8, n int) uint16 {
	sum := uint32(protocol) + uint32(n)
	for i := 12; i < 20; i += 2 {
		sum += uint32(binary.BigEndian.Uint16(ip[i:]))
	}
	return fold(sum)
}

func fold(sum uint32) uint16 {
	sum = sum>>16 + sum&0xffff
	return uint16(sum>>16 + sum&0xffff)
}

// checked reports whether the checksum of a packet's TCP segment or UDP
// datagram is right.
func checked(pkt []byte, f flow) bool {
	transport := pkt[f.ip:]
	// The complement of the sum of everything but the pseudo header.
	return encap.Checksum(transport) == pseudoSum(pkt, f.protocol, len(transport))
}

// cut writes the headers of a part of a train to dst, which is as long as they
// are: those of the packet whose payload is payload[off:off+n] of all. first
// are the train's own headers, the checksums of which do not count.
func cut(dst, first []byte, f flow, payload []byte, off, n, i int) {
	copy(dst, first[:f.head])
	binary.BigEndian.PutUint16(dst[2:], uint16(f.head+n))
	binary.BigEndian.PutUint16(dst[4:], binary.BigEndian.Uint16(first[4:])+uint16(i))
	dst[10], dst[11] = 0, 0
	binary.BigEndian.PutUint16(dst[10:], encap.Checksum(dst[:f.ip]))
	transport := dst[f.ip:f.head]
	at := tcpChecksum
	if f.protocol == protoTCP {
		binary.BigEndian.PutUint32(transport[tcpSeq:], binary.BigEndian.Uint32(first[f.ip+tcpSeq:])+uint32(off))
		if off+n < len(payload) {
			transport[tcpFlags] &^= tcpFIN | tcpPSH
		}
		if off > 0 {
			transport[tcpFlags] &^= tcpCWR
		}
	} else {
		at = udpChecksum
		binary.BigEndian.PutUint16(transport[udpLength:], uint16(udpHeader+n))
	}
	binary.BigEndian.PutUint16(transport[at:], pseudoSum(dst, f.protocol, len(transport)+n))
	// Headers are a multiple of four octets long, so the sums of both add up.
	sum := ^fold(uint32(^encap.Checksum(transport)) + uint32(^encap.Checksum(payload[off:off+n])))
	if sum == 0 && f.protocol == protoUDP {
		sum = 0xffff
	}
	binary.BigEndian.PutUint16(transport[at:], sum)
}

// A train is what the device is given in one piece: a packet, and the payloads
// of those that continue it. The kernel takes such a train through its stack
// once, as a network card's driver would have it done (GRO).
type train struct {
	packet []byte   // the first packet; its headers are changed when others join
	rest   [][]byte // the payloads of the others, in the packets' own memory
	size   int      // payload of each packet but the last; 0: a single packet
	flow   flow
	open   bool   // others may join
	sure   bool   // the first one's checksum has been found right
	last   int    // payload of the last packet
	length int    // of the whole as one packet
	next   uint32 // TCP sequence number that continues it
	id     uint16 // and IP identification

	virtual [virtualHeader]byte
}

// finish makes the headers those of the whole.
func (t *train) finish() {
	setVirtual(t.virtual[:], t.flow.protocol, t.flow.head, t.size, t.flow.ip)
	if t.size == 0 {
		return
	}
	p, ip := t.packet, t.flow.ip
	binary.BigEndian.PutUint16(p[2:], uint16(t.length))
	p[10], p[11] = 0, 0
	binary.BigEndian.PutUint16(p[10:], encap.Checksum(p[:ip]))
	at := ip + tcpChecksum
	if t.flow.protocol == protoUDP {
		at = ip + udpChecksum
		binary.BigEndian.PutUint16(p[ip+udpLength:], uint16(t.length-ip))
	}
	binary.BigEndian.PutUint16(p[at:], pseudoSum(p, t.flow.protocol, t.length-ip))
}

// An outbox gathers packets for the device and makes trains of those that
// follow each other. Packets of one flow stay in order.
type outbox struct {
	trains []train
}

const (
	// lookBack is how many trains are searched for one that a packet
	// continues.
	lookBack = 16
	// maxTrainPackets is how many packets one train has at most
	// (UDP_MAX_SEGMENTS).
	maxTrainPackets = 64
)

// reset forgets all packets.
func (o *outbox) reset() {
	for i := range o.trains {
		t := &o.trains[i]
		clear(t.rest)
		t.packet, t.rest = nil, t.rest[:0]
	}
	o.trains = o.trains[:0]
}

// begin adds a train.
func (o *outbox) begin(pkt []byte) *train {
	if len(o.trains) < cap(o.trains) {
		o.trains = o.trains[:len(o.trains)+1]
	} else {
		o.trains = append(o.trains, train{})
	}
	t := &o.trains[len(o.trains)-1]
	*t = train{packet: pkt, rest: t.rest[:0], length: len(pkt)}
	return t
}

// add takes a packet, which stays where it is until the outbox is reset.
func (o *outbox) add(pkt []byte) {
	f, ok := flowOf(pkt)
	if !ok {
		// A fragment may belong to any flow between the two.
		for t := range o.recent {
			if [8]byte(t.packet[12:]) == [8]byte(pkt[12:]) {
				t.open = false
			}
		}
		o.begin(pkt)
		return
	}
	for t := range o.recent {
		if t.flow.protocol != f.protocol || t.flow.ip != f.ip ||
			[8]byte(t.packet[12:]) != [8]byte(pkt[12:]) || [4]byte(t.packet[f.ip:]) != [4]byte(pkt[f.ip:]) {
			continue
		}
		if t.open && t.join(pkt, f) {
			return
		}
		t.open = false
		break
	}
	t := o.begin(pkt)
	t.flow, t.last = f, len(pkt)-f.head
	t.open = f.ip == 20 && t.last > 0 && (f.protocol == protoUDP || pkt[f.ip+tcpFlags] == tcpACK)
	t.id = binary.BigEndian.Uint16(pkt[4:]) + 1
	if f.protocol == protoTCP {
		t.next = binary.BigEndian.Uint32(pkt[f.ip+tcpSeq:]) + uint32(t.last)
	} else if t.open {
		// A datagram whose length is another has something behind it; one
		// without a checksum would get one.
		t.open = int(binary.BigEndian.Uint16(pkt[f.ip+udpLength:])) == len(pkt)-f.ip && binary.BigEndian.Uint16(pkt[f.ip+udpChecksum:]) != 0
	}
}

// recent walks over the latest trains, the last one first.
func (o *outbox) recent(yield func(*train) bool) {
	for i := len(o.trains) - 1; i >= max(0, len(o.trains)-lookBack); i-- {
		if !yield(&o.trains[i]) {
			return
		}
	}
}

// join puts a packet of the same flow behind the train if what comes out of
// cutting the train again is what was put in.
func (t *train) join(pkt []byte, f flow) bool {
	n := len(pkt) - f.head
	size := t.size
	if size == 0 {
		size = t.last
	}
	switch {
	case n == 0, n > size, t.last < size, f.head != t.flow.head, t.length+n > maxPacket, len(t.rest)+2 > maxTrainPackets:
		return false
	case [2]byte(t.packet[:2]) != [2]byte(pkt[:2]), t.packet[8] != pkt[8], [2]byte(t.packet[6:]) != [2]byte(pkt[6:]):
		return false // version, TOS, TTL, flags
	case pkt[6]&0x40 == 0 && t.id != binary.BigEndian.Uint16(pkt[4:]):
		return false // only packets that are never fragmented may have any
	}
	push := false
	if f.protocol == protoTCP {
		a, b := t.packet[f.ip:f.head], pkt[f.ip:f.head]
		if t.next != binary.BigEndian.Uint32(b[tcpSeq:]) || b[tcpFlags]&^tcpPSH != tcpACK {
			return false
		}
		// Acknowledgement, window and options are the same.
		if [4]byte(a[8:]) != [4]byte(b[8:]) || [2]byte(a[14:]) != [2]byte(b[14:]) || string(a[20:]) != string(b[20:]) {
			return false
		}
		push = b[tcpFlags]&tcpPSH != 0
	} else if int(binary.BigEndian.Uint16(pkt[f.ip+udpLength:])) != len(pkt)-f.ip || binary.BigEndian.Uint16(pkt[f.ip+udpChecksum:]) == 0 {
		return false
	}
	// The kernel believes the checksums of a train, so they are looked at here.
	if !t.sure {
		if !checked(t.packet, t.flow) {
			return false
		}
		t.sure = true
	}
	if !checked(pkt, f) {
		return false
	}
	if push {
		t.packet[f.ip+tcpFlags] |= tcpPSH
		t.open = false
	}
	t.size = size
	t.rest = append(t.rest, pkt[f.head:])
	t.length += n
	t.last = n
	t.next += uint32(n)
	t.id++
	return true
}
