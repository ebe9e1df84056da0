package encap

import (
	"bytes"
	"encoding/binary"
)

// mark begins the data of echo messages that find out how long a packet a
// tunnel carries: RFC 8899's probe packets. It is followed by eight octets
// that only who sees them can answer with.
const mark = "careof\x00\x01"

// ProbeLen is the length of the shortest probe packet, its IPv4 header
// included.
const ProbeLen = ipv4HeaderLen + icmpHeaderLen + len(mark) + 8

// AppendProbe appends the IPv4 packet of size octets with an echo message whose
// data says that it is a probe, with a token that its answer repeats. It is
// not to be fragmented, and what answers it is not either: see [IsProbe]. It
// is never shorter than [ProbeLen].
//
//rfc:8899#4.1
func AppendProbe(dst []byte, e Echo, token uint64, size int, ipID uint16) ([]byte, error) {
	data := make([]byte, max(size, ProbeLen)-ipv4HeaderLen-icmpHeaderLen)
	copy(data, mark)
	binary.BigEndian.PutUint64(data[len(mark):], token)
	e.Data = data
	return AppendEcho(dst, &e, ipID)
}

// Token is that of a probe packet or its answer; 0 of any other echo message.
func (e *Echo) Token() uint64 {
	if !bytes.HasPrefix(e.Data, []byte(mark)) || len(e.Data) < len(mark)+8 {
		return 0
	}
	return binary.BigEndian.Uint64(e.Data[len(mark):])
}

// IsProbe says whether a packet is a probe or the answer to one: it goes
// through a tunnel whole or not at all, whatever is known of the tunnel's path.
func IsProbe(packet []byte) bool {
	at := ipv4HeaderLen + icmpHeaderLen
	if len(packet) < ProbeLen || packet[0] != 4<<4|ipv4HeaderLen/4 || packet[9] != protoICMP ||
		binary.BigEndian.Uint16(packet[6:])&0x3fff != 0 || !bytes.HasPrefix(packet[at:], []byte(mark)) {
		return false
	}
	t := ICMPType(packet[ipv4HeaderLen])
	return t == EchoRequest || t == EchoReply
}
