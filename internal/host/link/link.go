// Package link watches network interfaces and tells, as whole states, what a
// machine needs to know of them.
package link

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"sort"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"careof/internal/core/engine"
	"careof/internal/host/netspace"
)

// A Watcher follows the interfaces of one network namespace: the one its
// goroutine was in when Watch was called.
type Watcher struct {
	handle *netlink.Handle
	known  map[string]engine.Link
}

// Watch sends the present state of every interface to changed, then each new
// state, until ctx ends; more says that another one follows at once.
// Interfaces that ignore says yes to are left out; it is told which have two ends
// only, as modems and tunnels. Who has made it answer otherwise says so by again,
// which may be nil. Watch returns the error that ended it, nil when ctx did.
//
// Reading the whole state again after every netlink message is what makes a
// lost or reordered message harmless; a handful of interfaces costs little.
func Watch(ctx context.Context, ignore func(name string, pointToPoint bool) bool, again <-chan struct{}, changed func(l engine.Link, more bool)) error {
	handle, err := netlink.NewHandle(unix.NETLINK_ROUTE)
	if err != nil {
		return fmt.Errorf("link: %w", err)
	}
	defer handle.Close()
	done := make(chan struct{})
	defer close(done)
	links := make(chan netlink.LinkUpdate, 64)
	addrs := make(chan netlink.AddrUpdate, 64)
	routes := make(chan netlink.RouteUpdate, 64)
	trouble := make(chan error, 3)
	report := func(err error) {
		select {
		case trouble <- err:
		default:
		}
	}
	if err := netlink.LinkSubscribeWithOptions(links, done, netlink.LinkSubscribeOptions{ErrorCallback: report}); err != nil {
		return fmt.Errorf("link: subscribe: %w", err)
	}
	if err := netlink.AddrSubscribeWithOptions(addrs, done, netlink.AddrSubscribeOptions{ErrorCallback: report}); err != nil {
		return fmt.Errorf("link: subscribe: %w", err)
	}
	if err := netlink.RouteSubscribeWithOptions(routes, done, netlink.RouteSubscribeOptions{ErrorCallback: report}); err != nil {
		return fmt.Errorf("link: subscribe: %w", err)
	}
	w := &Watcher{handle: handle, known: make(map[string]engine.Link)}
	for {
		if err := w.read(ignore, changed); err != nil {
			return err
		}
		// Only default routes matter here, and a router may have a great many
		// others that change all the time.
		for relevant := false; !relevant; {
			ok := true
			select {
			case <-ctx.Done():
				return nil
			case err := <-trouble:
				return fmt.Errorf("link: watching: %w", err)
			case <-again:
				relevant = true
			case _, ok = <-links:
				relevant = true
			case _, ok = <-addrs:
				relevant = true
			case r, open := <-routes:
				ok, relevant = open, isDefault(r.Route)
			}
			if !ok {
				return lost(ctx)
			}
		}
	}
}

func isDefault(r netlink.Route) bool {
	if r.Dst == nil {
		return true
	}
	ones, _ := r.Dst.Mask.Size()
	return ones == 0
}

func lost(ctx context.Context) error {
	if ctx.Err() != nil {
		return nil
	}
	return errors.New("link: netlink socket was closed")
}

// read compares the kernel's state with the known one and reports differences
// in order of name.
func (w *Watcher) read(ignore func(string, bool) bool, changed func(engine.Link, bool)) error {
	now, err := w.snapshot(ignore)
	if err != nil {
		return err
	}
	names := make([]string, 0, len(now)+len(w.known))
	for name := range now {
		names = append(names, name)
	}
	for name := range w.known {
		if _, still := now[name]; !still {
			names = append(names, name)
		}
	}
	sort.Strings(names)
	var news []engine.Link
	for _, name := range names {
		l, exists := now[name]
		if !exists {
			l = engine.Link{Name: name, Gone: true}
		}
		if old, knew := w.known[name]; knew && equal(old, l) {
			continue
		}
		news = append(news, l)
	}
	for i, l := range news {
		changed(l, i+1 < len(news))
	}
	w.known = now
	return nil
}

func equal(a, b engine.Link) bool {
	return a.Name == b.Name && a.Gone == b.Gone && a.Up == b.Up && a.MTU == b.MTU && a.HW == b.HW &&
		slices.Equal(a.Addresses, b.Addresses) && slices.Equal(a.Gateways, b.Gateways) && a.GatewayHW == b.GatewayHW && a.Direct == b.Direct &&
		a.Attachment == b.Attachment
}

