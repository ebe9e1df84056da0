// Package feature defines what an optional RFC is to the roles: a package
// that adds hooks to their stages and rows to their tables.
//
// What must not go in here: any particular feature, and any order among them;
// that is in package standard.
package feature

import (
	"fmt"
	"slices"

	"careof/internal/proto/mip4/fa"
	"careof/internal/proto/mip4/ha"
	"careof/internal/proto/mip4/mn"
)

// A Feature is one optional part of the protocol, as configured.
type Feature struct {
	Name  string   // a stable word, as in the configuration and in `careof show stages`
	RFC   []int    // the texts that it implements
	Needs []string // features without which this one cannot be
	After []string // features whose hooks must run before this one's, when they are on
	Home  func(*ha.Agent) error
	// Mobile adds the feature to a mobile node, Foreign to a foreign agent.
	// Any of Home, Mobile and Foreign may be nil: the feature does not concern
	// that role.
	Mobile  func(*mn.Node) error
	Foreign func(*fa.Agent) error
}

// Check says what is wrong with an ordered list of features: a name that is
// there twice, a need that is not met, or an order that is not kept.
func Check(list []Feature) error {
	var before []string
	for _, f := range list {
		if slices.Contains(before, f.Name) {
			return fmt.Errorf("feature: %s is there twice", f.Name)
		}
		for _, need := range f.Needs {
			if !slices.Contains(before, need) {
				return fmt.Errorf("feature: %s needs %s before it", f.Name, need)
			}
		}
		before = append(before, f.Name)
		for _, after := range f.After {
			late := slices.ContainsFunc(list, func(o Feature) bool { return o.Name == after })
			if late && !slices.Contains(before, after) {
				return fmt.Errorf("feature: %s must come after %s", f.Name, after)
			}
		}
	}
	return nil
}
