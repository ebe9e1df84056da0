package route

import (
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"careof/internal/core/engine"
	"careof/internal/core/forward"
	"careof/internal/host/beside"
	"careof/wire/encap"
)

// fakeKernel is a kernel that the test holds. fail makes the next change fail.
type fakeKernel struct {
	routes    []Route
	rules     []Rule
	addresses []netip.Prefix
	links     map[string][]Route
	sysctls   map[string]string
	neighbors map[neighborKey]forward.HardwareAddr
	beside    beside.Want
	changes   int
	fail      error
	lost      map[string]error // what routes over a link end in
}

func newFake() *fakeKernel {
	return &fakeKernel{links: map[string][]Route{}, sysctls: map[string]string{
		"net/ipv4/ip_forward":                  "0",
		"net/ipv6/conf/all/disable_ipv6":       "0",
		"net/ipv4/conf/careof0/rp_filter":      "1",
		"net/ipv4/neigh/lan0/proxy_delay":      "80",
		"net/ipv4/conf/wlan0/arp_ignore":       "0",
		"net/ipv4/conf/wlan0/arp_announce":     "0",
		"net/ipv4/conf/careof0/send_redirects": "1",
	}}
}

func (k *fakeKernel) change(do func()) error {
	if err := k.fail; err != nil {
		k.fail = nil
		return err
	}
	k.changes++
	do()
	return nil
}

func remove[T comparable](list []T, v T) []T {
	return slices.DeleteFunc(slices.Clone(list), func(x T) bool { return x == v })
}

func (k *fakeKernel) Routes() ([]Route, error) { return slices.Clone(k.routes), nil }
func (k *fakeKernel) AddRoute(r Route) error {
	if err := k.lost[r.Link]; err != nil {
		return err
	}
	return k.change(func() { k.routes = append(remove(k.routes, r), r) })
}
func (k *fakeKernel) DelRoute(r Route) error {
	return k.change(func() { k.routes = remove(k.routes, r) })
}
func (k *fakeKernel) Rules() ([]Rule, error) { return slices.Clone(k.rules), nil }
func (k *fakeKernel) AddRule(r Rule) error {
	return k.change(func() { k.rules = append(remove(k.rules, r), r) })
}
func (k *fakeKernel) DelRule(r Rule) error { return k.change(func() { k.rules = remove(k.rules, r) }) }
func (k *fakeKernel) Addresses(string) ([]netip.Prefix, error) {
	return slices.Clone(k.addresses), nil
}
func (k *fakeKernel) AddAddress(_ string, a netip.Prefix) error {
	return k.change(func() { k.addresses = append(remove(k.addresses, a), a) })
}
func (k *fakeKernel) DelAddress(_ string, a netip.Prefix) error {
	return k.change(func() { k.addresses = remove(k.addresses, a) })
}
func (k *fakeKernel) LinkRoutes(link string) ([]Route, error) { return k.links[link], nil }
func (k *fakeKernel) Sysctl(name string) (string, error) {
	v, ok := k.sysctls[name]
	if !ok {
		return "", fs.ErrNotExist
	}
	return v, nil
}
func (k *fakeKernel) SetSysctl(name, value string) error {
	k.sysctls[name] = value
	return nil
}
func (k *fakeKernel) SetNeighbor(link string, a netip.Addr, hw forward.HardwareAddr) error {
	return k.change(func() {
		if k.neighbors == nil {
			k.neighbors = map[neighborKey]forward.HardwareAddr{}
		}
		k.neighbors[neighborKey{link, a}] = hw
		if hw == (forward.HardwareAddr{}) {
			delete(k.neighbors, neighborKey{link, a})
		}
	})
}
func (k *fakeKernel) HasNeighbor(link string, a netip.Addr) (bool, error) {
	_, set := k.neighbors[neighborKey{link, a}]
	return set, nil
}
func (k *fakeKernel) SetBeside(w beside.Want, _ bool) error {
	if !reflect.DeepEqual(w, k.beside) {
		return k.change(func() { k.beside = w })
	}
	return nil
}
func (k *fakeKernel) SetMTU(string, int) error { return nil }
func (k *fakeKernel) SetUp(string) error       { return nil }
func (k *fakeKernel) Close() error             { return nil }

