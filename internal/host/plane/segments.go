package plane

import (
	"careof/internal/core/forward"
	"careof/internal/host/firewall"
	"careof/internal/host/plane/tun"
	"careof/wire/encap"
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

// narrowed notes what a mobile node's tunnels carry, as far as that has been found
// out or what is copied needs more room, for the TCP connections that begin now.
func (h *Host) narrowed(key forward.Key, e *forward.Entry) error {
	least := 0
	if e != nil {
		least = h.carried(e)
	}
	if h.narrow[key] == least {
		return nil
	}
	if h.narrow[key] = least; least == 0 {
		delete(h.narrow, key)
	}
	return h.clamp()
}

// carried is the longest packet that goes through an entry's tunnels; 0 where
// nothing is shorter than the device's MTU says. In the clear what is copied has a
// number, and is to fit with it into each tunnel that copies may go to: while the
// path in use is in doubt a full segment that does not fit is a lost one, perhaps.
func (h *Host) carried(e *forward.Entry) int {
	least := 0
	for i := range e.Tunnels {
		t := &e.Tunnels[i]
		mtu := t.MTU
		if e.Numbered && e.Role == forward.MobileNode && !t.Secured() {
			header := encap.Header{Kind: t.Encap, Inner: t.Inside, HasKey: t.HasKey}
			if link := h.underlays[t.Link]; mtu == 0 && link > 0 {
				mtu = link - header.Overhead()
			}
			mtu -= tun.Numbering
		} else if t.Mode == forward.Receive {
			continue
		}
		if mtu > 0 && (least == 0 || mtu < least) {
			least = mtu
		}
	}
	return least
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
