package bench

import (
	"context"
	"crypto/ecdh"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"net/netip"

	"careof/internal/core/engine"
	"careof/internal/core/forward"
	"careof/internal/host/plane/bpf"
	"careof/internal/host/plane/tun"
	"careof/internal/host/sock"
	"careof/internal/lab/netns"
	"careof/internal/lab/wireguardgo"
	"careof/wire/encap"
)

// device is the name of a tunnel's device.
const device = "careof0"

// mobilePort is the mobile node's UDP port.
const mobilePort = 41000

// A way is one way from the correspondent node to the mobile node, with a
// network of its own.
type way struct {
	name    string
	about   string
	build   func(w *way) error
	tunnel  forward.Tunnel // of our own planes
	network *network
	dst     netip.Addr // of what is sent
	owned   []io.Closer
	agent   *bpf.Plane // of a way with programs
	mobile  *bpf.Plane
}

// ways are all that there are; the first is what the others are held against.
func ways() []*way {
	ipip, udp := forward.Tunnel{Encap: encap.IPIP}, forward.Tunnel{Encap: encap.UDP}
	sealed := forward.Tunnel{Encap: encap.UDP, Inside: encap.WireGuard}
	key := forward.Tunnel{Encap: encap.GRE, HasKey: true, Key: 0xfeedface}
	return []*way{
		{name: plain, about: "forwarding without a tunnel", build: buildPlain},
		{name: "bpf-ipip", about: `plane.kind = "bpf", IP-in-IP`, build: buildBPF, tunnel: ipip},
		{name: "bpf-gre-key", about: `plane.kind = "bpf", GRE with a key`, build: buildBPF, tunnel: key},
		{name: "bpf-udp", about: `plane.kind = "bpf", UDP port 434`, build: buildBPF, tunnel: udp},
		{name: "tun-ipip", about: `plane.kind = "tun", IP-in-IP`, build: buildTUN, tunnel: ipip},
		{name: "tun-udp", about: `plane.kind = "tun", UDP port 434`, build: buildTUN, tunnel: udp},
		{name: "tun-wireguard", about: `encapsulation = "wireguard", which encrypts`, build: buildTUN, tunnel: sealed},
		{name: "vxlan", about: "the kernel's VXLAN", build: buildVXLAN},
		{name: "wireguard-go", about: "wireguard-go, which encrypts", build: buildWireGuard},
	}
}

const plain = "plain"

func (w *way) open() (err error) {
	w.dst = home
	if w.network, err = newNetwork(); err != nil {
		return err
	}
	return w.build(w)
}

func (w *way) close() error {
	var errs []error
	for i := len(w.owned) - 1; i >= 0; i-- {
		errs = append(errs, w.owned[i].Close())
	}
	if w.network != nil {
		errs = append(errs, w.network.close())
	}
	return errors.Join(errs...)
}

func (w *way) own(c io.Closer) { w.owned = append(w.owned, c) }

func buildPlain(w *way) error {
	w.dst = careOf
	n := w.network
	return errors.Join(route(n.mn, "10.9.0.0/24", "198.51.100.2", ""))
}

func buildVXLAN(w *way) error { return w.network.vxlan("vxlan0") }

func buildTUN(w *way) error { return w.planes(false) }

func buildBPF(w *way) error {
	if err := bpf.Supported(); err != nil {
		return errUnsupported{err.Error()}
	}
	return w.planes(true)
}

// planes opens our data plane at both ends and binds the tunnel.
func (w *way) planes(fast bool) error {
	n := w.network
	keys, err := newKeys()
	if err != nil {
		return err
	}
	for i, end := range []struct {
		node        *netns.Node
		underlay    string
		local, peer netip.AddrPort
		entry       forward.Entry
		fast        **bpf.Plane
	}{
		{n.ha, "wan0", netip.AddrPortFrom(agent, encap.Port), netip.AddrPortFrom(careOf, mobilePort),
			forward.Entry{Key: "mn", Role: forward.HomeAgent, Inner: netip.PrefixFrom(home, 32)}, &w.agent},
		{n.mn, "eth0", netip.AddrPortFrom(careOf, mobilePort), netip.AddrPortFrom(agent, encap.Port),
			forward.Entry{Key: "home", Role: forward.MobileNode, Inner: netip.PrefixFrom(home, 32)}, &w.mobile},
	} {
		var p forward.Plane
		err := end.node.Do(func() (err error) {
			p, err = w.plane(end.local, end.underlay, keys[i], end.fast, fast)
			return err
		})
		if err != nil {
			return fmt.Errorf("bench: %s: %w", end.node.Name(), err)
		}
		t := w.tunnel
		t.Local, t.Peer = end.local, end.peer
		if t.Inside == encap.WireGuard {
			t.PeerKey = forward.KeyOf([32]byte(keys[1-i].PublicKey().Bytes()))
		}
		if end.entry.Role == forward.MobileNode {
			t.Link = end.underlay
		}
		end.entry.Tunnels = []forward.Tunnel{t}
		if err := p.Apply(context.Background(), []forward.Change{{Op: forward.Put, Entry: end.entry}}); err != nil {
			return err
		}
	}
	return n.inner(device)
}

// capacity is how many bindings a way with programs has room for.
const capacity = 1<<20 + 16

func (w *way) plane(local netip.AddrPort, underlay string, key *ecdh.PrivateKey, fast **bpf.Plane, withPrograms bool) (forward.Plane, error) {
	dev, err := tun.OpenDevice(device, innerMTU, false)
	if err != nil {
		return nil, err
	}
	var slow *tun.Plane
	set := sock.New(sock.Receiver{
		Signal: func(engine.Packet) {},
		Data:   func(d []sock.Data) { slow.Deliver(d) },
	}, 0)
	if slow, err = tun.New(tun.Config{Device: dev, Datagrams: set, Secret: (*tun.Secret)(key.Bytes())}); err != nil {
		return nil, errors.Join(err, dev.Close())
	}
	w.own(slow)
	w.own(closer(set.Close))
	if err := set.Listen(local); err != nil {
		return nil, err
	}
	if !withPrograms {
		return slow, nil
	}
	p, err := bpf.Open(bpf.Config{Slow: slow, Device: device, Capacity: capacity, Port: set.Port})
	if err != nil {
		return nil, err
	}
	w.own(p)
	*fast = p
	return p, p.Link(engine.Link{Name: underlay, Up: true})
}

type closer func()

func (c closer) Close() error { c(); return nil }

// buildWireGuard runs wireguard-go at both ends, as the reference for what a
// tunnel in user space costs.
func buildWireGuard(w *way) error {
	n := w.network
	end, err := wireguardgo.Connect(device, innerMTU, [2]wireguardgo.End{
		{Node: n.ha, Peer: careOf, Allowed: netip.MustParsePrefix("10.10.0.0/24")},
		{Node: n.mn, Peer: agent, Allowed: netip.MustParsePrefix("10.9.0.0/24")},
	})
	w.own(closer(end))
	if err != nil {
		return fmt.Errorf("bench: %w", err)
	}
	return n.inner(device)
}

// newKeys are the private keys of both ends.
func newKeys() (keys [2]*ecdh.PrivateKey, err error) {
	for i := range keys {
		if keys[i], err = ecdh.X25519().GenerateKey(rand.Reader); err != nil {
			return keys, err
		}
	}
	return keys, nil
}
