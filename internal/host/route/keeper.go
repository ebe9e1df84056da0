package route

import (
	"cmp"
	"errors"
	"fmt"
	"hash/fnv"
	"io/fs"
	"maps"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"careof/internal/core/engine"
	"careof/internal/core/forward"
	"careof/internal/host/beside"
)

// DefaultBase is where our tables begin.
const DefaultBase = 4340

// Between the bases of two devices there is room for a daemon's tables.
const (
	baseStride = 128
	bases      = 220
)

// BaseOf is where tables of the daemon with this tunnel device begin; its rule
// priorities follow from it ([Priority]). Each daemon of a host has a device of
// its own, so they do not take each other's rules for leftovers: careof0 has DefaultBase, careof1 the next
// block. Names that do not end in a number below 100 share the blocks behind these.
func BaseOf(device string) int {
	digits := len(device) - len(strings.TrimRight(device, "0123456789"))
	if digits == 1 || digits == 2 {
		n, _ := strconv.Atoi(device[len(device)-digits:])
		return DefaultBase + n*baseStride
	}
	h := fnv.New32a()
	h.Write([]byte(device))
	return DefaultBase + (100+int(h.Sum32()%(bases-100)))*baseStride
}

// Config is what a [Keeper] is built from.
type Config struct {
	Device string // the tunnel device; it is there already
	// Base is where this daemon's hundred tables begin; 0 means
	// BaseOf(Device). Daemons on one host need different ones.
	Base         int
	HomeNetworks []netip.Prefix // HomeAgent: virtual home networks, all of whose packets go to the device
	HomeLinks    []string       // HomeAgent: interfaces on which ARP is answered for others
	Identities   []netip.Addr   // HomeAgent: addresses behind a 1:1 NAT, to be had on the device
	Forward      bool           // this host forwards packets: an agent, a mobile router

	HomeAddresses []netip.Addr // MobileNode: configured ones; others come with entries
	Uplinks       []string     // MobileNode: interfaces with care-of addresses, at most 49
	// MobileNode: destinations that are for the tunnel while there is no entry to
	// say so, since the home agent has still to give the home address.
	Through []netip.Prefix

	Kernel Kernel // nil: the one of the calling thread's network namespace
}

// Status tells what is kept, for `careof show`.
type Status struct {
	Routes     int      `json:"routes"`
	Rules      int      `json:"rules"`
	Addresses  []string `json:"addresses"`
	IPv6       string   `json:"ipv6"` // "open", or "blocked" beside a full tunnel, or "absent"
	Forwarding bool     `json:"forwarding"`
	Changed    []string `json:"changed,omitempty"` // settings of the host that this process changed
	Warnings   []string `json:"warnings,omitempty"`
}

// A Keeper keeps routes, rules, addresses and sysctls as they should be. It is
// safe for concurrent use.
type Keeper struct {
	c Config

	mu         sync.Mutex
	kernel     Kernel
	hasIPv6    bool
	settled    bool // everything stale may be removed
	moved      bool // what is stale on the mobile side may
	dirty      bool // the last repair failed
	installed  state
	agent      map[forward.Key]Route // home agent: routes of entries outside of HomeNetworks
	mobile     map[forward.Key]led   // mobile node
	tables     map[netip.Prefix]int
	uplinks    map[string]uplink
	passages   map[string][]Passage // by uplink
	homeRoutes map[string][]Route
	neighbors  map[neighborKey]forward.HardwareAddr // foreign agents that we told the kernel of
	forwarding bool
	changed    []string
}

type uplink struct {
	up        bool
	addresses []netip.Addr
	routes    []Route
}

// New installs what the configuration alone asks for. What an earlier process
// left is not removed yet: its entries are about to be put again, and their
// packets must not leak meanwhile. [Keeper.Reconcile] removes it.
func New(c Config) (*Keeper, error) {
	if c.Base == 0 {
		c.Base = BaseOf(c.Device)
	}
	if len(c.Uplinks) >= tableNowhere-tableUplinks {
		return nil, fmt.Errorf("route: %d uplinks are too many", len(c.Uplinks))
	}
	k := &Keeper{
		c: c, kernel: c.Kernel,
		agent: make(map[forward.Key]Route), mobile: make(map[forward.Key]led),
		tables: make(map[netip.Prefix]int), uplinks: make(map[string]uplink), passages: make(map[string][]Passage), homeRoutes: make(map[string][]Route),
		neighbors: make(map[neighborKey]forward.HardwareAddr),
	}
	if k.kernel == nil {
		kernel, err := Linux(c.Device)
		if err != nil {
			return nil, err
		}
		k.kernel = kernel
	}
	_, err := k.kernel.Sysctl("net/ipv6/conf/all/disable_ipv6")
	k.hasIPv6 = err == nil
	if err := k.sysctls(); err != nil {
		k.kernel.Close()
		return nil, err
	}
	if err := k.adopt(); err != nil {
		k.kernel.Close()
		return nil, err
	}
	if err := k.sync(true); err != nil {
		k.kernel.Close()
		return nil, err
	}
	return k, nil
}

