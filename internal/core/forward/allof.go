package forward

import (
	"encoding/binary"
	"net/netip"
	"slices"
)

// AllOf tells whether prefixes together are all of IPv4: as one, or in
// parts such as the two halves that other tunnels' users are used to write.
func AllOf(prefixes []netip.Prefix) bool {
	list := make([]netip.Prefix, 0, len(prefixes))
	for _, p := range prefixes {
		list = append(list, p.Masked())
	}
	slices.SortFunc(list, netip.Prefix.Compare)
	var next uint64 // the first address that is in none so far
	for _, p := range list {
		a := p.Addr().As4()
		first := uint64(binary.BigEndian.Uint32(a[:]))
		if first > next {
			return false
		}
		next = max(next, first+1<<(32-p.Bits()))
	}
	return next == 1<<32
}
