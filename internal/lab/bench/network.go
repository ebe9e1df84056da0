package bench

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"careof/internal/host/offload"
	"careof/internal/lab/netns"
)

// Addresses of a [network].
var (
	correspondent = netip.MustParseAddr("10.9.0.2")
	agent         = netip.MustParseAddr("192.0.2.1")
	careOf        = netip.MustParseAddr("198.51.100.10")
	home          = netip.MustParseAddr("10.10.0.5")
)

const (
	// innerMTU is what the correspondent node's link carries: the packets to
	// be tunnelled are the same every way, plain forwarding included.
	innerMTU = 1420
	outerMTU = 1500
)

// A network is four kernels in a row. The device of the tunnel, whatever it
// is, leads to 10.10.0.0/24 at ha and to 10.9.0.0/24 at mn:
//
//	cn 10.9.0.2 ---- 10.9.0.1 ha 192.0.2.1 ---- 192.0.2.2 r 198.51.100.2 ---- 198.51.100.10 mn
//	                     home 10.10.0.0/24                                   10.10.0.5
type network struct {
	net           *netns.Network
	cn, ha, r, mn *netns.Node
}

func newNetwork() (n *network, err error) {
	n = new(network)
	if n.net, err = netns.New(netns.Config{}); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			n.close()
		}
	}()
	for _, node := range []struct {
		at      **netns.Node
		name    string
		forward bool
	}{{&n.cn, "cn", false}, {&n.ha, "ha", true}, {&n.r, "r", true}, {&n.mn, "mn", false}} {
		if *node.at, err = n.net.NewNode(node.name, netns.NodeConfig{Forward: node.forward}); err != nil {
			return n, err
		}
	}
	for _, err := range []error{
		join(n.cn, "eth0", n.ha, "lan0", innerMTU),
		join(n.ha, "wan0", n.r, "eth0", outerMTU),
		join(n.r, "eth1", n.mn, "eth0", outerMTU),
		n.cn.AddAddress("eth0", netip.MustParsePrefix("10.9.0.2/24")),
		n.ha.AddAddress("lan0", netip.MustParsePrefix("10.9.0.1/24")),
		n.ha.AddAddress("wan0", netip.MustParsePrefix("192.0.2.1/24")),
		n.r.AddAddress("eth0", netip.MustParsePrefix("192.0.2.2/24")),
		n.r.AddAddress("eth1", netip.MustParsePrefix("198.51.100.2/24")),
		n.mn.AddAddress("eth0", netip.MustParsePrefix("198.51.100.10/24")),
		route(n.cn, "0.0.0.0/0", "10.9.0.1", ""),
		route(n.ha, "0.0.0.0/0", "192.0.2.2", ""),
		route(n.r, "10.9.0.0/24", "192.0.2.1", ""),
		route(n.mn, "192.0.2.0/24", "198.51.100.2", ""),
	} {
		if err != nil {
			return n, err
		}
	}
	return n, nil
}

func (n *network) close() error { return n.net.Close() }

// inner gives the tunnel's devices their addresses and routes.
func (n *network) inner(device string) error {
	return errors.Join(
		n.mn.AddAddress(device, netip.PrefixFrom(home, 32)),
		n.ha.AddRoute(netns.Route{Prefix: netip.MustParsePrefix("10.10.0.0/24"), Interface: device}),
		n.mn.AddRoute(netns.Route{Prefix: netip.MustParsePrefix("10.9.0.0/24"), Interface: device, Source: home}),
	)
}

// ports are the ends of the network's links.
func (n *network) ports() []port {
	return []port{{n.cn, "eth0"}, {n.ha, "lan0"}, {n.ha, "wan0"}, {n.r, "eth0"}, {n.r, "eth1"}, {n.mn, "eth0"}}
}

type port struct {
	node *netns.Node
	name string
}

// each calls change for every end of a link.
func (n *network) each(change func(link string) error) error {
	for _, p := range n.ports() {
		if err := p.node.Do(func() error { return change(p.name) }); err != nil {
			return fmt.Errorf("%s: %w", p.node.Name(), err)
		}
	}
	return nil
}

