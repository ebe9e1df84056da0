package lease

import (
	"encoding/binary"
	"net/netip"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv4"
	"github.com/insomniacslk/dhcp/iana"

	"careof/internal/core/engine"
)

// ServerPort and ClientPort are DHCP's (RFC 2131 section 4.1).
const (
	ServerPort = 67
	ClientPort = 68
)

// begin begins an exchange.
func (m *Machine) begin(s State, now time.Time) {
	m.state, m.tries, m.began, m.moved, m.doubted, m.other = s, 0, now, false, false, netip.Addr{}
	m.draw()
}

// draw draws a transaction identifier, which nobody can guess.
func (m *Machine) draw() { binary.BigEndian.PutUint32(m.xid[:], m.luck.Uint32()) }

// retry counts a message, and says when it is sent again: "the delay before the
// first retransmission SHOULD be 4 seconds randomized by the value of a uniform
// random number chosen from the range -1 to +1 [...] The retransmission delay
// SHOULD be doubled with subsequent retransmissions".
//
//rfc:2131#4.1
func (m *Machine) retry(now time.Time, most time.Duration) {
	first := linkWait
	if m.home.IsValid() {
		first = homeWait
	}
	m.tries++
	wait := min(most, first<<min(m.tries-1, 10))
	spread := min(wait/4, time.Second)
	m.next = now.Add(wait - spread + time.Duration(m.luck.Int64N(int64(2*spread))))
}

// discover looks for servers, from the beginning.
func (m *Machine) discover(now time.Time) []Action {
	m.begin(Selecting, now)
	return m.sendDiscover(now)
}

// sendDiscover says which address it is about when only one is of use: "The
// client MAY suggest a network address and/or lease time" (RFC 2131 section
// 4.4.1).
//
//rfc:2131#4.4.1
func (m *Machine) sendDiscover(now time.Time) []Action {
	if !m.home.IsValid() {
		m.retry(now, lastWait)
		return m.send(now, dhcpv4.MessageTypeDiscover)
	}
	m.retry(now, homeDiscover)
	return m.send(now, dhcpv4.MessageTypeDiscover, withRequested(m.home))
}

// reboot asks whether a lease of before holds: "'server identifier' MUST NOT be
// filled in, 'requested IP address' option MUST be filled in with client's
// notion of its previously assigned address. 'ciaddr' MUST be zero." (RFC 2131
// section 4.3.2)
func (m *Machine) reboot(now time.Time) []Action {
	m.retry(now, lastWait)
	return m.send(now, dhcpv4.MessageTypeRequest, withRequested(m.offer.Address.Addr()))
}

// request asks the server whose offer was taken for it.
func (m *Machine) request(now time.Time) []Action {
	m.retry(now, lastWait)
	return m.send(now, dhcpv4.MessageTypeRequest, withRequested(m.offer.Address.Addr()), withServer(m.offer.Server))
}

// renew asks the server of the lease for more time; when rebinding, any server:
// "'ciaddr' MUST be filled in with client's IP address", and no server is named
// (RFC 2131 section 4.3.2).
//
//rfc:2131#4.4.5
//rfc:2131#4.3.2
func (m *Machine) renew(now time.Time) []Action {
	own := m.lease.Address.Addr()
	to, end := m.lease.Server, m.lease.Rebind
	if !now.Before(end) {
		m.state, to, end = Rebinding, netip.Addr{}, m.lease.Until
	}
	m.retry(now, lastWait)
	if !m.moved || m.tries > quickTries {
		m.next = now.Add(max(leastRenew, end.Sub(now)/2))
	}
	if m.next.After(end) {
		m.next = end
	}
	return []Action{Send{Message: m.message(now, dhcpv4.MessageTypeRequest, withClient(own)), From: own, To: to}}
}

// decline gives back an address that somebody else has.
//
//rfc:2131#3.1
//rfc:2131#4.4.1
func (m *Machine) decline(now time.Time) []Action {
	m.draw()
	out := m.send(now, dhcpv4.MessageTypeDecline, withRequested(m.offer.Address.Addr()), withServer(m.offer.Server))
	m.past = m.past.without(m.offer)
	return append(out, m.pause(now, declineWait)...)
}

