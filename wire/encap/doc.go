// Package encap puts tunnel headers on IPv4 packets and takes them off again:
// IP-in-IP (RFC 2003), minimal encapsulation (RFC 2004), GRE with and without
// key (RFC 2784, RFC 2890), and each of them in UDP port 434 (RFC 3519).
//
// The package knows bytes only. It keeps no state, allocates nothing on the
// way of a packet, and never decides whether a packet is welcome: after Pull
// the caller must compare addresses, ports, key and kind with a live binding
// before it forwards anything.
//
// The caller's duties, in order, when it encapsulates:
//
//  1. decrement the TTL when it forwards the packet (DecrementTTL);
//  2. refuse loops (Loops);
//  3. compare the length with the tunnel's MTU: Fragment, or ICMPError;
//  4. Push (a raw packet) or PushUDP (the payload for a UDP socket).
//
// And when it decapsulates: Pull, PullIP or PullUDP, compare with the binding,
// then SetECN, then forward (which decrements the TTL).
//
// Packets are IPv4 in IPv4. Everything works in place: a packet is a part of
// a buffer that has Headroom octets free in front.
package encap

import "errors"

// What a packet can have wrong. The errors carry no position, because they
// are made once per packet of a stranger; the decoder says where.
var (
	// ErrShort: the bytes end inside a header, or before the length that a header announces.
	ErrShort = errors.New("encap: packet is too short")
	// ErrVersion: not IPv4, or a GRE version other than 0.
	ErrVersion = errors.New("encap: unsupported version")
	// ErrLength: a length field contradicts itself or the header before it.
	ErrLength = errors.New("encap: impossible length field")
	// ErrChecksum: an IPv4, UDP, GRE, ICMP or minimal header checksum does not hold.
	ErrChecksum = errors.New("encap: bad checksum")
	// ErrFragment: a fragment where only a whole datagram will do (minimal encapsulation, or an outer packet not yet reassembled).
	ErrFragment = errors.New("encap: packet is a fragment")
	// ErrProtocol: a protocol number that is none of our encapsulations, or a payload that is not IPv4.
	ErrProtocol = errors.New("encap: not a tunnel protocol")
	// ErrReserved: GRE bits 1 to 5 that RFC 2784 section 2.3 makes fatal.
	ErrReserved = errors.New("encap: reserved GRE bits set")
	// ErrTTL: the inner TTL is 0.
	ErrTTL = errors.New("encap: TTL is zero")
	// ErrLoop: a GRE payload addressed to the tunnel's other end.
	ErrLoop = errors.New("encap: packet is addressed to its encapsulator")
	// ErrHeadroom: the buffer has no room in front of the packet.
	ErrHeadroom = errors.New("encap: not enough headroom")
	// ErrTooBig: the result would exceed 65535 octets, or the MTU of a packet with DF.
	ErrTooBig = errors.New("encap: packet is too big")
	// ErrOptions: IP options that this form cannot carry.
	ErrOptions = errors.New("encap: IP options cannot be carried")
	// ErrAddress: an address in a Header that is not IPv4.
	ErrAddress = errors.New("encap: not an IPv4 address")
	// ErrCongestion: congestion was marked on a packet whose transport does not understand marks; RFC 6040 section 4.2 wants it dropped.
	ErrCongestion = errors.New("encap: congestion experienced on a packet that is not ECN capable")
)
