package notification

import (
	"errors"
	"fmt"
	"time"
	"unicode/utf8"

	"careof/internal/core/ident"
	"careof/internal/core/note"
	"careof/internal/proto/mip4/fa"
	"careof/internal/proto/mip4/feature"
	"careof/internal/proto/mip4/feature/message"
	"careof/internal/proto/mip4/ha"
	"careof/internal/proto/mip4/mn"
	"careof/wire/mip4"
)

// Name is the feature's name in stages and tables.
const Name = "notification"

// Config configures the feature, at any end.
type Config struct {
	// Off leaves it out: the role is one that never heard of it.
	Off bool
	// First and Longest bound the time between retransmissions, which doubles:
	// 1 and 32 seconds when 0.
	First, Longest time.Duration
}

// New is the feature.
func New(c Config) feature.Feature {
	// "The minimum time between GNMs MUST NOT be less than 1 second" (section 4.3).
	c.First = max(c.First, between)
	if c.Longest == 0 {
		c.Longest = 32 * time.Second
	}
	c.Longest = max(c.Longest, c.First)
	f := feature.Feature{Name: Name, RFC: []int{6098}}
	if c.Off {
		return f
	}
	f.Home = func(a *ha.Agent) error { addHome(c, a); return nil }
	f.Foreign = func(a *fa.Agent) error { addForeign(c, a); return nil }
	f.Mobile = func(n *mn.Node) error { addMobile(c, n); return nil }
	return f
}

// Notify is the operator's command to tell a peer something. It is the Value of
// an [engine.Command], and answered with a [Report], when the peer has answered
// or [patience] is over, or with an error.
//
//	a home agent    tells the node; with Agent the foreign agent that it is at
//	a foreign agent tells the visitor; with Agent the visitor's home agent
//	a mobile node   tells its home agent; with Agent its foreign agent
type Notify struct {
	Node  ident.Node // whom it concerns; a mobile node itself needs none
	Agent bool
	Text  string
}

// Subject is whom the command concerns: see [ha.Routed].
func (n Notify) Subject() ident.Node { return n.Node }

// check finds what cannot be sent.
func (n Notify) check() error {
	if n.Text == "" || len(n.Text) > message.Longest || !utf8.ValidString(n.Text) {
		return fmt.Errorf("%w: a text has 1 to %d octets of UTF-8", ErrCannot, message.Longest)
	}
	return nil
}

// A Report is what came of a command.
type Report struct {
	Direction mip4.Direction
	Sent      int  // how many times, so far
	Answered  bool // by the peer, with the code
	Code      mip4.NotificationCode
	Over      bool // it will not be sent again
}

// Errors of the command.
var (
	ErrNotFound = errors.New("notification: nobody to tell")
	ErrCannot   = errors.New("notification: cannot be sent")
)

// Notes of this feature.
const (
	Notified   note.Kind = "notified"                // a peer has told something
	Notifying  note.Kind = "notifying"               // something was told a peer, for the first time
	Told       note.Kind = "notification-taken"      // and it has acknowledged that
	Refused    note.Kind = "notification-refused"    // or does not want it
	Unanswered note.Kind = "notification-unanswered" // or has never said anything
	Untimely   note.Kind = "notification-untimely"   // a peer's is of another time, or came twice
)
