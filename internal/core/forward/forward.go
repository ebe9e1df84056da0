// Package forward defines the data plane's nouns: which packets go through
// which tunnel. Machines say what they want as entries; a [Plane] makes it so.
// An entry is desired state, not a command: applying it twice changes nothing.
//
// What must not go in here: how a plane does it.
package forward

import (
	"context"
	"fmt"
	"iter"
	"net/netip"
	"time"

	"careof/wire/encap"
)

// HardwareAddr is a 48-bit link-layer address; zero when there is none.
type HardwareAddr [6]byte

func (h HardwareAddr) String() string {
	return fmt.Sprintf("%02x:%02x:%02x:%02x:%02x:%02x", h[0], h[1], h[2], h[3], h[4], h[5])
}

// A Key names an entry. It is opaque to planes.
type Key string

// A Role says which side of a tunnel an entry describes, and so which packets
// it matches.
type Role uint8

const (
	// HomeAgent entries match packets for Inner that reach this host, and
	// send them to the mobile node; from the tunnel they take packets whose
	// inner source is in Inner.
	HomeAgent Role = iota + 1
	// MobileNode entries own the home address Inner on this host: packets
	// from it go to the home agent; from the tunnel come packets for it.
	// With a Deliver the node is registered through a foreign agent: what has
	// no sending tunnel goes plain to that next hop, without ARP, and packets
	// for Inner come plain over Deliver.Link. A tunnel of such an entry whose
	// Local is Inner's address is the encapsulating delivery style of RFC 3024
	// section 5.2: its Peer is that next hop.
	MobileNode
	// ForeignAgent entries are visitors. Packets from the tunnel for Inner are
	// handed to Deliver.HW on Deliver.Link, without ARP. When a tunnel may
	// send (Both), packets that come from there with a source in Inner go
	// back through it (RFC 3024 section 5.1, direct delivery). When there is
	// also a tunnel whose Peer is the home address, the mobile node's own,
	// only what comes in through that one goes back, and plain packets are
	// routed (section 5.2, encapsulating delivery).
	ForeignAgent
)

// An Entry is what a binding, a registration or a visit asks of the data plane.
type Entry struct {
	Key   Key
	Role  Role
	Inner netip.Prefix // home address as a /32, or a mobile network's prefix

	// Intercept is the home link on which the host answers ARP requests for
	// Inner (RFC 5944 section 4.6), empty when the home network is virtual.
	// Applying an entry that intercepts sends gratuitous ARP before proxying.
	Intercept string

	// Routes are the destinations that go through the tunnel (MobileNode).
	Routes []netip.Prefix

	// HomeLink is set on a MobileNode entry while the node is at home: the
	// home address then speaks over that link directly, and Tunnels is empty.
	HomeLink string

	// Deliver is the next hop for packets that leave the tunnel
	// (ForeignAgent); zero lets the routing table decide. On a MobileNode
	// entry it is the foreign agent that the node is registered through; at
	// home the router of the home link, by its address, where the home address
	// is the only one there.
	Deliver Deliver

	// Router is the home address of the mobile router that has Inner behind it
	// (HomeAgent), when Inner is a mobile network. Where a tunnel of it has a
	// Wrap, its packets go in two tunnels, the inner one between Wrap and Router
	// (RFC 5177 section 7); the router's own entry then has itself for Router.
	// Else invalid.
	Router netip.Addr

	// Network is the interface that the hosts of the mobile network Inner are on
	// (MobileNode), empty when Inner is a home address. From there only packets
	// with a source in Inner are forwarded.
	Network string

	// Gateway is the address that this host shall have in Inner on Network,
	// where the home agent has assigned the prefix; invalid where others
	// configure the interface.
	Gateway netip.Addr

	// Broadcast asks for the home network's broadcasts too (B bit).
	Broadcast bool

	// HomeNetwork is the home network of a mobile node's home address, so that
	// its directed broadcast address is known (MobileNode); invalid when it is
	// not.
	HomeNetwork netip.Prefix

	// Direct are the destinations that the home address reaches over the
	// visited link itself, not through a tunnel (MobileNode): all of them
	// without reverse tunnelling, or those of a selection (RFC 3024 section
	// 5.4). The next hop is Deliver, or the router of the tunnel's link.
	// Broadcasts and groups stay with a tunnel that sends.
	Direct []netip.Prefix

	// LocalGroups sends to multicast groups, and joins them, on the visited
	// link when a program names no interface (MobileNode, co-located).
	LocalGroups bool

	// Plain takes a visitor's plain packets into the tunnel although it has a
	// tunnel of its own (ForeignAgent): broadcasts and groups come in that one
	// and unicast comes plain.
	Plain bool

	// Redundant are the packets that go into every tunnel with Copies, numbered
	// (a GRE header with a sequence number, RFC 2890; WireGuard's counter), so that
	// the other end can tell the copies; it gives on the first of each. Numbered
	// packets come in through any tunnel of the entry.
	Redundant []Class

	// Numbered takes numbered packets in also while Redundant says none: the other
	// end may begin with copies, or end, before this one.
	Numbered bool

	// Tunnels are the ends to send to (all of them: simultaneous bindings)
	// and to receive from.
	Tunnels []Tunnel
}