// adopt learns which table an earlier process gave to which home address, so
// that reconciling moves nothing.
func (k *Keeper) adopt() error {
	rules, err := k.kernel.Rules()
	if err != nil {
		return err
	}
	for _, r := range rules {
		if IsRule(r.Priority, k.c.Base, ruleFromHome) && r.From.IsValid() && k.ours(r.Table) {
			k.tables[r.From] = r.Table
		}
	}
	return k.forgetAgents()
}

// forgetAgents forgets the foreign agents' link-layer addresses that an
// earlier process set for good: they are the next hops of its routes over
// uplinks. The node may be somewhere else by now, where another station has the
// address.
func (k *Keeper) forgetAgents() error {
	routes, err := k.kernel.Routes()
	if err != nil {
		return err
	}
	for _, r := range routes {
		if k.ours(r.Table) && r.Via.IsValid() && r.Link != "" && r.Link != k.c.Device {
			set, err := k.kernel.HasNeighbor(r.Link, r.Via)
			if err == nil && set {
				err = k.kernel.SetNeighbor(r.Link, r.Via, forward.HardwareAddr{})
			}
			if err != nil {
				return err
			}
		}
	}
	return nil
}

func (k *Keeper) ours(table int) bool {
	return table >= k.c.Base && table < k.c.Base+tableEnd
}

// Put makes the kernel send the entry's packets to the device (or, at home,
// over the home link). A home agent's entry within a home network needs
// nothing: the network is there already.
func (k *Keeper) Put(e forward.Entry) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	switch e.Role {
	case forward.HomeAgent:
		if e.Intercept == "" && k.covered(e.Inner) {
			return k.dropAgentRoute(e.Key)
		}
		r := Route{Table: mainTable, Dst: e.Inner, Link: k.c.Device}
		old, had := k.agent[e.Key]
		if had && old == r {
			return nil
		}
		if err := k.kernel.AddRoute(r); err != nil && !errors.Is(err, fs.ErrExist) {
			return err
		}
		k.agent[e.Key] = r
		if had {
			return k.releaseAgentRoute(old)
		}
		return nil
	case forward.MobileNode:
		now := lead(e)
		old, had := k.mobile[e.Key]
		if had && !k.dirty && sameWay(old, now) {
			// A move from one care-of address to another: nothing to do
			// here, and every millisecond counts.
			return nil
		}
		k.mobile[e.Key] = now
		k.moved = true
		return k.refresh()
	}
	return nil
}

// covered reports whether a home network's own route leads to the device.
func (k *Keeper) covered(p netip.Prefix) bool {
	for _, n := range k.c.HomeNetworks {
		if n.Bits() <= p.Bits() && n.Contains(p.Addr()) {
			return true
		}
	}
	return false
}

// Delete takes back what Put did. It is no error when there is nothing.
func (k *Keeper) Delete(key forward.Key) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	if _, ok := k.mobile[key]; ok {
		delete(k.mobile, key)
		return k.refresh()
	}
	return k.dropAgentRoute(key)
}

func (k *Keeper) dropAgentRoute(key forward.Key) error {
	r, ok := k.agent[key]
	if !ok {
		return nil
	}
	delete(k.agent, key)
	return k.releaseAgentRoute(r)
}

// releaseAgentRoute removes a route unless another entry needs it.
func (k *Keeper) releaseAgentRoute(r Route) error {
	for _, other := range k.agent {
		if other == r {
			return nil
		}
	}
	return k.kernel.DelRoute(r)
}

// Reconfigure replaces HomeNetworks, HomeLinks, Identities, Uplinks and Through of the
// configuration, and makes the kernel agree. An uplink that stays keeps its
// table; one that is new has to be told of by [Keeper.Uplink].
func (k *Keeper) Reconfigure(networks []netip.Prefix, links []string, identities []netip.Addr, uplinks []string, through []netip.Prefix) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	var slots []string
	for _, name := range k.c.Uplinks {
		if !slices.Contains(uplinks, name) {
			delete(k.uplinks, name)
			name = "" // for the next new one
		}
		slots = append(slots, name)
	}
	for _, name := range uplinks {
		if slices.Contains(slots, name) {
			continue
		}
		if free := slices.Index(slots, ""); free >= 0 {
			slots[free] = name
		} else {
			slots = append(slots, name)
		}
	}
	for len(slots) > 0 && slots[len(slots)-1] == "" {
		slots = slots[:len(slots)-1]
	}
	if len(slots) >= tableNowhere-tableUplinks {
		return fmt.Errorf("route: %d uplinks are too many", len(uplinks))
	}
	k.c.HomeNetworks, k.c.HomeLinks, k.c.Identities, k.c.Uplinks, k.c.Through = networks, links, identities, slots, through
	if err := k.sysctls(); err != nil {
		return err
	}
	return k.refresh()
}

