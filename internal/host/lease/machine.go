package lease

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"strings"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv4"
	"github.com/insomniacslk/dhcp/iana"

	"careof/internal/core/engine"
	"careof/internal/host/arp"
)

// A State is where a client is, in the words of RFC 2131 section 4.4, figure 5.
type State uint8

// The states.
const (
	Down      State = iota // the link is
	Idle                   // the node is not registered
	Rebooting              // asks whether a lease of before holds here
	Selecting
	Requesting
	Probing // has an address, and looks whether somebody uses it
	Waiting // before it begins anew
	Bound
	Renewing // at T1, and for the home address at each new place
	Rebinding
	Refused // the servers do not give the home address; they are asked for the rest
	states
)

var stateNames = [states]string{"down", "idle", "rebooting", "selecting", "requesting", "probing", "waiting", "bound", "renewing", "rebinding", "refused"}

func (s State) String() string {
	if s < states {
		return stateNames[s]
	}
	return fmt.Sprintf("State(%d)", uint8(s))
}

// An Action is something that a machine wants done, or heard of.
type Action interface{ action() }

type (
	// Send sends a message: to a server, or to everybody when To is invalid.
	// From is the client's address, invalid while it has none. What is about the
	// home address goes through its relay, whatever these say.
	Send struct {
		Message  *dhcpv4.DHCPv4
		From, To netip.Addr
	}
	// Ask sends an ARP packet on the link.
	Ask struct {
		To     engine.HardwareAddr
		Packet arp.Packet
	}
	// Configure puts to use what a lease says, in the place of the one before.
	Configure struct{ Lease Lease }
	// Extend tells that nothing but the lease's end is another one.
	Extend struct{ Lease Lease }
	// Withdraw takes back what a lease gave.
	Withdraw struct {
		Lease Lease
		Why   string
	}
	// Without tells that there is no lease of the home address to be had: the
	// servers do not give it to this node, or nobody answers.
	Without struct{ Why string }
	// Inform tells what a server says without a lease: times and routes are not
	// in it.
	Inform struct{ Lease Lease }
)

func (Send) action()      {}
func (Ask) action()       {}
func (Configure) action() {}
func (Extend) action()    {}
func (Withdraw) action()  {}
func (Without) action()   {}
func (Inform) action()    {}

const (
	// linkWait is before a message is sent again on a link. RFC 2131 section 4.1
	// has 4 seconds as an example for Ethernet; a link that has just come up
	// often loses the first message, and a handover cannot wait that long.
	linkWait = time.Second
	// homeWait is that through a tunnel, and lastWait the longest: "The
	// retransmission delay SHOULD be doubled with subsequent retransmissions up
	// to a maximum of 64 seconds" (RFC 2131 section 4.1).
	homeWait = 4 * time.Second
	lastWait = 64 * time.Second
	// homeDiscover is between questions through a tunnel that nobody answers, in
	// the long run.
	homeDiscover = 10 * time.Minute
	// refusedWait is before servers are asked again that would not give the home
	// address.
	refusedWait = 10 * time.Minute
	// rebootTries and requestTries are how often one server is asked before the
	// client looks for any.
	rebootTries  = 2
	requestTries = 4
	// quickTries is how often a lease is asked for at a new place before its own
	// times count again.
	quickTries = 5
	// leastRenew: "one-half of the remaining time [...] down to a minimum of 60
	// seconds" (RFC 2131 section 4.4.5).
	leastRenew = 60 * time.Second
	// declineWait: "The client SHOULD wait a minimum of ten seconds before
	// restarting the configuration process" (RFC 2131 section 3.1).
	declineWait = 10 * time.Second
)

// A Machine has the lease of one client: of a link, or of a home address. It is
// pure: it is told the time, and says what it wants done. It belongs to one
// goroutine.
type Machine struct {
	hw    engine.HardwareAddr
	id    []byte     // the client identifier
	home  netip.Addr // the only address that is of use; invalid for a link
	luck  *rand.Rand
	state State
	next  time.Time // of the state
	began time.Time // of the exchange
	tries int
	xid   dhcpv4.TransactionID

	lease Lease // that the client has
	has   bool
	offer Lease  // that is asked for, or probed
	why   string // the last lease that was offered is of no use

	// Of a link.
	sure     bool // the gateway answered: the link is where the lease is from (RFC 4436)
	doubted  bool // the refusal that this exchange began with was another server's than the lease's, and no gateway had answered
	refused  int  // how often in a row there was no lease in the end
	learning time.Time
	past     Memory
	never    func(netip.Addr) bool // addresses that the link must not have

	// Of a home address.
	moved bool       // renewing for that, and not since it was time
	said  bool       // that nobody answers
	again time.Time  // after a refusal, when a lease is asked for again
	other netip.Addr // that was offered instead
}