// Deliver is a next hop by link-layer address.
type Deliver struct {
	Link string
	HW   HardwareAddr
	Via  netip.Addr // its IP address, where that matters (MobileNode); else invalid
}

// A Mode says in which direction a tunnel is used.
type Mode uint8

const (
	Both    Mode = iota // send and receive
	Receive             // the replaced tunnel of a move: drains until Until
	Send                // forward only: no reverse tunnelling was agreed
)

// A Tunnel is one way to the other end. A packet from the network is taken
// only when outer source, outer destination, protocol, UDP ports or GRE key
// all match a tunnel that may receive, and the inner address matches its entry.
type Tunnel struct {
	Local   netip.AddrPort // outer address (and UDP port) of this end
	Peer    netip.AddrPort // outer address (and UDP port) of the other end
	AnyPort bool           // Peer's port is not known yet: accept any, send nothing (RFC 3519 section 4.3, "half bound")
	Link    string         // underlay interface to use; empty lets routing decide
	Encap   encap.Kind     // IP-in-IP, minimal, GRE, or UDP
	Inside  encap.Kind     // within UDP: what the Next Header says, or WireGuard; zero means IP-in-IP
	PeerKey PublicKey      // the other end's, when Inside is WireGuard
	HasKey  bool           // GRE with a key
	Key     uint32         // the GRE key: of what is sent, and of what comes unless KeyIn says another
	KeyIn   uint32         // the GRE key of what comes, when it differs from Key; zero when it does not
	Mode    Mode
	// Wrap makes a home agent put broadcasts and multicasts into an IP-in-IP
	// packet from this address to the home address before they go into the
	// tunnel: RFC 5944 section 4.3, for a foreign agent's care-of address. It
	// is the home agent's own, as the mobile node knows it. Invalid: no wrapping.
	Wrap netip.Addr
	// Budget is how many octets of outer packets Peer may be sent while nobody
	// knows whether it is there and wants them; 1 is none. Each octet that comes from there through the tunnel allows three
	// more. It only grows for one Peer. 0: there is no limit, since Peer has
	// answered a challenge, or is asked none.
	Budget int
	// Spare makes a tunnel that receives only, and whose other end was known to
	// be good, take what those with a Budget may not.
	Spare bool
	// Copies makes a tunnel take the packets that Entry.Redundant says, also when
	// it only receives others.
	Copies bool
	// Checksum says that a translator to IPv6 is between the ends, where no UDP
	// datagram goes without a checksum: some drop what comes without.
	Checksum bool
	MTU      int       // of the inner packet, 0 lets the plane work it out
	Until    time.Time // monotonic; the plane itself stops using the tunnel then. Zero: no end
}

// Takes says whether the GRE key of a packet from the network, or its absence,
// is the agreed one.
func (t *Tunnel) Takes(hasKey bool, key uint32) bool {
	want := t.Key
	if t.KeyIn != 0 {
		want = t.KeyIn
	}
	return hasKey == t.HasKey && (!hasKey || key == want)
}

// An Op says what a [Change] does.
type Op uint8

const (
	Put    Op = iota + 1 // install the entry, or replace the one with its key
	Delete               // remove the entry with this key; not an error when there is none
	Extend               // set Until of the entry's sending tunnels, and nothing else: a refresh
)

