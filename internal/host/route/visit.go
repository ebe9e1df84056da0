package route

import (
	"cmp"
	"errors"
	"maps"
	"net/netip"
	"slices"

	"careof/internal/core/forward"
)

// A neighborKey names a neighbour.
type neighborKey struct {
	link    string
	address netip.Addr
}

// visit prepares the links on which a mobile node is registered with a foreign
// agent's care-of address. The kernel learns the agent's link-layer address
// from us, since a mobile node "MUST NOT broadcast ARP Requests" for it away
// from home (RFC 5944 section 4.6): it is that of the agent's advertisement.
// Packets for the home address come in there from anywhere, and "a mobile node
// MUST ignore ICMP Redirects" to other routers of a visited network (section
// 4.2.1).
//
//rfc:5944#4.2.1
//rfc:5944#4.6
//rfc:5944#3.6-7
func (k *Keeper) visit() error {
	want := make(map[neighborKey]forward.HardwareAddr)
	for _, e := range k.mobile {
		if u, known := k.uplinks[e.Deliver.Link]; known && !u.up {
			continue // it has no neighbours
		}
		if d := e.Deliver; d.Link != "" && e.HomeLink == "" {
			want[neighborKey{d.Link, d.Via}] = d.HW
			k.set("net/ipv4/conf/"+d.Link+"/rp_filter", k.reverseFilter(e), false)
			k.without("accept_redirects", d.Link)
		}
	}
	var errs []error
	order := func(m map[neighborKey]forward.HardwareAddr) []neighborKey {
		return slices.SortedFunc(maps.Keys(m), func(a, b neighborKey) int {
			return cmp.Or(cmp.Compare(a.link, b.link), a.address.Compare(b.address))
		})
	}
	for _, n := range order(want) {
		if have, ok := k.neighbors[n]; ok && have == want[n] && !k.dirty {
			continue
		}
		if err := k.kernel.SetNeighbor(n.link, n.address, want[n]); err != nil {
			errs = append(errs, err)
			continue
		}
		k.neighbors[n] = want[n]
	}
	for _, n := range order(k.neighbors) {
		if _, wanted := want[n]; !wanted {
			errs = append(errs, k.kernel.SetNeighbor(n.link, n.address, forward.HardwareAddr{}))
			delete(k.neighbors, n)
		}
	}
	return errors.Join(errs...)
}

// reverseFilter is the reverse path filter of the link to a foreign agent. In
// the encapsulating delivery style the way back is the device: where the link
// has no address, the kernel takes that for a spoofed source even when the
// filter is loose.
func (k *Keeper) reverseFilter(e led) string {
	if e.tunnelled && !slices.Contains(e.Direct, everything) {
		return "0"
	}
	return "2"
}
