package relay

import (
	"fmt"
	"net/netip"
	"slices"
	"time"
)

// A Node is what the home agent knows of who is bound with a home address.
type Node struct {
	Name     string         // its NAI, empty without
	Networks []netip.Prefix // behind it, when it is a mobile router
}

// An Outcome is what became of a message.
type Outcome uint8

// The outcomes.
const (
	Relayed  Outcome = iota // to the servers
	Returned                // to the node that asked
	Unmarked                // relayed without relay agent information, for which it is too long
	Malformed
	Unbound      // of or for an address without a binding
	Forged       // with relay agent information, or a relay's address that is not the node's
	OtherAddress // about an address that is not the node's home address
	TooFast
	TooManyHops
	Unsolicited // an answer that nobody waits for, or from who is no server of ours
	outcomes
)

var outcomeNames = [outcomes]string{
	Relayed: "relayed", Returned: "returned", Unmarked: "unmarked", Malformed: "malformed", Unbound: "unbound", Forged: "forged",
	OtherAddress: "other-address", TooFast: "too-fast", TooManyHops: "too-many-hops", Unsolicited: "unsolicited",
}

func (o Outcome) String() string {
	if o < outcomes {
		return outcomeNames[o]
	}
	return fmt.Sprintf("Outcome(%d)", uint8(o))
}

// Information says what the relay tells the servers: "Relay agents SHOULD have separate
// configurables for each sub-option" (RFC 3046 section 2.1).
type Information struct {
	Circuit bool // the home address, as text: the tunnel is the circuit
	Remote  bool // the node's name; without one its home address
}

const (
	// answerWait is how long an answer is waited for. A client asks again before.
	answerWait = 30 * time.Second
	// mostPending bounds the questions that wait for an answer.
	mostPending = 1 << 14
	// A node's messages in a second, and at once: a client says two for a lease.
	nodeRate, nodeBurst = 2, 10
	// mostHops: "The relay agent MUST silently discard BOOTREQUEST messages whose
	// 'hops' field exceeds" 16, or less when it is configured so (RFC 1542 section 4.1.1).
	mostHops = 4
	// mostOctets is what fits into an Ethernet frame: "the agent SHALL NOT increase a
	// forwarded DHCP packet size to exceed the MTU of the interface on which it is
	// forwarded" (RFC 3046 section 2.1).
	mostOctets = 1500 - 20 - 8
)

// rules decide about messages. They are told the time, and are not safe for concurrent use.
type rules struct {
	address     netip.Addr   // of this host, as servers answer to it ('giaddr')
	servers     []netip.Addr // who may answer
	networks    []netip.Prefix
	information Information

	pending map[exchange]question
	budgets map[netip.Addr]budget
	swept   time.Time
	counts  [outcomes]uint64
}

type question struct {
	home  netip.Addr
	until time.Time
}

// A budget is how many messages a node has left.
type budget struct {
	left float64
	at   time.Time
}

func (r *rules) count(o Outcome) Outcome {
	r.counts[o]++
	return o
}

// up decides about a message that came out of the tunnel of home's binding; bound tells of
// the node and whether there still is a binding. What it returns goes to every server.
//
//rfc:3046#2.1
//rfc:3046#2.1.1
//rfc:3046#4.0
func (r *rules) up(now time.Time, home netip.Addr, b []byte, bound func() (Node, bool)) ([]byte, Outcome) {
	r.sweep(now)
	m, err := parse(b)
	if err != nil || b[atOp] != bootRequest {
		return nil, r.count(Malformed)
	}
	if !r.spend(now, home) {
		return nil, r.count(TooFast)
	}
	node, ok := bound()
	if !ok {
		return nil, r.count(Unbound)
	}
	if b[atHops] >= mostHops {
		return nil, r.count(TooManyHops)
	}
	if via := m.address(atGIAddr); !via.IsUnspecified() {
		return r.again(&m, node, via)
	}
	if m.agent[1] != 0 {
		// "Relay agents receiving a DHCP packet from an untrusted circuit with giaddr set
		// to zero [...] but with a Relay Agent Information option already present in the
		// packet SHALL discard the packet and increment an error count."
		return nil, r.count(Forged)
	}
	if !about(&m, home) {
		return nil, r.count(OtherAddress)
	}
	x := m.exchange()
	q, taken := r.pending[x]
	if taken && q.home != home || !taken && len(r.pending) >= mostPending {
		return nil, r.count(TooFast)
	}
	r.pending[x] = question{home, now.Add(answerWait)}
	out, outcome := append([]byte{}, b...), Relayed
	// A server that knows Rapid Commit would lease at once whatever address it likes (RFC
	// 4039 section 3.1), and nobody would have asked for that one.
	clear(out[m.rapid[0]:m.rapid[1]])
	m.b = out
	if information := r.say(home, node); len(information) > 0 {
		if marked := m.marked(information); len(marked) <= mostOctets && len(information) <= 255 {
			out = marked
		} else {
			outcome = Unmarked
		}
	}
	out[atHops]++
	copy(out[atGIAddr:], r.address.AsSlice())
	return out, r.count(outcome)
}

