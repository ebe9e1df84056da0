package assignment

import (
	"net/netip"
	"time"

	"careof/internal/core/assoc"
	"careof/internal/core/note"
	"careof/internal/proto/mip4/fa"
	"careof/internal/proto/mip4/feature"
	"careof/internal/proto/mip4/ha"
	"careof/internal/proto/mip4/mn"
)

// Name is the feature's name in stages and tables.
const Name = "assignment"

// Config configures the feature, at any end. The zero value leaves it out.
type Config struct {
	// Serve has a home agent accept nodes that name none.
	Serve bool
	// Capacity is how many nodes a home agent takes: one more is sent to
	// another of the pool, or refused. 0: any number.
	Capacity int
	// Pool are the other home agents of the pool. They need one another's keys.
	Pool []Member
	// DeadAfter is how long another one may be silent: 3 seconds when 0.
	DeadAfter time.Duration

	// Ask is what a mobile node writes into the Home Agent field; invalid: the
	// home agent's address, as ever.
	Ask netip.Addr

	// Assign are the home agents that a foreign agent sends nodes to that name
	// none, the first that answers.
	Assign []netip.Addr
}

// A Member is another home agent of the pool.
type Member struct {
	Address netip.Addr
	Keys    []*assoc.Association // the last one signs
}

// New is the feature.
func New(c Config) feature.Feature {
	if c.DeadAfter == 0 {
		c.DeadAfter = 3 * reportEvery
	}
	f := feature.Feature{Name: Name, RFC: []int{4433}}
	if c.Serve {
		f.Home = func(a *ha.Agent) error { return addHome(c, a) }
	}
	if c.Ask.IsValid() {
		f.Mobile = func(n *mn.Node) error { return addMobile(c, n) }
	}
	// A foreign agent that is of the year 2006 or later knows the extension.
	f.Foreign = func(a *fa.Agent) error { return addForeign(c, a) }
	return f
}

// Notes of this feature.
const (
	Redirected note.Kind = "redirected" // a node is sent to another home agent, or goes there
	Looping    note.Kind = "redirected-in-circles"
	MemberBack note.Kind = "member-back"     // another home agent of the pool is heard
	Untimely   note.Kind = "member-untimely" // its reports are of another time
	MemberLost note.Kind = "member-lost"     // it is not any more
	Drained    note.Kind = "drained"         // the operator has this home agent's nodes leave
	Undrained  note.Kind = "undrained"       // and lets them come again
)

// MovedOn is why a home agent ends a binding of a node that another one of the
// pool has accepted since.
const MovedOn ha.Reason = "moved to another home agent"
