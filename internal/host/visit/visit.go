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
// Visitors of different home agents may have one home address (RFC 3024
// appendix A.4). Only their link-layer addresses tell their packets apart, so
// these are taken from below IP (ear.go) and dropped on their way through the
// kernel.
//
// What must not go in here: tunnels, and how packets get to a visitor.
package visit

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"net"
	"net/netip"
	"os"
	"slices"
	"sync"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"careof/internal/core/engine"
	"careof/internal/core/forward"
	"careof/internal/host/netspace"
	"careof/internal/host/route"
)

// Config is what a [Keeper] is built from.
type Config struct {
	Device string   // the tunnel device; it is there already
	Links  []string // that visitors attach to
	Base   int      // as route.Config.Base: the tables are Base+100 and +101

	// Heard takes the packets of visitors that share a home address, as they
	// would be on a wire. own is this host's address on the link, or invalid.
	// Packets for this host itself are not among them, unless they are a
	// tunnel's. It is called from one goroutine for each link and must not keep
	// the packet.
	Heard func(link string, hw forward.HardwareAddr, own netip.Addr, packet []byte)
}

// Tables behind those of package route, and rules before its: where this host
// is a mobile node too, all that it forwards goes its way, but not a visitor's
// packets (RFC 5944 section 4.5).
const (
	tableBack = 100 // back through the tunnel: to the device
	tableOwn  = 101 // what this host itself says to visitors: to the link
)

// A Keeper leads visitors' packets. It is safe for concurrent use.
type Keeper struct {
	c     Config
	space *netspace.Space
	h     *netlink.Handle
	guard *guard

	mu    sync.Mutex
	seats map[netip.Addr]map[forward.Key]seat // by home address
	homes map[forward.Key]netip.Addr
	there map[netip.Addr]arrangement // what the kernel has for a home address
	ears  *ears
}

// A seat is one visitor.
type seat struct {
	node
	direct bool // its plain packets go back through the tunnel
	own    bool // it has a tunnel of its own to this host
}

// A place is an address on a link, and a node one that has it.
type (
	place struct {
		link string
		home netip.Addr
	}
	node struct {
		place
		hw forward.HardwareAddr
	}
)

// An arrangement is what the kernel has for the visitors of one home address.
type arrangement struct {
	nodes  map[node]bool  // whose packets the guard lets in
	sorted map[node]bool  // whose packets are taken from below IP
	rules  map[place]bool // from where packets are led to the device
	ways   map[place]forward.HardwareAddr
}

func newArrangement() arrangement {
	return arrangement{
		nodes: make(map[node]bool), sorted: make(map[node]bool),
		rules: make(map[place]bool), ways: make(map[place]forward.HardwareAddr),
	}
}

// arrange is what the seats of one home address ask of the kernel. Who shares
// the address with anybody and sends packets into a tunnel is sorted below IP.
func arrange(seats map[forward.Key]seat) arrangement {
	a := newArrangement()
	for _, key := range slices.Sorted(maps.Keys(seats)) {
		s := seats[key]
		a.nodes[s.node] = true
		a.ways[s.place] = s.hw
		switch {
		case len(seats) > 1 && (s.direct || s.own):
			a.sorted[s.node] = true
		case s.direct:
			a.rules[s.place] = true
		}
	}
	return a
}

