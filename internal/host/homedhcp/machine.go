package homedhcp

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv4"
	"github.com/insomniacslk/dhcp/iana"
)

// A State is where the client is, in the words of RFC 2131 section 4.4, figure 5.
type State uint8

// The states.
const (
	Idle State = iota // the node is not registered
	Selecting
	Requesting
	Bound
	Renewing // at T1, and at each new place
	Rebinding
	Refused // the servers do not give the address; they are asked for the rest
	states
)

var stateNames = [states]string{"idle", "selecting", "requesting", "bound", "renewing", "rebinding", "refused"}

func (s State) String() string {
	if s < states {
		return stateNames[s]
	}
	return fmt.Sprintf("State(%d)", uint8(s))
}

const (
	// firstWait and lastWait are between transmissions: "the delay before the first
	// retransmission SHOULD be 4 seconds randomized by the value of a uniform random
	// number chosen from the range -1 to +1 [...] The retransmission delay SHOULD be
	// doubled with subsequent retransmissions up to a maximum of 64 seconds" (RFC 2131
	// section 4.1).
	firstWait = 4 * time.Second
	lastWait  = 64 * time.Second
	// requestTries is how often the server of an offer is asked for it.
	requestTries = 4
	// quickTries is how often a lease is asked for at a new place before its own times
	// count again.
	quickTries = 5
	// leastRenew: "one-half of the remaining time [...] down to a minimum of 60 seconds"
	// (RFC 2131 section 4.4.5).
	leastRenew = 60 * time.Second
	// lastDiscover is between questions that nobody answers, in the long run.
	lastDiscover = 10 * time.Minute
	// refusedWait is before servers are asked again that would not give the address.
	refusedWait = 10 * time.Minute
)

// A Change is what happened to the lease.
type Change uint8

// The changes.
const (
	Nothing  Change = iota
	Got             // there is one, or it says something else than before
	Extended        // it ends later
	Lost            // there is none any more
	NoLease         // the servers are there, and do not give the address to this node
	Informed        // without a lease they have told the rest: see [Machine.Told]
	Silence         // nobody answers
	changes
)

var changeNames = [changes]string{"nothing", "got", "extended", "lost", "no-lease", "informed", "silence"}

func (c Change) String() string {
	if c < changes {
		return changeNames[c]
	}
	return fmt.Sprintf("Change(%d)", uint8(c))
}

// A Step is what the machine wants after an event: that a message is sent, nil for none, and
// that a change is heard of.
type Step struct {
	Send   *dhcpv4.DHCPv4
	Change Change
	Why    string
}

// A Machine is the client of one home address. It is pure: it is told the time. It belongs
// to one goroutine.
type Machine struct {
	home  netip.Addr
	name  string // the client identifier
	luck  *rand.Rand
	state State
	next  time.Time
	began time.Time // of the exchange
	tries int
	moved bool      // renewing for that, and not since it was time
	said  bool      // that nobody answers
	again time.Time // after a refusal, when a lease is asked for again
	other netip.Addr
	xid   dhcpv4.TransactionID

	lease Lease
	has   bool
	offer Lease
	told  Lease // without a lease
}

// NewMachine makes the client of a home address. The name tells the node from others at the
// server: its NAI, or the address. before is the lease that a process before had; the zero
// value is none.
func NewMachine(home netip.Addr, name string, luck *rand.Rand, before Lease) *Machine {
	return &Machine{home: home, name: name, luck: luck, lease: before, has: before.Address == home}
}

// State is where the client is.
func (m *Machine) State() State { return m.state }

// Lease is what the node has now.
func (m *Machine) Lease() (Lease, bool) { return m.lease, m.has }

// Told is what the servers have told without a lease: times and routes are not in it.
func (m *Machine) Told() Lease { return m.told }

// Deadline is when Wake is due, zero for never.
func (m *Machine) Deadline() time.Time {
	if m.has && (m.next.IsZero() || m.lease.Until.Before(m.next)) {
		return m.lease.Until
	}
	return m.next
}

// Arrived tells that the node has registered from a place, the first one or another one. The
// server is asked whether it still counts on the lease, before it is time.
//
//rfc:2131#4.4.5
func (m *Machine) Arrived(now time.Time) Step {
	m.said = false
	if m.has && now.Before(m.lease.Until) {
		m.begin(Renewing, now)
		m.moved = true
		return m.renew(now)
	}
	m.has = false
	return m.discover(now)
}

// Left tells that the node has no registration. The lease stays until it ends.
func (m *Machine) Left() {
	m.state, m.next, m.moved = Idle, time.Time{}, false
}

