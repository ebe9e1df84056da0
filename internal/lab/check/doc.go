// Package check holds what must always be true in a world of home agents and
// mobile nodes, however the network, the disks, the clocks and strangers
// behave. A [Checker] watches a world and judges after every step; it knows
// the security associations but nothing of how a role is built, and works out
// for itself which requests were authentic and fresh.
//
// What must not go in here: what one scene expects.
package check

import (
	"fmt"
	"net/netip"
	"time"

	"careof/internal/core/assoc"
	"careof/internal/core/ident"
	"careof/internal/lab/world"
)

// An Invariant is a sentence that must stay true.
type Invariant uint8

// The invariants.
const (
	Authentic    Invariant = iota + 1 // nothing is installed without an authentic, fresh request
	Once                              // no Identification is accepted twice, and marks never go back
	Durable                           // a success reply leaves only after its commit is durable and forwarding
	Mirrored                          // a plane entry exists if and only if a machine's state calls for it
	OneOwner                          // no home address has two owners
	Deadline                          // after Wake, the next deadline lies in the future
	Parked                            // who waits for an answer has a deadline
	Silence                           // strangers' tunnel packets are neither forwarded nor answered
	Decapsulated                      // nothing leaves a tunnel without a live binding
	Bounded                           // bindings and tunnels are bounded
	Stream                            // a reliable stream is not reset, and no octet is lost or changed
	Restored                          // a daemon that was killed can start again
	Closed                            // a home address speaks through its tunnel, at home, or not at all
	invariants
)

var names = [invariants]string{
	Authentic:    "nothing is installed without an authentic, fresh request",
	Once:         "no Identification is accepted twice",
	Durable:      "no success reply before its commit is durable and forwarding",
	Mirrored:     "a plane entry if and only if a binding",
	OneOwner:     "no home address has two owners",
	Deadline:     "after Wake the next deadline lies in the future",
	Parked:       "who waits for an answer has a deadline",
	Silence:      "strangers are neither forwarded nor answered",
	Decapsulated: "nothing is decapsulated without a live binding",
	Bounded:      "bindings and tunnels are bounded",
	Stream:       "no stream is reset, no octet lost or changed",
	Restored:     "a daemon comes back after a crash",
	Closed:       "a home address speaks through its tunnel, at home, or not at all",
}

// All lists the invariants.
func All() []Invariant {
	var list []Invariant
	for i := Authentic; i < invariants; i++ {
		list = append(list, i)
	}
	return list
}

func (i Invariant) String() string {
	if i > 0 && i < invariants {
		return names[i]
	}
	return fmt.Sprintf("Invariant(%d)", uint8(i))
}

// A Violation is one case of an invariant that did not hold.
type Violation struct {
	At        time.Duration
	Invariant Invariant
	What      string
}

func (v Violation) String() string {
	return fmt.Sprintf("at %v: %v: %s", v.At, v.Invariant, v.What)
}

// A Peer is a mobile node as its home agent is configured for it.
type Peer struct {
	ident.Node
	Keys   []*assoc.Association
	Source netip.Prefix // algorithm none
	// Prefixes are the mobile networks that it may bring.
	Prefixes []netip.Prefix
}

// A Home is a home agent as it is configured.
type Home struct {
	Addresses   []netip.Addr
	Networks    []netip.Prefix
	Peers       []Peer
	Window      time.Duration // of timestamps
	MaxLifetime time.Duration
	Bindings    int // simultaneous ones, at most
}

// A Checker watches a world.
type Checker struct {
	world      *world.World
	homes      map[*world.Daemon]*home
	strangers  map[netip.Addr]bool
	failed     map[*world.Daemon]time.Duration // when a commit last failed
	violations []Violation
	judged     [invariants]int
}

// New makes a checker and lets it watch w.
func New(w *world.World) *Checker {
	c := &Checker{world: w, homes: make(map[*world.Daemon]*home), strangers: make(map[netip.Addr]bool), failed: make(map[*world.Daemon]time.Duration)}
	w.Observe(c)
	return c
}

// HomeAgent tells the checker that a daemon is a home agent.
func (c *Checker) HomeAgent(d *world.Daemon, h Home) {
	c.homes[d] = &home{Home: h, nodes: make(map[string]*node)}
}

// Stranger tells the checker that nobody is to answer this address. Whatever a
// stranger sends must contain [Marker].
func (c *Checker) Stranger(a netip.Addr) { c.strangers[a] = true }

// Marker is in every payload of a stranger.
const Marker = "i am a stranger"

// Violations lists what did not hold so far.
func (c *Checker) Violations() []Violation { return c.violations }

// Judged is how often an invariant was put to the test, so that a scene can
// see that its check was worth something.
func (c *Checker) Judged(i Invariant) int { return c.judged[i] }

// most violations that are kept: one bug can violate something at every step.
const most = 100

func (c *Checker) violated(i Invariant, format string, args ...any) {
	if len(c.violations) == most {
		return
	}
	v := Violation{At: c.world.Now(), Invariant: i, What: fmt.Sprintf(format, args...)}
	c.violations = append(c.violations, v)
	c.world.Tracef("check", "violated: %v: %s", v.Invariant, v.What)
}

// Judge judges the present state once more, at the end of a story.
func (c *Checker) Judge() {
	for _, d := range c.world.Daemons() {
		c.mirrored(d)
	}
}

// Failed notes that a daemon did not come back.
func (c *Checker) Failed(d *world.Daemon, err error) {
	c.violated(Restored, "%s: %v", d.Node.Name, err)
}
