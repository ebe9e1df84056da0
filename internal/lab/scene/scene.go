// Package scene holds scenes: who is there, what happens, and what must be
// true afterwards. A scene is written against [Lab] and so runs in the
// simulated world ([Sim]) and on real kernel networking alike.
//
// What must not go in here: how a laboratory does what a scene asks for.
package scene

import (
	"fmt"
	"net/netip"
	"slices"
	"time"

	"careof/internal/core/forward"
	"careof/internal/lab/topology"
	"careof/internal/lab/world"
)

// A Scene is a story with assertions.
type Scene struct {
	Name string
	Doc  string // one sentence: what is shown
	// Topology names the built-in topology: "default" when empty.
	Topology string
	// Edit changes the topology and the daemons' configurations before the
	// laboratory is built. It may be nil.
	Edit func(*topology.Topology)
	// Tune sets what the configuration file cannot say. Only a simulated
	// laboratory can run a scene that needs it. It may be nil.
	Tune func(*Tuning)
	// Needs lists the abilities that a laboratory must have.
	Needs []Ability
	// Play is the story. It ends early, and badly, by Lab.Fatalf.
	Play func(Lab)
}

// An Ability is something that not every laboratory can do.
type Ability string

// The abilities. Namespaces have only the last of them: there is one clock for
// all, of the whole machine, and a wrong one given to one process (by a preloaded
// library) would not reach a program that asks the kernel itself; a data plane
// that refuses, and a disk that does so by half, can only be made up. The
// simulated world has all but the last: a host of it runs one role, and its
// foreign agent's plane knows visitors by address alone.
const (
	Clocks Ability = "clocks" // daemons' wall clocks can be set
	Exact  Ability = "exact"  // times are exact, so that a scene may assert them
	Faults Ability = "faults" // disks and planes can be made to fail
	Tuned  Ability = "tuned"  // Tune is obeyed
	Whole  Ability = "whole"  // hosts and daemons are whole ones: several roles in one, programs of their own
)

// Simulable tells whether the simulated world has an ability.
func Simulable(a Ability) bool { return a != Whole }

// Simulated tells whether a scene plays in the simulated world.
func (s *Scene) Simulated() bool { return !slices.Contains(s.Needs, Whole) }

// A Lab is a laboratory that a scene plays in. Nodes, interfaces and segments
// go by their names in the topology.
type Lab interface {
	// Fatalf ends the scene: something is not as it must be.
	Fatalf(format string, args ...any)
	// Logf says what happens.
	Logf(format string, args ...any)
	// Can tells whether the laboratory has an ability.
	Can(Ability) bool
	// Topology is what the laboratory was built from.
	Topology() *topology.Topology

	// Now is the time since the laboratory was built.
	Now() time.Duration
	// Wait lets time pass.
	Wait(time.Duration)
	// Until lets time pass until what is true, and ends the scene when it is
	// not after limit. It returns how long it took.
	Until(what string, limit time.Duration, is func() bool) time.Duration

	// Plug takes an interface of a mobile node to a segment, where it gets
	// an address. Unplug takes it off.
	Plug(node, iface, segment string)
	Unplug(node, iface string)
	// Shift takes a plugged interface to another segment without telling
	// anybody: the link stays up, as behind a bridge.
	Shift(node, iface, segment string)
	// Shape changes how a segment treats frames.
	Shape(segment string, change func(*topology.Segment))
	// BlackHole makes a segment swallow everything without telling anybody.
	BlackHole(segment string, on bool)
	// Mute makes a segment swallow what one interface sends, and only that: a
	// path dies in one direction. The interface may be a router's.
	Mute(node, iface string, on bool)
	// Rebind makes a translator forget its mappings.
	Rebind(router string)
	// Swallow makes a translator's mappings carry nothing any more, for as
	// long as they are used.
	Swallow(router string)

	// Start, Kill and Reboot are about a node's daemon: Kill is kill -9.
	// Reboot kills it together with all that its kernel knows. All daemons
	// run when a scene begins.
	Start(node string)
	Kill(node string)
	Reboot(node string)
	// Fall is Reboot without the daemon's start: the host has lost its power.
	Fall(node string)
	// Drain has a home agent's nodes go to others of its pool, or takes that
	// back.
	Drain(homeAgent string, on bool)
	// SetClock sets a node's wall clock wrong by so much (ability Clocks).
	SetClock(node string, ahead time.Duration)
	// Break makes a node's commits fail with these probabilities (ability
	// Faults).
	Break(node string, faults world.Faults)

	// Binding is how a mobile node stands.
	Binding(mobile string) Binding
	// Replies counts the replies with a code that a home agent has sent; 0
	// counts all accepted registrations.
	Replies(homeAgent string, code uint8) int

	// Stream starts a reliable stream from a mobile node's home address to
	// another node, with so many octets in each direction.
	Stream(mobile, to string, octets uint64) Stream
	// LongStream is Stream, written evenly over so much time.
	LongStream(mobile, to string, octets uint64, during time.Duration) Stream
	// Flow starts a stream of numbered datagrams in one direction. A mobile
	// node's end is its home address.
	Flow(from, to string, every time.Duration) Flow

	// Record keeps a copy of the IP packets on a segment, from now on; the
	// result returns those so far.
	Record(segment string) func() [][]byte
	// Inject sends an IP packet from a stranger's host on a segment. The
	// host has the address Intruder gives, and whatever other source address
	// the packet claims.
	Inject(segment string, packet []byte)
	Intruder(segment string) netip.Addr

	// HardwareAddr is the link-layer address of an interface, Neighbor what
	// a node believes to be that of an address.
	HardwareAddr(node, iface string) forward.HardwareAddr
	Neighbor(node string, a netip.Addr) forward.HardwareAddr
	// Reaches tells whether a datagram from one node's address gets to the
	// other's. It lets a second pass, or a few.
	Reaches(from, to string) bool
}

