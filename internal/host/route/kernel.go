package route

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"careof/internal/core/forward"
	"careof/internal/host/beside"
	"careof/internal/host/netspace"
)

// Protocol is the routing protocol number (rtproto) that tags our routes and
// rules. `ip route show proto 143` lists them.
const Protocol = 143

// A Route is one route of the kernel.
type Route struct {
	Table       int
	Dst         netip.Prefix
	Via         netip.Addr // next hop; invalid when on-link
	Link        string     // empty when unreachable
	Src         netip.Addr // preferred source; invalid for none
	Metric      int
	Unreachable bool
	Broadcast   bool // packets for Dst are for everybody on the link, and come in as such
}

// String writes the route as `ip route` would.
func (r Route) String() string {
	var b strings.Builder
	if r.Unreachable {
		b.WriteString("unreachable ")
	}
	if r.Broadcast {
		b.WriteString("broadcast ")
	}
	fmt.Fprint(&b, r.Dst)
	if r.Via.IsValid() {
		fmt.Fprintf(&b, " via %v", r.Via)
	}
	if r.Link != "" {
		fmt.Fprintf(&b, " dev %s", r.Link)
	}
	fmt.Fprintf(&b, " table %d", r.Table)
	return b.String()
}

// A Rule is one policy rule.
type Rule struct {
	Priority  int
	IPv6      bool
	From, To  netip.Prefix // invalid for all
	Mark      uint32       // 0 for any
	Protocol  uint8        // of IP; 0 for any
	Port      uint16       // of the destination; 0 for any
	Local     bool         // what this host itself sends
	Table     int
	NoDefault bool // use the table's routes but the default ones (suppress_prefixlength 0)

	Unreachable bool // there is no table: nothing goes anywhere
}

// A Kernel is what a Keeper needs of the kernel. Lists contain only what
// carries our tag, except where they say otherwise.
type Kernel interface {
	Routes() ([]Route, error)
	AddRoute(Route) error
	DelRoute(Route) error
	Rules() ([]Rule, error)
	AddRule(Rule) error
	DelRule(Rule) error
	// Addresses lists the IPv4 addresses of a link.
	Addresses(link string) ([]netip.Prefix, error)
	AddAddress(link string, a netip.Prefix) error
	DelAddress(link string, a netip.Prefix) error
	// LinkRoutes lists the IPv4 routes of the main table over a link that
	// are not ours.
	LinkRoutes(link string) ([]Route, error)
	// SetNeighbor makes the link-layer address of a neighbour known for good,
	// so that nobody asks for it by ARP; a zero one forgets it.
	SetNeighbor(link string, a netip.Addr, hw forward.HardwareAddr) error
	// HasNeighbor tells whether a neighbour's link-layer address was set for
	// good.
	HasNeighbor(link string, a netip.Addr) (bool, error)
	// Sysctl reads a file under /proc/sys; errors are fs.ErrNotExist where
	// the kernel has no such thing.
	Sysctl(name string) (string, error)
	SetSysctl(name, value string) error
	// SetBeside keeps what programs send from leaving by uplinks. What is there
	// is looked at when sure is not set, or nothing was kept yet.
	SetBeside(w beside.Want, sure bool) error
	SetMTU(link string, mtu int) error
	SetUp(link string) error
	Close() error
}

// linux is the kernel of one network namespace.
type linux struct {
	h     *netlink.Handle
	space *netspace.Space
	guard *beside.Guard
}

// Linux opens the kernel of the calling thread's network namespace, for a daemon
// with this tunnel device.
func Linux(device string) (Kernel, error) {
	space, err := netspace.Here()
	if err != nil {
		return nil, fmt.Errorf("route: %w", err)
	}
	h, err := netlink.NewHandle(unix.NETLINK_ROUTE)
	if err != nil {
		space.Close()
		return nil, fmt.Errorf("route: netlink: %w", err)
	}
	guard, err := beside.Open(device)
	if err != nil {
		h.Close()
		space.Close()
		return nil, err
	}
	return &linux{h: h, space: space, guard: guard}, nil
}

