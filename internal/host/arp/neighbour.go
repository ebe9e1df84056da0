package arp

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"careof/internal/core/forward"
	"careof/internal/host/netspace"
)

// Neighbours is the kernel's neighbour table of one network namespace: proxy
// entries, and link-layer addresses that it has resolved. It is safe for
// concurrent use.
type Neighbours struct{ h *netlink.Handle }

// OpenNeighbours opens the table of the calling thread's network namespace.
func OpenNeighbours() (*Neighbours, error) {
	h, err := netlink.NewHandle(unix.NETLINK_ROUTE)
	if err != nil {
		return nil, fmt.Errorf("arp: netlink: %w", err)
	}
	return &Neighbours{h}, nil
}

// Close closes the table and leaves its entries.
func (n *Neighbours) Close() error {
	n.h.Close()
	return nil
}

func (n *Neighbours) index(link string) (int, error) {
	l, err := n.h.LinkByName(link)
	if err != nil {
		return 0, fmt.Errorf("arp: %s: %w", link, err)
	}
	return l.Attrs().Index, nil
}

// Proxy makes the kernel answer ARP requests for addr on a link with the
// link's own address. It does so only while it forwards packets and has a
// route for addr over another link.
//
//rfc:5944#4.6
func (n *Neighbours) Proxy(link string, addr netip.Addr) error {
	index, err := n.index(link)
	if err != nil {
		return err
	}
	if err := n.h.NeighSet(proxyEntry(index, addr)); err != nil {
		return fmt.Errorf("arp: proxy %v on %s: %w", addr, link, err)
	}
	return nil
}

// Unproxy ends Proxy. It is no error when there is nothing to end.
func (n *Neighbours) Unproxy(link string, addr netip.Addr) error {
	index, err := n.index(link)
	if err != nil {
		return nil // the link is gone
	}
	if err := n.h.NeighDel(proxyEntry(index, addr)); err != nil && !errors.Is(err, unix.ENOENT) {
		return fmt.Errorf("arp: end proxy of %v on %s: %w", addr, link, err)
	}
	return nil
}

// LetGo ends the search for neighbours on a link, for all or for one address:
// the packets that the kernel has kept for them are gone. It is no error when
// the link is gone or nothing is searched for.
func (n *Neighbours) LetGo(link string, only netip.Addr) error {
	index, err := n.index(link)
	if err != nil {
		return nil
	}
	list, err := netspace.Dump(func() ([]netlink.Neigh, error) { return n.h.NeighList(index, unix.AF_INET) })
	if err != nil {
		return fmt.Errorf("arp: neighbours on %s: %w", link, err)
	}
	for i := range list {
		e := &list[i]
		if e.State&netlink.NUD_INCOMPLETE == 0 || only.IsValid() && !e.IP.Equal(only.AsSlice()) {
			continue
		}
		if err := n.h.NeighDel(e); err != nil && !errors.Is(err, unix.ENOENT) {
			return fmt.Errorf("arp: neighbour %v on %s: %w", e.IP, link, err)
		}
	}
	return nil
}

func proxyEntry(index int, addr netip.Addr) *netlink.Neigh {
	return &netlink.Neigh{
		LinkIndex: index, Family: unix.AF_INET, Flags: netlink.NTF_PROXY,
		State: netlink.NUD_PERMANENT, IP: addr.AsSlice(),
	}
}

// Proxied lists the addresses answered for on a link, in order.
func (n *Neighbours) Proxied(link string) ([]netip.Addr, error) {
	index, err := n.index(link)
	if err != nil {
		return nil, err
	}
	list, err := netspace.Dump(func() ([]netlink.Neigh, error) { return n.h.NeighProxyList(index, unix.AF_INET) })
	if err != nil {
		return nil, fmt.Errorf("arp: proxies on %s: %w", link, err)
	}
	var out []netip.Addr
	for _, e := range list {
		if a, ok := netip.AddrFromSlice(e.IP); ok && e.LinkIndex == index {
			out = append(out, a.Unmap())
		}
	}
	slices.SortFunc(out, netip.Addr.Compare)
	return out, nil
}

// Lookup tells the link-layer address of a neighbour, zero when the kernel has
// not resolved it.
func (n *Neighbours) Lookup(link string, addr netip.Addr) (forward.HardwareAddr, error) {
	index, err := n.index(link)
	if err != nil {
		return forward.HardwareAddr{}, err
	}
	list, err := netspace.Dump(func() ([]netlink.Neigh, error) { return n.h.NeighList(index, unix.AF_INET) })
	if err != nil {
		return forward.HardwareAddr{}, fmt.Errorf("arp: neighbours on %s: %w", link, err)
	}
	const useless = netlink.NUD_INCOMPLETE | netlink.NUD_FAILED | netlink.NUD_NOARP
	for _, e := range list {
		if a, ok := netip.AddrFromSlice(e.IP); ok && a.Unmap() == addr && e.State&useless == 0 && len(e.HardwareAddr) == hardwareLen {
			return forward.HardwareAddr(e.HardwareAddr), nil
		}
	}
	return forward.HardwareAddr{}, nil
}
