package dhcp

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv4"

	"careof/internal/core/engine"
	"careof/internal/host/arp"
)

// A State is where a client is, in the words of RFC 2131 section 4.4, figure 5.
type State uint8

// The states.
const (
	Down      State = iota // the link is
	Rebooting              // asks whether a lease of before holds here
	Selecting
	Requesting
	Probing // has an address, and looks whether somebody uses it
	Waiting // before it begins anew
	Bound
	Renewing
	Rebinding
)

var stateNames = [...]string{"down", "rebooting", "selecting", "requesting", "probing", "waiting", "bound", "renewing", "rebinding"}

func (s State) String() string {
	if int(s) < len(stateNames) {
		return stateNames[s]
	}
	return fmt.Sprintf("State(%d)", uint8(s))
}

// An Action is something that a machine wants done.
type Action interface{ action() }

type (
	// Send sends a message: to a server, or to everybody when To is invalid.
	// From is the link's address, invalid while it has none.
	Send struct {
		Message  *dhcpv4.DHCPv4
		From, To netip.Addr
	}
	// Ask sends an ARP packet on the link.
	Ask struct {
		To     engine.HardwareAddr
		Packet arp.Packet
	}
	// Configure gives the link what a lease says, in the place of what it had.
	Configure struct{ Lease Lease }
	// Extend tells that nothing but the lease's end is another one.
	Extend struct{ Lease Lease }
	// Withdraw takes from the link what a lease gave it.
	Withdraw struct {
		Lease Lease
		Why   string
	}
)

func (Send) action()      {}
func (Ask) action()       {}
func (Configure) action() {}
func (Extend) action()    {}
func (Withdraw) action()  {}

const (
	// firstWait is before a message is sent again, doubled each time up to
	// lastWait. RFC 2131 section 4.1 has 4 seconds as an example for Ethernet; a
	// link that has just come up often loses the first message, and a handover
	// cannot wait that long.
	firstWait = time.Second
	lastWait  = 64 * time.Second
	// rebootTries and requestTries are how often one server is asked before the
	// client looks for any.
	rebootTries  = 2
	requestTries = 4
	// leastRenew: "should wait one-half of the remaining time [...] down to a
	// minimum of 60 seconds" (RFC 2131 section 4.4.5).
	leastRenew = 60 * time.Second
	// declineWait: "The client SHOULD wait a minimum of ten seconds before
	// restarting the configuration process" (RFC 2131 section 3.1).
	declineWait = 10 * time.Second
	// probes of an address are sent, probeWait apart. RFC 5227 takes seconds for
	// it; this is what a handover can spare.
	probes    = 2
	probeWait = 200 * time.Millisecond
	// learnWait is how long a gateway's link-layer address is listened for.
	learnWait = 3 * time.Second
)

// A Machine is the client of one link. It is pure: it is told the time, and
// says what it wants done. It belongs to one goroutine.
type Machine struct {
	hw    engine.HardwareAddr
	luck  *rand.Rand
	state State
	next  time.Time // of the state
	began time.Time // of the exchange
	tries int
	xid   dhcpv4.TransactionID

	lease    Lease // that the link has
	has      bool
	sure     bool  // the gateway answered: the link is where the lease is from (RFC 4436)
	offer    Lease // that is asked for, or probed
	refused  int   // how often in a row there was no lease in the end
	learning time.Time
	past     memory
}

// NewMachine makes the client of a link with the leases of before, the latest
// first. configured says that the link still has what the first of them gave.
func NewMachine(hw engine.HardwareAddr, luck *rand.Rand, past []Lease, configured bool) *Machine {
	m := &Machine{hw: hw, luck: luck, past: past}
	if configured && len(past) > 0 {
		m.lease, m.has = past[0], true
	}
	return m
}

// State is where the client is.
func (m *Machine) State() State { return m.state }

// Lease is what the link has.
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

// Up tells that the link has been attached to a network, which may be another
// one than before.
//
//rfc:2131#3.2
//rfc:4436#2
func (m *Machine) Up(now time.Time) (out []Action) {
	m.sure, m.refused, m.learning = false, 0, time.Time{}
	m.past = m.past.unexpired(now)
	if !m.has && len(m.past) == 0 {
		return m.discover(now)
	}
	m.offer = m.lease
	if !m.has {
		m.offer = m.past[0]
	}
	m.state, m.tries, m.began = Rebooting, 0, now
	m.newExchange()
	out = m.reboot(now)
	// "the host ... sends a unicast ARP Request packet to each candidate
	// network's test node" (RFC 4436 section 2): its gateway.
	for _, l := range m.past {
		if l.GatewayHW != (engine.HardwareAddr{}) && l.Gateway.IsValid() {
			out = append(out, Ask{To: l.GatewayHW, Packet: arp.Packet{
				Op: arp.Request, SenderHW: m.hw, Sender: l.Address.Addr(), Target: l.Gateway,
			}})
		}
	}
	return out
}

