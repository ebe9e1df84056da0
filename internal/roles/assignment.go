package roles

import (
	"net/netip"

	"careof/internal/config"
	"careof/internal/proto/mip4/feature/assignment"
)

// homeAssignment is what a home agent does for nodes that name none.
func homeAssignment(c *config.HomeAgent) assignment.Config {
	out := assignment.Config{
		Serve:    c.Assignment || c.Capacity > 0 || len(c.PoolMembers) > 0,
		Capacity: c.Capacity,
	}
	for _, m := range c.PoolMembers {
		out.Pool = append(out.Pool, assignment.Member{Address: m.Address, Keys: m.Associations})
	}
	return out
}

// asked is what a mobile node writes into the Home Agent field: "An address of
// 255.255.255.255 indicates a preference for an HA in the home domain. An
// address of 0.0.0.0 indicates no preference" (RFC 4433 section 2).
//
//rfc:4433#2
var asked = map[config.Assignment]netip.Addr{
	config.AssignmentAny:  netip.IPv4Unspecified(),
	config.AssignmentHome: netip.AddrFrom4([4]byte{255, 255, 255, 255}),
}
