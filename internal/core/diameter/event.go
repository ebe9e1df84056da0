package diameter

import (
	"errors"
	"net/netip"

	"careof/internal/core/note"
	wire "careof/wire/diameter"
)

// A Conn is the host's number for a connection. Numbers are not used again, and 0 is none.
type Conn uint64

// An Event is something that happened: one of the types in this file. A nil event is nothing but the time.
type Event interface{ event() }

// Connected answers [Dial]: there is a connection, TLS included.
type Connected struct {
	Peer   string
	Conn   Conn
	Local  netip.Addr
	Remote netip.AddrPort
	Secure bool
}

// Unconnected answers [Dial]: there is none.
type Unconnected struct {
	Peer string
	Err  error
}

// Accepted is a connection from outside, TLS included.
type Accepted struct {
	Conn   Conn
	Local  netip.Addr
	Remote netip.AddrPort
	Secure bool
	Names  []string // that its certificate proves; nil without one
}

// Received is one framed message.
type Received struct {
	Conn   Conn
	Octets []byte
}

// Closed says that a connection has ended, and not because of [Close].
type Closed struct {
	Conn Conn
	Err  error
}

// Submit is a request of the application's. Origin-Host and Origin-Realm are added when they are not there.
type Submit struct {
	Ticket  uint64
	Request *wire.Message
	// Proxied says that it is a delivered one on its way: End-to-End Identifier and origin stay, and a Route-Record is added.
	Proxied bool
	// Secure says that it has secrets, for a connection with TLS alone.
	Secure bool
}

// Reply is the application's answer to a [Deliver].
type Reply struct {
	Handle uint64
	Answer *wire.Message
}

// Stop ends all connections politely.
type Stop struct {
	Cause uint32 // for Disconnect-Cause
}

func (Connected) event()   {}
func (Unconnected) event() {}
func (Accepted) event()    {}
func (Received) event()    {}
func (Closed) event()      {}
func (Submit) event()      {}
func (Reply) event()       {}
func (Stop) event()        {}

// An Action is something to do: one of the types below.
type Action interface{ action() }

// Dial asks for a connection to a peer.
type Dial struct{ Peer string }

// Send writes octets to a connection.
type Send struct {
	Conn   Conn
	Octets []byte
}

// Close ends a connection when what was sent before is written.
type Close struct{ Conn Conn }

// Deliver is a request of a peer's for the application, which owes a [Reply].
type Deliver struct {
	Handle  uint64
	Peer    string // that it came from
	Secure  bool   // over TLS
	Transit bool   // it is for another node
	Request *wire.Message
}

// Answered ends a [Submit].
type Answered struct {
	Ticket uint64
	Answer *wire.Message // nil with Err
	Peer   string        // that it came from
	Secure bool          // over TLS
	Err    error
}

// Tell is a note for log, counters and event stream.
type Tell struct{ Note note.Note }

func (Dial) action()     {}
func (Send) action()     {}
func (Close) action()    {}
func (Deliver) action()  {}
func (Answered) action() {}
func (Tell) action()     {}

// What a request can come to without an answer. Each is wrapped together with the [wire.Error] that a proxy answers with.
var (
	ErrNoRoute  = errors.New("diameter: no route to the realm")
	ErrInsecure = errors.New("diameter: no peer that leads there is connected with TLS")
	ErrNoPeer   = errors.New("diameter: no peer that leads there is connected")
	ErrTimeout  = errors.New("diameter: no answer in time")
	ErrLimited  = errors.New("diameter: too many requests on their way")
	ErrStopped  = errors.New("diameter: stopped")
)

// Kinds of notes.
const (
	PeerUp        note.Kind = "diameter-peer-up"
	PeerDown      note.Kind = "diameter-peer-down"
	PeerRefused   note.Kind = "diameter-peer-refused"
	FailedOver    note.Kind = "diameter-failover"
	BackFrom      note.Kind = "diameter-failback"
	Misunderstood note.Kind = "diameter-misunderstood"
)
