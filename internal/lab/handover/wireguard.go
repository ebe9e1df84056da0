package handover

import (
	"context"
	"crypto/ecdh"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"net/netip"
	"time"

	wgconn "golang.zx2c4.com/wireguard/conn"
	wgdevice "golang.zx2c4.com/wireguard/device"
	wgtun "golang.zx2c4.com/wireguard/tun"

	"careof/internal/lab/live"
	"careof/internal/lab/netns"
	"careof/internal/lab/scene"
)

// The nodes and addresses of the built-in topology that a reference needs.
const (
	mobileNode, homeAgent = "mn", "ha"
	wgDevice              = "wg0"
)

var (
	homeAddress = netip.MustParsePrefix("10.10.0.5/32")
	homeAt      = netip.MustParseAddr("198.51.100.1")
	peerNetwork = netip.MustParsePrefix("192.0.2.0/24")
	everywhere  = netip.MustParsePrefix("0.0.0.0/0")
)

// A stand is a laboratory in which another program stands in for our daemons.
// An interface that goes takes its default route with it, and one that comes
// brings it, as network managers do: the one with the lower metric is used.
type stand struct{ *live.Stage }

// Unplug implements [scene.Lab].
func (s stand) Unplug(node, iface string) {
	segment := s.Topology().Segment(s.Attached(node, iface))
	s.Stage.Unplug(node, iface)
	if segment != nil {
		// The kernel may have been quicker.
		_ = s.Network.Node(node).RemoveRoute(netns.Route{Prefix: everywhere, Via: segment.Gateway, Interface: iface})
	}
}

// uses is the plugged interface that comes first.
func (s stand) uses() string {
	for _, i := range s.Topology().Node(mobileNode).Interfaces {
		if s.Attached(mobileNode, i.Name) != "" {
			return i.Name
		}
	}
	return ""
}

// settle waits until datagrams arrive, sent after some time has passed since
// the move.
func (s stand) settle(_ string, down scene.Flow) {
	moved := s.Now()
	s.Until("datagrams arrive after the move", 60*time.Second, func() bool {
		now := s.Now()
		return now-moved > 500*time.Millisecond && down.Report(now-400*time.Millisecond, now).Received > 10
	})
}

// wireGuard plays moves with wireguard-go at both ends in place of the daemons:
// the same network, probes and instants. Its mobile node keeps nothing alive by
// itself, which is its default.
func wireGuard(ctx context.Context, s *scene.Scene, o Options, play func(scene.Roamer) []scene.Gap) (gaps []scene.Gap, err error) {
	t, err := s.Build()
	if err != nil {
		return nil, err
	}
	l, err := live.Build(ctx, t, live.Options{Seed: o.Seed, Command: o.Command})
	if err != nil {
		return nil, err
	}
	stage := live.NewStage(l, func(string, ...any) {})
	var devices []*wgdevice.Device
	defer func() {
		stage.Close()
		for _, d := range devices {
			d.Close()
		}
		err = errors.Join(err, l.Close())
	}()
	place := &scene.Scene{Name: "wireguard-go", Play: func(scene.Lab) {
		stage.Fall(mobileNode)
		stage.Fall(homeAgent)
		if devices, err = tunnels(l.Network); err != nil {
			stage.Fatalf("%v", err)
		}
		r := stand{stage}
		gaps = play(scene.Roamer{Lab: r, Uses: r.uses, Settle: r.settle})
	}}
	return gaps, scene.Perform(place, stage)
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
