package plane

import (
	"errors"
	"maps"
	"net"
	"net/netip"
	"reflect"
	"slices"

	"careof/internal/core/engine"
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

// LinkChanged tells the present state of a link: it moves the device's MTU and
// an uplink's own routes. Links that do not concern the plane may be told too.
func (h *Host) LinkChanged(l engine.Link) error {
	if l.Name == h.c.Device || l.Name == "lo" {
		return nil
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.closed {
		return net.ErrClosed
	}
	uplink := slices.Contains(h.c.Uplinks, l.Name)
	if uplink && h.indifferent(l) {
		return nil
	}
	if len(h.c.Uplinks) == 0 || uplink {
		if h.fast != nil {
			if err := h.fast.Link(l); err != nil {
				return err
			}
		}
		if l.Gone || !l.Up {
			delete(h.underlays, l.Name)
		} else {
			h.underlays[l.Name] = l.MTU
		}
	}
	if h.c.MTU == 0 && len(h.underlays) > 0 {
		mtu := route.DeviceMTU(slices.Collect(maps.Values(h.underlays)), h.c.Encapsulations)
		if mtu != h.mtu {
			if err := h.routes.SetMTU(mtu); err != nil {
				return err
			}
			h.mtu = mtu
			if err := h.clamp(); err != nil {
				return err
			}
		}
	}
	if h.casts != nil {
		if err := h.casts.LinkChanged(l); err != nil {
			return err
		}
	}
	if h.visits != nil {
		if err := h.visits.LinkChanged(l); err != nil {
			return err
		}
	}
	return h.routes.Uplink(l)
}

// indifferent tells whether nothing is news here of what an uplink has become: of
// one that is down there is only that, and the link-layer address of the gateway is
// the kernel's business. Tunnels are often on the move just then, and would wait for
// the routes to be gone through. What is said once more in the same words is done
// once more.
func (h *Host) indifferent(l engine.Link) bool {
	old, told := h.told[l.Name]
	h.told[l.Name] = l
	if !told || old.Gone != l.Gone || old.Up != l.Up || reflect.DeepEqual(old, l) {
		return false
	}
	old.GatewayHW = l.GatewayHW
	return !l.Up || reflect.DeepEqual(old, l)
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
