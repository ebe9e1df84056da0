package daemon

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"careof/internal/config"
	"careof/internal/core/engine"
	"careof/internal/core/forward"
	"careof/internal/host/plane"
	"careof/internal/proto/mip4/standard"
	"careof/internal/roles"
)

// ErrNoNode says that a configuration has no mobile node, so nothing to guard.
var ErrNoNode = errors.New("there is no [mobile-node] section, so nothing to guard")

// Guard keeps programs of this host in before the daemon of a mobile node runs: it
// leaves the kernel as a daemon does that was killed before its links came up, and
// the daemon takes that over. It does nothing where a daemon serves or has left the
// same, and then installed is false.
func Guard(cfg *config.Config) (installed bool, err error) {
	c := cfg.MobileNode
	if c == nil {
		return false, ErrNoNode
	}
	kept, err := KeptIn()
	if err != nil || attended(cfg.Plane.Device) || slices.Contains(kept, cfg.Plane.Device) {
		return false, err
	}
	changes, err := firstChanges(c)
	if err != nil {
		return false, fmt.Errorf("guard: %w", err)
	}
	out := plane.Config{Device: cfg.Plane.Device, Kind: plane.TUN, Pins: cfg.Plane.BPFFS}
	guarded(&out, c)
	h, err := plane.Open(out)
	if err != nil {
		return false, fmt.Errorf("guard: %w", err)
	}
	return true, errors.Join(h.Apply(context.Background(), changes), h.Close())
}

// guarded tells the data plane whose packets a mobile node keeps in, by which links,
// and to where.
func guarded(out *plane.Config, c *config.MobileNode) {
	if c.HomeAddress.IsValid() {
		out.HomeAddresses = []netip.Addr{c.HomeAddress}
	}
	out.Through = c.Routes.Destinations()
	for _, u := range c.Uplinks {
		out.Uplinks = append(out.Uplinks, u.Interface)
	}
}

// firstChanges are what a mobile node has the data plane do before it has any link:
// it keeps in what is for the tunnel.
func firstChanges(c *config.MobileNode) (out []forward.Change, err error) {
	node, features := roles.MobileNode(c)
	m, err := standard.MobileNode(node, standard.Features(features), luck())
	if err != nil {
		return nil, fmt.Errorf("mobile-node: %w", err)
	}
	for _, a := range m.Step(engine.Now{Mono: time.Now(), Wall: time.Now()}, engine.Wake{}) {
		if c, is := a.(engine.Commit); is {
			out = append(out, c.Changes...)
		}
	}
	return out, nil
}
