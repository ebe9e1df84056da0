package liveness

import (
	"time"

	"careof/internal/core/note"
	"careof/internal/proto/mip4/feature"
	"careof/internal/proto/mip4/mn"
)

// Name is the feature's name in stages and tables.
const Name = "home-agent-liveness"

// Limits of silence. All are longer than a home agent's restart takes, which is
// three seconds at most.
const (
	DefaultLimit = 10 * time.Second
	FastLimit    = 5 * time.Second
	BatteryLimit = time.Minute
	// meteredLimit is the least over an uplink where every octet is paid for.
	meteredLimit = time.Minute
)

// Config configures the feature at a mobile node.
type Config struct {
	// Limit is how long the home agent may be silent: 0 for ever.
	Limit time.Duration
	// Exactly has the limit hold over metered uplinks too.
	Exactly bool
}

// New is the feature.
func New(c Config) feature.Feature {
	f := feature.Feature{Name: Name, RFC: []int{3519, 5944}}
	if c.Limit > 0 {
		f.Mobile = func(n *mn.Node) error { addMobile(c, n); return nil }
	}
	return f
}

// Silent is the note of this feature: the home agent is taken for dead, and
// another one, which answers, is registered with.
const Silent note.Kind = "home-agent-silent"
