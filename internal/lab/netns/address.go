package netns

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"

	"github.com/vishvananda/netlink"
	vnetns "github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

// retry repeats a netlink dump that changed while it was read.
func retry[T any](dump func() (T, error)) (T, error) {
	const attempts = 20
	for range attempts - 1 {
		result, err := dump()
		if !errors.Is(err, netlink.ErrDumpInterrupted) {
			return result, err
		}
	}
	return dump()
}

func ipNet(p netip.Prefix) *net.IPNet {
	return &net.IPNet{IP: p.Addr().AsSlice(), Mask: net.CIDRMask(p.Bits(), p.Addr().BitLen())}
}

func prefixOf(n *net.IPNet) netip.Prefix {
	if n == nil {
		return netip.Prefix{}
	}
	addr, _ := netip.AddrFromSlice(n.IP)
	ones, _ := n.Mask.Size()
	return netip.PrefixFrom(addr.Unmap(), ones)
}

// SetInterface sets an interface up or down (its administrative state; see [Port.SetCarrier] for the cable).
func (node *Node) SetInterface(name string, up bool) error {
	link, err := node.link(name)
	if err != nil {
		return err
	}
	if up {
		err = node.netlink.LinkSetUp(link)
	} else {
		err = node.netlink.LinkSetDown(link)
	}
	if err != nil {
		return fmt.Errorf("netns: %s: interface %s: %w", node.name, name, err)
	}
	return nil
}

// SetMTU sets the MTU of an interface in octets.
func (node *Node) SetMTU(name string, mtu int) error {
	link, err := node.link(name)
	if err != nil {
		return err
	}
	if err := node.netlink.LinkSetMTU(link, mtu); err != nil {
		return fmt.Errorf("netns: %s: MTU of %s: %w", node.name, name, err)
	}
	return nil
}

// Interface is the state of one.
type Interface struct {
	Name    string
	Index   int
	MTU     int
	Up      bool // administratively
	Running bool // up, and has a carrier
}

func interfaceOf(link netlink.Link) Interface {
	a := link.Attrs()
	return Interface{
		Name: a.Name, Index: a.Index, MTU: a.MTU,
		Up:      a.RawFlags&unix.IFF_UP != 0,
		Running: a.RawFlags&(unix.IFF_UP|unix.IFF_RUNNING) == unix.IFF_UP|unix.IFF_RUNNING,
	}
}

// Interface reads the state of an interface.
func (node *Node) Interface(name string) (Interface, error) {
	link, err := node.link(name)
	if err != nil {
		return Interface{}, err
	}
	return interfaceOf(link), nil
}

// AddAddress gives an interface an address, or leaves it with it. IPv6 addresses skip duplicate address detection, so
// that they can be used at once.
func (node *Node) AddAddress(name string, address netip.Prefix) error {
	link, err := node.link(name)
	if err != nil {
		return err
	}
	a := &netlink.Addr{IPNet: ipNet(address)}
	if address.Addr().Is6() {
		a.Flags = unix.IFA_F_NODAD
	}
	if err := node.netlink.AddrReplace(link, a); err != nil {
		return fmt.Errorf("netns: %s: add %s to %s: %w", node.name, address, name, err)
	}
	return nil
}

// RemoveAddress takes an address from an interface.
func (node *Node) RemoveAddress(name string, address netip.Prefix) error {
	link, err := node.link(name)
	if err != nil {
		return err
	}
	if err := node.netlink.AddrDel(link, &netlink.Addr{IPNet: ipNet(address)}); err != nil {
		return fmt.Errorf("netns: %s: remove %s from %s: %w", node.name, address, name, err)
	}
	return nil
}

// Addresses lists the addresses of an interface in the kernel's order.
func (node *Node) Addresses(name string) ([]netip.Prefix, error) {
	link, err := node.link(name)
	if err != nil {
		return nil, err
	}
	found, err := retry(func() ([]netlink.Addr, error) { return node.netlink.AddrList(link, netlink.FAMILY_ALL) })
	if err != nil {
		return nil, fmt.Errorf("netns: %s: addresses of %s: %w", node.name, name, err)
	}
	var addresses []netip.Prefix
	for _, a := range found {
		addresses = append(addresses, prefixOf(a.IPNet))
	}
	return addresses, nil
}

// Route is a route of the main table.
type Route struct {
	Prefix    netip.Prefix // 0.0.0.0/0 is the default route
	Via       netip.Addr   // not valid: on the link
	Interface string       // empty: the one that leads to Via
	Source    netip.Addr   // preferred source; not valid: the kernel's choice
	Metric    int
}

