package config

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
)

// NetworkMode is mobile-node.mobile-networks.
type NetworkMode uint8

// The modes of a mobile router (RFC 5177 section 5).
const (
	NetworksExplicit NetworkMode = iota
	NetworksImplicit
)

var networkModeWords = []string{"explicit", "implicit"}

// checkMobileNetworks looks at the networks behind a mobile router; uplinks are
// the interfaces that they cannot be on.
func (d *decoder) checkMobileNetworks(m *MobileNode, uplinks map[string]bool, device string) {
	const at = "mobile-node.mobile-network"
	for i, n := range m.Networks {
		path := indexed(at, i)
		switch {
		case n.Interface == "":
		case uplinks[n.Interface]:
			d.problem(path+".interface", "its hosts need an interface of their own", "%s is an uplink", n.Interface)
		case n.Interface == device:
			d.problem(path+".interface", "name the interface of its hosts", "%s is the tunnel device itself (plane.device)", n.Interface)
		}
		switch {
		case d.wrong(path+".prefix") || d.wrong(path+".length"):
		case n.Prefix.IsValid() && n.Length > 0:
			d.problem(path+".length", "leave one of the two out", "the prefix has a length already")
		case !n.Prefix.IsValid() && m.NetworkMode == NetworksImplicit:
			d.problem(path+".prefix", `or set mobile-networks = "explicit"`, "is missing: in implicit mode none is assigned")
		case n.Prefix.IsValid() && (n.Prefix.Bits() > 30 || !isHomeNetwork(n.Prefix)):
			d.problem(path+".prefix", "between /8 and /30, of addresses that hosts can have", "%s cannot be a mobile network", n.Prefix)
		case n.Prefix.IsValid() && m.HomeAddress.IsValid() && n.Prefix.Contains(m.HomeAddress):
			d.problem(path+".prefix", "the home address belongs to the home network", "%s contains the home address %s", n.Prefix, m.HomeAddress)
		}
		for _, o := range m.Networks[:i] {
			if o.Prefix.IsValid() && n.Prefix.IsValid() && o.Prefix.Overlaps(n.Prefix) {
				d.problem(path+".prefix", "make one of the two smaller, or remove it", "%s overlaps %s", n.Prefix, o.Prefix)
			}
		}
	}
	if len(m.Networks) > 0 && m.ReverseTunnel != AskRequired {
		d.problem("mobile-node.reverse-tunnel", `leave it out, or set it to "required"`, "a mobile router needs the reverse tunnel: visited networks do not let its networks' addresses out")
	}
}

// PrefixForNode says why a prefix cannot be given to one more mobile router of
// a home agent; nil when it can.
func (h *HomeAgent) PrefixForNode(prefix netip.Prefix) error {
	if !isHomeNetwork(prefix) || prefix.Bits() > 30 {
		return fmt.Errorf("%v cannot be a mobile network: write one between /8 and /30, of addresses that hosts can have", prefix)
	}
	if h.MobileNetworks == Off {
		return errors.New(`this home agent serves no mobile networks: mobile-networks is "off"`)
	}
	for _, a := range append(slices.Clone(h.Addresses), h.LocalAddress) {
		if a.IsValid() && prefix.Contains(a) {
			return fmt.Errorf("%v contains the home agent's own address %v", prefix, a)
		}
	}
	for _, n := range h.Networks {
		if n.Prefix.Overlaps(prefix) {
			return fmt.Errorf("%v overlaps the home network %v", prefix, n.Prefix)
		}
	}
	for _, p := range h.PrefixPools {
		if p.Prefix.Overlaps(prefix) {
			return fmt.Errorf("%v overlaps the pool %v, from which prefixes are assigned", prefix, p.Prefix)
		}
	}
	for i := range h.MobileNodes {
		for _, o := range h.MobileNodes[i].Prefixes {
			if o.Overlaps(prefix) {
				return fmt.Errorf("%v overlaps %v of %v", prefix, o, h.MobileNodes[i].Identity())
			}
		}
	}
	return nil
}

// HasMobileNetworks tells whether the configuration gives any node a network of its own.
func (h *HomeAgent) HasMobileNetworks() bool {
	return h.MobileNetworks != Off && (len(h.PrefixPools) > 0 ||
		slices.ContainsFunc(h.MobileNodes, func(n MobileNodePeer) bool { return len(n.Prefixes) > 0 }))
}

// checkPrefixPools looks at the prefixes that a home agent assigns.
func (d *decoder) checkPrefixPools(h *HomeAgent) {
	const at = "home-agent.prefix-pool"
	for i, p := range h.PrefixPools {
		path := indexed(at, i)
		if !p.Prefix.IsValid() || p.Length == 0 {
			continue // reported already
		}
		switch {
		case !isHomeNetwork(p.Prefix):
			d.problem(path+".prefix", "at least /8, of addresses that hosts can have", "%s cannot be assigned from", p.Prefix)
		case p.Length < p.Prefix.Bits():
			d.problem(path+".length", "the prefixes are parts of the pool", "/%d is longer than /%d", p.Prefix.Bits(), p.Length)
		case p.Length-p.Prefix.Bits() > 20:
			d.problem(path+".length", "make the pool smaller or the prefixes larger", "there would be more than a million prefixes of /%d in %s", p.Length, p.Prefix)
		}
		overlaps := func(o netip.Prefix, of string) {
			if o.IsValid() && o.Overlaps(p.Prefix) {
				d.problem(path+".prefix", "make one of the two smaller", "%s overlaps %s%s", p.Prefix, o, of)
			}
		}
		for _, o := range h.PrefixPools[:i] {
			overlaps(o.Prefix, "")
		}
		for _, n := range h.Networks {
			if n.Prefix.IsValid() && slices.ContainsFunc(n.Pool, func(r Range) bool { return p.Prefix.Contains(r.First) || p.Prefix.Contains(r.Last) }) {
				overlaps(n.Prefix, ", whose pool has addresses in it")
			}
		}
		for j := range h.MobileNodes {
			n := &h.MobileNodes[j]
			if a := n.HomeAddress; a.IsValid() && p.Prefix.Contains(a) {
				d.problem(path+".prefix", "make the pool smaller", "%s contains the home address %s", p.Prefix, a)
			}
			for _, o := range n.Prefixes {
				overlaps(o, " of "+n.Identity().String())
			}
		}
	}
}
