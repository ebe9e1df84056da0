package sock

import (
	"errors"
	"net"
	"net/netip"

	"golang.org/x/net/ipv6"
	"golang.org/x/sys/unix"

	"careof/wire/encap"
	"careof/wire/nat64"
)

// A Translator stands between IPv6 and IPv4 (RFC 6146): it knows which IPv6
// addresses stand for IPv4 ones (RFC 6052).
type Translator interface {
	// To is the IPv6 address that stands for an IPv4 one.
	To(netip.Addr) netip.Addr
	// From is the IPv4 address that an IPv6 one stands for; ok is false for one
	// that stands for none.
	From(netip.Addr) (a netip.Addr, ok bool)
}

// A translation is how an uplink's sockets reach IPv4 peers over IPv6. Whoever
// uses such a socket sees IPv4 addresses only.
type translation struct {
	source netip.Addr // IPv6, of the uplink
	by     Translator
}

// Translate has an uplink's sockets with an IPv4 address, which no interface need
// have, be IPv6 ones, bound to source: what is sent to a peer goes to the address
// that stands for it, and what comes from one that stands for none is dropped.
// Sockets that are open already stay as they are.
func (s *Set) Translate(link string, addr, source netip.Addr, by Translator) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.over[place{link: link, addr: addr}] = translation{source, by}
	s.hearErrors()
}

// Untranslate ends that for all addresses of an uplink but the one that is left
// out, which may be none.
func (s *Set) Untranslate(link string, but netip.Addr) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for p := range s.over {
		if p.link == link && p.addr != but {
			delete(s.over, p)
		}
	}
}

// options are those of an IPv6 socket; set is setsockopt.
func (t *translation) options(set func(level, name, value int) error) error {
	return errors.Join(
		set(unix.SOL_IPV6, unix.IPV6_RECVHOPLIMIT, 1),
		set(unix.SOL_IPV6, unix.IPV6_RECVTCLASS, 1),
		// As with IPv4: the path MTU is the data plane's business, and nothing
		// is fragmented.
		set(unix.SOL_IPV6, unix.IPV6_MTU_DISCOVER, unix.IPV6_PMTUDISC_PROBE),
		set(unix.SOL_IPV6, unix.IPV6_DONTFRAG, 1),
	)
}

// outer is where a datagram to peer is sent.
func (sk *socket) outer(peer netip.AddrPort) netip.AddrPort {
	if sk.over == nil {
		return peer
	}
	return netip.AddrPortFrom(sk.over.by.To(peer.Addr()), peer.Port())
}

// inner is whom a datagram has come from; invalid when the translator has not
// sent it.
func (sk *socket) inner(from netip.AddrPort) netip.AddrPort {
	if sk.over == nil {
		return from
	}
	a, ok := sk.over.by.From(from.Addr())
	if !ok {
		return netip.AddrPort{}
	}
	return netip.AddrPortFrom(a, from.Port())
}

func (sk *socket) appendTOS(control []byte, tos uint8) []byte {
	if sk.over != nil {
		return appendInt(control, unix.SOL_IPV6, unix.IPV6_TCLASS, int32(tos))
	}
	return appendInt(control, unix.SOL_IP, unix.IP_TOS, int32(tos))
}

func (sk *socket) appendTTL(control []byte, ttl uint8) []byte {
	if sk.over != nil {
		return appendInt(control, unix.SOL_IPV6, unix.IPV6_HOPLIMIT, int32(ttl))
	}
	return appendInt(control, unix.SOL_IP, unix.IP_TTL, int32(ttl))
}

// hearErrors begins to read what routers say of the datagrams that leave over IPv6;
// s.mu is held. The sockets themselves could tell (IPV6_RECVERR), but then the next
// datagram that is sent pays for an error about another one. Where the socket cannot
// be had nothing is heard, and probes find out.
func (s *Set) hearErrors() {
	if s.errors != nil || s.receive.Error == nil || s.closed {
		return
	}
	c, err := net.ListenPacket("ip6:ipv6-icmp", "::")
	if err != nil {
		return
	}
	var filter ipv6.ICMPFilter
	filter.SetAll(true)
	for _, kind := range []ipv6.ICMPType{ipv6.ICMPTypeDestinationUnreachable, ipv6.ICMPTypePacketTooBig, ipv6.ICMPTypeTimeExceeded} {
		filter.Accept(kind)
	}
	if err := ipv6.NewPacketConn(c).SetICMPFilter(&filter); err != nil {
		c.Close()
		return
	}
	s.errors = c
	s.readers.Go(func() { s.readErrors(c) })
}

func (s *Set) readErrors(c net.PacketConn) {
	buffer := make([]byte, 2*nat64.LeastMTU) // an error is no longer than half of it (RFC 4443 section 2.4 c)
	for {
		n, src, err := c.ReadFrom(buffer)
		if errors.Is(err, net.ErrClosed) {
			return
		}
		at, ok := src.(*net.IPAddr)
		if err != nil || !ok {
			continue
		}
		e, err := nat64.ParseError(buffer[:n])
		if err != nil {
			continue
		}
		from, _ := netip.AddrFromSlice(at.IP)
		if packet := s.inIPv4(&e, from); packet != nil {
			s.receive.Error(packet)
		}
	}
}

// dummy is whom an error comes from that a router with IPv6 alone has sent
// (RFC 7600 section 4.8: 192.0.0.8).
var dummy = netip.AddrFrom4([4]byte{192, 0, 0, 8})

// inIPv4 is an ICMPv6 error as the IPv4 packet that would have come if the datagram
// that it is about had left over IPv4; nil when no socket can have sent that.
//
//rfc:4443#3.2
func (s *Set) inIPv4(e *nat64.Error, from netip.Addr) []byte {
	sk, peer := s.sender(e)
	if sk == nil {
		return nil
	}
	if a, ok := sk.over.by.From(from); ok {
		from = a
	} else {
		from = dummy
	}
	quote, err := encap.AppendIPv4(nil, &encap.IPv4{
		TOS: e.TrafficClass, DF: true, TTL: e.HopLimit, Protocol: unix.IPPROTO_UDP, Src: sk.addr, Dst: peer,
	}, e.Length)
	if err != nil {
		return nil
	}
	m := encap.ICMP{Type: encap.ICMPType(e.Type), Code: e.Code, MTU: uint16(e.MTU)}
	return encap.ICMPError(m, from, append(quote, e.Quote...))
}

// sender is the socket that can have sent what an error quotes, and to whom: who
// forges one has to know its port.
func (s *Set) sender(e *nat64.Error) (sk *socket, peer netip.Addr) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, sockets := range []map[place]*socket{s.sockets, s.former} {
		for _, sk := range sockets {
			if sk.over == nil || sk.over.source != e.Source || sk.local.Port() != e.SrcPort {
				continue
			}
			if peer, ok := sk.over.by.From(e.Dest); ok {
				return sk, peer
			}
		}
	}
	return nil, peer
}
