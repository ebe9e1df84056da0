package daemon

import (
	"errors"
	"fmt"
	"slices"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"careof/internal/host/beside"
	"careof/internal/host/route"
)

// ErrServes says that a daemon still serves: it would put back what is taken away.
var ErrServes = errors.New("a daemon serves")

// KeptIn lists the tunnel devices of daemons that do not run any more, and whose
// rules keep in what programs of this host send: they stay, so that nothing leaves
// beside the tunnel while a daemon is stopped.
func KeptIn() ([]string, error) {
	list, err := beside.Devices()
	return slices.DeleteFunc(list, attended), err
}

// attended tells whether a process has a tunnel device open: it has a carrier then.
func attended(device string) bool {
	l, err := netlink.LinkByName(device)
	return err == nil && l.Attrs().RawFlags&unix.IFF_LOWER_UP != 0
}

// Release lets this host's programs out again after its daemon was stopped for good.
func Release(device string) error {
	if attended(device) {
		return fmt.Errorf("%w at %s: stop it first", ErrServes, device)
	}
	return route.Release(device)
}
