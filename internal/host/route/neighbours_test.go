package route

import (
	"maps"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"careof/internal/core/forward"
)

// Several daemons of one host, each with a device of its own, do not take each
// other's rules and routes for what an earlier start has left.
func TestSeveralDaemons(t *testing.T) {
	k := newFake()
	for name, value := range maps.Clone(k.sysctls) {
		for _, device := range []string{"careof1", "careof2"} {
			k.sysctls[strings.Replace(name, "careof0", device, 1)] = value
		}
	}
	of := func(device string, c Config) *Keeper {
		c.Device, c.Kernel = device, k
		keeper, err := New(c)
		if err != nil {
			t.Fatal(err)
		}
		do(t, keeper.Reconcile())
		return keeper
	}
	node := of("careof0", Config{HomeAddresses: []netip.Addr{homeAddr}})
	do(t, node.Put(forward.Entry{Key: "mn", Role: forward.MobileNode, Inner: homeHost, Routes: []netip.Prefix{all}}))
	rules, routes := slices.Clone(k.rules), slices.Clone(k.routes)
	if len(rules) == 0 || len(routes) == 0 {
		t.Fatal("a mobile node without rules or routes")
	}
	of("careof1", Config{HomeNetworks: []netip.Prefix{netip.MustParsePrefix("10.77.0.0/24")}})
	second := of("careof2", Config{HomeAddresses: []netip.Addr{homeAddr.Next()}})
	agents := slices.DeleteFunc(slices.Clone(k.routes), func(r Route) bool { return r.Table != mainTable || !r.Unreachable })
	if len(agents) != 1 {
		t.Fatalf("the home agent's last routes are %v", agents)
	}
	do(t, node.Reconcile())
	do(t, second.Reconcile())
	if !slices.Contains(k.routes, agents[0]) {
		t.Error("another daemon removed a home agent's last route")
	}
	for _, r := range rules {
		if !slices.Contains(k.rules, r) {
			t.Errorf("another daemon's start removed %+v", r)
		}
	}
	for _, r := range routes {
		if !slices.Contains(k.routes, r) {
			t.Errorf("another daemon's start removed %v", r)
		}
	}
	do(t, second.Withdraw())
	do(t, node.Reconcile())
	if !slices.ContainsFunc(k.rules, func(r Rule) bool { return r == rules[0] }) {
		t.Error("another daemon's end removed rules")
	}
	// The blocks: careof0's is what it always was, none overlap, and all come
	// before the rule for the main table.
	seen := map[int]string{}
	for _, device := range []string{"careof0", "careof1", "careof9", "careof10", "careof99", "van", "careof100"} {
		base := BaseOf(device)
		if other, ok := seen[base]; ok || base < DefaultBase || base+baseStride > 32766 || (base-DefaultBase)%baseStride != 0 {
			t.Errorf("%s begins at %d, as %q", device, base, other)
		}
		seen[base] = device
	}
	if BaseOf("careof0") != DefaultBase {
		t.Errorf("careof0 begins at %d", BaseOf("careof0"))
	}
}
