package world

import (
	"net/netip"

	"careof/internal/core/engine"
	"careof/internal/core/forward"
	"careof/internal/core/note"
	"careof/wire/encap"
)

// An Observer is shown what happens, when it happens. It must not change the
// world; the bytes it is shown are not its to keep.
type Observer interface{ Observe(Observation) }

// An Observation is one of the types in this file.
type Observation interface{ observation() }

// Started: a daemon's machines are made and restored, and the plane repaired.
type Started struct{ Daemon *Daemon }

// Killed: a daemon died.
type Killed struct{ Daemon *Daemon }

// Stepped: a machine was given an event. The actions are not executed yet.
type Stepped struct {
	Daemon  *Daemon
	Shard   int
	Machine engine.Machine
	Now     engine.Now
	Event   engine.Event
	Actions []engine.Action
	Asked   int // questions of the machine that are not answered yet
}

// Durable: a commit's records are durable.
type Durable struct {
	Daemon  *Daemon
	Shard   int
	Records []engine.Record
}

// Applying: a commit's changes, or the part that the plane accepts, are
// applied now.
type Applying struct {
	Daemon  *Daemon
	Shard   int
	Changes []forward.Change
}

// Committed: a commit is durable and forwarding; its Then comes next.
type Committed struct {
	Daemon *Daemon
	Shard  int
	Commit engine.Commit
}

// CommitFailed: a commit did not become true.
type CommitFailed struct {
	Daemon *Daemon
	Shard  int
	Err    error
}

// Settled: a daemon has no commit under way any more.
type Settled struct{ Daemon *Daemon }

// Sent: a machine's datagram leaves.
type Sent struct {
	Daemon *Daemon
	Shard  int
	Send   engine.Send
	From   netip.AddrPort
}

// Noted: a machine told a note.
type Noted struct {
	Daemon *Daemon
	Shard  int
	Note   note.Note
}

// Encapsulated: a plane puts a packet into a tunnel.
type Encapsulated struct {
	Node   *Node
	Entry  forward.Entry
	Tunnel forward.Tunnel
	Inner  []byte
}

// Decapsulated: a plane took a packet out of a tunnel.
type Decapsulated struct {
	Node   *Node
	Entry  forward.Entry
	Tunnel forward.Tunnel
	Outer  encap.Header
	Inner  []byte
}

// Originated: a node sends a packet of its own.
type Originated struct {
	Node   *Node
	Packet []byte
}

// Forwarded: a node passes on a packet.
type Forwarded struct {
	Node   *Node
	Packet []byte
}

// Delivered: a packet has arrived at the node it is for.
type Delivered struct {
	Node   *Node
	Packet []byte
	Tunnel bool
}

// Announced: a gratuitous ARP is sent.
type Announced struct {
	Node    *Node
	Link    string
	Address netip.Addr
	HW      forward.HardwareAddr
}

// ProxyAnswered: a node answers an ARP request for somebody else.
type ProxyAnswered struct {
	Node    *Node
	Link    string
	Address netip.Addr
}

// Failed: a stream was reset, or got octets that were not sent.
type Failed struct {
	Node *Node
	What string
}

func (Started) observation()       {}
func (Killed) observation()        {}
func (Stepped) observation()       {}
func (Durable) observation()       {}
func (Applying) observation()      {}
func (Committed) observation()     {}
func (CommitFailed) observation()  {}
func (Settled) observation()       {}
func (Sent) observation()          {}
func (Noted) observation()         {}
func (Encapsulated) observation()  {}
func (Decapsulated) observation()  {}
func (Originated) observation()    {}
func (Forwarded) observation()     {}
func (Delivered) observation()     {}
func (Announced) observation()     {}
func (ProxyAnswered) observation() {}
func (Failed) observation()        {}
