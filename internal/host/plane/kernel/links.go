package kernel

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"strconv"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"careof/internal/core/forward"
	"careof/internal/host/netspace"
	"careof/internal/host/route"
	"careof/wire/encap"
)

// A device is what a tunnel of the kernel is made from.
type device struct {
	kind        encap.Kind // IPIP or GRE
	local, peer netip.Addr
	hasKey      bool
	key         uint32
	link        string // the underlay, empty: routing decides
}

// links is the kernel's side.
type links interface {
	// devices are those with our tag, by name.
	devices() (map[string]device, error)
	// add makes a device, and brings it up with its reverse path filter.
	add(name string, d device, mtu int) error
	setMTU(name string, mtu int) error
	remove(name string) error
	// lead makes the rule and the route to a device, or replaces the latter.
	lead(p netip.Prefix, name string) error
	// release takes the route away; it is no error when there is none.
	release(p netip.Prefix) error
	// withdraw removes the rule.
	withdraw() error
	// traffic is what went through a device.
	traffic(name string) (forward.Counters, error)
	// underlay is the MTU of a link.
	underlay(name string) (int, error)
	close() error
}

// routeProtocol tags our routes and the rule; package route has another.
const routeProtocol = 144

// netlinks is the kernel by netlink.
type netlinks struct {
	space *netspace.Space
	tag   string // alias of our devices
	base  int    // see route.Config; the table in front of it is ours
}

func (n *netlinks) close() error { return n.space.Close() }

func (n *netlinks) devices() (out map[string]device, err error) {
	err = n.space.Do(func() error {
		all, err := netlink.LinkList()
		if err != nil && !errors.Is(err, netlink.ErrDumpInterrupted) {
			return err
		}
		out = make(map[string]device)
		for _, l := range all {
			if l.Attrs().Alias != n.tag {
				continue
			}
			if d, ok := describe(l); ok {
				out[l.Attrs().Name] = d
			}
		}
		return nil
	})
	return out, err
}

// describe is what a device was made from.
func describe(l netlink.Link) (d device, ok bool) {
	var local, remote net.IP
	link := uint32(0)
	switch t := l.(type) {
	case *netlink.Iptun:
		d.kind, local, remote, link = encap.IPIP, t.Local, t.Remote, t.Link
	case *netlink.Gretun:
		d.kind, local, remote, link = encap.GRE, t.Local, t.Remote, t.Link
		d.hasKey, d.key = t.IFlags&greKeyFlag != 0, t.IKey
	default:
		return d, false
	}
	var okLocal, okRemote bool
	d.local, okLocal = netip.AddrFromSlice(local.To4())
	d.peer, okRemote = netip.AddrFromSlice(remote.To4())
	if link != 0 {
		if under, err := netlink.LinkByIndex(int(link)); err == nil {
			d.link = under.Attrs().Name
		}
	}
	return d, okLocal && okRemote
}

// greKeyFlag is GRE_KEY, in network byte order as netlink has it.
const greKeyFlag = 0x20

// form is the netlink form of a device.
func (d *device) form(name, tag string, mtu, underlay int) netlink.Link {
	attrs := netlink.NewLinkAttrs()
	attrs.Name, attrs.MTU, attrs.Alias = name, mtu, tag
	local, peer := net.IP(d.local.AsSlice()), net.IP(d.peer.AsSlice())
	// RFC 2003 section 3.1: TOS is copied (1 says so), section 5.1: DF is
	// always set (path MTU discovery).
	if d.kind == encap.GRE {
		g := &netlink.Gretun{LinkAttrs: attrs, Local: local, Remote: peer, Link: uint32(underlay), Ttl: 64, Tos: 1, PMtuDisc: 1}
		if d.hasKey {
			g.IKey, g.OKey = d.key, d.key
			g.IFlags, g.OFlags = greKeyFlag, greKeyFlag
		}
		return g
	}
	return &netlink.Iptun{LinkAttrs: attrs, Local: local, Remote: peer, Link: uint32(underlay), Ttl: 64, Tos: 1, PMtuDisc: 1, Proto: unix.IPPROTO_IPIP}
}

func (n *netlinks) add(name string, d device, mtu int) error {
	return n.space.Do(func() error {
		index := 0
		if d.link != "" {
			under, err := netlink.LinkByName(d.link)
			if err != nil {
				return fmt.Errorf("kernel: %s: %w", d.link, err)
			}
			index = under.Attrs().Index
		}
		l := d.form(name, n.tag, mtu, index)
		if err := netlink.LinkAdd(l); err != nil {
			return fmt.Errorf("kernel: device %s for %v: %w", name, d.peer, supported(err))
		}
		err := netlink.LinkSetAlias(l, n.tag)
		if err == nil {
			err = os.WriteFile("/proc/sys/net/ipv4/conf/"+name+"/rp_filter", []byte("1"), 0)
		}
		if err == nil {
			err = netlink.LinkSetUp(l)
		}
		if err != nil {
			return errors.Join(fmt.Errorf("kernel: device %s: %w", name, err), netlink.LinkDel(l))
		}
		return nil
	})
}