// inform asks for the rest, and for a lease again later: the address is the home
// agent's to give, so "the client [...] has been configured with a network
// address" otherwise (RFC 2131 section 3.4).
//
//rfc:2131#3.4
func (m *Machine) inform(now time.Time, why string) []Action {
	m.begin(Refused, now)
	m.again = now.Add(refusedWait)
	return append(m.sendInform(now), Without{why})
}

func (m *Machine) sendInform(now time.Time) []Action {
	if m.retry(now, lastWait); m.tries >= requestTries {
		m.next = m.again
	}
	return m.send(now, dhcpv4.MessageTypeInform, withClient(m.home))
}

// wanted is what servers are asked to tell about a link, wantedHome about a home
// network, and wantedRest without a lease: a client "MUST NOT request lease time
// parameters" then (RFC 2131 section 4.4.3). The host's name is not told to them.
//
//rfc:8910#2-1
var (
	wanted     = append([]dhcpv4.OptionCode{optionPortal}, wantedLease...)
	wantedHome = append([]dhcpv4.OptionCode{dhcpv4.OptionDomainName}, wantedLease...)
	wantedRest = []dhcpv4.OptionCode{dhcpv4.OptionRouter, dhcpv4.OptionDomainNameServer, dhcpv4.OptionDomainName}

	wantedLease = []dhcpv4.OptionCode{
		dhcpv4.OptionSubnetMask, dhcpv4.OptionClasslessStaticRoute, dhcpv4.OptionRouter, dhcpv4.OptionDomainNameServer,
		dhcpv4.OptionIPAddressLeaseTime, dhcpv4.OptionRenewTimeValue, dhcpv4.OptionRebindingTimeValue,
	}
)

// send sends a message of a client without an address of its own to everybody.
func (m *Machine) send(now time.Time, t dhcpv4.MessageType, more ...dhcpv4.Modifier) []Action {
	return []Action{Send{Message: m.message(now, t, more...)}}
}

// message makes a message of the exchange.
func (m *Machine) message(now time.Time, t dhcpv4.MessageType, more ...dhcpv4.Modifier) *dhcpv4.DHCPv4 {
	zero := make([]byte, 4)
	p := &dhcpv4.DHCPv4{
		OpCode: dhcpv4.OpcodeBootRequest, HWType: iana.HWTypeEthernet, ClientHWAddr: m.hw[:], TransactionID: m.xid,
		NumSeconds:   uint16(min(max(now.Sub(m.began), 0)/time.Second, 1<<16-1)),
		ClientIPAddr: zero, YourIPAddr: zero, ServerIPAddr: zero, GatewayIPAddr: zero,
		Options: make(dhcpv4.Options),
	}
	p.UpdateOption(dhcpv4.OptMessageType(t))
	p.UpdateOption(dhcpv4.OptClientIdentifier(m.id))
	switch {
	case t == dhcpv4.MessageTypeInform:
		p.UpdateOption(dhcpv4.OptParameterRequestList(wantedRest...))
	case t != dhcpv4.MessageTypeDiscover && t != dhcpv4.MessageTypeRequest:
	case m.home.IsValid():
		p.UpdateOption(dhcpv4.OptParameterRequestList(wantedHome...))
	default:
		p.UpdateOption(dhcpv4.OptParameterRequestList(wanted...))
	}
	for _, change := range more {
		change(p)
	}
	return p
}

// Identifier is a name as a client identifier: of type 0, since it is no
// link-layer address (RFC 2132 section 9.14).
//
//rfc:2132#9.14
func Identifier(name string) []byte { return append([]byte{0}, name...) }

// Hardware stands for the link-layer address that a tunnel has not: one of local
// administration, made of the home address.
func Hardware(home netip.Addr) engine.HardwareAddr {
	a := home.As4()
	return engine.HardwareAddr{0x02, 0, a[0], a[1], a[2], a[3]}
}

func withRequested(a netip.Addr) dhcpv4.Modifier {
	return dhcpv4.WithOption(dhcpv4.OptRequestedIPAddress(a.AsSlice()))
}

func withServer(a netip.Addr) dhcpv4.Modifier {
	return dhcpv4.WithOption(dhcpv4.OptServerIdentifier(a.AsSlice()))
}

func withClient(a netip.Addr) dhcpv4.Modifier { return dhcpv4.WithClientIP(a.AsSlice()) }