// Down tells that the link has lost its network. The lease stays for the case
// that it comes back.
func (m *Machine) Down() {
	m.state, m.next, m.learning = Down, time.Time{}, time.Time{}
}

// Release gives the lease back, for a link that is not ours any more.
//
//rfc:2131#4.4.6
func (m *Machine) Release(now time.Time) (out []Action) {
	if !m.has {
		m.Down()
		return nil
	}
	if m.state != Down {
		m.newExchange()
		out = append(out, Send{
			Message: m.message(now, dhcpv4.MessageTypeRelease, withClient(m.lease.Address.Addr()), withServer(m.lease.Server)),
			From:    m.lease.Address.Addr(), To: m.lease.Server,
		})
	}
	out = append(out, m.withdraw("the link is not ours any more")...)
	m.Down()
	return out
}

// Message tells of a message of a server.
func (m *Machine) Message(now time.Time, p *dhcpv4.DHCPv4) []Action {
	if p.OpCode != dhcpv4.OpcodeBootReply || p.TransactionID != m.xid || string(p.ClientHWAddr) != string(m.hw[:]) {
		return nil
	}
	switch t := p.MessageType(); {
	case t == dhcpv4.MessageTypeOffer && m.state == Selecting:
		return m.offered(now, p)
	case t == dhcpv4.MessageTypeAck && (m.state == Rebooting || m.state == Requesting || m.state == Renewing || m.state == Rebinding):
		return m.acknowledged(now, p)
	case t == dhcpv4.MessageTypeNak && (m.state == Rebooting || m.state == Requesting || m.state == Renewing || m.state == Rebinding):
		return m.refuse(now)
	}
	return nil
}

// offered takes the first offer that can be used: waiting for a better one
// would be time without a network.
//
//rfc:2131#4.4.1
func (m *Machine) offered(now time.Time, p *dhcpv4.DHCPv4) []Action {
	l, err := leaseOf(now, p)
	if err != nil {
		return nil
	}
	m.offer, m.state, m.tries = l, Requesting, 0
	return m.request(now)
}

func (m *Machine) acknowledged(now time.Time, p *dhcpv4.DHCPv4) []Action {
	l, err := leaseOf(now, p)
	if err != nil {
		return nil
	}
	if m.state == Requesting && l.Address.Addr() != m.offer.Address.Addr() {
		return nil // what was asked for is something else
	}
	known := m.past.of(l)
	l.GatewayHW = known.GatewayHW
	if m.has && m.lease.Address == l.Address || m.state == Rebooting {
		return m.bind(now, l)
	}
	m.offer, m.state, m.tries = l, Probing, 0
	return m.probe(now)
}

// refuse begins anew: the server says that the lease is not for this network.
//
//rfc:2131#3.2
func (m *Machine) refuse(now time.Time) []Action {
	asked := m.offer
	if m.state == Renewing || m.state == Rebinding {
		asked = m.lease
	}
	if m.state != Rebooting {
		// Elsewhere it may hold: a refusal at a boot is about this network.
		m.past = m.past.without(asked)
	}
	var out []Action
	if m.has {
		out = m.withdraw("the server refused it")
	}
	if m.state == Requesting {
		return append(out, m.pause(now, 0)...)
	}
	return append(out, m.discover(now)...)
}

// Heard tells of an ARP packet on the link.
func (m *Machine) Heard(now time.Time, p arp.Packet) []Action {
	if p.SenderHW == m.hw {
		return nil
	}
	switch {
	case m.state == Probing && (p.Sender == m.offer.Address.Addr() || p.Sender.IsUnspecified() && p.Target == m.offer.Address.Addr()):
		return m.decline(now)
	case m.state == Rebooting && p.Op == arp.Reply && !m.sure:
		return m.recognise(now, p)
	case m.has && p.Op == arp.Reply && p.Sender == m.lease.Gateway && !m.learning.IsZero():
		m.learning, m.lease.GatewayHW = time.Time{}, p.SenderHW
		m.past = m.past.with(m.lease)
		return []Action{Extend{m.lease}}
	}
	return nil
}