// Uplink tells the present state of a link. Links that are no uplink and no
// home link do not matter.
func (k *Keeper) Uplink(l engine.Link) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	if l.Name == "" || !slices.Contains(k.c.Uplinks, l.Name) {
		return nil
	}
	u := uplink{}
	if l.Up && !l.Gone {
		u.up = true
		routes, err := k.linkRoutes(l.Name)
		if err != nil {
			return err
		}
		u.routes = routes
		for _, p := range l.Addresses {
			if !slices.Contains(k.homeAddresses(), p.Addr()) {
				u.addresses = append(u.addresses, p.Addr())
			}
		}
		k.tune(l.Name)
	}
	k.uplinks[l.Name] = u
	for n := range k.neighbors {
		if n.link != l.Name {
			continue
		}
		// A link that was down has forgotten its neighbours, but for those that
		// were set for good where it only lost its carrier. Another network may
		// have the same address at another station.
		if err := k.kernel.SetNeighbor(n.link, n.address, forward.HardwareAddr{}); err != nil {
			return err
		}
		delete(k.neighbors, n)
	}
	return k.refresh()
}

func (k *Keeper) homeAddresses() []netip.Addr {
	out := slices.Clone(k.c.HomeAddresses)
	for _, e := range k.mobile {
		if e.Inner.Bits() == 32 {
			out = append(out, e.Inner.Addr())
		}
	}
	return out
}

// linkRoutes copies what others (DHCP, NetworkManager, networkd) have put into
// the main table for a link.
func (k *Keeper) linkRoutes(link string) ([]Route, error) {
	list, err := k.kernel.LinkRoutes(link)
	if gone(err) {
		return nil, nil // the word of that is on its way
	}
	if err != nil {
		return nil, err
	}
	for i := range list {
		list[i].Src = netip.Addr{}
	}
	return list, nil
}

// refresh brings the kernel up to date after a change on the mobile side.
func (k *Keeper) refresh() error {
	clear(k.homeRoutes)
	for _, key := range slices.Sorted(maps.Keys(k.mobile)) {
		if l := cmp.Or(k.mobile[key].HomeLink, k.mobile[key].link); l != "" {
			routes, err := k.linkRoutes(l)
			if err != nil {
				return err
			}
			k.homeRoutes[l] = routes
		}
	}
	k.tuneARP()
	if err := k.visit(); err != nil {
		return err
	}
	return k.sync(true)
}

// Reconcile removes what is tagged as ours and not wanted, and puts back what
// is wanted and was removed by somebody. Call it once the entries that
// outlived a restart have been put, and then at leisure.
func (k *Keeper) Reconcile() error {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.settled = true
	// Somebody who sets the device down takes its routes along.
	if err := k.kernel.SetUp(k.c.Device); err != nil {
		return err
	}
	if err := k.sysctls(); err != nil {
		return err
	}
	if err := k.visit(); err != nil {
		return err
	}
	return k.sync(false)
}

// sync repairs the difference between what is there and what should be: first
// what is missing (addresses, routes, then the rules that lead to them), then
// what is too much, the other way round.
//
// What nftables has is read only when it is not to be taken for sure.
func (k *Keeper) sync(sure bool) error {
	k.dirty = true
	have, err := k.read()
	if err != nil {
		return err
	}
	want := k.desired()
	err = errors.Join(
		each(missing(want.addresses, have.addresses, comparePrefixes), func(a netip.Prefix) error { return k.kernel.AddAddress(k.c.Device, a) }),
		each(missing(want.routes, have.routes, compareRoutes), k.addRoute),
		each(missing(want.rules, have.rules, compareRules), k.kernel.AddRule),
	)
	if k.settled || k.moved || len(want.beside.Uplinks) > 0 {
		err = errors.Join(err, k.kernel.SetBeside(want.beside, sure))
	}
	if k.settled || k.moved {
		stale := missing(have.routes, want.routes, compareRoutes)
		if !k.settled {
			// Routes of a home agent's entries that are still to be put.
			stale = slices.DeleteFunc(stale, func(r Route) bool { return !k.ours(r.Table) })
		}
		err = errors.Join(err,
			each(missing(have.rules, want.rules, compareRules), k.kernel.DelRule),
			each(stale, k.kernel.DelRoute),
			each(missing(have.addresses, want.addresses, comparePrefixes), func(a netip.Prefix) error { return k.kernel.DelAddress(k.c.Device, a) }),
		)
	}
	k.installed, k.dirty = want, err != nil
	return err
}

