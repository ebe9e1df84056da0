package daemon

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"

	"github.com/vishvananda/netlink"

	"careof/internal/config"
	"careof/internal/control"
	"careof/internal/core/ident"
	"careof/internal/proto/mip4/feature/revoke"
	"careof/internal/proto/mip4/ha"
)

// vacancies are the home addresses that a node may be invited to.
type vacancies struct {
	home    *config.HomeAgent
	others  map[netip.Addr]string // who has an address of a home network, in words
	blocked map[string]bool       // the names of nodes that the operator keeps out
}

// vacancies looks who has addresses: in the configuration, and on this host.
func (d *daemon) vacancies(ctx context.Context) (vacancies, error) {
	now := d.live.config()
	v := vacancies{home: now.HomeAgent, others: make(map[netip.Addr]string), blocked: make(map[string]bool)}
	if now.AAA != nil {
		for i := range now.AAA.Subscribers {
			s := &now.AAA.Subscribers[i]
			v.note(s.HomeAddress, fmt.Sprintf("the home address of the subscriber %v", s.NAI))
		}
	}
	for i := range v.home.MobileNodes {
		o := &v.home.MobileNodes[i]
		v.note(o.HomeAddress, fmt.Sprintf("the home address of %v, which is configured or has joined", o.Identity()))
	}
	for _, n := range v.home.Networks {
		v.note(n.DHCPServer, fmt.Sprintf("the DHCP server of %v", n.Prefix))
		v.note(n.Router, fmt.Sprintf("the router of %v", n.Prefix))
		for _, a := range n.DNS {
			v.note(a, fmt.Sprintf("a name server of %v", n.Prefix))
		}
	}
	for _, m := range v.home.PoolMembers {
		v.note(m.Address, "another home agent of the pool")
	}
	v.note(v.home.RelayAddress(), "the DHCP relay's address")
	if err := v.host(); err != nil {
		return v, err
	}
	for _, a := range append(slices.Clone(v.home.Addresses), v.home.LocalAddress) {
		v.note(a, "the home agent's own address")
	}
	list, err := ask[revoke.BlockedNode](ctx, d.home, revoke.ListBlocked{})
	for _, b := range list {
		v.blocked[b.Node] = true
	}
	return v, err
}

func (v *vacancies) note(a netip.Addr, who string) {
	if a.IsValid() {
		v.others[a] = who
	}
}

// host notes this host's addresses, and its gateways.
func (v *vacancies) host() error {
	routes, err := netlink.RouteList(nil, netlink.FAMILY_V4)
	if err != nil {
		return fmt.Errorf("this host's routes: %w", err)
	}
	for _, r := range routes {
		if a, ok := netip.AddrFromSlice(r.Gw.To4()); ok {
			v.note(a, "this host's gateway")
		}
	}
	interfaces, err := net.Interfaces()
	if err != nil {
		return fmt.Errorf("this host's interfaces: %w", err)
	}
	for _, i := range interfaces {
		addrs, err := i.Addrs()
		if err != nil {
			continue // it has gone meanwhile
		}
		for _, a := range addrs {
			if p, err := netip.ParsePrefix(a.String()); err == nil {
				v.note(p.Addr(), "this host's own address, on "+i.Name)
			}
		}
	}
	return nil
}

// in says what is in the way of a node's having an address of a home network;
// empty: nothing.
func (v *vacancies) in(n config.Network, a netip.Addr) string {
	if who, taken := v.others[a]; taken {
		return who
	}
	// Whoever joined with it would have its requests denied with 129.
	if v.blocked[a.String()] {
		return fmt.Sprintf("blocked by careof revoke --block (hint: careof unblock %v first)", a)
	}
	if n.Prefix.Bits() <= 30 {
		if a == n.Prefix.Masked().Addr() {
			return fmt.Sprintf("the address of the network %v itself", n.Prefix)
		}
		if !n.Prefix.Contains(a.Next()) {
			return fmt.Sprintf("the broadcast address of %v", n.Prefix)
		}
	}
	if slices.ContainsFunc(n.Pool, func(r config.Range) bool { return r.Contains(a) }) {
		return fmt.Sprintf("in the pool of %v, for nodes that have none of their own", n.Prefix)
	}
	return ""
}

// refuse says why a node cannot have the address, or the name, that the
// operator has chosen for it; nil when it can.
func (d *daemon) refuse(ctx context.Context, v vacancies, who ident.Node) error {
	if who.NAI != "" {
		if slices.ContainsFunc(v.home.MobileNodes, func(o config.MobileNodePeer) bool { return o.NAI == who.NAI }) {
			return fmt.Errorf("%w: there is a node %v already (hint: careof enrol remove %v, if it has joined and is to join anew)", control.ErrInvalid, who.NAI, who.NAI)
		}
		if v.blocked[string(who.NAI)] {
			return fmt.Errorf("%w: %v is blocked by careof revoke --block (hint: careof unblock %v first)", control.ErrInvalid, who.NAI, who.NAI)
		}
	}
	a := who.HomeAddress
	if !a.IsValid() {
		return nil
	}
	at := slices.IndexFunc(v.home.Networks, func(n config.Network) bool { return n.Prefix.Contains(a) })
	if at < 0 {
		var networks []string
		for _, n := range v.home.Networks {
			networks = append(networks, n.Prefix.String())
		}
		return fmt.Errorf("%w: %v is in no home network: choose an address of %s", control.ErrInvalid, a, strings.Join(networks, " or "))
	}
	if why := v.in(v.home.Networks[at], a); why != "" {
		return fmt.Errorf("%w: %v is no address for this node: it is %s", control.ErrInvalid, a, why)
	}
	// A node that only AAA knows may have it.
	bound, err := ask[ha.Binding](ctx, d.home, ha.ShowBinding{Node: ident.Node{HomeAddress: a}})
	if err == nil && len(bound) > 0 {
		return fmt.Errorf("%w: %v is no address for this node: %s is registered with it", control.ErrInvalid, a, ident.Node{HomeAddress: a, NAI: ident.NAI(bound[0].NAI)})
	}
	if err != nil && !errors.Is(err, control.ErrNotFound) {
		return err
	}
	return nil
}

// free is the first home address that nobody has.
func (v *vacancies) free(invited func(netip.Addr) bool) (netip.Addr, error) {
	for _, n := range v.home.Networks {
		// The first address is a router's by custom.
		for a := n.Prefix.Masked().Addr().Next().Next(); n.Prefix.Contains(a); a = a.Next() {
			if v.in(n, a) == "" && !invited(a) {
				return a, nil
			}
		}
	}
	return netip.Addr{}, fmt.Errorf("%w: no home address is free: widen a home network, or name an address", control.ErrInvalid)
}
