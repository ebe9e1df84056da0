package route

import (
	"fmt"
	"net/netip"
	"slices"
	"testing"

	"careof/internal/core/forward"
)

// All daemons' rules of one kind come before any daemon's of the next one, and
// all of them before the ones that an earlier build made, and the main table's.
func TestRulesAreOrderedByKindOverAllDaemons(t *testing.T) {
	last := 0
	for kind := range ruleKinds {
		for block := range bases {
			p := Priority(DefaultBase+block*baseStride, kind)
			if p <= last {
				t.Fatalf("kind %d of block %d has priority %d, the one before has %d", kind, block, p, last)
			}
			last = p
		}
	}
	if first := DefaultBase + slices.Min(former[:]); last >= first {
		t.Errorf("the last rule's priority is %d, former ones begin at %d", last, first)
	}
}

// An upgrade from a build that ordered rules by daemon: the home address keeps
// its table, every new rule is there before the first old one goes, and no old
// one stays. Another daemon that has not been upgraded keeps its own.
func TestAnUpgradeReplacesRulesOfTheFormerOrder(t *testing.T) {
	fresh := newFake()
	keeper := mobile(t, fresh)
	do(t, keeper.Put(away(all)))
	do(t, keeper.Reconcile())

	k := newFake()
	const table = DefaultBase + 3
	other := Rule{Priority: DefaultBase + baseStride + former[ruleFromHome], From: netip.MustParsePrefix("10.20.0.5/32"), Table: DefaultBase + baseStride}
	k.rules = []Rule{
		other,
		{Priority: DefaultBase + former[ruleUplink], From: netip.MustParsePrefix("192.168.8.100/32"), Table: DefaultBase + tableUplinks},
		{Priority: DefaultBase + former[ruleMark], Mark: 0x434, Table: mainTable},
		{Priority: DefaultBase + former[ruleFromHome], From: homeHost, Table: table},
		{Priority: DefaultBase + former[ruleConnected], Table: mainTable, NoDefault: true},
		{Priority: DefaultBase + former[ruleAll], Table: table},
	}
	old := slices.Clone(k.rules[1:])
	keeper = mobile(t, k)
	for _, r := range old {
		if !slices.Contains(k.rules, r) {
			t.Errorf("%+v is gone before its entry is there", r)
		}
	}
	do(t, keeper.Put(away(all)))
	do(t, keeper.Reconcile())
	if !slices.Contains(k.rules, Rule{Priority: Priority(DefaultBase, ruleFromHome), From: homeHost, Table: table}) {
		t.Errorf("the home address has another table: %+v", k.rules)
	}
	if !slices.Contains(k.rules, other) {
		t.Error("another daemon's rule of the former order is gone")
	}
	if got := len(k.rules) - 1; got != len(fresh.rules) {
		t.Errorf("%d rules after the upgrade, %d after a fresh start: %+v", got, len(fresh.rules), k.rules)
	}
}

// The fake kernel of two mobile nodes, asked as the kernel asks its rules: each
// home address has the table of its own device.
func TestTwoMobileNodesHaveTheirOwnTables(t *testing.T) {
	k := newFake()
	for _, device := range []string{"careof0", "careof1"} {
		k.sysctls[fmt.Sprintf("net/ipv4/conf/%s/rp_filter", device)] = "2"
		home := netip.AddrFrom4([4]byte{10, 10, device[6] - '0', 5})
		c := Config{Device: device, Kernel: k, HomeAddresses: []netip.Addr{home}}
		keeper, err := New(c)
		if err != nil {
			t.Fatal(err)
		}
		do(t, keeper.Put(forward.Entry{Key: "home", Role: forward.MobileNode, Inner: netip.PrefixFrom(home, 32), Routes: []netip.Prefix{all}}))
		do(t, keeper.Reconcile())
	}
	first := func(from netip.Addr) int {
		rules := slices.SortedFunc(slices.Values(k.rules), compareRules)
		for _, r := range rules {
			if !r.IPv6 && !r.NoDefault && r.Mark == 0 && !r.To.IsValid() && (!r.From.IsValid() || r.From.Contains(from)) {
				return r.Table
			}
		}
		return 0
	}
	for from, table := range map[string]int{
		"10.10.0.5": BaseOf("careof0"), "10.10.1.5": BaseOf("careof1"), "192.168.8.100": BaseOf("careof0"),
	} {
		if got := first(netip.MustParseAddr(from)); got != table {
			t.Errorf("from %s the table is %d, want %d", from, got, table)
		}
	}
}