// decline gives back an address that somebody else has.
//
//rfc:2131#3.1
//rfc:2131#4.4.1
func (m *Machine) decline(now time.Time) []Action {
	m.newExchange()
	out := []Action{Send{Message: m.message(now, dhcpv4.MessageTypeDecline, withRequested(m.offer.Address.Addr()), withServer(m.offer.Server))}}
	m.past = m.past.without(m.offer)
	return append(out, m.pause(now, declineWait)...)
}

// recognise finds that the link is on a network of before: the gateway there
// has the same addresses. The lease is used at once; the server's word, when it
// comes, counts more.
//
//rfc:4436#2.1.1
func (m *Machine) recognise(now time.Time, p arp.Packet) (out []Action) {
	for _, l := range m.past {
		if l.Gateway != p.Sender || l.GatewayHW != p.SenderHW || p.Target != l.Address.Addr() || !now.Before(l.Until) {
			continue
		}
		m.sure = true
		if !m.has || !m.lease.same(l) {
			out = m.give(l)
		}
		if m.offer.Address != l.Address {
			m.offer, m.tries = l, 0
			m.newExchange()
			out = append(out, m.reboot(now)...)
		}
		return out
	}
	return nil
}

// Wake does what is due.
func (m *Machine) Wake(now time.Time) (out []Action) {
	if m.has && !now.Before(m.lease.Until) {
		m.past = m.past.without(m.lease)
		out = m.withdraw("it ended")
		if m.state != Down {
			out = append(out, m.discover(now)...)
		}
		return out
	}
	if !m.learning.IsZero() && !now.Before(m.learning) {
		m.learning = time.Time{}
	}
	if m.next.IsZero() || now.Before(m.next) {
		return out
	}
	switch m.state {
	case Rebooting:
		return append(out, m.unanswered(now)...)
	case Selecting:
		return append(out, m.sendDiscover(now)...)
	case Waiting:
		return append(out, m.discover(now)...)
	case Requesting:
		if m.tries >= requestTries {
			return append(out, m.pause(now, 0)...)
		}
		return append(out, m.request(now)...)
	case Probing:
		if m.tries < probes {
			return append(out, m.probe(now)...)
		}
		return append(out, m.bind(now, m.offer)...)
	case Bound:
		m.newExchange()
		m.state, m.began = Renewing, now
		return append(out, m.renew(now)...)
	case Renewing:
		if !now.Before(m.lease.Rebind) {
			m.state = Rebinding
		}
		return append(out, m.renew(now)...)
	case Rebinding:
		return append(out, m.renew(now)...)
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
			m.next = now.Add(firstWait)
		}
		return nil
	}
	var out []Action
	if m.has {
		out = m.withdraw("nobody here knows it")
	}
	return append(out, m.discover(now)...)
}

// bind takes a lease.
func (m *Machine) bind(now time.Time, l Lease) (out []Action) {
	if m.has && m.lease.same(l) {
		m.lease = l
		out = []Action{Extend{l}}
	} else {
		out = m.give(l)
	}
	m.state, m.next, m.refused = Bound, l.Renew, 0
	m.past = m.past.with(l)
	if l.Gateway.IsValid() && l.GatewayHW == (engine.HardwareAddr{}) {
		m.learning = now.Add(learnWait)
		out = append(out, Ask{To: arp.Broadcast, Packet: arp.Packet{
			Op: arp.Request, SenderHW: m.hw, Sender: l.Address.Addr(), Target: l.Gateway,
		}})
	}
	return out
}

// give makes a lease the link's.
func (m *Machine) give(l Lease) []Action {
	m.lease, m.has = l, true
	return []Action{Configure{l}}
}

func (m *Machine) withdraw(why string) []Action {
	l := m.lease
	m.lease, m.has, m.sure, m.learning = Lease{}, false, false, time.Time{}
	return []Action{Withdraw{Lease: l, Why: why}}
}

// pause begins anew later: doubled each time, since what went wrong may be so
// again.
func (m *Machine) pause(now time.Time, least time.Duration) []Action {
	wait := max(least, min(lastWait, firstWait<<min(m.refused, 6)))
	m.refused++
	m.state, m.next = Waiting, now.Add(wait)
	return nil
}

// later is when a message is sent again that was sent m.tries times: doubled
// each time, and randomized (RFC 2131 section 4.1).
func (m *Machine) later(now time.Time) time.Time {
	wait := min(lastWait, firstWait<<min(m.tries-1, 6))
	return now.Add(wait*3/4 + time.Duration(m.luck.Int64N(int64(wait/2))))
}
