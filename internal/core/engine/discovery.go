package engine

import "net/netip"

// Discovery is an ICMP router discovery message that came in: an agent
// advertisement (type 9) or a solicitation (type 10), as the IPv4 family has
// them (RFC 1256, RFC 5944 section 2).
type Discovery struct {
	Link string       // name of the interface it came in on
	Src  netip.Addr   // IP source, which may be 0.0.0.0
	Dst  netip.Addr   // IP destination: unicast, multicast or broadcast
	TTL  uint8        // of the IP header
	HW   HardwareAddr // link-layer source, zero when unknown
	Data []byte       // the ICMP message; its checksum has not been verified
}

// Bounced says that an ICMP error came back for a signalling datagram that
// this host sent. Anybody can forge one: it is a hint, and never a proof.
type Bounced struct {
	From netip.Addr     // the router that sent the error
	Src  netip.AddrPort // of the datagram that the error quotes
	Dst  netip.AddrPort // of the datagram that the error quotes
	Type uint8          // ICMP type
	Code uint8          // ICMP code
	Data []byte         // what the error quotes of the UDP payload; often nothing
}

// SendDiscovery sends one ICMP router discovery message over a link, with a
// TTL of 1 (RFC 5944 sections 2.1 and 2.2). A zero HW is derived from a
// broadcast or multicast Dst; a unicast Dst needs one, since nobody broadcasts
// ARP requests for a visiting node.
type SendDiscovery struct {
	Link string
	Src  netip.Addr // an invalid address means the first address of the link
	Dst  netip.Addr
	HW   HardwareAddr // link-layer destination
	Data []byte       // the ICMP message with its checksum
}

func (Discovery) event()      {}
func (Bounced) event()        {}
func (SendDiscovery) action() {}