// Open prepares links, table and guard in the calling thread's network
// namespace. Visits do not outlive a process, so what an earlier one left is
// removed.
func Open(c Config) (k *Keeper, err error) {
	if c.Base == 0 {
		c.Base = route.BaseOf(c.Device)
	}
	k = &Keeper{
		c: c, seats: make(map[netip.Addr]map[forward.Key]seat), homes: make(map[forward.Key]netip.Addr),
		there: make(map[netip.Addr]arrangement),
	}
	if k.space, err = netspace.Here(); err != nil {
		return nil, fmt.Errorf("visit: %w", err)
	}
	k.ears = &ears{space: k.space, heard: c.Heard, open: make(map[string]*ear), own: make(map[string]netip.Addr)}
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
// And no visitor is to be redirected (RFC 5944 section 4.2.1): for that the
// kernel takes the setting for "all" or the link's own, whichever is on.
func tune(link string) error {
	for _, set := range []struct{ name, value string }{
		{link + "/rp_filter", "2"}, {link + "/send_redirects", "0"}, {"all/send_redirects", "0"},
	} {
		if err := os.WriteFile("/proc/sys/net/ipv4/conf/"+set.name, []byte(set.value), 0); err != nil {
			if errors.Is(err, fs.ErrNotExist) {
				return fmt.Errorf("there is no interface %s (hint: foreign-agent.interfaces names the visitors' links; make it, or plug it in, before the daemon starts)", link)
			}
			return fmt.Errorf("sysctl %s: %w", set.name, err)
		}
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
		if r := &rules[i]; route.IsRule(r.Priority, k.c.Base, route.RuleBack, route.RuleOwn) && r.Protocol == route.Protocol {
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
		// The kernel does not keep who made a neighbour entry; the way tells.
		if dst := routes[i].Dst; dst != nil {
			err := k.h.NeighDel(&netlink.Neigh{LinkIndex: routes[i].LinkIndex, Family: unix.AF_INET, IP: dst.IP})
			if err != nil && !errors.Is(err, unix.ENOENT) {
				return err
			}
		}
		if err := k.h.RouteDel(&routes[i]); err != nil && !errors.Is(err, unix.ESRCH) {
			return err
		}
	}
	return nil
}

func (k *Keeper) priority(kind route.RuleKind) int { return route.Priority(k.c.Base, kind) }

// lead makes the table whose one route is the device, and the rule for this
// host's own packets: ICMP errors, above all "fragmentation needed". By way of
// the home agent they would come from the tunnel's own end, which RFC 2003
// section 3.2 has the home agent take for a loop.
func (k *Keeper) lead() error {
	own := netlink.NewRule()
	own.Family, own.Priority, own.Table, own.Protocol = unix.AF_INET, k.priority(route.RuleOwn), k.c.Base+tableOwn, route.Protocol
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
//rfc:3024#A.4
//rfc:3024#5.1.1-2
//rfc:3024#5.2.1-1
//rfc:3024#5.4-1
func (k *Keeper) Put(e forward.Entry) error {
	s := seat{node: node{place{e.Deliver.Link, e.Inner.Addr()}, e.Deliver.HW}}
	for _, t := range e.Tunnels {
		s.direct = s.direct || t.Mode != forward.Receive
		s.own = s.own || t.Peer.Addr() == s.home
	}
	// With a tunnel of its own, the visitor's plain packets "MUST NOT be
	// reverse tunneled" (RFC 3024 section 5.2): they are routed.
	s.direct = s.direct && (!s.own || e.Plain)
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.seats[s.home] == nil {
		k.seats[s.home] = make(map[forward.Key]seat)
	}
	k.seats[s.home][e.Key] = s
	k.homes[e.Key] = s.home
	return k.settle(s.home)
}

// Delete takes back what Put did. It is no error when there is nothing.
func (k *Keeper) Delete(key forward.Key) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	home, had := k.homes[key]
	if !had {
		return nil
	}
	delete(k.homes, key)
	delete(k.seats[home], key)
	if len(k.seats[home]) == 0 {
		delete(k.seats, home)
	}
	return k.settle(home)
}

// settle makes the kernel agree with the seats of a home address. The guard is
// there before packets are led anywhere; what is not wanted goes last, so that
// a visitor who stays notices nothing.
func (k *Keeper) settle(home netip.Addr) error {
	is, had := k.there[home]
	if !had {
		is = newArrangement()
	}
	want := arrange(k.seats[home])
	k.there[home] = is
	if err := k.guard.allow(want, is); err != nil {
		return err
	}
	maps.Copy(is.nodes, want.nodes)
	maps.Copy(is.sorted, want.sorted)
	if err := k.ears.listen(home, is.sorted); err != nil {
		return err
	}
	for at := range want.rules {
		if !is.rules[at] {
			if err := k.h.RuleAdd(k.rule(at)); err != nil && !errors.Is(err, unix.EEXIST) {
				return fmt.Errorf("visit: rule: %w", err)
			}
			is.rules[at] = true
		}
	}
	for at, hw := range want.ways {
		if is.ways[at] != hw {
			if err := k.lay(at, hw); err != nil {
				return err
			}
			is.ways[at] = hw
		}
	}
	return k.forget(home, is, want)
}

// forget removes what is there and not wanted. What fails is left to the next
// start.
func (k *Keeper) forget(home netip.Addr, is, want arrangement) error {
	var errs []error
	for at := range is.rules {
		if !want.rules[at] {
			if err := k.h.RuleDel(k.rule(at)); err != nil && !errors.Is(err, unix.ENOENT) {
				errs = append(errs, fmt.Errorf("visit: rule: %w", err))
			}
		}
	}
	for at := range is.ways {
		if _, wanted := want.ways[at]; !wanted {
			errs = append(errs, k.unlay(at))
		}
	}
	errs = append(errs, k.guard.forget(is, want), k.ears.listen(home, want.sorted))
	if k.there[home] = want; len(want.nodes) == 0 {
		delete(k.there, home)
	}
	return errors.Join(errs...)
}

// lay lets this host itself reach a visitor, without ARP: "A foreign agent's ARP
// cache for the mobile node's IP address MUST NOT be allowed to expire before
// the mobile node's visitor list entry expires" (RFC 5944 section 4.2.2).
//
//rfc:5944#4.2.2
func (k *Keeper) lay(at place, hw forward.HardwareAddr) error {
	way, neighbour, err := k.way(at)
	if err != nil {
		return err
	}
	neighbour.HardwareAddr = hw[:]
	if err := k.h.NeighSet(neighbour); err != nil {
		return fmt.Errorf("visit: neighbour: %w", err)
	}
	if err := k.h.RouteReplace(way); err != nil {
		return fmt.Errorf("visit: route: %w", err)
	}
	return nil
}

// way is the route to a visitor, one for each link that the address is on, and
// its neighbour entry.
func (k *Keeper) way(at place) (*netlink.Route, *netlink.Neigh, error) {
	link, err := k.h.LinkByName(at.link)
	if err != nil {
		return nil, nil, fmt.Errorf("visit: %s: %w", at.link, err)
	}
	index := link.Attrs().Index
	return &netlink.Route{
			LinkIndex: index, Table: k.c.Base + tableOwn, Protocol: route.Protocol, Scope: netlink.SCOPE_LINK, Priority: index,
			Dst: &net.IPNet{IP: at.home.AsSlice(), Mask: net.CIDRMask(32, 32)},
		}, &netlink.Neigh{
			LinkIndex: index, Family: unix.AF_INET, State: netlink.NUD_PERMANENT, IP: at.home.AsSlice(),
		}, nil
}

// unlay takes back what lay did. With the link it has gone by itself.
func (k *Keeper) unlay(at place) error {
	way, neighbour, err := k.way(at)
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

func (k *Keeper) rule(at place) *netlink.Rule {
	r := netlink.NewRule()
	r.Family, r.Priority, r.Table, r.Protocol = unix.AF_INET, k.priority(route.RuleBack), k.c.Base+tableBack, route.Protocol
	r.IifName = at.link
	r.Src = &net.IPNet{IP: at.home.AsSlice(), Mask: net.CIDRMask(32, 32)}
	return r
}

// LinkChanged prepares a visitors' link that has come back.
func (k *Keeper) LinkChanged(l engine.Link) error {
	if !slices.Contains(k.c.Links, l.Name) {
		return nil
	}
	k.mu.Lock()
	err := k.ears.linkChanged(l)
	k.mu.Unlock()
	if l.Gone {
		return err
	}
	return errors.Join(err, k.space.Do(func() error { return tune(l.Name) }))
}

// Withdraw removes everything from the kernel but the links' settings.
func (k *Keeper) Withdraw() error {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.ears.close()
	errs := []error{k.clear()}
	clear(k.seats)
	clear(k.homes)
	clear(k.there)
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
