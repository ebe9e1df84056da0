package pathmtu

import (
	"encoding/binary"
	"time"

	"careof/internal/core/engine"
	"careof/internal/proto/mip4/feature"
	"careof/internal/proto/mip4/feature/vendor"
	"careof/internal/proto/mip4/ha"
	"careof/internal/proto/mip4/mn"
	"careof/wire/encap"
)

// Name is the feature's name in stages and tables.
const Name = "path-mtu"

// Told is the type of the normal vendor extension (134) in a Registration
// Request: two octets, the length of the longest outer packet that the path
// between home agent and care-of address carries.
const Told = vendor.FirstType + 0x18

// leastPath is the smallest path MTU that is looked for, or believed: what every
// IPv4 host takes (RFC 791).
const leastPath = 576

// Config configures the feature at a mobile node; a home agent needs none.
type Config struct {
	Enabled bool
	// Every is the time between confirmations while packets go. Zero means
	// [DefaultEvery]. Over a metered uplink it is at least [MeteredEvery].
	Every time.Duration
}

// The times between confirmations.
const (
	DefaultEvery = time.Second
	MeteredEvery = 10 * time.Second
)

// New is the feature.
func New(cfg Config, g *vendor.Registry) feature.Feature {
	g.Recognise(vendor.Row{Feature: Name, Vendor: vendor.Careof, Type: Told, At: vendor.AtHomeAgent})
	return feature.Feature{
		Name:   Name,
		RFC:    []int{8899},
		Needs:  []string{vendor.Name},
		Home:   func(a *ha.Agent) error { a.Bind.Add(Name, "told", told); return nil },
		Mobile: func(n *mn.Node) error { return addMobile(cfg, n) },
	}
}

// told takes the mobile node's word for how long packets to it may be. It is
// authentic, and harms only itself with another.
func told(x *ha.Exchange) engine.Verdict {
	value, _ := vendor.Find(x.Message.Authorized(), false, vendor.Careof, Told)
	if len(value) != 2 {
		return engine.Next()
	}
	if path := int(binary.BigEndian.Uint16(value)); path >= leastPath {
		x.MTU = path - overhead(x.Encap, x.Inside, x.HasKey)
	}
	return engine.Next()
}

// overhead is what a tunnel adds to a packet.
func overhead(kind, inside encap.Kind, key bool) int {
	h := encap.Header{Kind: kind, Inner: inside, HasKey: key}
	return h.Overhead()
}
