// Package visit makes the kernel lead a foreign agent's visitors' packets: to
// the tunnel device those that go back through the tunnel, and nowhere those
// that use a visitor's address from another link-layer address.
//
// For every visitor with direct delivery there is a policy rule: what comes in
// on its link from its home address goes to the device; what is for this host
// itself does not get that far. A table of nftables drops what pretends: RFC
// 3024 appendix A.3 has the foreign agent compare the link-layer source, which
// is gone when a packet reaches the device.
//
// What must not go in here: packets, and how they get to a visitor.
package visit

import (
	"errors"
	"fmt"
	"maps"
	"net"
	"net/netip"
	"os"
	"slices"
	"sync"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"careof/internal/core/forward"
	"careof/internal/host/netspace"
	"careof/internal/host/route"
)

// Config is what a [Keeper] is built from.
type Config struct {
	Device string   // the tunnel device; it is there already
	Links  []string // that visitors attach to
	Base   int      // as route.Config.Base: the tables are Base+100 and +101, the rules' priorities Base+50 and +51
}

// Tables and rules, behind those of package route.
const (
	tableBack = 100 // back through the tunnel: to the device
	tableOwn  = 101 // what this host itself says to visitors: to the link
	ruleBack  = 50
	ruleOwn   = 51
)

// A Keeper leads visitors' packets. It is safe for concurrent use.
type Keeper struct {
	c     Config
	space *netspace.Space
	h     *netlink.Handle
	guard *guard

	mu    sync.Mutex
	seats map[forward.Key]seat
}

// A seat is what one visitor has in the kernel.
type seat struct {
	link   string
	home   netip.Addr
	hw     forward.HardwareAddr
	direct bool
}

// Open prepares links, table and guard in the calling thread's network
// namespace. Visits do not outlive a process, so what an earlier one left is
// removed.
func Open(c Config) (k *Keeper, err error) {
	if c.Base == 0 {
		c.Base = route.DefaultBase
	}
	k = &Keeper{c: c, seats: make(map[forward.Key]seat)}
	if k.space, err = netspace.Here(); err != nil {
		return nil, fmt.Errorf("visit: %w", err)
	}
	defer func() {
		if err != nil {
			k.Close()
			k, err = nil, fmt.Errorf("visit: %w", err)
		}
	}()
	if k.h, err = netlink.NewHandle(unix.NETLINK_ROUTE); err != nil {
		return k, err
	}
	for _, link := range c.Links {
		if err := tune(link); err != nil {
			return k, err
		}
	}
	if err := k.clear(); err != nil {
		return k, err
	}
	if err := k.lead(); err != nil {
		return k, err
	}
	k.guard, err = newGuard(k.space, c.Device)
	return k, err
}

// tune prepares a visitors' link. A visitor's source address does not belong
// there: with a strict reverse path filter the kernel would drop its packets.
// And no visitor is to be redirected (RFC 5944 section 4.2.1).
func tune(link string) error {
	dir := "/proc/sys/net/ipv4/conf/" + link + "/"
	if err := os.WriteFile(dir+"rp_filter", []byte("2"), 0); err != nil {
		return fmt.Errorf("sysctl rp_filter: %w", err)
	}
	if err := os.WriteFile(dir+"send_redirects", []byte("0"), 0); err != nil {
		return fmt.Errorf("sysctl send_redirects: %w", err)
	}
	return nil
}