// again passes on what a relay behind the node has relayed, "WITHOUT adding any relay agent
// options. Per RFC 2131, it shall also NOT modify the giaddr value." Only addresses of the
// node itself are valid; an answer goes to there without this relay.
//
//rfc:3046#2.1.1
func (r *rules) again(m *message, node Node, via netip.Addr) ([]byte, Outcome) {
	if via == r.address || !slices.ContainsFunc(node.Networks, func(p netip.Prefix) bool { return p.Contains(via) }) {
		return nil, r.count(Forged)
	}
	out := append([]byte{}, m.b...)
	out[atHops]++
	return out, r.count(Relayed)
}

// about says whether a message is about the sender's home address, or no address yet: a
// node may have a lease for its home address, and cannot use up those of others ("DHCP
// Address Exhaustion", RFC 3046 section 4.0). Whose client identifier it says it has
// is not ours to know: a server tells clients apart by option 82.
//
//rfc:3046#4.0
func about(m *message, home netip.Addr) bool {
	client := m.address(atCIAddr)
	if !client.IsUnspecified() && client != home || m.requested.IsValid() && m.requested != home {
		return false
	}
	switch m.kind {
	case typeDiscover:
		return true
	case typeRequest:
		return client == home || m.requested == home
	case typeDecline:
		return m.requested == home
	case typeRelease, typeInform:
		return client == home
	}
	return false // what servers say, and what later RFCs have for others than hosts
}

// say is the relay agent information for a node.
//
//rfc:3046#3.1
//rfc:3046#3.2
func (r *rules) say(home netip.Addr, node Node) (b []byte) {
	if r.information.Circuit {
		b = appendSub(b, subCircuit, []byte(home.String()))
	}
	if r.information.Remote {
		name := node.Name
		if name == "" {
			name = home.String() // "the remote IP address of a point-to-point link"
		}
		b = appendSub(b, subRemote, []byte(name))
	}
	for _, n := range r.networks {
		// Where 'giaddr' does not show which network the address is of (RFC 3527).
		if n.Contains(home) && !n.Contains(r.address) {
			b = appendSub(b, subLink, n.Masked().Addr().AsSlice())
			break
		}
	}
	return b
}

// down decides about a message for this relay from a server, or from who says so. What it
// returns goes to home, through the tunnel.
//
//rfc:3046#2.1
func (r *rules) down(now time.Time, from netip.Addr, b []byte, bound func(home netip.Addr) bool) (home netip.Addr, out []byte, o Outcome) {
	if !slices.Contains(r.servers, from) {
		return home, nil, r.count(Unsolicited)
	}
	m, err := parse(b)
	if err != nil || b[atOp] != bootReply {
		return home, nil, r.count(Malformed)
	}
	q, waits := r.pending[m.exchange()]
	if !waits || now.After(q.until) || m.address(atGIAddr) != r.address {
		return home, nil, r.count(Unsolicited)
	}
	// "intended for use by agents in relaying DHCP responses back to the proper circuit"
	if circuit, echoed := m.sub(subCircuit); echoed && string(circuit) != q.home.String() {
		return home, nil, r.count(Unsolicited)
	}
	if m.kind == typeAck && !m.address(atYIAddr).IsUnspecified() && m.address(atYIAddr) != q.home {
		return home, nil, r.count(OtherAddress)
	}
	if !bound(q.home) {
		return home, nil, r.count(Unbound)
	}
	if m.agent[1] == 0 {
		return q.home, b, r.count(Returned)
	}
	return q.home, m.unmarked(), r.count(Returned)
}

// spend takes one message off a node's budget.
func (r *rules) spend(now time.Time, home netip.Addr) bool {
	n, known := r.budgets[home]
	if !known && len(r.budgets) >= mostPending {
		return false
	}
	if !known {
		n = budget{nodeBurst, now}
	}
	n.left = min(nodeBurst, n.left+now.Sub(n.at).Seconds()*nodeRate)
	n.at = now
	enough := n.left >= 1
	if enough {
		n.left--
	}
	r.budgets[home] = n
	return enough
}

// sweep forgets what is over.
func (r *rules) sweep(now time.Time) {
	if now.Sub(r.swept) < answerWait {
		return
	}
	r.swept = now
	for x, q := range r.pending {
		if now.After(q.until) {
			delete(r.pending, x)
		}
	}
	for a, n := range r.budgets {
		if now.Sub(n.at).Seconds() >= nodeBurst/nodeRate {
			delete(r.budgets, a)
		}
	}
}
