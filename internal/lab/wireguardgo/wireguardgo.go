// Package wireguardgo runs wireguard-go between two nodes of a laboratory, for
// benchmarks to hold careof against.
package wireguardgo

import (
	"crypto/ecdh"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"net/netip"

	"golang.zx2c4.com/wireguard/conn"
	"golang.zx2c4.com/wireguard/device"
	"golang.zx2c4.com/wireguard/tun"

	"careof/internal/lab/netns"
)

// Port is the UDP port of either end.
const Port = 51820

// An End is one of the two.
type End struct {
	Node    *netns.Node
	Peer    netip.Addr   // where the other end is; invalid: it is learnt
	Allowed netip.Prefix // whose packets go to the other end, and come from there
}

// Connect makes the device at both ends, up, without addresses or routes. Also
// with an error, end ends what has begun.
func Connect(name string, mtu int, ends [2]End) (end func(), err error) {
	var devices []*device.Device
	end = func() {
		for _, d := range devices {
			d.Close()
		}
	}
	var keys [2]*ecdh.PrivateKey
	for i := range keys {
		if keys[i], err = ecdh.X25519().GenerateKey(rand.Reader); err != nil {
			return end, err
		}
	}
	for i, e := range ends {
		settings := fmt.Sprintf("private_key=%s\nlisten_port=%d\npublic_key=%s\nallowed_ip=%v\n",
			hex.EncodeToString(keys[i].Bytes()), Port, hex.EncodeToString(keys[1-i].PublicKey().Bytes()), e.Allowed)
		if e.Peer.IsValid() {
			settings += fmt.Sprintf("endpoint=%v\n", netip.AddrPortFrom(e.Peer, Port))
		}
		var t tun.Device
		err := e.Node.Do(func() (err error) {
			t, err = tun.CreateTUN(name, mtu)
			return err
		})
		if err == nil {
			// Before the device begins: it goes down with its interface.
			err = e.Node.SetInterface(name, true)
		}
		if err == nil {
			d := device.NewDevice(t, &bind{conn.NewDefaultBind(), e.Node}, device.NewLogger(device.LogLevelSilent, ""))
			devices = append(devices, d)
			err = errors.Join(d.IpcSet(settings), d.Up())
		}
		if err != nil {
			return end, fmt.Errorf("wireguard-go: %w", err)
		}
	}
	return end, nil
}

// A bind opens a device's sockets in its node: the device does so on whichever
// goroutine first learns that its interface is up, and most are in no node's
// network namespace.
type bind struct {
	conn.Bind
	node *netns.Node
}

// Open implements [conn.Bind].
func (b *bind) Open(port uint16) (receive []conn.ReceiveFunc, actual uint16, err error) {
	err = b.node.Do(func() (err error) {
		receive, actual, err = b.Bind.Open(port)
		return err
	})
	return receive, actual, err
}
