package grekey

import (
	"careof/internal/proto/mip4/fa"
	"careof/internal/proto/mip4/feature"
	"careof/internal/proto/mip4/ha"
)

// Name is the feature's name in stages and tables.
const Name = "gre-keys"

// A Mode says for whom a foreign agent asks for a GRE key.
type Mode uint8

const (
	Asked  Mode = iota // for visitors that ask for GRE with the G bit
	Always             // for all that use its care-of address, whatever they ask for
	Off                // for nobody
)

// Config configures GRE keys, at either end.
type Config struct {
	Foreign Mode
	// RefuseHome makes a home agent one that does not know the extension.
	RefuseHome bool
}

// New is the GRE key extension, configured by cfg.
func New(cfg Config) feature.Feature {
	f := feature.Feature{Name: Name, RFC: []int{6245}, After: []string{"nat-traversal"}}
	if !cfg.RefuseHome {
		f.Home = addHome
	}
	if cfg.Foreign != Off {
		f.Foreign = func(a *fa.Agent) error { return addForeign(cfg.Foreign, a) }
	}
	return f
}

// addHome adds GRE keys to a home agent.
func addHome(a *ha.Agent) error {
	h := &home{agent: a, key: new(ha.Slot[sessionKey])}
	a.Claims.Add(ha.Claim{
		Feature: Name, Type: extension, Sub: 0, HasSub: true, From: "foreign agent",
		Place: ha.Uncovered, Max: 1, Section: "6245#5",
	})
	a.Bind.Add(Name, "key", h.bind)
	a.Reply.Add(Name, "key", h.reply)
	return nil
}
