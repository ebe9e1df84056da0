package visit

import (
	"errors"
	"net/netip"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"careof/internal/core/forward"
	"careof/internal/host/netspace"
	"careof/internal/host/route"
)

// Reconcile puts back what somebody took away: the guard, which a firewall that
// is loaded anew takes with it, rules and routes. Without the guard another
// link-layer address could speak for a visitor.
func (k *Keeper) Reconcile() error {
	k.mu.Lock()
	defer k.mu.Unlock()
	whole, err := k.guard.whole()
	if err != nil {
		return err
	}
	if !whole {
		if k.guard, err = newGuard(k.space, k.c.Device); err != nil {
			return err
		}
	}
	if err := k.lead(); err != nil {
		return err
	}
	links := k.links()
	rules, ways, err := k.kernel(links)
	if err != nil {
		return err
	}
	var errs []error
	for home, is := range k.there {
		if !whole {
			clear(is.nodes)
			clear(is.sorted)
		}
		for at := range is.rules {
			if !rules[at] {
				delete(is.rules, at)
			}
		}
		for at := range is.ways {
			if _, there := links[at.link]; there && !ways[at] {
				is.ways[at] = forward.HardwareAddr{} // laid again, with its neighbour
			}
		}
		errs = append(errs, k.settle(home))
	}
	return errors.Join(errs...)
}

// links are the visitors' links that are there, with their indices.
func (k *Keeper) links() map[string]int {
	there := make(map[string]int)
	for _, link := range k.c.Links {
		if l, err := k.h.LinkByName(link); err == nil {
			there[link] = l.Attrs().Index
		}
	}
	return there
}

// kernel lists the rules and ways that the kernel has for visitors.
func (k *Keeper) kernel(links map[string]int) (rules, ways map[place]bool, err error) {
	rules, ways = make(map[place]bool), make(map[place]bool)
	list, err := netspace.Dump(func() ([]netlink.Rule, error) { return k.h.RuleList(unix.AF_INET) })
	if err != nil {
		return nil, nil, err
	}
	for _, r := range list {
		if r.Priority == k.priority(route.RuleBack) && r.Protocol == route.Protocol && r.Src != nil {
			if a, ok := netip.AddrFromSlice(r.Src.IP.To4()); ok {
				rules[place{r.IifName, a}] = true
			}
		}
	}
	table := &netlink.Route{Table: k.c.Base + tableOwn, Protocol: route.Protocol}
	routes, err := netspace.Dump(func() ([]netlink.Route, error) {
		return k.h.RouteListFiltered(unix.AF_INET, table, netlink.RT_FILTER_TABLE|netlink.RT_FILTER_PROTOCOL)
	})
	if err != nil {
		return nil, nil, err
	}
	names := make(map[int]string)
	for link, index := range links {
		names[index] = link
	}
	for _, r := range routes {
		if r.Dst == nil {
			continue
		}
		if a, ok := netip.AddrFromSlice(r.Dst.IP.To4()); ok {
			ways[place{names[r.LinkIndex], a}] = true
		}
	}
	return rules, ways, nil
}
