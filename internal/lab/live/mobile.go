package live

import (
	"fmt"
	"net/netip"
	"time"

	"careof/internal/lab/netns"
	"careof/internal/lab/topology"
)

// uplink finds an interface that moves, and which of its node's it is.
func (l *Lab) uplink(node, iface string) (*netns.Port, int, error) {
	n := l.Topology.Node(node)
	if n == nil {
		return nil, 0, fmt.Errorf("live: there is no node %q", node)
	}
	if n.Kind != topology.MobileNode {
		return nil, 0, fmt.Errorf("live: %s is a %v and does not move", node, n.Kind)
	}
	for at, i := range n.Interfaces {
		if i.Name == iface {
			return l.Port(node, iface), at, nil
		}
	}
	return nil, 0, fmt.Errorf("live: node %s has no interface %q", node, iface)
}

// Plug takes an interface of a mobile node to a segment: the cable is plugged
// in, then address and default route come, in the stead of a DHCP client.
func (l *Lab) Plug(node, iface, segment string) error {
	p, at, err := l.uplink(node, iface)
	if err != nil {
		return err
	}
	s := l.Topology.Segment(segment)
	if s == nil {
		return fmt.Errorf("live: there is no segment %q", segment)
	}
	address, gateway, ok := l.Topology.Lease(s, node, iface)
	if p.Segment() != nil {
		if err := l.Unplug(node, iface); err != nil {
			return err
		}
	}
	l.moved(node)
	host := l.Network.Node(node)
	if s.MTU != 0 {
		if err := host.SetMTU(iface, s.MTU); err != nil {
			return err
		}
	}
	p.Move(l.segments[segment])
	if err := p.SetCarrier(true); err != nil {
		return err
	}
	if !ok {
		return nil // a visited link: only foreign agents lend addresses there
	}
	if err := host.AddAddress(iface, address); err != nil {
		return err
	}
	if !gateway.IsValid() {
		return nil
	}
	return host.AddRoute(netns.Route{Prefix: everywhere, Via: gateway, Interface: iface, Metric: 100 + at})
}

// Unplug pulls the cable of a mobile node's interface. Its addresses go, as a
// DHCP client takes them away.
func (l *Lab) Unplug(node, iface string) error {
	p, _, err := l.uplink(node, iface)
	if err != nil {
		return err
	}
	l.moved(node)
	if err := p.SetCarrier(false); err != nil {
		return err
	}
	p.Move(nil)
	host := l.Network.Node(node)
	addresses, err := host.Addresses(iface)
	if err != nil {
		return err
	}
	for _, a := range addresses {
		if err := host.RemoveAddress(iface, a); err != nil {
			return err
		}
	}
	return nil
}

// Attached is the name of the segment that an interface is plugged into; empty
// when it is not.
func (l *Lab) Attached(node, iface string) string {
	if p := l.Port(node, iface); p != nil && p.Segment() != nil {
		return p.Segment().Name()
	}
	return ""
}

func (l *Lab) moved(node string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.plugged[node] = time.Now()
}

// LastMove is when a mobile node's links last changed.
func (l *Lab) LastMove(node string) time.Time {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.plugged[node]
}

// HomeAddress is the address that a mobile node's programs use, by its
// configuration.
func (l *Lab) HomeAddress(node string) netip.Addr {
	if n := l.Topology.Node(node); n != nil && n.Parsed != nil && n.Parsed.MobileNode != nil {
		return n.Parsed.MobileNode.HomeAddress
	}
	return netip.Addr{}
}

// Address is the address that a node's programs use.
func (l *Lab) Address(node string) netip.Addr {
	if a := l.HomeAddress(node); a.IsValid() {
		return a
	}
	if n := l.Topology.Node(node); n != nil {
		for _, i := range n.Interfaces {
			if i.Address.IsValid() {
				return i.Address.Addr()
			}
		}
	}
	return netip.Addr{}
}
