package natt

import (
	"careof/internal/proto/mip4/fa"
	"careof/internal/proto/mip4/feature"
	"careof/internal/proto/mip4/ha"
	"careof/internal/proto/mip4/mn"
)

// Name is the feature's name in stages, tables and counters.
const Name = "nat-traversal"

// New is NAT traversal, configured by cfg.
func New(cfg Config) feature.Feature {
	return feature.Feature{
		Name:    Name,
		RFC:     []int{3519},
		Home:    func(a *ha.Agent) error { return addHome(cfg, a) },
		Foreign: func(a *fa.Agent) error { return addForeign(cfg, a) },
		Mobile:  func(n *mn.Node) error { return addMobile(cfg, n) },
	}
}