var (
	all      = netip.MustParsePrefix("0.0.0.0/0")
	homeAddr = netip.MustParseAddr("10.10.0.5")
	homeHost = netip.MustParsePrefix("10.10.0.5/32")
)

func open(t *testing.T, k *fakeKernel, c Config) *Keeper {
	t.Helper()
	c.Device, c.Kernel = "careof0", k
	keeper, err := New(c)
	if err != nil {
		t.Fatal(err)
	}
	return keeper
}

func do(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// mobile is a node's configuration, and the state of its uplink.
func mobile(t *testing.T, k *fakeKernel) *Keeper {
	t.Helper()
	k.links["wlan0"] = []Route{
		{Table: mainTable, Dst: all, Via: netip.MustParseAddr("192.168.8.1"), Link: "wlan0", Metric: 600},
		{Table: mainTable, Dst: netip.MustParsePrefix("192.168.8.0/24"), Link: "wlan0", Src: netip.MustParseAddr("192.168.8.100"), Metric: 600},
	}
	keeper := open(t, k, Config{HomeAddresses: []netip.Addr{homeAddr}, Uplinks: []string{"wlan0"}})
	do(t, keeper.Uplink(engine.Link{Name: "wlan0", Up: true, Addresses: []netip.Prefix{netip.MustParsePrefix("192.168.8.100/24")}}))
	return keeper
}

func away(routes ...netip.Prefix) forward.Entry {
	return forward.Entry{Key: "home", Role: forward.MobileNode, Inner: homeHost, Routes: routes}
}

// Fail closed: from the first moment, with or without a registration, what has
// the home address for its source goes to the device or nowhere.
func TestHomeAddressNeverLeavesInTheClear(t *testing.T) {
	k := newFake()
	keeper := mobile(t, k)
	closed := func() {
		t.Helper()
		if !slices.Contains(k.rules, Rule{Priority: Priority(DefaultBase, ruleFromHome), From: homeHost, Table: DefaultBase}) {
			t.Errorf("no rule for the home address in %+v", k.rules)
		}
		for _, want := range []Route{
			{Table: DefaultBase, Dst: all, Link: "careof0", Src: homeAddr},
			{Table: DefaultBase, Dst: all, Metric: lastMetric, Unreachable: true},
		} {
			if !slices.Contains(k.routes, want) {
				t.Errorf("no route %+v", want)
			}
		}
		for _, r := range k.routes {
			if r.Table == DefaultBase && r.Link != "careof0" && !r.Unreachable {
				t.Errorf("the home address leaves by %+v", r)
			}
		}
		if !slices.Contains(k.addresses, homeHost) {
			t.Error("the home address is not on the device")
		}
	}
	closed()
	do(t, keeper.Put(away(all)))
	closed()
	do(t, keeper.Uplink(engine.Link{Name: "wlan0"}))
	closed()
	do(t, keeper.Delete("home"))
	do(t, keeper.Reconcile())
	closed()
	if k.sysctls["net/ipv4/conf/wlan0/arp_ignore"] != "1" {
		t.Error("the node would answer ARP for its home address on a foreign link")
	}
}

// A full tunnel takes new flows, leaves connected networks and the uplink's own
// packets alone, and blocks IPv6; a partial one takes its prefixes only.
func TestWhatGoesThroughTheTunnel(t *testing.T) {
	k := newFake()
	keeper := mobile(t, k)
	do(t, keeper.Put(away(all)))
	want := []Rule{
		{Priority: Priority(DefaultBase, ruleUplink), From: netip.MustParsePrefix("192.168.8.100/32"), Table: DefaultBase + tableUplinks},
		{Priority: Priority(DefaultBase, ruleMark), IPv6: true, Mark: beside.Mark, Table: mainTable},
		{Priority: Priority(DefaultBase, ruleFromHome), From: homeHost, Table: DefaultBase},
		{Priority: Priority(DefaultBase, ruleConnected), Table: mainTable, NoDefault: true},
		{Priority: Priority(DefaultBase, ruleConnected), IPv6: true, Table: mainTable, NoDefault: true},
		{Priority: Priority(DefaultBase, ruleAll), Table: DefaultBase},
		{Priority: Priority(DefaultBase, ruleAll), IPv6: true, Unreachable: true},
	}
	equal := cmp.Options{cmpopts.EquateComparable(netip.Prefix{}), cmpopts.SortSlices(func(a, b Rule) bool { return compareRules(a, b) < 0 })}
	if diff := cmp.Diff(want, k.rules, equal); diff != "" {
		t.Errorf("rules (-want +got):\n%s", diff)
	}
	if s := keeper.Status(); s.IPv6 != "blocked" {
		t.Errorf("status says IPv6 is %s", s.IPv6)
	}
	ten := netip.MustParsePrefix("10.0.0.0/8")
	do(t, keeper.Put(away(ten)))
	if !slices.Contains(k.rules, Rule{Priority: Priority(DefaultBase, ruleTo), To: ten, Table: DefaultBase}) ||
		slices.Contains(k.rules, Rule{Priority: Priority(DefaultBase, ruleAll), Table: DefaultBase}) {
		t.Errorf("rules of a partial tunnel: %+v", k.rules)
	}
	if s := keeper.Status(); s.IPv6 != "open" {
		t.Errorf("status says IPv6 is %s", s.IPv6)
	}
}

// All of IPv4 in parts is a full tunnel, beside which IPv6 must not leak; with
// a hole in it, it is a partial one.
func TestAllOfIPv4InPartsBlocksIPv6(t *testing.T) {
	for text, want := range map[string]string{
		"128.0.0.0/1 0.0.0.0/1":                         "blocked",
		"0.0.0.0/2 64.0.0.0/2 10.0.0.0/8 128.0.0.0/1":   "blocked",
		"10.0.0.0/8 0.0.0.0/1 192.0.2.0/24 128.0.0.0/1": "blocked",
		"0.0.0.0/1":             "open",
		"128.0.0.0/1":           "open",
		"0.0.0.0/1 128.0.0.0/2": "open",
		"0.0.0.0/2 128.0.0.0/1": "open",
		"0.0.0.0/1 128.0.0.0/2 224.0.0.0/3 192.168.0.0/16": "open",
	} {
		var routes []netip.Prefix
		for _, p := range strings.Fields(text) {
			routes = append(routes, netip.MustParsePrefix(p))
		}
		keeper := mobile(t, newFake())
		do(t, keeper.Put(away(routes...)))
		if s := keeper.Status(); s.IPv6 != want {
			t.Errorf("with routes %s IPv6 is %s, not %s", text, s.IPv6, want)
		}
	}
}

// At home the home address speaks over the home link, and nothing is captured.
func TestAtHome(t *testing.T) {
	k := newFake()
	keeper := mobile(t, k)
	do(t, keeper.Put(away(all)))
	e := away(all)
	e.HomeLink = "wlan0"
	do(t, keeper.Put(e))
	for _, r := range k.routes {
		if r.Table == DefaultBase && r.Link == "careof0" {
			t.Errorf("at home, and still %+v", r)
		}
	}
	if !slices.Contains(k.routes, Route{Table: DefaultBase, Dst: all, Via: netip.MustParseAddr("192.168.8.1"), Link: "wlan0", Src: homeAddr, Metric: 600}) {
		t.Errorf("no way over the home link in %+v", k.routes)
	}
	for _, r := range k.rules {
		if r.Priority == Priority(DefaultBase, ruleAll) {
			t.Errorf("at home, and still %+v", r)
		}
	}
	if k.sysctls["net/ipv4/conf/wlan0/arp_ignore"] != "0" {
		t.Error("the node does not answer ARP for its home address at home")
	}
}

// Whatever a killed process left, at any point, the next one ends in the same
// state as a fresh start; and a second reconciliation changes nothing.
func TestReconcileAfterAKill(t *testing.T) {
	run := func(k *fakeKernel) {
		keeper := mobile(t, k)
		do(t, keeper.Put(away(all)))
		do(t, keeper.Reconcile())
	}
	fresh := newFake()
	run(fresh)
	want := state{fresh.addresses, fresh.routes, fresh.rules, fresh.beside}.sorted()
	foreign := Route{Table: mainTable, Dst: netip.MustParsePrefix("172.16.0.0/12"), Link: "eth9"}

	for kill := range fresh.changes + 1 {
		k := newFake()
		k.routes = []Route{
			foreign, // another device's: another daemon's
			{Table: mainTable, Dst: netip.MustParsePrefix("10.77.0.1/32"), Link: "careof0"},
			{Table: DefaultBase + 7, Dst: all, Link: "careof0"},
		}
		k.rules = []Rule{{Priority: Priority(DefaultBase, ruleFromHome), From: netip.MustParsePrefix("10.77.0.1/32"), Table: DefaultBase + 7}}
		k.addresses = []netip.Prefix{netip.MustParsePrefix("10.77.0.1/32")}
		// The first life ends after so many changes.
		left := kill
		func() {
			defer func() { recover() }()
			dying := &dyingKernel{k, &left}
			c := Config{Device: "careof0", Kernel: dying, HomeAddresses: []netip.Addr{homeAddr}, Uplinks: []string{"wlan0"}}
			if keeper, err := New(c); err == nil {
				keeper.Put(away(all))
				keeper.Reconcile()
			}
		}()
		run(k)
		got := state{k.addresses, remove(k.routes, foreign), k.rules, k.beside}.sorted()
		if diff := cmp.Diff(want, got, cmp.AllowUnexported(state{}), cmpopts.EquateComparable(netip.Prefix{}, netip.Addr{})); diff != "" {
			t.Fatalf("killed after %d changes (-want +got):\n%s", kill, diff)
		}
		if !slices.Contains(k.routes, foreign) {
			t.Fatalf("somebody else's route was removed")
		}
		before := k.changes
		keeper := mobile(t, k)
		do(t, keeper.Put(away(all)))
		do(t, keeper.Reconcile())
		if k.changes != before {
			t.Fatalf("%d changes where nothing was to do", k.changes-before)
		}
	}
}

// dyingKernel panics, as a killed process ends, when its changes are used up.
type dyingKernel struct {
	*fakeKernel
	left *int
}

func (d *dyingKernel) tick() {
	if *d.left == 0 {
		panic("killed")
	}
	*d.left--
}
func (d *dyingKernel) AddRoute(r Route) error { d.tick(); return d.fakeKernel.AddRoute(r) }
func (d *dyingKernel) DelRoute(r Route) error { d.tick(); return d.fakeKernel.DelRoute(r) }
func (d *dyingKernel) AddRule(r Rule) error   { d.tick(); return d.fakeKernel.AddRule(r) }
func (d *dyingKernel) DelRule(r Rule) error   { d.tick(); return d.fakeKernel.DelRule(r) }
func (d *dyingKernel) SetBeside(w beside.Want, sure bool) error {
	if !reflect.DeepEqual(w, d.beside) {
		d.tick()
	}
	return d.fakeKernel.SetBeside(w, sure)
}
func (d *dyingKernel) AddAddress(l string, a netip.Prefix) error {
	d.tick()
	return d.fakeKernel.AddAddress(l, a)
}
func (d *dyingKernel) DelAddress(l string, a netip.Prefix) error {
	d.tick()
	return d.fakeKernel.DelAddress(l, a)
}

// A home agent: virtual networks lead to the device always, a node of a real
// one, or a mobile network, while it is bound.
func TestHomeAgent(t *testing.T) {
	k := newFake()
	virtual := netip.MustParsePrefix("10.10.0.0/24")
	keeper := open(t, k, Config{HomeNetworks: []netip.Prefix{virtual}, HomeLinks: []string{"lan0"}, Forward: true,
		Identities: []netip.Addr{netip.MustParseAddr("198.51.100.1")}})
	if k.sysctls["net/ipv4/ip_forward"] != "1" || k.sysctls["net/ipv4/neigh/lan0/proxy_delay"] != "0" || k.sysctls["net/ipv4/conf/careof0/rp_filter"] != "2" {
		t.Errorf("sysctls %v", k.sysctls)
	}
	if !slices.Contains(k.addresses, netip.MustParsePrefix("198.51.100.1/32")) {
		t.Error("the identity is not on the device")
	}
	before := k.changes
	do(t, keeper.Put(forward.Entry{Key: "a", Role: forward.HomeAgent, Inner: homeHost}))
	if k.changes != before {
		t.Error("a node of a virtual network needed a route")
	}
	real := netip.MustParsePrefix("10.20.0.9/32")
	e := forward.Entry{Key: "b", Role: forward.HomeAgent, Inner: real, Intercept: "lan0"}
	do(t, keeper.Put(e))
	do(t, keeper.Put(e))
	route := Route{Table: mainTable, Dst: real, Link: "careof0"}
	if !slices.Contains(k.routes, route) {
		t.Errorf("no route to %v", real)
	}
	do(t, keeper.Reconcile())
	do(t, keeper.Delete("b"))
	do(t, keeper.Delete("b"))
	if slices.Contains(k.routes, route) {
		t.Error("the route outlives the binding")
	}
	do(t, keeper.Withdraw())
	if len(k.routes)+len(k.rules)+len(k.addresses) != 0 {
		t.Errorf("left: %v %v %v", k.routes, k.rules, k.addresses)
	}
}

// What the kernel refuses is an error, and the next reconciliation repairs it.
func TestAFailureIsRepaired(t *testing.T) {
	k := newFake()
	keeper := mobile(t, k)
	k.fail = errors.New("no memory")
	if err := keeper.Put(away(all)); err == nil {
		t.Error("no error")
	}
	do(t, keeper.Put(away(all)))
	if got := (state{k.addresses, k.routes, k.rules, k.beside}).sorted(); !cmp.Equal(got, keeper.desired(), cmp.AllowUnexported(state{}), cmpopts.EquateComparable(netip.Prefix{}, netip.Addr{})) {
		t.Errorf("have %+v", got)
	}
}

// A handover between two uplinks leaves the kernel's tables alone.
func TestAHandoverTouchesNothing(t *testing.T) {
	k := newFake()
	keeper := mobile(t, k)
	do(t, keeper.Put(away(all)))
	before := k.changes
	e := away(all)
	e.Tunnels = []forward.Tunnel{{Encap: encap.UDP}}
	do(t, keeper.Put(e))
	if k.changes != before {
		t.Errorf("%d changes", k.changes-before)
	}
}

func TestDeviceMTU(t *testing.T) {
	for _, c := range []struct {
		underlays []int
		kinds     []encap.Kind
		want      int
	}{
		{nil, []encap.Kind{encap.IPIP}, 1480},
		{[]int{1500, 1400}, []encap.Kind{encap.IPIP, encap.UDP}, 1368},
		{[]int{1500}, []encap.Kind{encap.GRE}, 1472},
		{[]int{500}, []encap.Kind{encap.UDP}, 576},
		{[]int{65536}, []encap.Kind{encap.IPIP}, maxDeviceMTU},
	} {
		if got := DeviceMTU(c.underlays, c.kinds); got != c.want {
			t.Errorf("%v %v: %d, want %d", c.underlays, c.kinds, got, c.want)
		}
	}
}

func TestAnUplinkThatStaysKeepsItsTableWhenAnotherGoes(t *testing.T) {
	k := newFake()
	for i, name := range []string{"wlan0", "lte0", "eth0"} {
		k.links[name] = []Route{{Table: mainTable, Dst: all, Via: netip.AddrFrom4([4]byte{192, 168, byte(i), 1}), Link: name}}
	}
	address := func(i byte) netip.Prefix {
		return netip.PrefixFrom(netip.AddrFrom4([4]byte{192, 168, i, 100}), 24)
	}
	keeper := open(t, k, Config{HomeAddresses: []netip.Addr{homeAddr}, Uplinks: []string{"wlan0", "lte0"}})
	do(t, keeper.Uplink(engine.Link{Name: "wlan0", Up: true, Addresses: []netip.Prefix{address(0)}}))
	do(t, keeper.Uplink(engine.Link{Name: "lte0", Up: true, Addresses: []netip.Prefix{address(1)}}))
	table := func(i byte) int {
		for _, r := range k.rules {
			if r.From.Addr() == address(i).Addr() {
				return r.Table
			}
		}
		return 0
	}
	do(t, keeper.Reconcile())
	lte := table(1)
	do(t, keeper.Reconfigure(nil, nil, nil, []string{"eth0", "lte0"}, nil))
	do(t, keeper.Uplink(engine.Link{Name: "eth0", Up: true, Addresses: []netip.Prefix{address(2)}}))
	if lte == 0 || table(1) != lte || table(0) != 0 || table(2) == 0 || table(2) == lte {
		t.Errorf("tables are wlan0 %d, lte0 %d (was %d), eth0 %d", table(0), table(1), lte, table(2))
	}
	do(t, keeper.Reconfigure(nil, nil, nil, []string{"eth0"}, nil))
	if table(1) != 0 || table(2) == 0 {
		t.Errorf("rules are %+v", k.rules)
	}
}

func TestAVirtualHomeNetworkComesAndGoes(t *testing.T) {
	k := newFake()
	one, two := netip.MustParsePrefix("10.10.0.0/24"), netip.MustParsePrefix("10.11.0.0/24")
	keeper := open(t, k, Config{HomeNetworks: []netip.Prefix{one}, Forward: true})
	do(t, keeper.Reconfigure([]netip.Prefix{two}, nil, nil, nil, nil))
	led := func(p netip.Prefix) bool {
		return slices.Contains(k.routes, Route{Table: mainTable, Dst: p, Link: "careof0"})
	}
	do(t, keeper.Reconcile())
	if led(one) || !led(two) {
		t.Errorf("routes are %+v", k.routes)
	}
}

// A home agent fails closed too: when somebody deletes the tunnel device, which
// takes its routes along, packets for home addresses do not leave by the
// default route, and neither while the daemon is dead.
func TestHomeNetworksWithoutTheDeviceAreUnreachable(t *testing.T) {
	k := newFake()
	network, real := netip.MustParsePrefix("10.10.0.0/24"), netip.MustParsePrefix("10.20.0.9/32")
	keeper := open(t, k, Config{HomeNetworks: []netip.Prefix{network}, HomeLinks: []string{"lan0"}, Forward: true})
	do(t, keeper.Put(forward.Entry{Key: "b", Role: forward.HomeAgent, Inner: real, Intercept: "lan0"}))
	do(t, keeper.Reconcile())
	do(t, keeper.Close())
	k.routes = slices.DeleteFunc(k.routes, func(r Route) bool { return r.Link == "careof0" })
	if len(k.routes) != 1 || k.routes[0].Table != mainTable || k.routes[0].Dst != network || !k.routes[0].Unreachable {
		t.Fatalf("without the device there is %+v", k.routes)
	}
	last := k.routes[0]
	keeper = open(t, k, Config{HomeNetworks: []netip.Prefix{network}, Forward: true})
	i := slices.Index(k.routes, Route{Table: mainTable, Dst: network, Link: "careof0"})
	if i < 0 || k.routes[i].Metric >= last.Metric {
		t.Errorf("with the device again there is %+v", k.routes)
	}
	// One that is no home network any more is nobody's business.
	do(t, keeper.Reconfigure(nil, nil, nil, nil, nil))
	do(t, keeper.Reconcile())
	if slices.Contains(k.routes, last) {
		t.Errorf("left over: %+v", k.routes)
	}
}

// The device is without a carrier while no daemon runs: a host that ignores
// routes over such devices forwards nothing then, and is told.
func TestIgnoringRoutesWithoutACarrierIsWarnedOf(t *testing.T) {
	k := newFake()
	keeper := open(t, k, Config{Forward: true})
	warned := func() bool {
		return slices.ContainsFunc(keeper.Status().Warnings, func(w string) bool { return strings.Contains(w, "ignore_routes_with_linkdown") })
	}
	if warned() {
		t.Error("warned of nothing")
	}
	k.sysctls["net/ipv4/conf/all/ignore_routes_with_linkdown"] = "1"
	if !warned() {
		t.Error("not warned")
	}
}

// To sign in to a network, this host's own packets to the named places pass the
// tunnel, over that uplink; the home address's do not, and it ends without a rest.
func TestPassagesPastTheTunnel(t *testing.T) {
	k := newFake()
	keeper := mobile(t, k)
	do(t, keeper.Put(away(all)))
	before := slices.Clone(k.rules)
	page := netip.MustParseAddr("192.0.2.10")
	six := netip.MustParseAddr("2001:db8:64::192.0.2.10")
	do(t, keeper.SetPassages("wlan0", []Passage{{To: page, Protocol: 6}, {To: page, Protocol: 17, Port: 53}, {To: page, Protocol: 6}, {To: six, Protocol: 6}}))
	want := []Rule{
		{Priority: Priority(DefaultBase, ruleConnected), To: netip.PrefixFrom(page, 32), Protocol: 6, Local: true, Table: DefaultBase + tableUplinks},
		{Priority: Priority(DefaultBase, ruleConnected), To: netip.PrefixFrom(page, 32), Protocol: 17, Port: 53, Local: true, Table: DefaultBase + tableUplinks},
		{Priority: Priority(DefaultBase, ruleConnected), IPv6: true, To: netip.PrefixFrom(six, 128), Protocol: 6, Local: true, Table: mainTable},
	}
	if len(k.rules) != len(before)+len(want) || !slices.Contains(k.rules, want[0]) || !slices.Contains(k.rules, want[1]) || !slices.Contains(k.rules, want[2]) {
		t.Errorf("rules %+v", k.rules)
	}
	if Priority(DefaultBase, ruleFromHome) >= want[0].Priority {
		t.Error("the home address would pass too")
	}
	do(t, keeper.Uplink(engine.Link{Name: "wlan0"}))
	if slices.Contains(k.rules, want[0]) {
		t.Error("a passage over an uplink that is down")
	}
	do(t, keeper.Uplink(engine.Link{Name: "wlan0", Up: true, Addresses: []netip.Prefix{netip.MustParsePrefix("192.168.8.100/24")}}))
	do(t, keeper.SetPassages("wlan0", nil))
	do(t, keeper.Reconcile())
	slices.SortFunc(before, compareRules)
	slices.SortFunc(k.rules, compareRules)
	if diff := cmp.Diff(before, k.rules, cmpopts.EquateComparable(netip.Prefix{}, netip.Addr{})); diff != "" {
		t.Errorf("something is left: %s", diff)
	}
}

// A modem hangs up: its interface goes an instant before anybody tells of it. What
// is registered over another uplink in that instant takes effect, and the routes
// are there again with the next call.
func TestAnUplinkThatGoesHindersNoOther(t *testing.T) {
	_, missing := netlink.LinkByName("no-such-link")
	for name, lost := range map[string]error{"gone": fmt.Errorf("route: link ppp0: %w", missing), "down": fmt.Errorf("route: add: %w", unix.ENETDOWN)} {
		t.Run(name, func(t *testing.T) {
			k := newFake()
			modem := Route{Table: mainTable, Dst: all, Link: "ppp0", Metric: 700}
			k.links["ppp0"] = []Route{modem}
			keeper := open(t, k, Config{HomeAddresses: []netip.Addr{homeAddr}, Uplinks: []string{"wlan0", "ppp0"}})
			up := engine.Link{Name: "ppp0", Up: true, Direct: true, Addresses: []netip.Prefix{netip.MustParsePrefix("10.64.1.2/32")}}
			do(t, keeper.Uplink(up))
			own := modem
			own.Table = DefaultBase + tableUplinks + 1
			k.routes, k.lost = remove(k.routes, own), map[string]error{"ppp0": lost}
			do(t, keeper.Put(away(all)))
			if slices.Contains(k.routes, own) {
				t.Fatal("the fake kernel has a route over what is not there")
			}
			k.lost = nil
			do(t, keeper.Reconcile())
			if !slices.Contains(k.routes, own) {
				t.Errorf("the modem's route is missing: %+v", k.routes)
			}
			// The device's own routes are what keeps programs in: an error about them is one.
			k.routes, k.lost = nil, map[string]error{"careof0": lost}
			if keeper.Reconcile() == nil {
				t.Error("nobody hears that the tunnel's routes are missing")
			}
		})
	}
}
