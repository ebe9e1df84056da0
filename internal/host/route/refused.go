package route

import (
	"cmp"
	"fmt"
	"maps"
	"net/netip"
	"slices"

	"careof/internal/core/forward"
	"careof/internal/host/beside"
)

// refused is what programs may not send by uplinks while the node is away: what
// is for the tunnel by an entry's routes, but to networks that an uplink is
// connected to, to a portal that they may reach, and where packets go without a
// tunnel on purpose. At home nothing is for the tunnel; before the node knows its
// home address, everything is that will be.
func (k *Keeper) refused(homes []home) (w beside.Want) {
	for _, h := range homes {
		if h.entry != nil && h.entry.HomeLink == "" {
			for _, p := range h.entry.Routes {
				w.Through = append(w.Through, p.Masked())
			}
		}
	}
	if len(k.mobile) == 0 {
		w.Through = slices.Clone(k.c.Through)
	}
	if len(w.Through) == 0 {
		return w
	}
	w.Through = sorted(w.Through, comparePrefixes)
	for _, name := range k.c.Uplinks {
		if name == "" {
			continue // the slot of one that has gone
		}
		u := beside.Uplink{Name: name}
		for _, p := range k.passages[name] {
			if p.To.Is4() { // IPv6 is the rules' business
				u.Passages = append(u.Passages, p)
			}
		}
		for _, r := range k.uplinks[name].routes {
			if r.Dst.Bits() > 0 {
				u.To = append(u.To, r.Dst)
			}
		}
		for _, h := range homes {
			if h.entry == nil || cmp.Or(h.entry.HomeLink, h.entry.Deliver.Link, h.entry.link) != name {
				continue
			}
			if h.entry.HomeLink != "" || !h.entry.tunnelled && h.entry.Deliver.Link != "" {
				// At home, or with the foreign agent for its router.
				u.From = append(u.From, h.inner)
			}
			for _, p := range h.entry.Direct {
				u.To = append(u.To, p.Masked())
			}
		}
		u.To, u.From = sorted(u.To, comparePrefixes), sorted(u.From, comparePrefixes)
		w.Uplinks = append(w.Uplinks, u)
	}
	return w
}

// widest is the length of the shortest prefix of public addresses that a link
// may well be connected to.
const widest = 16

// drawnOut names routes of the main table that draw packets for public addresses
// out of a tunnel that everything goes through, or for hosts at home. A DHCP server can have whoever
// configures the host's links set them, to read along (CVE-2024-3661).
func (k *Keeper) drawnOut() (out []string) {
	for _, name := range k.c.Uplinks {
		for _, r := range k.uplinks[name].routes {
			if home := k.overlaps(r.Dst); r.Dst.Bits() > 0 && home.IsValid() {
				out = append(out, fmt.Sprintf("%s: packets for %v leave beside the tunnel, where the home network %v has hosts too: they are out of reach here, but from the home address (hint: address = \"dhcp\" for this uplink leaves such a network out)", name, r.Dst, home))
			}
		}
	}
	if !forward.AllOf(k.installed.beside.Through) {
		return nil
	}
	for _, name := range k.c.Uplinks {
		for _, r := range k.uplinks[name].routes {
			if r.Dst.Bits() > 0 && (r.Via.IsValid() || r.Dst.Bits() < widest) && public(r.Dst) {
				out = append(out, fmt.Sprintf("%s: packets for %v leave beside the tunnel, by a route that somebody has set (hint: if its network's DHCP server asked for it, have the host's network manager ignore such routes)", name, r.Dst))
			}
		}
	}
	return out
}

// overlaps is the home network of a node that is away, in which some of a prefix is.
func (k *Keeper) overlaps(p netip.Prefix) netip.Prefix {
	for _, key := range slices.Sorted(maps.Keys(k.mobile)) {
		if e := k.mobile[key]; e.HomeLink == "" && e.HomeNetwork.IsValid() && e.HomeNetwork.Overlaps(p) {
			return e.HomeNetwork.Masked()
		}
	}
	return netip.Prefix{}
}

// public tells whether a prefix has addresses that are not a private network's.
func public(p netip.Prefix) bool {
	private := func(a netip.Addr) bool { return a.IsPrivate() || a.IsLinkLocalUnicast() || shared.Contains(a) }
	return !private(p.Addr()) || !private(lastOf(p))
}

// shared is the address space between a provider and its customers' NATs (RFC 6598).
var shared = netip.MustParsePrefix("100.64.0.0/10")
