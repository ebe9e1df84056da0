package netspace

import (
	"fmt"

	"github.com/google/nftables"
)

// Nftables opens a netlink socket in the namespace, for the caller to close
// (CloseLasting). The library could go there by itself, but it always calls
// setns(2), which needs CAP_SYS_ADMIN even to stay where one is; the daemon runs
// without it.
func (s *Space) Nftables() (c *nftables.Conn, err error) {
	err = s.Do(func() (err error) {
		c, err = nftables.New(nftables.AsLasting())
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("netspace: nftables: %w", err)
	}
	return c, nil
}
