package lease

import (
	"slices"
	"time"
)

// MostPast bounds the leases that are remembered for one link.
const MostPast = 8

// A Memory is the leases of one link, the latest first: one for each network.
type Memory []Lease

// sameNetwork tells whether two leases are of one network, as far as that shows.
func sameNetwork(a, b Lease) bool {
	return a.Address.Masked() == b.Address.Masked() && a.Gateway == b.Gateway && a.Server == b.Server
}

// With puts a lease in the first place.
func (m Memory) With(l Lease) Memory {
	rest := m.without(l)
	return append(Memory{l}, rest[:min(len(rest), MostPast-1)]...)
}

func (m Memory) without(l Lease) Memory {
	return slices.DeleteFunc(slices.Clone(m), func(o Lease) bool { return sameNetwork(o, l) })
}

func (m Memory) unexpired(now time.Time) Memory {
	return slices.DeleteFunc(slices.Clone(m), func(l Lease) bool { return !now.Before(l.Until) })
}

// of is what is remembered of a lease's network; zero when that is nothing.
func (m Memory) of(l Lease) Lease {
	if i := slices.IndexFunc(m, func(o Lease) bool { return sameNetwork(o, l) }); i >= 0 {
		return m[i]
	}
	return Lease{}
}