// A Change is one step towards the desired state.
type Change struct {
	Op    Op
	Entry Entry     // Put: all of it. Delete, Extend: Key, Role, Inner and Intercept
	Until time.Time // Extend
	// ReturnedTo is, on a Delete that intercepts, the link-layer address of
	// the mobile node that came home: the gratuitous ARP that ends the
	// interception names it (RFC 5944 section 4.6). Zero sends none.
	ReturnedTo HardwareAddr
}

// Counters counts what an entry forwarded, in inner packets and octets.
type Counters struct {
	SentPackets     uint64 `json:"sent_packets"`
	SentBytes       uint64 `json:"sent_bytes"`
	ReceivedPackets uint64 `json:"received_packets"`
	ReceivedBytes   uint64 `json:"received_bytes"`
	DroppedPackets  uint64 `json:"dropped_packets"`
}

// Use tells when an entry last sent and received, on the monotonic clock;
// zero when it never did.
type Use struct{ Sent, Received time.Time }

// A Plane forwards packets as its entries say. Implementations are safe for
// concurrent use.
type Plane interface {
	// Apply carries out changes in order and returns when they are visible
	// to packets. It is idempotent. On an error, the changes before the
	// failing one are applied and the rest are not.
	Apply(ctx context.Context, changes []Change) error
	// List yields the installed entries, in key order.
	List(ctx context.Context) iter.Seq[Entry]
	// Events yields what happened to packets. It is bounded; events are
	// dropped, and counted, when nobody reads.
	Events() <-chan Event
	// Counters and Use tell about one entry; zero when there is none.
	Counters(Key) Counters
	Use(Key) Use
	// Close stops forwarding in this process. What the kernel holds for the
	// daemon (device, routes) stays, for the next start to find.
	Close() error
}

// An Adopter is a [Plane] that itself takes over what an earlier process left
// in the kernel: an entry that is applied again costs a comparison, and what
// nobody has applied goes when the plane reconciles. So whoever starts applies
// what it wants and need not list and compare a million entries first.
type Adopter interface {
	Plane
	Adopts() bool
}

// An Event is something that the plane saw and a machine may want to know:
// one of the types below.
type Event interface {
	// Entry is the key of the entry that it concerns.
	Entry() Key
}

// EndpointSeen: a tunnel packet whose inner address is that of a live entry
// came from an outer endpoint that the entry does not name: a NAT has bound
// anew, or the first keepalive of a half-bound registration has come. The
// packet was not forwarded.
type EndpointSeen struct {
	Key   Key
	Local netip.AddrPort
	From  netip.AddrPort
	// Echo says that the inner packet is an ICMP echo request from the home
	// address to this end of the tunnel: RFC 3519's keepalive.
	Echo bool
}

// EchoReply: the other end answered a keepalive of this entry through the
// tunnel. The packet was also forwarded as any other.
type EchoReply struct {
	Key      Key
	From     netip.AddrPort
	ID, Seq  uint16
	Token    uint64    // of a probe of the path's MTU, else 0
	Received time.Time // monotonic
}

// Unreachable: routers say that the tunnel's other end cannot be reached. It
// is a hint and never a proof.
type Unreachable struct {
	Key        Key
	Peer       netip.Addr
	Type, Code uint8
}

// TooBig: routers say that a mobile node's path to the tunnel's other end carries
// only shorter packets than it is known to ([Carried]). It was not believed.
type TooBig struct {
	Key  Key
	Peer netip.Addr
	Link string
	MTU  int // of the tunnel, as they would have it
}

// Carried is what a mobile node has found out about the path of its tunnels to
// Peer over Link: outer packets of so many octets get through, whatever routers,
// or who says that he is one, tell of it. 0: that is not known any more.
type Carried struct {
	Peer   netip.Addr
	Link   string
	Octets int
}

// A Learner is a [Plane] that believes routers about how long packets may be, and
// that can be told better.
type Learner interface {
	Plane
	Learn(Carried)
}

// Entry implements [Event].
func (e EndpointSeen) Entry() Key { return e.Key }

// Entry implements [Event].
func (e TooBig) Entry() Key { return e.Key }

// Entry implements [Event].
func (e EchoReply) Entry() Key { return e.Key }

// Entry implements [Event].
func (e Unreachable) Entry() Key { return e.Key }
