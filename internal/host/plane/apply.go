package plane

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"

	"careof/internal/core/forward"
)

type interception struct {
	link string
	addr netip.Addr
}

// Apply implements [forward.Plane].
func (h *Host) Apply(ctx context.Context, changes []forward.Change) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.closed {
		return net.ErrClosed
	}
	for len(changes) > 0 {
		if err := ctx.Err(); err != nil {
			return err
		}
		// What comes in great numbers goes together: refreshes, which concern
		// nothing but the tunnels, and a home agent's bindings.
		n := 1
		for n < len(changes) && n < maxTogether && together(&changes[n], &changes[0]) {
			n++
		}
		run := changes[:n]
		changes = changes[n:]
		var err error
		switch c := &run[0]; {
		case c.Op == forward.Extend:
			if err = h.packets.Apply(ctx, run); err == nil {
				err = h.answered(run)
			}
		case c.Op == forward.Put && c.Entry.Role == forward.HomeAgent:
			err = h.putAll(ctx, run)
		case c.Op == forward.Put:
			err = h.put(ctx, c)
		case c.Op == forward.Delete:
			err = h.delete(ctx, c)
		default:
			err = fmt.Errorf("plane: entry %q: unknown operation %d", c.Entry.Key, c.Op)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// maxTogether bounds the changes that are made in one go.
const maxTogether = 4096

// together tells whether two changes that follow each other can be made in one
// go.
func together(a, b *forward.Change) bool {
	return a.Op == b.Op && (a.Op == forward.Extend || a.Op == forward.Put && a.Entry.Role == forward.HomeAgent && b.Entry.Role == forward.HomeAgent)
}

// putAll is put for entries of a home agent: all tunnels are there before any
// packets are led to them.
//
//rfc:5944#4.6
func (h *Host) putAll(ctx context.Context, changes []forward.Change) error {
	if err := h.packets.Apply(ctx, changes); err != nil {
		return err
	}
	for i := range changes {
		e := &changes[i].Entry
		if err := h.routes.Put(*e); err != nil {
			return err
		}
		if err := h.intercept(e); err != nil {
			return err
		}
	}
	return nil
}

// put: the tunnel is there before packets are led to it; at home the packets
// are led away before the tunnel is gone.
//
//rfc:5944#4.6
func (h *Host) put(ctx context.Context, c *forward.Change) error {
	e := &c.Entry
	tunnel := func() error { return h.packets.Apply(ctx, []forward.Change{*c}) }
	lead := func() error { return h.routes.Put(*e) }
	steps := []func() error{tunnel, lead}
	if e.Role == forward.ForeignAgent {
		if h.visits == nil {
			return fmt.Errorf("plane: entry %q: no links of visitors: %w", e.Key, errors.ErrUnsupported)
		}
		steps = []func() error{tunnel, func() error { return h.visits.Put(*e) }}
	}
	if e.Role == forward.MobileNode && e.HomeLink != "" {
		steps = []func() error{lead, tunnel}
	} else if e.Role == forward.MobileNode {
		h.announcer.Cease(e.Inner.Addr())
	}
	if e.Role == forward.MobileNode {
		// Nothing is forwarded from a mobile network before it is filtered.
		if err := h.networks.Put(e); err != nil {
			return err
		}
	}
	for _, step := range steps {
		if err := step(); err != nil {
			return err
		}
	}
	if e.Role == forward.MobileNode {
		h.slow.AskGroups(e.Key)
		if err := h.letGo(e.Key, e.Tunnels); err != nil {
			return err
		}
		if err := h.narrowed(e.Key, e); err != nil {
			return err
		}
	}
	return h.intercept(e)
}

// intercept answers ARP for an entry's address, or stops it.
//
//rfc:5944#4.6
//rfc:5944#1.7-2
//rfc:5944#3.8.2.2-9
//rfc:5944#3.8.2.2-10
//rfc:5944#4.2.3-1
func (h *Host) intercept(e *forward.Entry) error {
	old, was := h.intercepted[e.Key]
	if e.Role != forward.HomeAgent || e.Intercept == "" || e.Inner.Bits() != 32 {
		if was {
			return h.release(e.Key, old)
		}
		return nil
	}
	now := interception{e.Intercept, e.Inner.Addr()}
	if was && old == now {
		return nil
	}
	if was {
		if err := h.release(e.Key, old); err != nil {
			return err
		}
	}
	// "it performs a gratuitous ARP on behalf of the mobile node, and begins
	// using proxy ARP": in this order, when there was no binding before.
	if err := h.announcer.Announce(now.link, now.addr, forward.HardwareAddr{}); err != nil {
		return err
	}
	if err := h.neighbour.Proxy(now.link, now.addr); err != nil {
		return err
	}
	h.intercepted[e.Key] = now
	return nil
}

//rfc:5944#4.2.3-2
func (h *Host) release(key forward.Key, at interception) error {
	h.announcer.Cease(at.addr)
	if err := h.neighbour.Unproxy(at.link, at.addr); err != nil {
		return err
	}
	delete(h.intercepted, key)
	return nil
}

// delete: a home agent "stops using proxy ARP ..., and then performs a
// gratuitous ARP on behalf of the mobile node" with the node's own address. A
// mobile node's packets have nowhere to go from the first step on.
//
//rfc:5944#4.6
//rfc:5944#4.2.3-3
func (h *Host) delete(ctx context.Context, c *forward.Change) error {
	e := &c.Entry
	at, was := h.intercepted[e.Key]
	if !was && e.Intercept != "" && e.Inner.IsValid() && e.Inner.Bits() == 32 {
		// Left by an earlier process.
		at, was = interception{e.Intercept, e.Inner.Addr()}, true
	}
	if was {
		if err := h.release(e.Key, at); err != nil {
			return err
		}
	}
	if h.visits != nil {
		if err := h.visits.Delete(e.Key); err != nil {
			return err
		}
	}
	if err := h.routes.Delete(e.Key); err != nil {
		return err
	}
	if err := h.networks.Delete(e.Key); err != nil {
		return err
	}
	if err := h.packets.Apply(ctx, []forward.Change{*c}); err != nil {
		return err
	}
	if err := errors.Join(h.letGo(e.Key, nil), h.narrowed(e.Key, nil)); err != nil {
		return err
	}
	if was && c.ReturnedTo != (forward.HardwareAddr{}) {
		return h.announcer.Announce(at.link, at.addr, c.ReturnedTo)
	}
	return nil
}
