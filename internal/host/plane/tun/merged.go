package tun

import (
	"encoding/binary"

	"careof/wire/encap"
)

// merged makes an inner packet whole that never was on a wire as it is. The
// kernel merges TCP segments as they come in, those inside IP-in-IP and GRE
// too (GRO, which network cards' drivers use unless told otherwise), and raw
// sockets get the result: one long segment, with the sum of the pseudo header
// in the place of its checksum. So do packets between namespaces of one host.
// A packet whose checksum has that value by chance is given the same one again.
//
// size is 0 when the packet is whole now, and else the payload of each packet
// of the train that it is. mtu is the longest packet that the tunnel carries.
func merged(inner []byte, mtu int) (f flow, size int) {
	f, ok := flowOf(inner)
	if !ok || f.protocol != protoTCP {
		return f, 0
	}
	tcp := inner[f.ip:]
	if binary.BigEndian.Uint16(tcp[tcpChecksum:]) != pseudoSum(inner, protoTCP, len(tcp)) {
		return f, 0
	}
	if len(inner) <= mtu || f.head >= mtu {
		// The sum goes on from the pseudo header's, which is in the field.
		binary.BigEndian.PutUint16(tcp[tcpChecksum:], encap.Checksum(tcp))
		return f, 0
	}
	return f, mtu - f.head
}

// whole puts a merged packet into the outbox as it is.
func (o *outbox) whole(pkt []byte, f flow, size int) {
	for t := range o.recent {
		t.open = false
	}
	t := o.begin(pkt)
	t.flow, t.size = f, size
}

// eachPart cuts a train whose headers are first's and calls yield with every
// packet of it, which is valid until the next one. room is as long as one.
func eachPart(pkt []byte, f flow, size int, room []byte, yield func([]byte)) {
	payload := pkt[f.head:]
	for i, off := 0, 0; off < len(payload); i, off = i+1, off+size {
		n := min(size, len(payload)-off)
		part := room[:f.head+n]
		cut(part, pkt, f, payload, off, n, i)
		copy(part[f.head:], payload[off:off+n])
		yield(part)
	}
}