func (k *linux) Close() error {
	k.h.Close()
	return errors.Join(k.guard.Close(), k.space.Close())
}

func (k *linux) link(name string) (netlink.Link, error) {
	l, err := k.h.LinkByName(name)
	if err != nil {
		return nil, fmt.Errorf("route: link %s: %w", name, err)
	}
	return l, nil
}

// names maps interface indexes to names.
func (k *linux) names() (map[int]string, error) {
	links, err := netspace.Dump(k.h.LinkList)
	if err != nil {
		return nil, fmt.Errorf("route: links: %w", err)
	}
	m := make(map[int]string, len(links))
	for _, l := range links {
		m[l.Attrs().Index] = l.Attrs().Name
	}
	return m, nil
}

func (k *linux) Routes() ([]Route, error) {
	names, err := k.names()
	if err != nil {
		return nil, err
	}
	var out []Route
	for _, family := range []int{unix.AF_INET, unix.AF_INET6} {
		list, err := netspace.Dump(func() ([]netlink.Route, error) {
			// With a table of 0 the filter means all tables.
			return k.h.RouteListFiltered(family, &netlink.Route{Protocol: Protocol}, netlink.RT_FILTER_PROTOCOL|netlink.RT_FILTER_TABLE)
		})
		if err != nil {
			if family == unix.AF_INET6 && noIPv6(err) {
				break
			}
			return nil, fmt.Errorf("route: routes: %w", err)
		}
		for i := range list {
			out = append(out, routeFrom(&list[i], names, family))
		}
	}
	return out, nil
}

func (k *linux) LinkRoutes(link string) ([]Route, error) {
	l, err := k.link(link)
	if err != nil {
		return nil, err
	}
	list, err := netspace.Dump(func() ([]netlink.Route, error) {
		return k.h.RouteListFiltered(unix.AF_INET, &netlink.Route{LinkIndex: l.Attrs().Index, Table: unix.RT_TABLE_MAIN},
			netlink.RT_FILTER_OIF|netlink.RT_FILTER_TABLE)
	})
	if err != nil {
		return nil, fmt.Errorf("route: routes of %s: %w", link, err)
	}
	names := map[int]string{l.Attrs().Index: link}
	var out []Route
	for i := range list {
		if list[i].Protocol != Protocol && list[i].Type == unix.RTN_UNICAST {
			out = append(out, routeFrom(&list[i], names, unix.AF_INET))
		}
	}
	if everywhere := func(r Route) bool { return r.Dst.Bits() == 0 }; l.Attrs().RawFlags&unix.IFF_POINTOPOINT != 0 && !slices.ContainsFunc(out, everywhere) {
		// The other end takes everything; pppd makes no default route where there is one.
		out = append(out, Route{Dst: netip.PrefixFrom(netip.IPv4Unspecified(), 0), Link: link})
	}
	return out, nil
}

func routeFrom(r *netlink.Route, names map[int]string, family int) Route {
	out := Route{
		Table:       r.Table,
		Dst:         prefixFrom(r.Dst, family),
		Link:        names[r.LinkIndex],
		Metric:      r.Priority,
		Unreachable: r.Type == unix.RTN_UNREACHABLE,
		Broadcast:   r.Type == unix.RTN_BROADCAST,
	}
	out.Via = addrFrom(r.Gw)
	out.Src = addrFrom(r.Src)
	if out.Unreachable {
		out.Link = ""
		if family == unix.AF_INET6 {
			out.Metric = r.Priority
		}
	}
	return out
}

