// Package lan keeps the side of a mobile router that its networks are on: a
// table of nftables through which nothing passes but what belongs to a mobile
// network and its tunnel, and this host's address where a home agent has
// assigned the prefix. Both stay when the daemon ends.
//
// The table also keeps visited networks from the addresses that are reached through
// the tunnel alone: whoever shares a link with the node could send there past the
// tunnel otherwise, in anybody's name, since a host takes packets for any of its
// addresses from any link.
//
// What must not go in here: policy routing (package route) and tunnels.
package lan

import (
	"cmp"
	"errors"
	"fmt"
	"hash/fnv"
	"maps"
	"net"
	"net/netip"
	"slices"

	"github.com/google/nftables"
	"github.com/google/nftables/binaryutil"
	"github.com/google/nftables/expr"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"careof/internal/core/forward"
	"careof/internal/host/netspace"
)

// TableName is the table (family ip) of a daemon with this device.
func TableName(device string) string { return "careof_lan_" + device }

// A network is a mobile network, or the home address of a node, as far as this
// package goes.
type network struct {
	prefix   netip.Prefix
	link     string     // empty for a home address
	gateway  netip.Addr // this host's address in it, when it is ours to set
	homeLink string     // while the router is at home
}

// A Keeper keeps the mobile networks of one network namespace. It is not safe
// for concurrent use.
type Keeper struct {
	device   string
	space    *netspace.Space
	uplinks  []string // in order
	networks map[forward.Key]network
	mark     string // of the table as it was last installed; empty: there is none of ours
	known    bool   // mark is what the kernel has
}

// Open binds to the calling thread's network namespace and changes nothing. uplinks
// lead to visited networks.
func Open(device string, uplinks []string) (*Keeper, error) {
	space, err := netspace.Here()
	if err != nil {
		return nil, fmt.Errorf("lan: %w", err)
	}
	return &Keeper{device: device, space: space, uplinks: slices.Sorted(slices.Values(uplinks)), networks: make(map[forward.Key]network)}, nil
}

// Reconfigure replaces the uplinks.
func (k *Keeper) Reconfigure(uplinks []string) error {
	k.uplinks = slices.Sorted(slices.Values(uplinks))
	return k.filter()
}

// Close leaves everything in place.
func (k *Keeper) Close() error { return k.space.Close() }

// Put takes a mobile network's entry, and that of a home address to which nothing
// comes but through an encrypted tunnel: a foreign agent delivers in the clear what
// came through one of another kind. Other entries do not matter.
func (k *Keeper) Put(e *forward.Entry) error {
	old, had := k.networks[e.Key]
	if e.Network == "" && !(had && len(e.Tunnels) == 0) && !slices.ContainsFunc(e.Tunnels, func(t forward.Tunnel) bool { return t.Secured() }) {
		if !had {
			return nil
		}
		return k.Delete(e.Key)
	}
	now := network{e.Inner, e.Network, e.Gateway, e.HomeLink}
	if had && old == now {
		return nil
	}
	k.networks[e.Key] = now
	var errs []error
	if had && old.gateway.IsValid() && (old.link != now.link || old.gateway != now.gateway) {
		errs = append(errs, k.takeAddress(old))
	}
	// The filter first: nothing passes on a new address without it.
	errs = append(errs, k.filter())
	if now.gateway.IsValid() {
		errs = append(errs, k.giveAddress(now))
	}
	return errors.Join(errs...)
}

// Delete forgets a network. It is no error when there is none.
func (k *Keeper) Delete(key forward.Key) error {
	old, had := k.networks[key]
	if !had {
		return nil
	}
	delete(k.networks, key)
	var err error
	if old.gateway.IsValid() {
		err = k.takeAddress(old)
	}
	return errors.Join(err, k.filter())
}