func (node *Node) route(r Route) (*netlink.Route, error) {
	route := &netlink.Route{Dst: ipNet(r.Prefix.Masked()), Priority: r.Metric}
	if r.Via.IsValid() {
		route.Gw = r.Via.AsSlice()
	} else {
		route.Scope = netlink.SCOPE_LINK
	}
	if r.Source.IsValid() {
		route.Src = r.Source.AsSlice()
	}
	if r.Interface != "" {
		link, err := node.link(r.Interface)
		if err != nil {
			return nil, err
		}
		route.LinkIndex = link.Attrs().Index
	}
	return route, nil
}

// AddRoute adds a route, or replaces the one with the same prefix and metric.
func (node *Node) AddRoute(r Route) error {
	route, err := node.route(r)
	if err != nil {
		return err
	}
	if err := node.netlink.RouteReplace(route); err != nil {
		return fmt.Errorf("netns: %s: add route to %s: %w", node.name, r.Prefix, err)
	}
	return nil
}

// RemoveRoute removes a route.
func (node *Node) RemoveRoute(r Route) error {
	route, err := node.route(r)
	if err != nil {
		return err
	}
	if err := node.netlink.RouteDel(route); err != nil {
		return fmt.Errorf("netns: %s: remove route to %s: %w", node.name, r.Prefix, err)
	}
	return nil
}

// Routes lists the IPv4 routes of the main table, sorted by prefix and metric.
func (node *Node) Routes() ([]Route, error) {
	found, err := retry(func() ([]netlink.Route, error) { return node.netlink.RouteList(nil, netlink.FAMILY_V4) })
	if err != nil {
		return nil, fmt.Errorf("netns: %s: routes: %w", node.name, err)
	}
	links, err := retry(node.netlink.LinkList)
	if err != nil {
		return nil, fmt.Errorf("netns: %s: interfaces: %w", node.name, err)
	}
	names := make(map[int]string)
	for _, l := range links {
		names[l.Attrs().Index] = l.Attrs().Name
	}
	var routes []Route
	for _, f := range found {
		r := Route{Prefix: prefixOf(f.Dst), Interface: names[f.LinkIndex], Metric: f.Priority}
		if f.Dst == nil {
			r.Prefix = netip.PrefixFrom(netip.IPv4Unspecified(), 0)
		}
		r.Via, _ = netip.AddrFromSlice(f.Gw.To4())
		r.Source, _ = netip.AddrFromSlice(f.Src.To4())
		routes = append(routes, r)
	}
	slices.SortStableFunc(routes, func(a, b Route) int {
		if c := a.Prefix.Addr().Compare(b.Prefix.Addr()); c != 0 {
			return c
		}
		if c := a.Prefix.Bits() - b.Prefix.Bits(); c != 0 {
			return c
		}
		return a.Metric - b.Metric
	})
	return routes, nil
}

// SetNeighbour writes a permanent neighbour entry, so that no ARP is needed.
func (node *Node) SetNeighbour(name string, addr netip.Addr, mac MAC) error {
	link, err := node.link(name)
	if err != nil {
		return err
	}
	err = node.netlink.NeighSet(&netlink.Neigh{
		LinkIndex: link.Attrs().Index, State: netlink.NUD_PERMANENT, IP: addr.AsSlice(), HardwareAddr: mac[:],
	})
	if err != nil {
		return fmt.Errorf("netns: %s: neighbour %s on %s: %w", node.name, addr, name, err)
	}
	return nil
}

// Neighbour reads the link-layer address that the node has for an address; false if it has none.
func (node *Node) Neighbour(name string, addr netip.Addr) (MAC, bool, error) {
	link, err := node.link(name)
	if err != nil {
		return MAC{}, false, err
	}
	found, err := retry(func() ([]netlink.Neigh, error) {
		return node.netlink.NeighList(link.Attrs().Index, netlink.FAMILY_V4)
	})
	if err != nil {
		return MAC{}, false, fmt.Errorf("netns: %s: neighbours on %s: %w", node.name, name, err)
	}
	for _, n := range found {
		if ip, ok := netip.AddrFromSlice(n.IP); ok && ip.Unmap() == addr && len(n.HardwareAddr) == len(MAC{}) {
			return MAC(n.HardwareAddr), true, nil
		}
	}
	return MAC{}, false, nil
}

// WatchInterfaces calls changed for every link event of the node, on a goroutine of its own, until stop is called. stop
// waits for that goroutine, so changed must not call it.
func (node *Node) WatchInterfaces(changed func(Interface)) (stop func(), err error) {
	updates := make(chan netlink.LinkUpdate, 64)
	done := make(chan struct{})
	at := vnetns.NsHandle(node.fd)
	err = netlink.LinkSubscribeWithOptions(updates, done, netlink.LinkSubscribeOptions{Namespace: &at})
	if err != nil {
		return nil, fmt.Errorf("netns: %s: watch interfaces: %w", node.name, err)
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for u := range updates {
			changed(interfaceOf(u.Link))
		}
	}()
	return func() {
		close(done)
		<-ended
	}, nil
}