// Message tells of a message that came through the tunnel, and whether it is from the relay.
// About leases nobody else is believed: into the tunnel the home agent puts packets from
// anywhere, but none that say to be from its own address. What a server tells without a lease
// it may send "directly to the address given in the 'ciaddr' field" (RFC 2131 section 4.3.5).
//
//rfc:2131#4.4.1
//rfc:2131#4.3.5
func (m *Machine) Message(now time.Time, byRelay bool, p *dhcpv4.DHCPv4) Step {
	if !byRelay && m.state != Refused || p.OpCode != dhcpv4.OpcodeBootReply || p.TransactionID != m.xid || string(p.ClientHWAddr) != string(hardware(m.home)) {
		return Step{}
	}
	asked := m.state == Requesting || m.state == Renewing || m.state == Rebinding
	switch t := p.MessageType(); {
	case t == dhcpv4.MessageTypeOffer && m.state == Selecting:
		return m.offered(now, p)
	case t == dhcpv4.MessageTypeAck && m.state == Refused && addrOf(p.YourIPAddr) != m.home:
		m.told, m.next = configurationOf(p), m.again
		m.told.Routes = nil
		return Step{Change: Informed}
	case t == dhcpv4.MessageTypeAck && asked:
		return m.acknowledged(now, p)
	case t == dhcpv4.MessageTypeNak && asked:
		return m.refused(now)
	}
	return Step{}
}

// offered takes an offer of the home address. One of another address is remembered: another
// server may have more to give.
func (m *Machine) offered(now time.Time, p *dhcpv4.DHCPv4) Step {
	l, err := leaseOf(now, p)
	switch {
	case err != nil:
		return Step{}
	case l.Address != m.home:
		m.other = l.Address
		return Step{}
	}
	m.offer, m.state, m.tries = l, Requesting, 0
	return m.request(now)
}

func (m *Machine) acknowledged(now time.Time, p *dhcpv4.DHCPv4) Step {
	l, err := leaseOf(now, p)
	if err != nil || l.Address != m.home {
		return Step{}
	}
	s := Step{Change: Got}
	if m.has && m.lease.same(l) {
		s.Change = Extended
	}
	m.lease, m.has, m.said = l, true, false
	m.state, m.next, m.moved = Bound, l.Renew, false
	return s
}

// refused begins anew: the server knows nothing of the lease, or of this address.
func (m *Machine) refused(now time.Time) Step {
	if m.state == Requesting {
		return m.pause(now, "the server takes its offer back")
	}
	m.lease, m.has = Lease{}, false
	s := m.discover(now)
	s.Change, s.Why = Lost, "the server refused it"
	return s
}

// pause asks for the rest, and for a lease again later: the address is the home agent's to
// give, so "the client [...] has been configured with a network address" otherwise (RFC 2131
// section 3.4).
//
//rfc:2131#3.4
func (m *Machine) pause(now time.Time, why string) Step {
	m.begin(Refused, now)
	m.again = now.Add(refusedWait)
	s := m.inform(now)
	s.Change, s.Why = NoLease, why
	return s
}

func (m *Machine) inform(now time.Time) Step {
	m.tries++
	if m.next = now.Add(m.wait(lastWait)); m.tries >= requestTries {
		m.next = m.again
	}
	return Step{Send: m.message(now, dhcpv4.MessageTypeInform, withClient(m.home))}
}

// Wake does what is due.
func (m *Machine) Wake(now time.Time) Step {
	if m.has && !now.Before(m.lease.Until) {
		m.lease, m.has = Lease{}, false
		var s Step
		if m.state != Idle {
			s = m.discover(now)
		}
		s.Change, s.Why = Lost, "it ended"
		return s
	}
	if m.next.IsZero() || now.Before(m.next) {
		return Step{}
	}
	switch m.state {
	case Selecting:
		if m.other.IsValid() {
			return m.pause(now, fmt.Sprintf("the server offers %s instead", m.other))
		}
		s := m.sendDiscover(now)
		if m.tries > requestTries && !m.said {
			m.said, s.Change, s.Why = true, Silence, "nobody answers"
		}
		return s
	case Requesting:
		if m.tries >= requestTries {
			return m.discover(now)
		}
		return m.request(now)
	case Bound:
		m.begin(Renewing, now)
		return m.renew(now)
	case Renewing, Rebinding:
		s := m.renew(now)
		if m.tries > requestTries && !m.said {
			m.said, s.Change, s.Why = true, Silence, "nobody answers"
		}
		return s
	case Refused:
		if now.Before(m.again) {
			return m.inform(now)
		}
		return m.discover(now)
	}
	return Step{}
}

// begin begins an exchange, with a transaction identifier that nobody can guess.
func (m *Machine) begin(s State, now time.Time) {
	m.state, m.tries, m.began, m.moved, m.other = s, 0, now, false, netip.Addr{}
	binary.BigEndian.PutUint32(m.xid[:], m.luck.Uint32())
}

// discover looks for servers, and says which address it is about: "The client MAY suggest a
// network address and/or lease time" (RFC 2131 section 4.4.1).
//
//rfc:2131#4.4.1
func (m *Machine) discover(now time.Time) Step {
	m.begin(Selecting, now)
	return m.sendDiscover(now)
}

