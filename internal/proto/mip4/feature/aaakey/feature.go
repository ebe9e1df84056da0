package aaakey

import (
	"math"
	"time"

	"careof/internal/core/aaa"
	"careof/internal/core/note"
	"careof/internal/proto/mip4/fa"
	"careof/internal/proto/mip4/feature"
	"careof/internal/proto/mip4/mn"
)

// Name is the feature's name in stages and tables.
const Name = "aaa-keys"

// Config configures the feature. The zero value neither asks for keys nor takes
// any.
type Config struct {
	// Secret is what a mobile node shares with its AAA server; nil: it asks for no
	// keys. Those with home agents are asked for where no association is
	// configured (mn.Config.KeysOnDemand).
	Secret *aaa.Secret
	// Foreign has a mobile node ask for keys with foreign agents.
	Foreign bool
	// Agent has a foreign agent give its visitors the keys that AAA makes.
	Agent bool
	// Required has it refuse, with code 107, who has no key after the home agent's
	// reply.
	Required bool
}

// New is the feature.
func New(c Config) feature.Feature {
	return feature.Feature{
		Name:    Name,
		RFC:     []int{3957},
		Mobile:  func(n *mn.Node) error { return addMobile(c, n) },
		Foreign: func(a *fa.Agent) error { return addForeign(c, a) },
	}
}

// Notes of the feature.
const (
	Made  note.Kind = "aaa-key"       // a node has made a key of a nonce that AAA sent
	Ended note.Kind = "aaa-key-ended" // its lifetime has run out before there was another
)

// wholeSeconds is a duration as extensions 41 and 43 have it.
func wholeSeconds(d time.Duration) uint32 { return uint32(min(d/time.Second, math.MaxUint32)) }