// clear removes the rules of an earlier process, and its ways to visitors.
func (k *Keeper) clear() error {
	rules, err := netspace.Dump(func() ([]netlink.Rule, error) { return k.h.RuleList(unix.AF_INET) })
	if err != nil {
		return err
	}
	for i := range rules {
		if r := &rules[i]; (r.Priority == k.c.Base+ruleBack || r.Priority == k.c.Base+ruleOwn) && r.Protocol == route.Protocol {
			if err := k.h.RuleDel(r); err != nil && !errors.Is(err, unix.ENOENT) {
				return err
			}
		}
	}
	table := &netlink.Route{Table: k.c.Base + tableOwn, Protocol: route.Protocol}
	routes, err := netspace.Dump(func() ([]netlink.Route, error) {
		return k.h.RouteListFiltered(unix.AF_INET, table, netlink.RT_FILTER_TABLE|netlink.RT_FILTER_PROTOCOL)
	})
	if err != nil {
		return err
	}
	for i := range routes {
		if err := k.h.RouteDel(&routes[i]); err != nil && !errors.Is(err, unix.ESRCH) {
			return err
		}
	}
	return nil
}

// lead makes the table whose one route is the device, and the rule for this
// host's own packets: ICMP errors, above all "fragmentation needed". By way of
// the home agent they would come from the tunnel's own end, which RFC 2003
// section 3.2 has the home agent take for a loop.
func (k *Keeper) lead() error {
	own := netlink.NewRule()
	own.Family, own.Priority, own.Table, own.Protocol = unix.AF_INET, k.c.Base+ruleOwn, k.c.Base+tableOwn, route.Protocol
	own.IifName = "lo" // how the kernel says "from this host"
	if err := k.h.RuleAdd(own); err != nil && !errors.Is(err, unix.EEXIST) {
		return fmt.Errorf("rule: %w", err)
	}
	device, err := k.h.LinkByName(k.c.Device)
	if err != nil {
		return fmt.Errorf("%s: %w", k.c.Device, err)
	}
	return k.h.RouteReplace(&netlink.Route{
		LinkIndex: device.Attrs().Index, Table: k.c.Base + tableBack, Protocol: route.Protocol,
		Scope: netlink.SCOPE_LINK, Dst: &net.IPNet{IP: net.IPv4zero.To4(), Mask: net.CIDRMask(0, 32)},
	})
}

// Put leads a visitor's packets as its entry says.
//
//rfc:3024#5.1
//rfc:3024#5.2
func (k *Keeper) Put(e forward.Entry) error {
	now := seat{link: e.Deliver.Link, home: e.Inner.Addr(), hw: e.Deliver.HW}
	own := false
	for _, t := range e.Tunnels {
		now.direct = now.direct || t.Mode != forward.Receive
		own = own || t.Peer.Addr() == now.home
	}
	// With a tunnel of its own, the visitor's plain packets "MUST NOT be
	// reverse tunneled" (RFC 3024 section 5.2): they are routed.
	now.direct = now.direct && !own
	k.mu.Lock()
	defer k.mu.Unlock()
	old, had := k.seats[e.Key]
	if had && old == now {
		return nil
	}
	if !had {
		old = seat{}
	}
	// The guard is there before packets are led anywhere.
	if err := k.guard.allow(now); err != nil {
		return err
	}
	if now.direct {
		if err := k.h.RuleAdd(k.rule(now)); err != nil && !errors.Is(err, unix.EEXIST) {
			return fmt.Errorf("visit: rule: %w", err)
		}
	}
	if err := k.settle(now); err != nil {
		return err
	}
	k.seats[e.Key] = now
	if had {
		return k.leave(old)
	}
	return nil
}

// settle lets this host itself reach a visitor, without ARP: "A foreign agent's
// ARP cache for the mobile node's IP address MUST NOT be allowed to expire before
// the mobile node's visitor list entry expires" (RFC 5944 section 4.2.2).
//
//rfc:5944#4.2.2
func (k *Keeper) settle(s seat) error {
	way, neighbour, err := k.way(s)
	if err != nil {
		return err
	}
	if err := k.h.NeighSet(neighbour); err != nil {
		return fmt.Errorf("visit: neighbour: %w", err)
	}
	if err := k.h.RouteReplace(way); err != nil {
		return fmt.Errorf("visit: route: %w", err)
	}
	return nil
}

