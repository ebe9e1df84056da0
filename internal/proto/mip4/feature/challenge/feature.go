package challenge

import (
	"errors"
	"time"

	"careof/internal/core/aaa"
	"careof/internal/core/engine"
	"careof/internal/core/note"
	"careof/internal/proto/mip4/fa"
	"careof/internal/proto/mip4/feature"
	"careof/internal/proto/mip4/ha"
	"careof/internal/proto/mip4/mn"
)

// Name is the feature's name in stages and tables.
const Name = "challenge"

// DefaultWindow is CHALLENGE_WINDOW: how many of the last advertised challenges
// are good (RFC 4721 section 9).
//
//rfc:4721#9
//rfc:4721#9-2
const DefaultWindow = 2

// DefaultHold is how long AAA's word about a node holds when it does not say.
const DefaultHold = time.Hour

// A Config configures the feature.
type Config struct {
	// Window has a foreign agent give challenges, and is how many of the last
	// advertised ones on a link are good. 0: no challenges.
	Window int
	// AAA has agents ask AAA to verify Mobile-AAA authenticators.
	AAA bool
	// Keys has a foreign agent ask for the keys that nodes ask for (RFC 3957).
	Keys bool
	// Carried says that AAA takes a foreign agent's requests to home agents itself,
	// and brings the replies (RFC 4004).
	Carried bool
	// Hold is how long AAA's word about a node holds when it does not say
	// itself: an hour when 0. Renewals in the meantime wait for nobody.
	Hold time.Duration
	// Secret is what a mobile node shares with its AAA server; nil: none.
	Secret *aaa.Secret
}

// New is the feature.
func New(c Config) feature.Feature {
	if c.Hold == 0 {
		c.Hold = DefaultHold
	}
	return feature.Feature{
		Name:    Name,
		RFC:     []int{4721},
		After:   []string{"fa-error"}, // which replaces the draft that a challenge is added to
		Home:    func(a *ha.Agent) error { return addHome(c, a) },
		Mobile:  func(n *mn.Node) error { return addMobile(c, n) },
		Foreign: func(a *fa.Agent) error { return addForeign(c, a) },
	}
}

// Notes of the feature.
const (
	Verified   note.Kind = "aaa-verified"   // AAA has verified a Mobile-AAA authenticator
	Refused    note.Kind = "aaa-refused"    // AAA has said no
	Unanswered note.Kind = "aaa-unanswered" // AAA has said nothing in time
)

// A verdict is what an answer of AAA comes to.
func verdict(ans engine.Answer) (g aaa.Grant, kind note.Kind, why string) {
	if ans.Err == nil {
		if g, ok := ans.Value.(aaa.Grant); ok {
			return g, Verified, ""
		}
		return g, Unanswered, "AAA is not configured"
	}
	if errors.Is(ans.Err, aaa.ErrRejected) {
		return g, Refused, ans.Err.Error()
	}
	return g, Unanswered, ans.Err.Error()
}

// holds is how long a grant holds.
func (c *Config) holds(g aaa.Grant) time.Duration {
	if g.Lifetime > 0 {
		return g.Lifetime
	}
	return c.Hold
}
