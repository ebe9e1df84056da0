package daemon

import (
	"context"
	"net/netip"

	"careof/internal/control"
	"careof/internal/core/forward"
	"careof/internal/proto/mip4/ha"
	"careof/internal/proto/mip4/mn"
)

// networks lists the mobile networks of both roles.
func (d *daemon) networks(ctx context.Context) (any, error) {
	bound, err := ask[ha.BoundNetwork](ctx, d.home, ha.ListNetworks{})
	if err != nil {
		return nil, err
	}
	out := []control.MobileNetwork{}
	for _, n := range bound {
		out = append(out, control.MobileNetwork{
			Role: roleHomeAgent, Prefix: n.Prefix, HomeAddress: n.HomeAddress, NAI: n.NAI, CareOfAddress: n.CareOfAddress,
			State: "served", Counters: d.plane.Counters(forward.Key(n.Key)),
		})
	}
	routers, err := ask[mn.Status](ctx, d.mobile, mn.ShowStatus{})
	if err != nil {
		return nil, err
	}
	for _, r := range routers {
		for _, n := range r.Networks {
			one := routersNetwork(r, n)
			if n.Prefix.IsValid() {
				one.Counters = d.plane.Counters(mn.NetworkKey(n.Prefix))
			}
			out = append(out, one)
		}
	}
	return out, nil
}

// routersNetwork is a network as its router shows it. Nothing reaches it while the
// router is registered nowhere, whatever the home agent has agreed to.
func routersNetwork(r mn.Status, n mn.MobileNetwork) control.MobileNetwork {
	one := control.MobileNetwork{
		Role: roleMobileNode, Prefix: n.Prefix, Interface: n.Link, HomeAddress: r.HomeAddress, NAI: r.NAI,
		CareOfAddress: r.CareOfAddress, State: n.State,
	}
	switch r.State {
	case "registered", "home":
		return one
	}
	one.CareOfAddress = netip.Addr{}
	if n.Served {
		one.State = "not reached: the router is " + r.State
	}
	return one
}
