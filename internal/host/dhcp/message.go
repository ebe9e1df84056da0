package dhcp

import (
	"encoding/binary"
	"net"
	"net/netip"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv4"
	"github.com/insomniacslk/dhcp/iana"

	"careof/internal/core/engine"
	"careof/internal/host/arp"
)

// newExchange draws a transaction identifier.
func (m *Machine) newExchange() { binary.BigEndian.PutUint32(m.xid[:], m.luck.Uint32()) }

// discover looks for servers, from the beginning.
func (m *Machine) discover(now time.Time) []Action {
	m.state, m.tries, m.began = Selecting, 0, now
	m.newExchange()
	return m.sendDiscover(now)
}

func (m *Machine) sendDiscover(now time.Time) []Action {
	p := m.message(now, dhcpv4.MessageTypeDiscover)
	m.tries++
	m.next = m.later(now)
	return []Action{Send{Message: p}}
}

// reboot asks whether a lease of before holds: "'server identifier' MUST NOT be
// filled in, 'requested IP address' option MUST be filled in with client's
// notion of its previously assigned address. 'ciaddr' MUST be zero." (RFC 2131
// section 4.3.2)
func (m *Machine) reboot(now time.Time) []Action {
	p := m.message(now, dhcpv4.MessageTypeRequest, withRequested(m.offer.Address.Addr()))
	m.tries++
	m.next = m.later(now)
	return []Action{Send{Message: p}}
}

// request asks the server whose offer was taken for it.
func (m *Machine) request(now time.Time) []Action {
	p := m.message(now, dhcpv4.MessageTypeRequest, withRequested(m.offer.Address.Addr()), withServer(m.offer.Server))
	m.tries++
	m.next = m.later(now)
	return []Action{Send{Message: p}}
}

// renew asks the server of the lease for more time; when rebinding, any server.
//
//rfc:2131#4.4.5
func (m *Machine) renew(now time.Time) []Action {
	own := m.lease.Address.Addr()
	s := Send{Message: m.message(now, dhcpv4.MessageTypeRequest, withClient(own)), From: own, To: m.lease.Server}
	end := m.lease.Rebind
	if m.state == Rebinding {
		s.To, end = netip.Addr{}, m.lease.Until
	}
	m.next = now.Add(max(leastRenew, end.Sub(now)/2))
	if m.next.After(end) {
		m.next = end
	}
	return []Action{s}
}

// probe asks who has the address, as somebody without any (RFC 5227).
func (m *Machine) probe(now time.Time) []Action {
	m.tries++
	m.next = now.Add(probeWait)
	return []Action{Ask{To: arp.Broadcast, Packet: arp.Packet{
		Op: arp.Request, SenderHW: m.hw, Sender: netip.IPv4Unspecified(), Target: m.offer.Address.Addr(),
	}}}
}

// wanted is what servers are asked to tell. The host's name is not told to them.
var wanted = []dhcpv4.OptionCode{
	dhcpv4.OptionSubnetMask, dhcpv4.OptionClasslessStaticRoute, dhcpv4.OptionRouter, dhcpv4.OptionDomainNameServer,
	dhcpv4.OptionIPAddressLeaseTime, dhcpv4.OptionRenewTimeValue, dhcpv4.OptionRebindingTimeValue, optionPortal,
}

// message makes a message of the exchange. "The client identifier" is the
// link-layer address (RFC 2132 section 9.14).
func (m *Machine) message(now time.Time, t dhcpv4.MessageType, more ...dhcpv4.Modifier) *dhcpv4.DHCPv4 {
	p := &dhcpv4.DHCPv4{
		OpCode: dhcpv4.OpcodeBootRequest, HWType: iana.HWTypeEthernet, ClientHWAddr: net.HardwareAddr(m.hw[:]), TransactionID: m.xid,
		NumSeconds:   uint16(min(max(now.Sub(m.began), 0)/time.Second, 1<<16-1)),
		ClientIPAddr: net.IPv4zero, YourIPAddr: net.IPv4zero, ServerIPAddr: net.IPv4zero, GatewayIPAddr: net.IPv4zero,
		Options: make(dhcpv4.Options),
	}
	p.UpdateOption(dhcpv4.OptMessageType(t))
	p.UpdateOption(dhcpv4.OptClientIdentifier(append([]byte{byte(iana.HWTypeEthernet)}, m.hw[:]...)))
	if t == dhcpv4.MessageTypeDiscover || t == dhcpv4.MessageTypeRequest {
		p.UpdateOption(dhcpv4.OptParameterRequestList(wanted...))
	}
	for _, change := range more {
		change(p)
	}
	return p
}

func withRequested(a netip.Addr) dhcpv4.Modifier {
	return dhcpv4.WithOption(dhcpv4.OptRequestedIPAddress(a.AsSlice()))
}

func withServer(a netip.Addr) dhcpv4.Modifier {
	return dhcpv4.WithOption(dhcpv4.OptServerIdentifier(a.AsSlice()))
}

func withClient(a netip.Addr) dhcpv4.Modifier { return dhcpv4.WithClientIP(a.AsSlice()) }

const (
	serverPort = 67
	clientPort = 68
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
	b = binary.BigEndian.AppendUint16(b, clientPort)
	b = binary.BigEndian.AppendUint16(b, serverPort)
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
	if binary.BigEndian.Uint16(b) != serverPort || binary.BigEndian.Uint16(b[2:]) != clientPort || length < udpLen || length > len(b) {
		return nil
	}
	p, err := dhcpv4.FromBytes(b[udpLen:length])
	if err != nil {
		return nil
	}
	return p
}