func prefixFrom(n *net.IPNet, family int) netip.Prefix {
	if n == nil {
		if family == unix.AF_INET6 {
			return netip.PrefixFrom(netip.IPv6Unspecified(), 0)
		}
		return netip.PrefixFrom(netip.IPv4Unspecified(), 0)
	}
	a, _ := netip.AddrFromSlice(n.IP)
	if family == unix.AF_INET {
		a = a.Unmap()
	}
	bits, _ := n.Mask.Size()
	return netip.PrefixFrom(a, bits)
}

func addrFrom(ip net.IP) netip.Addr {
	a, _ := netip.AddrFromSlice(ip)
	return a.Unmap()
}

func (k *linux) AddRoute(r Route) error {
	nr, err := k.route(r)
	if err != nil {
		return err
	}
	// In our own tables a route replaces the one in its place; in the main
	// table somebody else's must not be replaced.
	add := k.h.RouteReplace
	if r.Table == unix.RT_TABLE_MAIN {
		add = k.h.RouteAdd
	}
	err = add(nr)
	if errors.Is(err, unix.EEXIST) {
		// One of ours, which a daemon left that had another device.
		if taken, listed := k.taken(r); listed == nil && taken {
			err = k.h.RouteReplace(nr)
		}
	}
	if errors.Is(err, unix.EEXIST) {
		return fmt.Errorf("route: there is another route to %v, which is not ours: remove it, or take another home network", r.Dst)
	}
	if err != nil {
		return fmt.Errorf("route: add %v: %w", r, err)
	}
	return nil
}

// taken tells whether a route that carries our tag is in the place of r.
func (k *linux) taken(r Route) (bool, error) {
	ours, err := k.Routes()
	return slices.ContainsFunc(ours, func(o Route) bool {
		return o.Table == r.Table && o.Dst == r.Dst && o.Metric == r.Metric
	}), err
}

func (k *linux) DelRoute(r Route) error {
	nr, err := k.route(r)
	if err != nil {
		return nil // its link is gone, and it with it
	}
	if err := k.h.RouteDel(nr); err != nil && !errors.Is(err, unix.ESRCH) {
		return fmt.Errorf("route: delete %v: %w", r, err)
	}
	return nil
}

func (k *linux) route(r Route) (*netlink.Route, error) {
	nr := &netlink.Route{
		Table:    r.Table,
		Dst:      ipNet(r.Dst),
		Protocol: Protocol,
		Priority: r.Metric,
		Type:     unix.RTN_UNICAST,
		Family:   familyOf(r.Dst),
	}
	if r.Broadcast {
		nr.Type = unix.RTN_BROADCAST
	}
	if r.Unreachable {
		nr.Type = unix.RTN_UNREACHABLE
		return nr, nil
	}
	l, err := k.link(r.Link)
	if err != nil {
		return nil, err
	}
	nr.LinkIndex = l.Attrs().Index
	if r.Via.IsValid() {
		nr.Gw = r.Via.AsSlice()
		// A next hop that is on no connected network is on the link all the
		// same: tables of ours need not have the connected route first.
		nr.Flags = unix.RTNH_F_ONLINK
	} else {
		nr.Scope = netlink.SCOPE_LINK
	}
	if r.Src.IsValid() {
		nr.Src = r.Src.AsSlice()
	}
	return nr, nil
}

func familyOf(p netip.Prefix) int {
	if p.Addr().Is4() {
		return unix.AF_INET
	}
	return unix.AF_INET6
}

func ipNet(p netip.Prefix) *net.IPNet {
	return &net.IPNet{IP: p.Addr().AsSlice(), Mask: net.CIDRMask(p.Bits(), p.Addr().BitLen())}
}

func (k *linux) Rules() ([]Rule, error) {
	var out []Rule
	for _, family := range []int{unix.AF_INET, unix.AF_INET6} {
		list, err := netspace.Dump(func() ([]netlink.Rule, error) { return k.h.RuleList(family) })
		if err != nil {
			if family == unix.AF_INET6 && noIPv6(err) {
				break
			}
			return nil, fmt.Errorf("route: rules: %w", err)
		}
		for i := range list {
			if list[i].Protocol == Protocol {
				out = append(out, ruleFrom(&list[i], family))
			}
		}
	}
	return out, nil
}

