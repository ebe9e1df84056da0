package dhcp

import (
	"encoding/binary"
	"net/netip"

	"github.com/insomniacslk/dhcp/dhcpv4"

	"careof/internal/core/engine"
	"careof/internal/host/arp"
	"careof/internal/host/lease"
)

// everybody is Ethernet's and IPv4's.
var everybody = netip.AddrFrom4([4]byte{255, 255, 255, 255})

const (
	etherLen = 14
	ipLen    = 20
	udpLen   = 8
)

// frame lays a message out for everybody on a link.
func frame(hw engine.HardwareAddr, from netip.Addr, message []byte) []byte {
	if !from.IsValid() {
		from = netip.IPv4Unspecified()
	}
	b := append([]byte{}, arp.Broadcast[:]...)
	b = append(b, hw[:]...)
	b = binary.BigEndian.AppendUint16(b, 0x0800)
	ip := len(b)
	b = append(b, 0x45, 0)
	b = binary.BigEndian.AppendUint16(b, uint16(ipLen+udpLen+len(message)))
	b = append(b, 0, 0, 0x40, 0, 64, 17, 0, 0)
	b = append(b, from.AsSlice()...)
	b = append(b, everybody.AsSlice()...)
	binary.BigEndian.PutUint16(b[ip+10:], ^sum(b[ip:ip+ipLen]))
	b = binary.BigEndian.AppendUint16(b, lease.ClientPort)
	b = binary.BigEndian.AppendUint16(b, lease.ServerPort)
	b = binary.BigEndian.AppendUint16(b, uint16(udpLen+len(message)))
	// No UDP checksum: IPv4 allows that (RFC 768), and the message has its own
	// identifiers.
	b = append(b, 0, 0)
	return append(b, message...)
}

func sum(b []byte) uint16 {
	var s uint32
	for ; len(b) >= 2; b = b[2:] {
		s += uint32(binary.BigEndian.Uint16(b))
	}
	for s > 0xffff {
		s = s>>16 + s&0xffff
	}
	return uint16(s)
}

// messageOf finds the message for clients in a frame; nil when it is something
// else. The UDP checksum is not looked at: on virtual links it is often not
// there yet, and the transaction identifier says whose message it is.
func messageOf(b []byte) *dhcpv4.DHCPv4 {
	if len(b) < etherLen+ipLen || binary.BigEndian.Uint16(b[12:]) != 0x0800 {
		return nil
	}
	b = b[etherLen:]
	header, total := int(b[0]&15)*4, int(binary.BigEndian.Uint16(b[2:]))
	if b[0]>>4 != 4 || header < ipLen || total < header+udpLen || total > len(b) || b[9] != 17 || binary.BigEndian.Uint16(b[6:])&0x3fff != 0 {
		return nil
	}
	b = b[header:total]
	length := int(binary.BigEndian.Uint16(b[4:]))
	if binary.BigEndian.Uint16(b) != lease.ServerPort || binary.BigEndian.Uint16(b[2:]) != lease.ClientPort || length < udpLen || length > len(b) {
		return nil
	}
	p, err := dhcpv4.FromBytes(b[udpLen:length])
	if err != nil {
		return nil
	}
	return p
}