func (n *netlinks) setMTU(name string, mtu int) error {
	return n.on(name, func(l netlink.Link) error { return netlink.LinkSetMTU(l, mtu) })
}

func (n *netlinks) remove(name string) error { return n.on(name, netlink.LinkDel) }

func (n *netlinks) on(name string, do func(netlink.Link) error) error {
	return n.space.Do(func() error {
		l, err := netlink.LinkByName(name)
		if err == nil {
			err = do(l)
		}
		if err != nil {
			return fmt.Errorf("kernel: device %s: %w", name, err)
		}
		return nil
	})
}

func (n *netlinks) table() int { return n.base - 1 }

func (n *netlinks) rule() *netlink.Rule {
	r := netlink.NewRule()
	r.Family, r.Priority, r.Table, r.Protocol = unix.AF_INET, route.Priority(n.base, route.RuleDevices), n.table(), routeProtocol
	return r
}

func (n *netlinks) route(p netip.Prefix) *netlink.Route {
	return &netlink.Route{
		Dst:   &net.IPNet{IP: p.Addr().AsSlice(), Mask: net.CIDRMask(p.Bits(), 32)},
		Table: n.table(), Protocol: routeProtocol, Scope: netlink.SCOPE_LINK,
	}
}

func (n *netlinks) lead(p netip.Prefix, name string) error {
	return n.on(name, func(l netlink.Link) error {
		if err := netlink.RuleAdd(n.rule()); err != nil && !errors.Is(err, unix.EEXIST) {
			return fmt.Errorf("rule: %w", err)
		}
		r := n.route(p)
		r.LinkIndex = l.Attrs().Index
		return netlink.RouteReplace(r)
	})
}

func (n *netlinks) release(p netip.Prefix) error {
	return n.space.Do(func() error {
		if err := netlink.RouteDel(n.route(p)); err != nil && !errors.Is(err, unix.ESRCH) {
			return fmt.Errorf("kernel: route to %v: %w", p, err)
		}
		return nil
	})
}

func (n *netlinks) withdraw() error {
	return n.space.Do(func() error {
		rules, err := netlink.RuleList(unix.AF_INET)
		if err != nil {
			return fmt.Errorf("kernel: rules: %w", err)
		}
		for i := range rules {
			if r := &rules[i]; r.Protocol != routeProtocol || !route.IsRule(r.Priority, n.base, route.RuleDevices) {
				continue
			}
			if err := netlink.RuleDel(&rules[i]); err != nil && !errors.Is(err, unix.ENOENT) {
				return fmt.Errorf("kernel: rule: %w", err)
			}
		}
		return nil
	})
}

func (n *netlinks) traffic(name string) (c forward.Counters, err error) {
	err = n.on(name, func(l netlink.Link) error {
		if s := l.Attrs().Statistics; s != nil {
			c = forward.Counters{
				SentPackets: s.TxPackets, SentBytes: s.TxBytes, ReceivedPackets: s.RxPackets, ReceivedBytes: s.RxBytes,
				DroppedPackets: s.TxDropped + s.TxErrors,
			}
		}
		return nil
	})
	return c, err
}

func (n *netlinks) underlay(name string) (mtu int, err error) {
	err = n.on(name, func(l netlink.Link) error { mtu = l.Attrs().MTU; return nil })
	return mtu, err
}

// ErrUnsupported says that this kernel, or a tunnel device of it, cannot do
// what is asked. It is an errors.ErrUnsupported.
var ErrUnsupported = fmt.Errorf("kernel: %w", errors.ErrUnsupported)

// supported marks the errors that say so.
func supported(err error) error {
	if errors.Is(err, unix.EOPNOTSUPP) || errors.Is(err, unix.EPERM) {
		return fmt.Errorf("%w: %w", ErrUnsupported, err)
	}
	return err
}

// probe tells whether the calling thread's namespace can have both kinds of
// device, and whether their reverse path filters would be strict: the looser
// of a device's own setting and that of all counts.
func probe() error {
	text, err := os.ReadFile("/proc/sys/net/ipv4/conf/all/rp_filter")
	if err == nil && len(text) > 0 && text[0] == '2' {
		return fmt.Errorf("%w: net.ipv4.conf.all.rp_filter is 2, so a tunnel device would take packets from any address (set it to 0 or 1)", ErrUnsupported)
	}
	for i, kind := range []encap.Kind{encap.IPIP, encap.GRE} {
		// Ends that nobody has: documentation addresses (RFC 5737).
		d := device{kind: kind, local: netip.MustParseAddr("192.0.2.254"), peer: netip.MustParseAddr("198.51.100.254")}
		l := d.form("coprobe"+strconv.Itoa(i), "careof probe", 1400, 0)
		if err := netlink.LinkAdd(l); err != nil {
			return fmt.Errorf("kernel: %v device: %w", kind, supported(err))
		}
		if err := netlink.LinkDel(l); err != nil {
			return fmt.Errorf("kernel: %v device: %w", kind, err)
		}
	}
	return nil
}
