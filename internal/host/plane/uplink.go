package plane

import (
	"errors"
	"net"
	"net/netip"
	"slices"

	"careof/internal/core/forward"
	"careof/internal/host/route"
)

// letGo frees what the kernel keeps of a mobile node's packets while it asks for
// link-layer addresses that nobody tells: on links that its tunnels have left,
// and, on those that they use, for the home agent itself, which the kernel takes
// for a neighbour while a new link has an address and no route yet. It would keep
// them for three seconds, and TCP does not send again what the kernel keeps
// (skb_still_in_host_queue).
func (h *Host) letGo(key forward.Key, tunnels []forward.Tunnel) error {
	if h.fast == nil {
		return nil // user space keeps copies
	}
	var errs []error
	before := h.uplinks[key]
	if len(tunnels) > 0 {
		h.uplinks[key] = slices.Clone(tunnels)
	} else {
		delete(h.uplinks, key)
	}
	for _, t := range before {
		if t.Link != "" && !slices.ContainsFunc(tunnels, func(now forward.Tunnel) bool { return now.Link == t.Link }) {
			errs = append(errs, h.neighbour.LetGo(t.Link, netip.Addr{}))
		}
	}
	for _, t := range tunnels {
		if t.Link != "" {
			errs = append(errs, h.neighbour.LetGo(t.Link, t.Peer.Addr()))
		}
	}
	return errors.Join(errs...)
}

// answered is letGo for entries whose end was put off: a mobile node's, when the
// home agent has answered again.
func (h *Host) answered(extended []forward.Change) error {
	if len(h.uplinks) == 0 {
		return nil // a home agent's, and there may be very many
	}
	var errs []error
	for i := range extended {
		key := extended[i].Entry.Key
		if tunnels, mobile := h.uplinks[key]; mobile {
			errs = append(errs, h.letGo(key, tunnels))
		}
	}
	return errors.Join(errs...)
}

// Pass lets programs of this host reach something past the tunnel, over an
// uplink; nil ends it.
func (h *Host) Pass(link string, list []route.Passage) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.closed {
		return net.ErrClosed
	}
	return h.routes.SetPassages(link, list)
}