// loopback is the interface that what a host itself sends seems to come from.
const loopback = "lo"

func ruleFrom(r *netlink.Rule, family int) Rule {
	out := Rule{Priority: r.Priority, IPv6: family == unix.AF_INET6, Mark: r.Mark, Table: r.Table, NoDefault: r.SuppressPrefixlen == 0,
		Protocol: uint8(r.IPProto), Local: r.IifName == loopback,
		// The library does not read what a rule does; of ours, those that have no
		// table say that nothing is reached.
		Unreachable: r.Table == unix.RT_TABLE_UNSPEC}
	if r.IPProto < 0 {
		out.Protocol = 0
	}
	if r.Dport != nil && r.Dport.Start == r.Dport.End {
		out.Port = r.Dport.Start
	}
	if r.Src != nil {
		out.From = prefixFrom(r.Src, family)
	}
	if r.Dst != nil {
		out.To = prefixFrom(r.Dst, family)
	}
	return out
}

func (k *linux) rule(r Rule) *netlink.Rule {
	nr := netlink.NewRule()
	nr.Priority, nr.Table, nr.Protocol, nr.Mark = r.Priority, r.Table, Protocol, r.Mark
	nr.Family = unix.AF_INET
	if r.IPv6 {
		nr.Family = unix.AF_INET6
	}
	if r.From.IsValid() {
		nr.Src = ipNet(r.From)
	}
	if r.To.IsValid() {
		nr.Dst = ipNet(r.To)
	}
	if r.Protocol != 0 {
		nr.IPProto = int(r.Protocol)
	}
	if r.Port != 0 {
		nr.Dport = netlink.NewRulePortRange(r.Port, r.Port)
	}
	if r.Local {
		nr.IifName = loopback
	}
	if r.Unreachable {
		nr.Type = unix.RTN_UNREACHABLE
	}
	if r.NoDefault {
		nr.SuppressPrefixlen = 0
	}
	return nr
}

func (k *linux) AddRule(r Rule) error {
	if err := k.h.RuleAdd(k.rule(r)); err != nil && !errors.Is(err, unix.EEXIST) && !(r.IPv6 && noIPv6(err)) {
		return fmt.Errorf("route: add rule %v: %w", r, err)
	}
	return nil
}

func (k *linux) DelRule(r Rule) error {
	if err := k.h.RuleDel(k.rule(r)); err != nil && !errors.Is(err, unix.ENOENT) {
		return fmt.Errorf("route: delete rule %v: %w", r, err)
	}
	return nil
}

// noIPv6 recognises the errors of a kernel without IPv6.
func noIPv6(err error) bool {
	return errors.Is(err, unix.EAFNOSUPPORT) || errors.Is(err, unix.EOPNOTSUPP)
}

func (k *linux) Addresses(link string) ([]netip.Prefix, error) {
	l, err := k.link(link)
	if err != nil {
		return nil, err
	}
	list, err := netspace.Dump(func() ([]netlink.Addr, error) { return k.h.AddrList(l, unix.AF_INET) })
	if err != nil {
		return nil, fmt.Errorf("route: addresses of %s: %w", link, err)
	}
	var out []netip.Prefix
	for _, a := range list {
		out = append(out, prefixFrom(a.IPNet, unix.AF_INET))
	}
	return out, nil
}

func (k *linux) AddAddress(link string, a netip.Prefix) error {
	l, err := k.link(link)
	if err != nil {
		return err
	}
	if err := k.h.AddrAdd(l, &netlink.Addr{IPNet: ipNet(a)}); err != nil && !errors.Is(err, unix.EEXIST) {
		return fmt.Errorf("route: address %v on %s: %w", a, link, err)
	}
	return nil
}

