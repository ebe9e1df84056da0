package standard_test

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"testing"

	"careof/internal/proto/mip4/feature"
	"careof/internal/proto/mip4/standard"
)

func names(list []feature.Feature) string {
	s := ""
	for _, f := range list {
		s += f.Name + " "
	}
	return s
}

// subsets are the base, all, the base with one, and all but one.
func subsets(all []feature.Feature) [][]feature.Feature {
	sets := [][]feature.Feature{nil, all}
	for i := range all {
		sets = append(sets, []feature.Feature{all[i]})
		sets = append(sets, append(append([]feature.Feature(nil), all[:i]...), all[i+1:]...))
	}
	return sets
}

// Needs and After hold in the list, and every subset that they allow builds:
// no feature relies on another without saying so.
func TestEverySubsetBuilds(t *testing.T) {
	all := standard.Features(standard.Config{})
	if err := feature.Check(all); err != nil {
		t.Fatal(err)
	}
	for _, set := range subsets(all) {
		if feature.Check(set) != nil {
			continue // a need is not met, and Check says so
		}
		if _, err := standard.HomeAgent(agentConfig(t), set, rand.New(rand.NewPCG(1, 1))); err != nil {
			t.Errorf("home agent with %q: %v", names(set), err)
		}
		if _, err := standard.MobileNode(nodeConfig(t), set, rand.New(rand.NewPCG(1, 1))); err != nil {
			t.Errorf("mobile node with %q: %v", names(set), err)
		}
		foreign := newPlan(t).foreign
		foreign.CareOfAddresses = []netip.Addr{netip.MustParseAddr("203.0.113.1")}
		if _, err := standard.ForeignAgent(foreign, set, rand.New(rand.NewPCG(1, 1))); err != nil {
			t.Errorf("foreign agent with %q: %v", names(set), err)
		}
	}
}

// Check finds what is wrong with a list.
func TestCheck(t *testing.T) {
	a, b := feature.Feature{Name: "a"}, feature.Feature{Name: "b", Needs: []string{"a"}}
	c := feature.Feature{Name: "c", After: []string{"a"}}
	for _, x := range []struct {
		list []feature.Feature
		ok   bool
	}{
		{nil, true},
		{[]feature.Feature{a, b, c}, true},
		{[]feature.Feature{c}, true},
		{[]feature.Feature{b}, false},
		{[]feature.Feature{b, a}, false},
		{[]feature.Feature{c, a}, false},
		{[]feature.Feature{a, a}, false},
	} {
		if err := feature.Check(x.list); (err == nil) != x.ok {
			t.Errorf("%s: %v", names(x.list), err)
		}
	}
}

// A feature that is added twice, or claims what another has, is an error.
func TestDuplicatesAreErrors(t *testing.T) {
	all := standard.Features(standard.Config{})
	if _, err := standard.MobileNode(nodeConfig(t), append(all, all...), rand.New(rand.NewPCG(1, 1))); err == nil {
		t.Error("the same features twice were accepted")
	}
	if _, err := standard.HomeAgent(agentConfig(t), append(all, all...), rand.New(rand.NewPCG(1, 1))); err == nil {
		t.Error("the same features twice were accepted")
	}
	twin := all[0]
	twin.Name = fmt.Sprint(twin.Name, "-twin")
	// The twin adds the same rows under the same name: hooks may panic as a
	// programmer's mistake, tables answer with an error.
	defer func() { _ = recover() }()
	if _, err := standard.MobileNode(nodeConfig(t), append(all, twin), rand.New(rand.NewPCG(1, 1))); err == nil {
		t.Error("two features with the same rows were accepted")
	}
}
