package engine

import (
	"net/netip"

	"careof/internal/core/forward"
)

// An Event is something that happened: one of the types in this file.
type Event interface{ event() }

// A Ticket ties an [Answer] to the [Ask], [Commit] or [Command] it answers.
// Zero means that no answer is wanted. A machine numbers its own tickets; a
// Command carries its driver's.
type Ticket uint64

// HardwareAddr is a 48-bit link-layer address; zero when there is none.
type HardwareAddr = forward.HardwareAddr

// Packet is a signalling datagram (UDP port 434) that came in. Tunnel data
// (message type 4) never gets here: the data plane takes it.
type Packet struct {
	Link string         // name of the interface it came in on
	Src  netip.AddrPort // IP source and UDP source port
	Dst  netip.AddrPort // IP destination, which may be broadcast or multicast
	TTL  uint8          // of the IP header, 0 when the driver cannot tell
	HW   HardwareAddr   // link-layer source, zero when unknown
	Data []byte         // the UDP payload; the checksum has been verified
}

// Wake says that the machine's deadline has come. It may come late, and it
// may come when nothing is due.
type Wake struct{}

// LinkChanged tells the present state of one interface: all of it, not what
// changed. Link.Gone says that the interface does not exist any more.
type LinkChanged struct {
	Link Link
	// More says that the state of another interface follows at once, as at a
	// start: whoever chooses among links can wait for it.
	More bool
}

// A Link is what a machine knows of a network interface.
type Link struct {
	Name      string
	Gone      bool
	Up        bool // administratively up and carrier present
	MTU       int
	HW        HardwareAddr
	Addresses []netip.Prefix // IPv4 addresses with their prefix lengths, in kernel order
	Gateways  []netip.Addr   // IPv4 next hops of the default routes over this link, best first
	// Direct says that what is sent over the link needs no next hop, as with
	// modems: whatever is sent there, the other end takes.
	Direct    bool
	GatewayHW HardwareAddr // link-layer address of the first gateway, zero when not resolved
	// Attachment counts how often the link layer has attached the interface to
	// a network, where the driver can tell: another number than before means
	// that it was attached anew, also when it was never seen down.
	Attachment uint64
}

// Answer answers one ticket. After an [Ask], Value is what the question's
// docstring says. After a [Commit], Err is nil once the commit is durable,
// forwarding and its Then has been executed; otherwise none of its Then was.
type Answer struct {
	Ticket Ticket
	Value  any
	Err    error
}

// Command is an order or a question of the operator. The machine answers it
// with a [Result] that carries the same ticket, at once or later.
type Command struct {
	Ticket Ticket
	Value  any // a type that the role or a feature declares
}

// Plane is an event of the data plane that concerns an entry of this machine.
type Plane struct{ Event forward.Event }

func (Packet) event()      {}
func (Wake) event()        {}
func (LinkChanged) event() {}
func (Answer) event()      {}
func (Command) event()     {}
func (Plane) event()       {}
