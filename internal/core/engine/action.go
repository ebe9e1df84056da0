package engine

import (
	"net/netip"

	"careof/internal/core/forward"
	"careof/internal/core/note"
)

// An Action is something to do: one of the types in this file.
type Action interface{ action() }

// Send sends one signalling datagram.
type Send struct {
	Link string         // interface to send on; empty lets routing decide
	Src  netip.AddrPort // an invalid address lets the host choose; port 0 means the role's own port on that link
	Dst  netip.AddrPort
	TTL  uint8        // 0 means the default of 64
	HW   HardwareAddr // link-layer destination; zero lets ARP find it
	Data []byte       // the UDP payload

	// Fresh has it leave from another port than what left before it from the
	// role's own port on that link, and so does what comes after it. What still
	// arrives at the former port is taken.
	Fresh bool

	// Aside has it leave from a port that the role has on that link beside its
	// own, for what must not touch a NAT's mapping of that one. With Fresh it is
	// another port than what left aside before it came from, and that one is no
	// more. Nothing else is sent from it.
	Aside bool
}

// Commit makes something true: Records become durable together, then Changes
// are applied to the data plane, then Then is executed. Whatever is told to a
// peer about the new state stands in Then ("never answer before it is durable
// and forwarding"). Commits of one machine become true in the order in which
// they were returned.
//
// When it fails, none of Then is executed and the Answer says why. Whatever
// of it had become durable or forwarding is the machine's to undo with a
// further Commit.
type Commit struct {
	Ticket  Ticket
	Records []Record
	Changes []forward.Change
	Then    []Action
}

// Ask puts a question to the world outside: to AAA, to the data plane, to a
// resolver. The question's type says who answers it and with what. A
// [forward.Carried] tells the data plane something, and is answered with nothing.
type Ask struct {
	Ticket   Ticket
	Question any
}

// LastUse is a question to the data plane: when did the entry with this key
// last send and receive a packet? It is answered with a [forward.Use].
type LastUse struct{ Key forward.Key }

// Traffic is a question to the data plane: what has the entry with this key
// forwarded? It is answered with a [forward.Counters].
type Traffic struct{ Key forward.Key }

// Resolve is a question to the host's resolver for the IPv4 addresses of a
// name. It is answered with a []netip.Addr.
type Resolve struct{ Name string }

// Tell is the machine's only voice: something that a log, a metric, an
// operator or a test may want to know.
type Tell struct{ Note note.Note }

// Result answers a [Command].
type Result struct {
	Ticket Ticket
	Value  any
	Err    error
}

// Announce broadcasts a gratuitous ARP on a link: "Address is at HW" (RFC
// 5944 section 4.6). A zero HW means the link's own address. The driver
// repeats it a few times, in parallel with whatever follows.
type Announce struct {
	Link    string
	Address netip.Addr
	HW      HardwareAddr
}

// Originate sends an IPv4 packet of this host's own into the tunnel device, as
// if a program had: it goes the way that the data plane has for its source.
// Nobody is told when it cannot go.
type Originate struct{ Packet []byte }

func (Send) action()     {}
func (Commit) action()   {}
func (Ask) action()      {}
func (Tell) action()     {}
func (Result) action()   {}
func (Announce) action() {}

func (Originate) action() {}