func (k *Keeper) way(s seat) (*netlink.Route, *netlink.Neigh, error) {
	link, err := k.h.LinkByName(s.link)
	if err != nil {
		return nil, nil, fmt.Errorf("visit: %s: %w", s.link, err)
	}
	index := link.Attrs().Index
	return &netlink.Route{
			LinkIndex: index, Table: k.c.Base + tableOwn, Protocol: route.Protocol, Scope: netlink.SCOPE_LINK,
			Dst: &net.IPNet{IP: s.home.AsSlice(), Mask: net.CIDRMask(32, 32)},
		}, &netlink.Neigh{
			LinkIndex: index, Family: unix.AF_INET, State: netlink.NUD_PERMANENT, IP: s.home.AsSlice(), HardwareAddr: s.hw[:],
		}, nil
}

// unsettle takes back what settle did. With the link they have gone by
// themselves.
func (k *Keeper) unsettle(s seat) error {
	way, neighbour, err := k.way(s)
	if err != nil {
		return nil
	}
	var errs []error
	if err := k.h.RouteDel(way); err != nil && !errors.Is(err, unix.ESRCH) {
		errs = append(errs, fmt.Errorf("visit: route: %w", err))
	}
	if err := k.h.NeighDel(neighbour); err != nil && !errors.Is(err, unix.ENOENT) {
		errs = append(errs, fmt.Errorf("visit: neighbour: %w", err))
	}
	return errors.Join(errs...)
}

// Delete takes back what Put did. It is no error when there is nothing.
func (k *Keeper) Delete(key forward.Key) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	old, had := k.seats[key]
	if !had {
		return nil
	}
	delete(k.seats, key)
	return k.leave(old)
}

// leave removes what no other seat needs.
func (k *Keeper) leave(old seat) error {
	var errs []error
	sameRule, sameNode, sameHome := false, false, false
	for _, s := range k.seats {
		here := s.link == old.link && s.home == old.home
		sameRule = sameRule || here && s.direct
		sameHome = sameHome || here
		sameNode = sameNode || here && s.hw == old.hw
	}
	if old.direct && !sameRule {
		if err := k.h.RuleDel(k.rule(old)); err != nil && !errors.Is(err, unix.ENOENT) {
			errs = append(errs, fmt.Errorf("visit: rule: %w", err))
		}
	}
	if !sameHome {
		errs = append(errs, k.unsettle(old))
	}
	return errors.Join(append(errs, k.guard.forget(old, !sameNode, !sameHome))...)
}

func (k *Keeper) rule(s seat) *netlink.Rule {
	r := netlink.NewRule()
	r.Family, r.Priority, r.Table, r.Protocol = unix.AF_INET, k.c.Base+ruleBack, k.c.Base+tableBack, route.Protocol
	r.IifName = s.link
	r.Src = &net.IPNet{IP: s.home.AsSlice(), Mask: net.CIDRMask(32, 32)}
	return r
}

// LinkChanged prepares a visitors' link that has come back.
func (k *Keeper) LinkChanged(link string) error {
	if !slices.Contains(k.c.Links, link) {
		return nil
	}
	return k.space.Do(func() error { return tune(link) })
}

// Withdraw removes everything from the kernel but the links' settings.
func (k *Keeper) Withdraw() error {
	k.mu.Lock()
	defer k.mu.Unlock()
	errs := []error{k.clear()}
	for _, key := range slices.Sorted(maps.Keys(k.seats)) {
		errs = append(errs, k.unsettle(k.seats[key]))
	}
	clear(k.seats)
	return errors.Join(append(errs, k.guard.remove())...)
}

// Close removes the rules: nobody reads the device any more, and a visitor
// whose packets are routed plainly notices less than one whose packets vanish.
// The guard goes with them.
func (k *Keeper) Close() error {
	var errs []error
	if k.guard != nil {
		errs = append(errs, k.Withdraw())
	}
	if k.h != nil {
		k.h.Close()
	}
	return errors.Join(append(errs, k.space.Close())...)
}
