package plane

import (
	"careof/internal/core/forward"
	"careof/internal/host/firewall"
)

// masquerading is what leaves with the host's own address: to home links it is
// the nodes' own that belong there.
func (c *Config) masquerading() firewall.Masquerading {
	m := firewall.Masquerading{On: c.Masquerade}
	for _, n := range c.HomeNetworks {
		if n.Link != "" {
			m.Except = append(m.Except, n.Link)
		}
	}
	return m
}

// narrowed notes what a mobile node's tunnel has been found to carry, for the
// TCP connections that begin now.
func (h *Host) narrowed(key forward.Key, tunnels []forward.Tunnel) error {
	least := 0
	for i := range tunnels {
		if t := &tunnels[i]; t.Mode != forward.Receive && t.MTU > 0 && (least == 0 || t.MTU < least) {
			least = t.MTU
		}
	}
	if h.narrow[key] == least {
		return nil
	}
	if h.narrow[key] = least; least == 0 {
		delete(h.narrow, key)
	}
	return h.clamp()
}

// clamp has TCP connections through the device announce segments that fit: into
// its MTU, and through a mobile node's narrowest path.
func (h *Host) clamp() error {
	mtu := h.mtu
	for _, least := range h.narrow {
		mtu = min(mtu, least)
	}
	if h.c.Unclamped {
		mtu = 0
	}
	h.firewall.SetClamp(mtu)
	_, err := h.firewall.Reconcile()
	return err
}