// A Binding is how a mobile node stands.
type Binding struct {
	Registered  bool // accepted by the home agent since the last change of its links
	AtHome      bool
	HomeAddress netip.Addr
	Link        string
	CareOf      netip.Addr
	HomeAgent   netip.Addr    // that serves the node
	UDP         bool          // the tunnel is in UDP
	Tunnels     int           // that the home agent sends to
	Copies      int           // tunnels for copies of redundant packets alone, at both ends together
	Took        time.Duration // from request to reply
}

// same tells whether nothing but the time that it took differs.
func (b Binding) same(other Binding) bool {
	b.Took, other.Took = 0, 0
	return b == other
}

// A Stream is a reliable stream under way.
type Stream interface {
	// Done tells whether all octets have arrived, in both directions.
	Done() bool
	// Progress is how many octets have arrived in either direction.
	Progress() uint64
	// Broken says why the stream is dead; empty while it is well.
	Broken() string
}

// A Flow is a stream of datagrams under way.
type Flow interface {
	// Report tells of the datagrams sent in a window of the laboratory's time.
	Report(begin, end time.Duration) Report
	Stop()
}

// A Report says what became of datagrams.
type Report = world.Report

// settled is a flow's report of a window when what was sent in it has arrived, or
// will not: a busy machine holds packets back for longer than a scene waits.
func settled(l Lab, f Flow, begin, end time.Duration) Report {
	for until := l.Now() + 10*time.Second; ; l.Wait(100 * time.Millisecond) {
		if r := f.Report(begin, end); r.Lost == 0 || l.Can(Exact) || l.Now() >= until {
			return r
		}
	}
}

// failure is how a scene ends early.
type failure struct{ what string }

// Fail ends a scene; laboratories use it for Fatalf.
func Fail(format string, args ...any) { panic(failure{fmt.Sprintf(format, args...)}) }

// Perform plays a scene in a laboratory that was built for it. The error says
// what was not as it must be.
func Perform(s *Scene, l Lab) (err error) {
	for _, a := range s.Needs {
		if !l.Can(a) {
			return fmt.Errorf("scene: %s: the laboratory lacks the ability %q", s.Name, a)
		}
	}
	defer func() {
		if p := recover(); p != nil {
			f, ok := p.(failure)
			if !ok {
				panic(p)
			}
			err = fmt.Errorf("scene: %s: %s", s.Name, f.what)
		}
	}()
	s.Play(l)
	return nil
}

// Build makes the topology that a scene wants.
func (s *Scene) Build() (*topology.Topology, error) {
	name := s.Topology
	if name == "" {
		name = "default"
	}
	t, err := topology.Load(name)
	if err != nil {
		return nil, err
	}
	if s.Edit != nil {
		s.Edit(t)
		if err := t.Check(); err != nil {
			return nil, err
		}
	}
	return t, nil
}

// Find finds a scene by name; nil when there is none.
func Find(name string) *Scene {
	for _, s := range All() {
		if s.Name == name {
			return s
		}
	}
	return nil
}
