package subscriber

import (
	"time"

	"careof/internal/core/note"
	"careof/internal/proto/mip4/fa"
	"careof/internal/proto/mip4/feature"
	"careof/internal/proto/mip4/ha"
)

// Name is the feature's name in stages and tables.
const Name = "aaa"

// DefaultHold is how long AAA's word holds when it does not say.
const DefaultHold = time.Hour

// A Config configures the feature. The zero value asks nobody and tells nobody.
type Config struct {
	Authorise bool          // a home agent asks AAA about nodes that it does not know
	Keys      bool          // and has it make keys for those who ask (RFC 3957)
	Carried   bool          // AAA brings requests, and takes the replies (RFC 4004)
	Account   bool          // agents tell AAA of sessions
	Hold      time.Duration // how long AAA's word holds when it does not say: an hour when 0
}

// New is the feature.
func New(c Config) feature.Feature {
	if c.Hold == 0 {
		c.Hold = DefaultHold
	}
	return feature.Feature{
		Name: Name,
		RFC:  []int{5030, 5176},
		Home: func(a *ha.Agent) error {
			var h *home
			if c.Authorise {
				h = addHome(c, a)
			}
			if c.Authorise || c.Account {
				accountHome(c, a, h)
			}
			return nil
		},
		Foreign: func(a *fa.Agent) error {
			if c.Account {
				accountForeign(a)
			}
			return nil
		},
	}
}

// Notes of the feature.
const (
	Adopted note.Kind = "aaa-adopted" // a node that only AAA knows has registered
	Ordered note.Kind = "aaa-ordered" // AAA has ended or changed a session
	Unfit   note.Kind = "aaa-unfit"   // AAA grants what the home agent cannot give
)

// Reasons for which AAA's orders end bindings and visits.
const (
	ByAAA      ha.Reason = "ended by AAA"
	VisitByAAA fa.Reason = "ended by AAA"
)