// addRoute adds a route. One over an uplink that has gone, or down, since it was
// last told of, as a modem's is when it hangs up, is passed over: the word of that is
// on its way, and what uses another uplink is not to wait for it.
func (k *Keeper) addRoute(r Route) error {
	err := k.kernel.AddRoute(r)
	if (gone(err) || errors.Is(err, unix.ENETDOWN)) && slices.Contains(k.c.Uplinks, r.Link) {
		return nil
	}
	return err
}

// gone tells whether an error is that there is no such interface.
func gone(err error) bool {
	missing := netlink.LinkNotFoundError{}
	return errors.As(err, &missing) || errors.Is(err, unix.ENODEV)
}

// read lists what carries our tag.
func (k *Keeper) read() (state, error) {
	var s state
	addresses, err := k.kernel.Addresses(k.c.Device)
	if err != nil && !gone(err) {
		return s, err
	}
	routes, err := k.kernel.Routes()
	if err != nil {
		return s, err
	}
	rules, err := k.kernel.Rules()
	if err != nil {
		return s, err
	}
	s.addresses = addresses
	for _, r := range routes {
		// Another daemon's are those of other tables, devices and metrics.
		if k.ours(r.Table) || (r.Table == mainTable || r.Broadcast) && r.Link == k.c.Device ||
			r.Table == mainTable && r.Unreachable && r.Metric == k.backstop() {
			s.routes = append(s.routes, r)
		}
	}
	for _, r := range rules {
		if IsRule(r.Priority, k.c.Base, keepers...) {
			s.rules = append(s.rules, r)
		}
	}
	return s.sorted(), nil
}

// missing is what of want is not in have; both are sorted.
func missing[T any](want, have []T, compare func(a, b T) int) []T {
	var out []T
	for _, w := range want {
		if _, ok := slices.BinarySearchFunc(have, w, compare); !ok {
			out = append(out, w)
		}
	}
	return out
}

func each[T any](items []T, do func(T) error) error {
	var errs []error
	for _, it := range items {
		errs = append(errs, do(it))
	}
	return errors.Join(errs...)
}

// Release removes what a daemon with this device has left in the calling thread's
// network namespace, of the mobile side above all: its rules and routes, its home
// addresses, and what keeps programs from sending by an uplink.
func Release(device string) error {
	kernel, err := Linux(device)
	if err != nil {
		return err
	}
	k := &Keeper{c: Config{Device: device, Base: BaseOf(device)}, kernel: kernel}
	return errors.Join(k.Withdraw(), kernel.Close())
}

// Withdraw removes everything of ours: for good, not for a restart.
func (k *Keeper) Withdraw() error {
	k.mu.Lock()
	defer k.mu.Unlock()
	have, err := k.read()
	if err != nil {
		return err
	}
	return errors.Join(
		k.kernel.SetBeside(beside.Want{}, false),
		each(have.rules, k.kernel.DelRule),
		each(have.routes, k.kernel.DelRoute),
		each(have.addresses, func(a netip.Prefix) error { return k.kernel.DelAddress(k.c.Device, a) }),
	)
}

// ForgetPaths has the kernel forget what routers have told it about paths: the MTUs
// that it would hold connections to for ten minutes.
func (k *Keeper) ForgetPaths() error {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.kernel.SetSysctl("net/ipv4/route/flush", "1")
}

// Status tells what is kept.
func (k *Keeper) Status() Status {
	k.mu.Lock()
	defer k.mu.Unlock()
	s := Status{Routes: len(k.installed.routes), Rules: len(k.installed.rules), Forwarding: k.forwarding, IPv6: "open"}
	for _, a := range k.installed.addresses {
		s.Addresses = append(s.Addresses, a.Addr().String())
	}
	for _, r := range k.installed.rules {
		if r.IPv6 && r.Unreachable {
			s.IPv6 = "blocked"
		}
	}
	if !k.hasIPv6 {
		s.IPv6 = "absent"
	}
	s.Changed, s.Warnings = slices.Clone(k.changed), k.warnings()
	return s
}

// Close lets go of the kernel and leaves everything in place for the next
// start.
func (k *Keeper) Close() error {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.kernel.Close()
}
