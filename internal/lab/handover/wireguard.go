package handover

import (
	"context"

	"careof/internal/lab/netns"
	"careof/internal/lab/wireguardgo"
)

// wgDevice is the device of either end.
const wgDevice = "wg0"

// openWireGuard starts wireguard-go at both ends. Its mobile node keeps nothing
// alive by itself, which is its default.
func openWireGuard(_ context.Context, n *netns.Network) (end func(), online func() error, err error) {
	home, mobile := n.Node(homeAgent), n.Node(mobileNode)
	end, err = wireguardgo.Connect(wgDevice, 1420, [2]wireguardgo.End{
		{Node: home, Allowed: homeAddress},
		{Node: mobile, Peer: homeAt, Allowed: peerNetwork},
	})
	for _, step := range []func() error{
		func() error { return home.SetSysctl("net/ipv4/ip_forward", "1") },
		func() error { return home.AddRoute(netns.Route{Prefix: homeAddress, Interface: wgDevice}) },
		func() error { return mobile.AddAddress(wgDevice, homeAddress) },
		func() error {
			return mobile.AddRoute(netns.Route{Prefix: peerNetwork, Interface: wgDevice, Source: homeAddress.Addr()})
		},
	} {
		if err == nil {
			err = step()
		}
	}
	return end, nil, err
}
