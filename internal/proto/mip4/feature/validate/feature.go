package validate

import (
	"encoding/binary"
	"fmt"
	"net/netip"

	"careof/internal/core/note"
	"careof/internal/proto/mip4/feature"
	"careof/internal/proto/mip4/feature/vendor"
	"careof/internal/proto/mip4/ha"
	"careof/internal/proto/mip4/mn"
)

// Name is the feature's name in stages and tables.
const Name = "path-validation"

// The vendor extensions of this feature, both normal ones (134): Ask in a
// request holds the answer to a challenge, or nothing; Seen in a reply is
// flags8 | address 4 | port16 | challenge, where the last is left out when none
// is posed.
const (
	Ask  = vendor.FirstType + 0x20
	Seen = vendor.FirstType + 0x21
)

// Notes.
const (
	Challenged   note.Kind = "address-challenged"
	Validated    note.Kind = "address-validated"
	OuterChanged note.Kind = "outer-address-changed"
)

// A Mode says whether addresses are validated.
type Mode uint8

// Modes.
const (
	Auto     Mode = iota // home agent: of the nodes that say that they can
	Off                  // never
	Required             // home agent: and other nodes are refused
	On                   // mobile node: it says that it can
	modes
)

var modeNames = [modes]string{"auto", "off", "required", "on"}

func (m Mode) String() string {
	if m < modes {
		return modeNames[m]
	}
	return fmt.Sprintf("Mode(%d)", uint8(m))
}

// Config configures the feature. A mobile node takes part only when its mode
// is On.
type Config struct{ Mode Mode }

// New is the feature.
func New(cfg Config, g *vendor.Registry) feature.Feature {
	g.Recognise(vendor.Row{Feature: Name, Vendor: vendor.Careof, Type: Ask, At: vendor.AtHomeAgent})
	g.Recognise(vendor.Row{Feature: Name, Vendor: vendor.Careof, Type: Seen, At: vendor.AtMobileNode})
	return feature.Feature{
		Name:   Name,
		RFC:    []int{3519, 5944},
		Needs:  []string{vendor.Name},
		Home:   func(a *ha.Agent) error { return addHome(cfg, a) },
		Mobile: func(n *mn.Node) error { return addMobile(cfg, n) },
	}
}

// challengeSize is how long a challenge is, in octets.
const challengeSize = 8

// A sight is what a home agent tells of an outer address.
type sight struct {
	validated bool
	outer     netip.AddrPort
	challenge []byte // nil: none
}

const flagValidated = 1

func (s *sight) append(b []byte) []byte {
	var flags byte
	if s.validated {
		flags |= flagValidated
	}
	four := s.outer.Addr().As4()
	b = append(append(b, flags), four[:]...)
	return append(binary.BigEndian.AppendUint16(b, s.outer.Port()), s.challenge...)
}

func parseSight(b []byte) (s sight, ok bool) {
	if len(b) != 7 && len(b) != 7+challengeSize {
		return s, false
	}
	s.validated = b[0]&flagValidated != 0
	s.outer = netip.AddrPortFrom(netip.AddrFrom4([4]byte(b[1:5])), binary.BigEndian.Uint16(b[5:]))
	s.challenge = b[7:]
	return s, true
}
