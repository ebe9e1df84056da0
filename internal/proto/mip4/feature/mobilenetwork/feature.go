package mobilenetwork

import (
	"fmt"
	"net/netip"
	"strings"

	"careof/internal/core/note"
	"careof/internal/proto/mip4/feature"
	"careof/internal/proto/mip4/ha"
	"careof/internal/proto/mip4/mn"
	"careof/wire/mip4"
)

// Name is the feature's name in stages and tables.
const Name = "mobile-networks"

const extension = mip4.ExtMobileNetwork

// Config configures mobile networks, at either end.
type Config struct {
	// RefuseHome makes a home agent one that does not know the extensions.
	RefuseHome bool
	// Pools are what a home agent assigns prefixes from (RFC 6626). Those of
	// single nodes are in the home agent's own configuration.
	Pools []Pool

	// Networks are those behind a mobile node; with none it is no router.
	Networks []Network
	// Implicit leaves it to the home agent to know them.
	Implicit bool
}

// A Pool is a range of addresses that prefixes are assigned from.
type Pool struct {
	Prefix netip.Prefix
	Length int // of the prefixes in it
	// PerNode is how many one node may have at a time: "One way to limit the
	// effectiveness of such an attack is to limit the number and size of
	// prefixes any one Mobile Router can be allocated" (RFC 6626 section 4).
	PerNode int
}

// A Network is a mobile network at its router.
type Network struct {
	Link   string       // the interface of its hosts
	Prefix netip.Prefix // invalid: the home agent assigns one
	Length int          // hint for that one; 0: no hint
}

// Notes of this feature.
const (
	Served  note.Kind = "network-served"  // the home agent forwards for a mobile network
	Refused note.Kind = "network-refused" // it does not
)

// New is mobile networks, configured by cfg.
func New(cfg Config) feature.Feature {
	f := feature.Feature{Name: Name, RFC: []int{5177, 6626}}
	if !cfg.RefuseHome {
		f.Home = func(a *ha.Agent) error { return addHome(cfg, a) }
	}
	if len(cfg.Networks) > 0 {
		f.Mobile = func(n *mn.Node) error { return addMobile(cfg, n) }
	}
	return f
}

// check says what is wrong with a configuration.
func (c Config) check() error {
	for i, p := range c.Pools {
		switch {
		case !p.Prefix.IsValid() || !p.Prefix.Addr().Is4() || p.Prefix != p.Prefix.Masked():
			return fmt.Errorf("%s: pool %v is no IPv4 prefix", Name, p.Prefix)
		case p.Length < p.Prefix.Bits() || p.Length > 30:
			return fmt.Errorf("%s: prefixes of %d bits cannot be assigned from %v", Name, p.Length, p.Prefix)
		case p.Length-p.Prefix.Bits() > maxPoolBits:
			return fmt.Errorf("%s: pool %v has more than %d prefixes of %d bits", Name, p.Prefix, 1<<maxPoolBits, p.Length)
		case p.PerNode < 1:
			return fmt.Errorf("%s: pool %v gives nobody a prefix", Name, p.Prefix)
		}
		for _, o := range c.Pools[:i] {
			if o.Prefix.Overlaps(p.Prefix) {
				return fmt.Errorf("%s: pools %v and %v overlap", Name, o.Prefix, p.Prefix)
			}
		}
	}
	for i, n := range c.Networks {
		switch {
		case n.Link == "":
			return fmt.Errorf("%s: network %v has no interface", Name, n.Prefix)
		case n.Prefix.IsValid() && (!n.Prefix.Addr().Is4() || n.Prefix != n.Prefix.Masked() || n.Prefix.Bits() == 0 || n.Prefix.Bits() == 32):
			return fmt.Errorf("%s: %v cannot be a mobile network", Name, n.Prefix)
		case !n.Prefix.IsValid() && c.Implicit:
			return fmt.Errorf("%s: a prefix is assigned in explicit mode only", Name)
		case n.Length < 0 || n.Length > 30 || n.Length > 0 && n.Prefix.IsValid():
			return fmt.Errorf("%s: length %d of the network on %s", Name, n.Length, n.Link)
		}
		for _, o := range c.Networks[:i] {
			if n.Prefix.IsValid() && o.Prefix.IsValid() && n.Prefix.Overlaps(o.Prefix) {
				return fmt.Errorf("%s: networks %v and %v overlap", Name, o.Prefix, n.Prefix)
			}
		}
	}
	return nil
}

func texts(list []netip.Prefix) string {
	words := make([]string, len(list))
	for i, p := range list {
		words[i] = p.String()
	}
	return strings.Join(words, ", ")
}