func (w *Watcher) snapshot(ignore func(string, bool) bool) (map[string]engine.Link, error) {
	links, err := netspace.Dump(w.handle.LinkList)
	if err != nil {
		return nil, fmt.Errorf("link: list: %w", err)
	}
	attached := attachments()
	state := make(map[string]engine.Link, len(links))
	byIndex := make(map[int]string, len(links))
	for _, l := range links {
		attrs := l.Attrs()
		if ignore(attrs.Name, attrs.RawFlags&unix.IFF_POINTOPOINT != 0) {
			continue
		}
		// What has two ends needs no next hop, whether or not somebody has made a
		// default route: pppd makes none where there is one already.
		one := engine.Link{Name: attrs.Name, MTU: attrs.MTU, Direct: attrs.RawFlags&unix.IFF_POINTOPOINT != 0}
		// "Up" is what a packet needs: administratively up and a carrier.
		one.Up = attrs.RawFlags&unix.IFF_UP != 0 && attrs.RawFlags&unix.IFF_RUNNING != 0 && attrs.RawFlags&unix.IFF_LOWER_UP != 0
		copy(one.HW[:], attrs.HardwareAddr)
		one.Attachment = attached[attrs.Index]
		state[attrs.Name] = one
		byIndex[attrs.Index] = attrs.Name
	}
	if err := w.addAddresses(state, byIndex); err != nil {
		return nil, err
	}
	return state, w.addGateways(state, byIndex)
}

func (w *Watcher) addAddresses(state map[string]engine.Link, byIndex map[int]string) error {
	addrs, err := netspace.Dump(func() ([]netlink.Addr, error) { return w.handle.AddrList(nil, netlink.FAMILY_V4) })
	if err != nil {
		return fmt.Errorf("link: addresses: %w", err)
	}
	for _, a := range addrs {
		name, watched := byIndex[a.LinkIndex]
		ip, ok := netip.AddrFromSlice(a.IP.To4())
		if !watched || !ok {
			continue
		}
		ones, _ := a.Mask.Size()
		one := state[name]
		one.Addresses = append(one.Addresses, netip.PrefixFrom(ip, ones))
		state[name] = one
	}
	return nil
}

// addGateways notes the next hops of the main table's default routes, lowest
// metric first, the first one's link-layer address, and that one needs none.
func (w *Watcher) addGateways(state map[string]engine.Link, byIndex map[int]string) error {
	routes, err := netspace.Dump(func() ([]netlink.Route, error) {
		return w.handle.RouteListFiltered(netlink.FAMILY_V4, &netlink.Route{Table: unix.RT_TABLE_MAIN}, netlink.RT_FILTER_TABLE)
	})
	if err != nil {
		return fmt.Errorf("link: routes: %w", err)
	}
	sort.SliceStable(routes, func(i, j int) bool { return routes[i].Priority < routes[j].Priority })
	for _, r := range routes {
		name, watched := byIndex[r.LinkIndex]
		gw, ok := netip.AddrFromSlice(r.Gw.To4())
		if !watched || !isDefault(r) {
			continue
		}
		one := state[name]
		if !ok {
			// "default dev ppp0": the other end of the link takes everything.
			one.Direct = one.Direct || r.Via == nil
			state[name] = one
			continue
		}
		if !slices.Contains(one.Gateways, gw) {
			one.Gateways = append(one.Gateways, gw)
		}
		state[name] = one
	}
	for index, name := range byIndex {
		one := state[name]
		if len(one.Gateways) == 0 {
			continue
		}
		var unanswered bool
		one.GatewayHW, unanswered, err = neighbour(w.handle, index, one.Gateways[0])
		if err != nil {
			return err
		}
		if old := w.known[name]; unanswered && one.Up && (!old.Up || old.Attachment != one.Attachment || !slices.Equal(old.Gateways, one.Gateways)) {
			w.askAgain(index, one.Gateways[0])
		}
		state[name] = one
	}
	return nil
}

// askAgain lets the kernel ask anew for the link-layer address of a gateway on a
// link that has just come up. A packet that somebody sent over it an instant
// before, when nothing could leave yet, has had the question asked into the
// void; the kernel repeats it a second later, and until then every packet waits,
// the Registration Request of a node that moves too. Without the entry the next
// packet asks at once. When that fails, the second is waited for.
func (w *Watcher) askAgain(index int, gateway netip.Addr) {
	_ = w.handle.NeighDel(&netlink.Neigh{LinkIndex: index, Family: unix.AF_INET, IP: gateway.AsSlice()})
}

// neighbour finds the link-layer address of addr, zero when it is not resolved,
// and whether it was asked for and nobody has answered.
func neighbour(handle *netlink.Handle, index int, addr netip.Addr) (hw engine.HardwareAddr, unanswered bool, err error) {
	neighbours, err := netspace.Dump(func() ([]netlink.Neigh, error) { return handle.NeighList(index, netlink.FAMILY_V4) })
	if err != nil {
		return hw, false, fmt.Errorf("link: neighbours: %w", err)
	}
	const resolved = netlink.NUD_REACHABLE | netlink.NUD_STALE | netlink.NUD_DELAY | netlink.NUD_PROBE | netlink.NUD_PERMANENT | netlink.NUD_NOARP
	for _, n := range neighbours {
		ip, ok := netip.AddrFromSlice(n.IP.To4())
		switch {
		case !ok || ip != addr:
		case n.State&resolved != 0:
			copy(hw[:], n.HardwareAddr)
		case n.State&(netlink.NUD_INCOMPLETE|netlink.NUD_FAILED) != 0:
			unanswered = true
		}
	}
	return hw, unanswered, nil
}
