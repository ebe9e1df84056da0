package ha

import (
	"fmt"
	"slices"

	"careof/wire/encap"
	"careof/wire/mip4"
)

// An Encapsulation is a form of tunnel that the flags of a request ask for.
type Encapsulation struct {
	Feature string
	Kind    encap.Kind
	Asked   func(mip4.RequestFlags) bool
}

// AddEncapsulation adds a row. The first row that is asked for and offered is
// used.
func (a *Agent) AddEncapsulation(row Encapsulation) {
	for _, r := range a.Encapsulations {
		if r.Kind == row.Kind {
			a.Fail(fmt.Errorf("ha: features %s and %s both bring encapsulation %v", r.Feature, row.Feature, row.Kind))
			return
		}
	}
	a.Encapsulations = append(a.Encapsulations, row)
}

// Offers says whether the configuration offers an encapsulation.
func (a *Agent) Offers(k encap.Kind) bool { return slices.Contains(a.cfg.Encapsulations, k) }

// baseEncapsulations are those of RFC 5944 section 3.3. With both M and G set
// "the home agent" may choose: GRE, which also carries what minimal
// encapsulation cannot, fragments.
//
//rfc:5944#3.3
func (a *Agent) baseEncapsulations() {
	asks := func(f mip4.RequestFlags) func(mip4.RequestFlags) bool {
		return func(v mip4.RequestFlags) bool { return v.Has(f) }
	}
	a.AddEncapsulation(Encapsulation{"base", encap.GRE, asks(mip4.FlagG)})
	a.AddEncapsulation(Encapsulation{"base", encap.Minimal, asks(mip4.FlagM)})
	a.AddEncapsulation(Encapsulation{"base", encap.IPIP, func(v mip4.RequestFlags) bool {
		return v&(mip4.FlagM|mip4.FlagG) == 0
	}})
}

// askedFor is the encapsulation that the flags ask for, and whether it is
// offered.
func (a *Agent) askedFor(f mip4.RequestFlags) (encap.Kind, bool) {
	first := encap.Kind(0)
	for _, row := range a.Encapsulations {
		if !row.Asked(f) {
			continue
		}
		if a.Offers(row.Kind) {
			return row.Kind, true
		}
		if first == 0 {
			first = row.Kind
		}
	}
	return first, false
}