// ForLink makes the client of a link with the leases of before, the latest
// first. configured says that the link still has what the first of them gave;
// never, of which addresses there is no lease.
func ForLink(hw engine.HardwareAddr, luck *rand.Rand, past []Lease, configured bool, never func(netip.Addr) bool) *Machine {
	// The client identifier is the link-layer address, after its type (RFC 2132
	// section 9.14).
	m := &Machine{hw: hw, id: append([]byte{byte(iana.HWTypeEthernet)}, hw[:]...), luck: luck, past: past, never: never}
	if configured && len(past) > 0 {
		m.lease, m.has = past[0], true
	}
	return m
}

// ForHome makes the client of a home address. The name tells the node from others
// at the server: its NAI, or the address. before is the lease that a process
// before had; the zero value is none.
func ForHome(home netip.Addr, name string, luck *rand.Rand, before Lease) *Machine {
	m := &Machine{hw: Hardware(home), id: Identifier(name), home: home, luck: luck, state: Idle}
	if before.Address.Addr() == home {
		m.lease, m.has = before, true
	}
	return m
}

// State is where the client is.
func (m *Machine) State() State { return m.state }

// Why says what was wrong with the last lease that was offered; empty when
// nothing was.
func (m *Machine) Why() string { return m.why }

// Lease is what the client has.
func (m *Machine) Lease() (Lease, bool) { return m.lease, m.has }

// Past lists the leases to remember, the latest first.
func (m *Machine) Past() []Lease { return m.past }

// Listening says whether the machine needs what comes below IP: messages
// before there is an address, refusals, which are always broadcast (RFC 2131
// section 4.1), and ARP.
func (m *Machine) Listening() bool {
	switch m.state {
	case Down, Waiting:
		return false
	case Bound:
		return !m.learning.IsZero()
	}
	return true
}

// Deadline is when Wake is due, zero for never.
func (m *Machine) Deadline() time.Time {
	t := m.next
	earlier := func(o time.Time) {
		if !o.IsZero() && (t.IsZero() || o.Before(t)) {
			t = o
		}
	}
	earlier(m.learning)
	if m.has {
		earlier(m.lease.Until)
	}
	return t
}

// Up tells that the link has been attached to a network, or that the node has
// registered from a place, which may be another one than before. Servers are
// asked whether a lease of before holds there, before it is time.
//
//rfc:2131#3.2
//rfc:2131#4.4.5
//rfc:4436#2
func (m *Machine) Up(now time.Time) (out []Action) {
	m.sure, m.refused, m.learning, m.why, m.said = false, 0, time.Time{}, "", false
	m.past = m.past.unexpired(now)
	if m.has && !now.Before(m.lease.Until) {
		out = m.withdraw("it ended")
	}
	switch {
	case m.home.IsValid() && m.has:
		m.begin(Renewing, now)
		m.moved = true
		return m.renew(now)
	case m.has:
		m.offer = m.lease
	case len(m.past) == 0:
		return append(out, m.discover(now)...)
	default:
		m.offer = m.past[0]
	}
	m.begin(Rebooting, now)
	// Gateways first: whether one of them answers decides who is believed.
	return append(append(out, m.askGateways()...), m.reboot(now)...)
}

// Down tells that the link has lost its network, or the node its registration.
// The lease stays for the case that it comes back.
func (m *Machine) Down() {
	m.state, m.next, m.learning = Down, time.Time{}, time.Time{}
	if m.home.IsValid() {
		m.state = Idle
	}
}

// ClockSet tells that the wall clock was set by so much. What a server has given
// lasts as long as before; but where the host itself was stopped, as virtual ones
// are, it looks the same, so the server is asked.
func (m *Machine) ClockSet(now time.Time, by time.Duration) []Action {
	for _, t := range []*time.Time{&m.next, &m.began, &m.learning, &m.again} {
		if !t.IsZero() {
			*t = t.Add(by)
		}
	}
	m.offer = m.offer.later(by)
	if !m.has {
		return nil
	}
	m.lease = m.lease.later(by)
	if m.state == Bound {
		m.next = now
	}
	if m.past.of(m.lease).Address.IsValid() {
		m.past = m.past.With(m.lease)
	}
	return []Action{Extend{m.lease}}
}