func (m *Machine) sendDiscover(now time.Time) Step {
	m.tries++
	m.next = now.Add(m.wait(lastDiscover))
	return Step{Send: m.message(now, dhcpv4.MessageTypeDiscover, withRequested(m.home))}
}

// request asks the server whose offer was taken for it.
func (m *Machine) request(now time.Time) Step {
	m.tries++
	m.next = now.Add(m.wait(lastWait))
	return Step{Send: m.message(now, dhcpv4.MessageTypeRequest, withRequested(m.home), withServer(m.offer.Server))}
}

// renew asks for more time: "'ciaddr' MUST be filled in with client's IP address", and no
// server is named (RFC 2131 section 4.3.2). The relay stands between the client and all
// servers, so that the message is the same before T2 and after it.
//
//rfc:2131#4.4.5
//rfc:2131#4.3.2
func (m *Machine) renew(now time.Time) Step {
	m.tries++
	end := m.lease.Rebind
	if !now.Before(end) {
		m.state, end = Rebinding, m.lease.Until
	}
	if m.moved && m.tries <= quickTries {
		m.next = now.Add(m.wait(lastWait))
	} else {
		m.next = now.Add(max(leastRenew, end.Sub(now)/2))
	}
	if m.next.After(end) && end.After(now) {
		m.next = end
	}
	return Step{Send: m.message(now, dhcpv4.MessageTypeRequest, withClient(m.home))}
}

// wait is before a message is sent again that was sent m.tries times: doubled each time, up
// to a bound, plus or minus a second.
//
//rfc:2131#4.1
func (m *Machine) wait(most time.Duration) time.Duration {
	d := min(most, firstWait<<min(m.tries-1, 10))
	return d - time.Second + time.Duration(m.luck.Int64N(int64(2*time.Second)))
}

// wanted is what servers are asked to tell.
var wanted = []dhcpv4.OptionCode{
	dhcpv4.OptionSubnetMask, dhcpv4.OptionClasslessStaticRoute, dhcpv4.OptionRouter, dhcpv4.OptionDomainNameServer, dhcpv4.OptionDomainName,
	dhcpv4.OptionIPAddressLeaseTime, dhcpv4.OptionRenewTimeValue, dhcpv4.OptionRebindingTimeValue,
}

// message makes a message of the exchange.
func (m *Machine) message(now time.Time, t dhcpv4.MessageType, more ...dhcpv4.Modifier) *dhcpv4.DHCPv4 {
	p := &dhcpv4.DHCPv4{
		OpCode: dhcpv4.OpcodeBootRequest, HWType: iana.HWTypeEthernet, ClientHWAddr: hardware(m.home), TransactionID: m.xid,
		NumSeconds:   uint16(min(max(now.Sub(m.began), 0)/time.Second, 1<<16-1)),
		ClientIPAddr: net.IPv4zero, YourIPAddr: net.IPv4zero, ServerIPAddr: net.IPv4zero, GatewayIPAddr: net.IPv4zero,
		Options: make(dhcpv4.Options),
	}
	p.UpdateOption(dhcpv4.OptMessageType(t))
	p.UpdateOption(dhcpv4.OptClientIdentifier(ClientIdentifier(m.name)))
	switch t {
	case dhcpv4.MessageTypeDiscover, dhcpv4.MessageTypeRequest:
		p.UpdateOption(dhcpv4.OptParameterRequestList(wanted...))
	case dhcpv4.MessageTypeInform:
		// "MUST NOT request lease time parameters" (RFC 2131 section 4.4.3).
		p.UpdateOption(dhcpv4.OptParameterRequestList(dhcpv4.OptionRouter, dhcpv4.OptionDomainNameServer, dhcpv4.OptionDomainName))
	}
	for _, change := range more {
		change(p)
	}
	return p
}

// ClientIdentifier is a name as a client identifier: of type 0, since it is no link-layer
// address (RFC 2132 section 9.14).
//
//rfc:2132#9.14
func ClientIdentifier(name string) []byte { return append([]byte{0}, name...) }

// hardware stands for the link-layer address that a tunnel has not: one of local
// administration, made of the home address.
func hardware(home netip.Addr) net.HardwareAddr {
	a := home.As4()
	return net.HardwareAddr{0x02, 0, a[0], a[1], a[2], a[3]}
}

func withRequested(a netip.Addr) dhcpv4.Modifier {
	return dhcpv4.WithOption(dhcpv4.OptRequestedIPAddress(a.AsSlice()))
}

func withServer(a netip.Addr) dhcpv4.Modifier {
	return dhcpv4.WithOption(dhcpv4.OptServerIdentifier(a.AsSlice()))
}

func withClient(a netip.Addr) dhcpv4.Modifier { return dhcpv4.WithClientIP(a.AsSlice()) }