// Reconcile makes the kernel agree with the networks. Without any, what an
// earlier process left goes.
func (k *Keeper) Reconcile() error {
	var errs []error
	for _, key := range slices.Sorted(maps.Keys(k.networks)) {
		if n := k.networks[key]; n.gateway.IsValid() {
			errs = append(errs, k.giveAddress(n))
		}
	}
	k.known = false
	return errors.Join(append(errs, k.stale(), k.filter())...)
}

// Withdraw removes everything of ours.
func (k *Keeper) Withdraw() error {
	clear(k.networks)
	return k.Reconcile()
}

// sorted lists the networks by interface and prefix.
func (k *Keeper) sorted() []network {
	return slices.SortedFunc(maps.Values(k.networks), func(a, b network) int {
		return cmp.Or(cmp.Compare(a.link, b.link), a.prefix.Compare(b.prefix))
	})
}

// filter installs the table in one transaction, unless it is there.
func (k *Keeper) filter() error {
	mark := k.fingerprint()
	if k.known && mark == k.mark {
		return nil
	}
	c, err := k.space.Nftables()
	if err != nil {
		return fmt.Errorf("lan: filter: %w", err)
	}
	defer c.CloseLasting()
	if !k.known && k.installed(c) == mark {
		k.mark, k.known = mark, true
		return nil
	}
	table := &nftables.Table{Family: nftables.TableFamilyIPv4, Name: TableName(k.device)}
	c.AddTable(table) // so that the deletion finds one
	c.DelTable(table)
	if mark != "" {
		c.AddTable(table)
		policy := nftables.ChainPolicyAccept
		for _, chain := range k.chains() {
			at := c.AddChain(&nftables.Chain{
				Name: chain.name, Table: table, Type: nftables.ChainTypeFilter,
				Hooknum: chain.hook, Priority: chain.priority, Policy: &policy,
			})
			for _, exprs := range chain.rules {
				c.AddRule(&nftables.Rule{Table: table, Chain: at, Exprs: exprs, UserData: []byte(mark)})
			}
		}
	}
	if err := c.Flush(); err != nil {
		return fmt.Errorf("lan: filter: %w", err)
	}
	k.mark, k.known = mark, true
	return nil
}

// A chain is one of the table's.
type chain struct {
	name     string
	hook     *nftables.ChainHook
	priority *nftables.ChainPriority
	rules    [][]expr.Any
}

func (k *Keeper) chains() []chain {
	return []chain{
		{"networks", nftables.ChainHookForward, nftables.ChainPriorityFilter, k.rules()},
		{"uplinks", nftables.ChainHookPrerouting, nftables.ChainPriorityRaw, k.strangers()},
	}
}

// fingerprint names the rules; empty when there are none.
func (k *Keeper) fingerprint() string {
	if len(k.networks) == 0 {
		return ""
	}
	h := fnv.New64a()
	fmt.Fprintln(h, k.uplinks)
	for _, n := range k.sorted() {
		fmt.Fprintln(h, n.prefix, n.link, n.homeLink)
	}
	return fmt.Sprintf("careof networks 2 %016x", h.Sum64())
}

// installed is the fingerprint of the table in the kernel, empty when there is
// none or it is not whole.
func (k *Keeper) installed(c *nftables.Conn) string {
	table, err := c.ListTableOfFamily(TableName(k.device), nftables.TableFamilyIPv4)
	if err != nil || table == nil {
		return ""
	}
	mark := ""
	for _, chain := range k.chains() {
		rules, err := c.GetRules(table, &nftables.Chain{Name: chain.name, Table: table})
		if err != nil || len(rules) != len(chain.rules) {
			return "another"
		}
		for _, r := range rules {
			if mark == "" {
				mark = string(r.UserData)
			}
			if string(r.UserData) != mark {
				return "another"
			}
		}
	}
	return mark
}