// Release gives the lease back, for a link that is not ours any more.
//
//rfc:2131#4.4.6
func (m *Machine) Release(now time.Time) (out []Action) {
	if m.has {
		if m.state != Down {
			m.draw()
			own := m.lease.Address.Addr()
			out = append(out, Send{Message: m.message(now, dhcpv4.MessageTypeRelease, withClient(own), withServer(m.lease.Server)), From: own, To: m.lease.Server})
		}
		out = append(out, m.withdraw("the link is not ours any more")...)
	}
	m.Down()
	return out
}

// Lost tells that somebody else has taken from the link what the lease gave it,
// who may want the link for himself. The client begins anew with Up.
func (m *Machine) Lost() []Action {
	out := m.withdraw("somebody took the address from the link")
	m.Down()
	return out
}

// Message tells of a message of a server, and whether it is of a way that leases
// come by: the link, or the home agent's relay. About a lease of the home address
// nobody else is believed: into the tunnel the home agent puts packets from
// anywhere, but none that say to be from its own address. What a server tells
// without a lease it may send "directly to the address given in the 'ciaddr'
// field" (RFC 2131 section 4.3.5).
//
//rfc:2131#4.4.1
//rfc:2131#4.3.5
func (m *Machine) Message(now time.Time, believed bool, p *dhcpv4.DHCPv4) []Action {
	if !believed && m.state != Refused || p.OpCode != dhcpv4.OpcodeBootReply || p.TransactionID != m.xid || string(p.ClientHWAddr) != string(m.hw[:]) {
		return nil
	}
	asked := m.state == Rebooting || m.state == Requesting || m.state == Renewing || m.state == Rebinding
	if s := addrOf(p.ServerIdentifier()); m.state == Requesting && s.IsValid() && s != m.offer.Server {
		return nil // the request named the server that it is for
	}
	switch t := p.MessageType(); {
	case t == dhcpv4.MessageTypeOffer && m.state == Selecting:
		// The first offer that can be used: waiting for a better one would be time
		// without a network.
		if l, usable := m.usable(now, p); usable {
			m.offer, m.state, m.tries = l, Requesting, 0
			return m.request(now)
		}
	case t == dhcpv4.MessageTypeAck && asked:
		return m.acknowledged(now, p)
	case t == dhcpv4.MessageTypeNak && asked && m.entitled(addrOf(p.ServerIdentifier())):
		doubted := m.state == Rebooting && addrOf(p.ServerIdentifier()).IsValid() && addrOf(p.ServerIdentifier()) != m.offer.Server
		out := m.refuse(now)
		m.doubted = doubted
		return out
	case t == dhcpv4.MessageTypeAck && m.state == Refused && addrOf(p.YourIPAddr) != m.home:
		m.next = m.again
		l := read(p)
		l.Routes = nil
		return []Action{Inform{l}}
	}
	return nil
}

// entitled tells whether a server may refuse what was asked. When a lease of before is
// asked for, any server may refuse it: that is how a client learns that it is in another network (RFC 2131
// section 3.2). Not so where the gateway has shown that it is in the same one: there
// only the lease's own server knows. Another one "MUST remain silent" about a client
// that it has no record of (section 4.3.2), and some do not; should the own one be
// gone, any server is asked in time (T2). The gateway may say so after the refusal
// (recognise): a network that is another one is not to wait for an answer that never comes.
//
//rfc:2131#4.3.2
func (m *Machine) entitled(server netip.Addr) bool {
	return m.state != Rebooting || !m.sure || !server.IsValid() || server == m.offer.Server
}

// usable reads the lease of a message. One that cannot be used is as if nothing
// had been said, and Why tells. The home address is the home agent's to give: an
// offer of another one is remembered, for another server may have more to give.
func (m *Machine) usable(now time.Time, p *dhcpv4.DHCPv4) (Lease, bool) {
	l, err := leaseOf(now, p, m.home)
	switch a := l.Address.Addr(); {
	case err != nil:
	case m.never != nil && m.never(a):
		err = fmt.Errorf("%w: %v is the home agent's address", errLease, a)
	case m.home.IsValid() && a != m.home:
		m.other = a
		err = fmt.Errorf("%w: the server offers %v instead", errLease, a)
	}
	if m.why = ""; err != nil {
		m.why = strings.TrimPrefix(err.Error(), "dhcp: ")
	}
	return l, err == nil
}