func (k *linux) DelAddress(link string, a netip.Prefix) error {
	l, err := k.link(link)
	if err != nil {
		return nil
	}
	if err := k.h.AddrDel(l, &netlink.Addr{IPNet: ipNet(a)}); err != nil && !errors.Is(err, unix.EADDRNOTAVAIL) {
		return fmt.Errorf("route: delete address %v on %s: %w", a, link, err)
	}
	return nil
}

func (k *linux) SetNeighbor(link string, a netip.Addr, hw forward.HardwareAddr) error {
	l, err := k.link(link)
	if err != nil {
		if hw == (forward.HardwareAddr{}) {
			return nil // its link is gone, and it with it
		}
		return err
	}
	n := &netlink.Neigh{
		LinkIndex: l.Attrs().Index, Family: unix.AF_INET, IP: a.AsSlice(), HardwareAddr: hw[:], State: netlink.NUD_PERMANENT,
	}
	if hw == (forward.HardwareAddr{}) {
		n.HardwareAddr = nil
		if err := k.h.NeighDel(n); err != nil && !errors.Is(err, unix.ENOENT) {
			return fmt.Errorf("route: neighbour %v on %s: %w", a, link, err)
		}
		return nil
	}
	if err := k.h.NeighSet(n); err != nil {
		return fmt.Errorf("route: neighbour %v on %s: %w", a, link, err)
	}
	return nil
}

func (k *linux) HasNeighbor(link string, a netip.Addr) (bool, error) {
	l, err := k.link(link)
	if err != nil {
		return false, nil // its link is gone, and it with it
	}
	list, err := netspace.Dump(func() ([]netlink.Neigh, error) { return k.h.NeighList(l.Attrs().Index, unix.AF_INET) })
	if err != nil {
		return false, fmt.Errorf("route: neighbours on %s: %w", link, err)
	}
	return slices.ContainsFunc(list, func(n netlink.Neigh) bool {
		return n.State&netlink.NUD_PERMANENT != 0 && n.IP.Equal(a.AsSlice())
	}), nil
}

func (k *linux) SetBeside(w beside.Want, sure bool) error {
	if !sure {
		k.guard.Forget()
	}
	return k.guard.Set(w)
}

func (k *linux) SetMTU(link string, mtu int) error {
	l, err := k.link(link)
	if err != nil {
		return err
	}
	if l.Attrs().MTU == mtu {
		return nil
	}
	if err := k.h.LinkSetMTU(l, mtu); err != nil {
		return fmt.Errorf("route: MTU of %s: %w", link, err)
	}
	return nil
}

func (k *linux) SetUp(link string) error {
	l, err := k.link(link)
	if err != nil {
		return err
	}
	if l.Attrs().Flags&net.FlagUp != 0 {
		return nil
	}
	if err := k.h.LinkSetUp(l); err != nil {
		return fmt.Errorf("route: set %s up: %w", link, err)
	}
	return nil
}

func (k *linux) Sysctl(name string) (value string, err error) {
	err = k.space.Do(func() error {
		b, err := os.ReadFile(filepath.Join("/proc/sys", name))
		value = strings.TrimSpace(string(b))
		return err
	})
	return value, err
}

func (k *linux) SetSysctl(name, value string) error {
	return k.space.Do(func() error {
		f, err := os.OpenFile(filepath.Join("/proc/sys", name), os.O_WRONLY, 0)
		if err != nil {
			return err
		}
		_, err = f.WriteString(value)
		return errors.Join(err, f.Close())
	})
}

// sorted gives what is compared and done a fixed order, without repetitions.
func sorted[T any](s []T, less func(a, b T) int) []T {
	s = slices.Clone(s)
	slices.SortFunc(s, less)
	return slices.CompactFunc(s, func(a, b T) bool { return less(a, b) == 0 })
}