// strangers are what comes in by an uplink for an address of this host that is
// reached through the tunnel:
//
//	iifname wlan0 ip daddr 10.20.7.0/24 fib daddr type local fib daddr . iif type != local drop
//
// A visited network may have the same prefix: an address of this host on that link
// is its care-of address. Over the home link, while the node is at home, there is no
// other way.
func (k *Keeper) strangers() (out [][]expr.Any) {
	local := binaryutil.NativeEndian.PutUint32(unix.RTN_LOCAL)
	for _, link := range k.uplinks {
		for _, n := range k.sorted() {
			if n.homeLink == link || n.link == link {
				continue
			}
			out = append(out, slices.Concat(interfaceIs(expr.MetaKeyIIFNAME, link), within(atDestination, n.prefix), []expr.Any{
				&expr.Fib{Register: 1, FlagDADDR: true, ResultADDRTYPE: true},
				&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: local},
				&expr.Fib{Register: 1, FlagDADDR: true, FlagIIF: true, ResultADDRTYPE: true},
				&expr.Cmp{Op: expr.CmpOpNeq, Register: 1, Data: local},
				&expr.Verdict{Kind: expr.VerdictDrop},
			}))
		}
	}
	return out
}

// rules are what is forwarded from and to the interfaces of the networks:
//
//	iifname lan0 fib saddr type local drop
//	iifname lan0 ip saddr 10.20.7.0/24 oifname careof0 accept
//	iifname lan0 ip saddr 10.20.7.0/24 oifname lan1 accept
//	iifname lan0 drop
//	oifname lan0 iifname careof0 accept
//	oifname lan0 drop
//
// "The Mobile Router MUST drop any packets that do not have a source address
// belonging to the Mobile Network. The Mobile Router MUST also ensure that the
// source address of packets arriving on the Mobile Network is not the same as
// the Mobile Router's IP address on any interface" (RFC 5177 section 10). And
// what belongs to it leaves through the tunnel, or over the home link while the
// router is at home, whatever becomes of rules and routes.
//
//rfc:5177#10
//rfc:5177#10-7
//rfc:5177#10-8
func (k *Keeper) rules() (out [][]expr.Any) {
	drop, accept := &expr.Verdict{Kind: expr.VerdictDrop}, &expr.Verdict{Kind: expr.VerdictAccept}
	list := k.sorted()
	others := []string{k.device}
	for _, n := range list {
		for _, link := range []string{n.link, n.homeLink} {
			if n.link != "" && link != "" && !slices.Contains(others, link) {
				others = append(others, link)
			}
		}
	}
	byLink := make(map[string][]network)
	for _, n := range list {
		if n.link != "" {
			byLink[n.link] = append(byLink[n.link], n)
		}
	}
	for _, link := range slices.Sorted(maps.Keys(byLink)) {
		from, to := interfaceIs(expr.MetaKeyIIFNAME, link), interfaceIs(expr.MetaKeyOIFNAME, link)
		out = append(out, slices.Concat(from, []expr.Any{
			&expr.Fib{Register: 1, FlagSADDR: true, ResultADDRTYPE: true},
			&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: binaryutil.NativeEndian.PutUint32(unix.RTN_LOCAL)},
			drop,
		}))
		for _, other := range others {
			for _, n := range byLink[link] {
				out = append(out, slices.Concat(from, within(atSource, n.prefix), interfaceIs(expr.MetaKeyOIFNAME, other), []expr.Any{accept}))
			}
		}
		out = append(out, slices.Concat(from, []expr.Any{drop}))
		for _, other := range others {
			out = append(out, slices.Concat(to, interfaceIs(expr.MetaKeyIIFNAME, other), []expr.Any{accept}))
		}
		out = append(out, slices.Concat(to, []expr.Any{drop}))
	}
	return out
}

func interfaceIs(key expr.MetaKey, link string) []expr.Any {
	name := make([]byte, unix.IFNAMSIZ)
	copy(name, link)
	return []expr.Any{&expr.Meta{Key: key, Register: 1}, &expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: name}}
}

// Offsets in an IPv4 header.
const (
	atSource      = 12
	atDestination = 16
)