func (m *Machine) acknowledged(now time.Time, p *dhcpv4.DHCPv4) []Action {
	l, usable := m.usable(now, p)
	if !usable || (m.state == Requesting || m.state == Rebooting) && l.Address.Addr() != m.offer.Address.Addr() {
		return nil // what was asked for is something else
	}
	l.GatewayHW = m.past.of(l).GatewayHW
	if m.home.IsValid() || m.has && m.lease.Address == l.Address || m.state == Rebooting {
		return m.bind(now, l)
	}
	m.offer, m.state, m.tries = l, Probing, 0
	return m.probe(now)
}

// refuse begins anew: the server says that the lease is not for this network, or
// knows nothing of it.
//
//rfc:2131#3.2
func (m *Machine) refuse(now time.Time) (out []Action) {
	const why = "the server refused it"
	switch m.state {
	case Requesting:
		m.past = m.past.without(m.offer)
		out = m.withdraw(why)
		if m.home.IsValid() {
			return append(out, m.inform(now, "the server takes its offer back")...)
		}
		return append(out, m.pause(now, 0)...)
	case Renewing, Rebinding:
		m.past = m.past.without(m.lease)
	case Rebooting: // elsewhere it may hold: this is about this network
	}
	return append(m.withdraw(why), m.discover(now)...)
}

// Wake does what is due.
//
//rfc:2131#4.4.5
func (m *Machine) Wake(now time.Time) (out []Action) {
	if m.has && !now.Before(m.lease.Until) {
		m.past = m.past.without(m.lease)
		out = m.withdraw("it ended")
		if m.state != Down && m.state != Idle {
			out = append(out, m.discover(now)...)
		}
		return out
	}
	if !m.learning.IsZero() && !now.Before(m.learning) {
		m.learning = time.Time{}
	}
	if m.next.IsZero() || now.Before(m.next) {
		return nil
	}
	switch m.state {
	case Rebooting:
		return m.unanswered(now)
	case Selecting:
		if m.other.IsValid() {
			return m.inform(now, fmt.Sprintf("the server offers %s instead", m.other))
		}
		return m.silent(m.sendDiscover(now))
	case Requesting:
		switch {
		case m.tries < requestTries:
			return m.request(now)
		case m.home.IsValid():
			return m.discover(now)
		}
		return m.pause(now, 0)
	case Probing:
		if m.tries < probes {
			return m.probe(now)
		}
		return m.bind(now, m.offer)
	case Waiting:
		return m.discover(now)
	case Bound:
		m.begin(Renewing, now)
		return m.renew(now)
	case Renewing, Rebinding:
		return m.silent(m.renew(now))
	case Refused:
		if now.Before(m.again) {
			return m.sendInform(now)
		}
		return m.discover(now)
	}
	return nil
}

// silent tells once that nobody answers about the home address.
func (m *Machine) silent(out []Action) []Action {
	if m.home.IsValid() && m.tries > requestTries && !m.said {
		m.said = true
		out = append(out, Without{"nobody answers"})
	}
	return out
}

// unanswered: nobody says whether the lease of before holds here. Where the
// gateway is the same one it is kept: "the client MAY choose to use the
// previously allocated network address [...] for the remainder of the unexpired
// lease" (RFC 2131 section 3.2).
func (m *Machine) unanswered(now time.Time) []Action {
	switch {
	case m.tries < rebootTries:
		return m.reboot(now)
	case m.sure && m.has:
		m.state, m.next = Bound, m.lease.Renew
		if m.next.Before(now) {
			m.next = now.Add(linkWait)
		}
		return nil
	}
	return append(m.withdraw("nobody here knows it"), m.discover(now)...)
}

// bind takes a lease.
func (m *Machine) bind(now time.Time, l Lease) (out []Action) {
	if m.has && m.lease.same(l) {
		m.lease = l
		out = []Action{Extend{l}}
	} else {
		out = m.give(l)
	}
	m.state, m.next, m.refused, m.said, m.moved = Bound, l.Renew, 0, false, false
	return append(out, m.learn(now)...)
}

// give has a lease be the client's.
func (m *Machine) give(l Lease) []Action {
	m.lease, m.has = l, true
	return []Action{Configure{l}}
}

// withdraw takes back what the client has, if it has a lease.
func (m *Machine) withdraw(why string) []Action {
	if !m.has {
		return nil
	}
	l := m.lease
	m.lease, m.has, m.sure, m.learning = Lease{}, false, false, time.Time{}
	return []Action{Withdraw{Lease: l, Why: why}}
}

// pause begins anew later: doubled each time, since what went wrong may be so
// again.
func (m *Machine) pause(now time.Time, least time.Duration) []Action {
	wait := max(least, min(lastWait, linkWait<<min(m.refused, 6)))
	m.refused++
	m.state, m.next = Waiting, now.Add(wait)
	return nil
}
