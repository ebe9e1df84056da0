package handover

import (
	"context"
	"crypto/ecdh"
	"crypto/rand"
	"encoding/hex"
	"fmt"

	wgconn "golang.zx2c4.com/wireguard/conn"
	wgdevice "golang.zx2c4.com/wireguard/device"
	wgtun "golang.zx2c4.com/wireguard/tun"

	"careof/internal/lab/netns"
)

// wgDevice is the device of either end.
const wgDevice = "wg0"

// openWireGuard starts wireguard-go at both ends. Its mobile node keeps nothing
// alive by itself, which is its default.
func openWireGuard(_ context.Context, n *netns.Network) (end func(), online func() error, err error) {
	devices, err := tunnels(n)
	return func() {
		for _, d := range devices {
			d.Close()
		}
	}, nil, err
}

// tunnels opens wireguard-go at both ends.
func tunnels(n *netns.Network) (devices []*wgdevice.Device, err error) {
	var keys [2]*ecdh.PrivateKey
	for i := range keys {
		if keys[i], err = ecdh.X25519().GenerateKey(rand.Reader); err != nil {
			return nil, err
		}
	}
	for i, end := range []struct {
		node, endpoint, allowed string
		route                   netns.Route
	}{
		{homeAgent, "", homeAddress.String(), netns.Route{Prefix: homeAddress, Interface: wgDevice}},
		{mobileNode, fmt.Sprintf("endpoint=%v:51820\n", homeAt), peerNetwork.String(), netns.Route{Prefix: peerNetwork, Interface: wgDevice, Source: homeAddress.Addr()}},
	} {
		node := n.Node(end.node)
		err := node.Do(func() error {
			dev, err := wgtun.CreateTUN(wgDevice, 1420)
			if err != nil {
				return err
			}
			d := wgdevice.NewDevice(dev, wgconn.NewDefaultBind(), wgdevice.NewLogger(wgdevice.LogLevelSilent, ""))
			devices = append(devices, d)
			err = d.IpcSet(fmt.Sprintf("private_key=%s\nlisten_port=51820\npublic_key=%s\n%sallowed_ip=%s\n",
				hex.EncodeToString(keys[i].Bytes()), hex.EncodeToString(keys[1-i].PublicKey().Bytes()), end.endpoint, end.allowed))
			if err != nil {
				return err
			}
			return d.Up()
		})
		if err != nil {
			return devices, fmt.Errorf("%s: %w", end.node, err)
		}
		if err := node.SetInterface(wgDevice, true); err != nil {
			return devices, err
		}
		if end.node == mobileNode {
			if err := node.AddAddress(wgDevice, homeAddress); err != nil {
				return devices, err
			}
		} else if err := node.SetSysctl("net/ipv4/ip_forward", "1"); err != nil {
			return devices, err
		}
		if err := node.AddRoute(end.route); err != nil {
			return devices, err
		}
	}
	return devices, nil
}