// within matches an address of the IPv4 header.
func within(offset uint32, p netip.Prefix) []expr.Any {
	mask := net.CIDRMask(p.Bits(), 32)
	a := p.Addr().As4()
	return []expr.Any{
		&expr.Payload{DestRegister: 1, Base: expr.PayloadBaseNetworkHeader, Offset: offset, Len: 4},
		&expr.Bitwise{SourceRegister: 1, DestRegister: 1, Len: 4, Mask: mask, Xor: make([]byte, 4)},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: a[:]},
	}
}

// label marks the addresses that are ours. It begins with the interface's
// name, as the kernel wants it, and a name of 13 octets and more leaves no room
// for it.
func label(link string) string {
	if l := link + ":co"; len(l) < unix.IFNAMSIZ {
		return l
	}
	return ""
}

func addressOf(n network) *netlink.Addr {
	return &netlink.Addr{
		IPNet: &net.IPNet{IP: n.gateway.AsSlice(), Mask: net.CIDRMask(n.prefix.Bits(), 32)},
		Label: label(n.link),
	}
}

// on calls do with a handle of the namespace and the network's interface.
func (k *Keeper) on(link string, do func(*netlink.Handle, netlink.Link) error) error {
	return k.space.Do(func() error {
		h, err := netlink.NewHandle(unix.NETLINK_ROUTE)
		if err != nil {
			return fmt.Errorf("lan: netlink: %w", err)
		}
		defer h.Close()
		l, err := h.LinkByName(link)
		if err != nil {
			return fmt.Errorf("lan: link %s: %w", link, err)
		}
		return do(h, l)
	})
}

// giveAddress gives this host its address in an assigned prefix. An interface
// that is not there yet gets it at the next reconciliation.
func (k *Keeper) giveAddress(n network) error {
	err := k.on(n.link, func(h *netlink.Handle, l netlink.Link) error {
		if err := h.AddrAdd(l, addressOf(n)); err != nil && !errors.Is(err, unix.EEXIST) {
			return fmt.Errorf("lan: address %v on %s: %w", n.gateway, n.link, err)
		}
		return nil
	})
	if gone := (netlink.LinkNotFoundError{}); errors.As(err, &gone) {
		return nil
	}
	return err
}

func (k *Keeper) takeAddress(n network) error {
	err := k.on(n.link, func(h *netlink.Handle, l netlink.Link) error {
		if err := h.AddrDel(l, addressOf(n)); err != nil && !errors.Is(err, unix.EADDRNOTAVAIL) {
			return fmt.Errorf("lan: delete address %v on %s: %w", n.gateway, n.link, err)
		}
		return nil
	})
	if gone := (netlink.LinkNotFoundError{}); errors.As(err, &gone) {
		return nil
	}
	return err
}

// stale removes addresses that carry our label and are nobody's any more.
func (k *Keeper) stale() error {
	wanted := make(map[netip.Addr]bool)
	for _, n := range k.networks {
		wanted[n.gateway] = true
	}
	return k.space.Do(func() error {
		h, err := netlink.NewHandle(unix.NETLINK_ROUTE)
		if err != nil {
			return fmt.Errorf("lan: netlink: %w", err)
		}
		defer h.Close()
		links, err := netspace.Dump(h.LinkList)
		if err != nil {
			return fmt.Errorf("lan: links: %w", err)
		}
		var errs []error
		for _, l := range links {
			name := l.Attrs().Name
			list, err := netspace.Dump(func() ([]netlink.Addr, error) { return h.AddrList(l, netlink.FAMILY_V4) })
			if err != nil {
				continue // it is going
			}
			for i := range list {
				a, ok := netip.AddrFromSlice(list[i].IP.To4())
				if ok && list[i].Label != "" && list[i].Label == label(name) && !wanted[a] {
					errs = append(errs, h.AddrDel(l, &list[i]))
				}
			}
		}
		return errors.Join(errs...)
	})
}
