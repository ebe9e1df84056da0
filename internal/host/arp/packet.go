package arp

import (
	"encoding/binary"
	"errors"
	"net/netip"
	"strconv"

	"careof/internal/core/forward"
)

// An Op is what an ARP packet asks or says (RFC 826).
type Op uint16

const (
	Request Op = 1
	Reply   Op = 2
)

func (o Op) String() string {
	switch o {
	case Request:
		return "request"
	case Reply:
		return "reply"
	}
	return "Op(" + strconv.Itoa(int(o)) + ")"
}

// A Packet is an ARP packet for IPv4 on Ethernet.
type Packet struct {
	Op       Op
	SenderHW forward.HardwareAddr
	Sender   netip.Addr
	TargetHW forward.HardwareAddr
	Target   netip.Addr
}

const (
	etherType   = 0x0806
	packetLen   = 28
	frameLen    = 14 + packetLen
	ethernet    = 1
	ipv4        = 0x0800
	hardwareLen = 6
	protocolLen = 4
)

// ErrPacket: the bytes are no ARP packet for IPv4 on Ethernet.
var ErrPacket = errors.New("arp: not an ARP packet for IPv4 on Ethernet")

// Broadcast is Ethernet's broadcast address.
var Broadcast = forward.HardwareAddr{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}

// AppendFrame appends an Ethernet frame with the packet. Both addresses of the
// packet are IPv4.
func AppendFrame(b []byte, dst, src forward.HardwareAddr, p Packet) []byte {
	b = append(b, dst[:]...)
	b = append(b, src[:]...)
	b = binary.BigEndian.AppendUint16(b, etherType)
	b = binary.BigEndian.AppendUint16(b, ethernet)
	b = binary.BigEndian.AppendUint16(b, ipv4)
	b = append(b, hardwareLen, protocolLen)
	b = binary.BigEndian.AppendUint16(b, uint16(p.Op))
	b = append(b, p.SenderHW[:]...)
	b = append(b, p.Sender.AsSlice()...)
	b = append(b, p.TargetHW[:]...)
	return append(b, p.Target.AsSlice()...)
}

// ParseFrame reads an Ethernet frame with an ARP packet; octets behind it are
// padding.
func ParseFrame(b []byte) (p Packet, dst, src forward.HardwareAddr, err error) {
	if len(b) < frameLen || binary.BigEndian.Uint16(b[12:]) != etherType {
		return p, dst, src, ErrPacket
	}
	dst, src = forward.HardwareAddr(b[:6]), forward.HardwareAddr(b[6:12])
	b = b[14:]
	if binary.BigEndian.Uint16(b) != ethernet || binary.BigEndian.Uint16(b[2:]) != ipv4 || b[4] != hardwareLen || b[5] != protocolLen {
		return p, dst, src, ErrPacket
	}
	p = Packet{
		Op:       Op(binary.BigEndian.Uint16(b[6:])),
		SenderHW: forward.HardwareAddr(b[8:14]),
		Sender:   netip.AddrFrom4([4]byte(b[14:18])),
		TargetHW: forward.HardwareAddr(b[18:24]),
		Target:   netip.AddrFrom4([4]byte(b[24:28])),
	}
	return p, dst, src, nil
}

// Gratuitous is the packet that makes everybody on a link believe that addr is
// at hw. RFC 5944 section 4.6: "the ARP Sender Protocol Address and ARP Target
// Protocol Address are both set to the IP address of the cache entry to be
// updated, and the ARP Sender Hardware Address is set to the link-layer address
// to which this cache entry should be updated." It is a request, whose target
// hardware address is not used.
//
//rfc:5944#4.6
func Gratuitous(addr netip.Addr, hw forward.HardwareAddr) Packet {
	return Packet{Op: Request, SenderHW: hw, Sender: addr, Target: addr}
}