// segment makes every link carry only what a wire would.
func (n *network) segment() error { return n.each(offload.Segment) }

// merge lets every link merge what comes in, as network cards' drivers do.
func (n *network) merge() error { return n.each(offload.Merge) }

// join connects two nodes with virtual Ethernet and waits until packets can leave
// by both ends: before that the kernel drops them, questions for neighbours too, and
// on a busy machine it has given the neighbours up by then.
func join(a *netns.Node, aName string, b *netns.Node, bName string, mtu int) error {
	err := a.Do(func() error {
		return netlink.LinkAdd(&netlink.Veth{
			LinkAttrs: netlink.LinkAttrs{Name: aName, MTU: mtu},
			PeerName:  bName, PeerNamespace: netlink.NsFd(b.Fd()), PeerMTU: uint32(mtu),
		})
	})
	if err != nil {
		return fmt.Errorf("bench: link %s-%s: %w", a.Name(), b.Name(), err)
	}
	if err := errors.Join(a.SetInterface(aName, true), b.SetInterface(bName, true)); err != nil {
		return err
	}
	return errors.Join(carries(a, aName), carries(b, bName))
}

// carries waits until packets can leave by a link.
func carries(n *netns.Node, name string) error {
	for end := time.Now().Add(patience); ; <-time.After(time.Millisecond) {
		up := false
		err := n.Do(func() error {
			link, err := netlink.LinkByName(name)
			if err == nil {
				up = link.Attrs().OperState == netlink.OperUp
			}
			return err
		})
		switch {
		case err != nil || up:
			return err
		case time.Now().After(end):
			return fmt.Errorf("bench: %s: %s does not come up", n.Name(), name)
		}
	}
}

func route(n *netns.Node, prefix, via, link string) error {
	r := netns.Route{Prefix: netip.MustParsePrefix(prefix), Interface: link}
	if via != "" {
		r.Via = netip.MustParseAddr(via)
	}
	return n.AddRoute(r)
}

// vxlan makes the kernel's VXLAN device between the two ends.
func (n *network) vxlan(device string) error {
	for _, end := range []struct {
		node          *netns.Node
		underlay      string
		local, remote netip.Addr
		inner         string
	}{{n.ha, "wan0", agent, careOf, "10.10.1.1/30"}, {n.mn, "eth0", careOf, agent, "10.10.1.2/30"}} {
		err := end.node.Do(func() error {
			under, err := netlink.LinkByName(end.underlay)
			if err != nil {
				return err
			}
			return netlink.LinkAdd(&netlink.Vxlan{
				LinkAttrs: netlink.LinkAttrs{Name: device, MTU: innerMTU},
				VxlanId:   434, Port: 4789, VtepDevIndex: under.Attrs().Index,
				SrcAddr: net.IP(end.local.AsSlice()), Group: net.IP(end.remote.AsSlice()),
			})
		})
		if err != nil {
			if errors.Is(err, unix.EOPNOTSUPP) {
				return errUnsupported{"this kernel has no VXLAN devices"}
			}
			return fmt.Errorf("bench: vxlan: %w", err)
		}
		if err := errors.Join(end.node.SetInterface(device, true), end.node.AddAddress(device, netip.MustParsePrefix(end.inner))); err != nil {
			return err
		}
	}
	return errors.Join(
		n.mn.AddAddress(device, netip.PrefixFrom(home, 32)),
		route(n.ha, "10.10.0.0/24", "10.10.1.2", ""),
		n.mn.AddRoute(netns.Route{Prefix: netip.MustParsePrefix("10.9.0.0/24"), Via: netip.MustParseAddr("10.10.1.1"), Source: home}),
	)
}

// errUnsupported says why a way cannot be measured here.
type errUnsupported struct{ why string }

func (e errUnsupported) Error() string { return "bench: " + e.why }
func (errUnsupported) Unwrap() error   { return errors.ErrUnsupported }
