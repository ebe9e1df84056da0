// Package standard is THE list of features, in the order in which they add
// themselves to the roles. It is the only package that imports them all.
package standard

import (
	"errors"
	"fmt"
	"math/rand/v2"

	"careof/internal/core/ident"
	"careof/internal/proto/mip4/fa"
	"careof/internal/proto/mip4/feature"
	"careof/internal/proto/mip4/feature/aaakey"
	"careof/internal/proto/mip4/feature/assignment"
	"careof/internal/proto/mip4/feature/challenge"
	"careof/internal/proto/mip4/feature/delivery"
	"careof/internal/proto/mip4/feature/experimental"
	"careof/internal/proto/mip4/feature/faerror"
	"careof/internal/proto/mip4/feature/grekey"
	"careof/internal/proto/mip4/feature/hostconfig"
	"careof/internal/proto/mip4/feature/liveness"
	"careof/internal/proto/mip4/feature/message"
	"careof/internal/proto/mip4/feature/mobilenetwork"
	"careof/internal/proto/mip4/feature/naicarry"
	"careof/internal/proto/mip4/feature/natt"
	"careof/internal/proto/mip4/feature/notification"
	"careof/internal/proto/mip4/feature/opaque"
	"careof/internal/proto/mip4/feature/path"
	"careof/internal/proto/mip4/feature/pathmtu"
	"careof/internal/proto/mip4/feature/redundant"
	"careof/internal/proto/mip4/feature/regional"
	"careof/internal/proto/mip4/feature/revoke"
	"careof/internal/proto/mip4/feature/service"
	"careof/internal/proto/mip4/feature/subscriber"
	"careof/internal/proto/mip4/feature/twins"
	"careof/internal/proto/mip4/feature/validate"
	"careof/internal/proto/mip4/feature/vendor"
	"careof/internal/proto/mip4/feature/wireguard"
	"careof/internal/proto/mip4/ha"
	"careof/internal/proto/mip4/mn"
)

// Config configures every feature.
type Config struct {
	NATTraversal natt.Config
	GREKeys      grekey.Config
	Messages     message.Texts      // an agent's, for the users of mobile nodes
	Identity     ident.NAI          // a home agent's own name
	Vendors      []opaque.Extension // RFC 3115
	Experiments  []opaque.Extension // RFC 4064
	Revocation   revoke.Config
	Networks     mobilenetwork.Config
	Challenge    challenge.Config // RFC 4721
	Keys         aaakey.Config    // RFC 3957
	Paths        path.Config
	Redundant    redundant.Config    // what goes over two uplinks
	Validation   validate.Config     // of outer addresses
	PathMTU      pathmtu.Config      // RFC 8899
	Subscribers  subscriber.Config   // RFC 5030
	Assignment   assignment.Config   // RFC 4433
	WireGuard    wireguard.Config    // encrypted tunnels
	Liveness     liveness.Config     // of home agents
	Service      service.Config      // RFC 5446
	Host         hostconfig.Config   // RFC 4332
	Notification notification.Config // RFC 6098
}

// Features lists the features in their order. A caller may leave some out, as
// long as [feature.Check] agrees.
func Features(c Config) []feature.Feature {
	// Features with vendor extensions of their own are given this too.
	vendors := new(vendor.Registry)
	return []feature.Feature{
		natt.New(c.NATTraversal),
		grekey.New(c.GREKeys),
		faerror.New(),
		aaakey.New(c.Keys), // what is signed with a key needs no challenge
		challenge.New(c.Challenge),
		subscriber.New(c.Subscribers),
		message.New(c.Messages),
		vendor.New(vendors, c.Vendors),
		delivery.New(vendors),
		validate.New(c.Validation, vendors), // before path, whose questions bring answers to challenges
		wireguard.New(c.WireGuard, vendors),
		path.New(c.Paths, vendors),
		pathmtu.New(c.PathMTU, vendors),
		redundant.New(c.Redundant, vendors),
		experimental.New(c.Experiments),
		naicarry.New(c.Identity),
		regional.New(),
		revoke.New(c.Revocation),
		mobilenetwork.New(c.Networks),
		assignment.New(c.Assignment),
		liveness.New(c.Liveness), // of whom assignment has found
		service.New(c.Service),
		hostconfig.New(c.Host, vendors),
		notification.New(c.Notification),
		twins.New(),
	}
}

// HomeAgent makes a home agent with these features.
func HomeAgent(cfg ha.Config, features []feature.Feature, rng *rand.Rand) (*ha.Agent, error) {
	if err := feature.Check(features); err != nil {
		return nil, err
	}
	var problems []error
	var add []func(*ha.Agent)
	for _, f := range features {
		if f.Home != nil {
			add = append(add, func(a *ha.Agent) {
				if err := f.Home(a); err != nil {
					problems = append(problems, fmt.Errorf("standard: %s: %w", f.Name, err))
				}
			})
		}
	}
	a, err := ha.New(cfg, rng, add...)
	if err := errors.Join(append(problems, err)...); err != nil {
		return nil, err
	}
	return a, nil
}

// MobileNode makes a mobile node with these features.
func MobileNode(cfg mn.Config, features []feature.Feature, rng *rand.Rand) (*mn.Node, error) {
	if err := feature.Check(features); err != nil {
		return nil, err
	}
	var add []func(*mn.Node) error
	for _, f := range features {
		if f.Mobile != nil {
			add = append(add, f.Mobile)
		}
	}
	return mn.New(cfg, rng, add...)
}

// ForeignAgent makes a foreign agent with these features.
func ForeignAgent(cfg fa.Config, features []feature.Feature, rng *rand.Rand) (*fa.Agent, error) {
	if err := feature.Check(features); err != nil {
		return nil, err
	}
	var add []func(*fa.Agent) error
	for _, f := range features {
		if f.Foreign != nil {
			add = append(add, func(a *fa.Agent) error {
				if err := f.Foreign(a); err != nil {
					return fmt.Errorf("standard: %s: %w", f.Name, err)
				}
				return nil
			})
		}
	}
	return fa.New(cfg, rng, add...)
}
