package path

import (
	"careof/internal/proto/mip4/feature"
	"careof/internal/proto/mip4/feature/vendor"
	"careof/internal/proto/mip4/ha"
	"careof/internal/proto/mip4/mn"
)

// Name is the feature's name in stages and tables.
const Name = "path-probes"

// The vendor extensions of this feature: Question in the request, a critical one
// (38), without a value or with [Later]'s, and Answer in the reply, a normal one
// (134), without a value.
const (
	Question = vendor.FirstType + 0x10
	Answer   = vendor.FirstType + 0x11
)

// New is the feature.
func New(cfg Config, g *vendor.Registry) feature.Feature {
	g.Recognise(vendor.Row{Feature: Name, Critical: true, Vendor: vendor.Careof, Type: Question, At: vendor.AtHomeAgent})
	g.Recognise(vendor.Row{Feature: Name, Vendor: vendor.Careof, Type: Answer, At: vendor.AtMobileNode})
	return feature.Feature{
		Name:   Name,
		RFC:    []int{3519, 5944},
		Needs:  []string{vendor.Name},
		After:  []string{"path-validation"}, // questions bring answers to its challenges
		Home:   func(a *ha.Agent) error { return addHome(a) },
		Mobile: func(n *mn.Node) error { return addMobile(cfg, n) },
	}
}
