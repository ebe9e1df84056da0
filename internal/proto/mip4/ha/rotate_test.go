package ha_test

import (
	"fmt"
	"net/netip"
	"testing"
	"time"

	"careof/internal/core/assoc"
	"careof/internal/core/forward"
	"careof/internal/core/ident"
	"careof/internal/core/note"
	"careof/internal/proto/mip4/ha"
	"careof/wire/mip4"
)

// Ten thousand keys are rotated while their nodes are registered, by two reloads:
// the new key beside the old one, then the new one alone. Nodes change over in
// between, each when it likes. No binding ends, the data plane is told nothing, and
// the old keys open nothing any more.
//
//rfc:5944#3.8.1
func TestTenThousandKeysAreRotatedLive(t *testing.T) {
	const nodes = 10_000
	address := func(i int) netip.Addr { return netip.AddrFrom4([4]byte{10, 20, byte(i / 200), byte(1 + i%200)}) }
	key := func(i, generation int) *assoc.Association {
		return mustAssoc(t, uint32(1000+generation), fmt.Sprintf("node %d key %d", i, generation), assoc.Timestamps)
	}
	configured := func(generations ...int) ha.Config {
		cfg := config(t)
		cfg.Networks = append(cfg.Networks, ha.Network{Prefix: netip.MustParsePrefix("10.20.0.0/16")})
		for i := range nodes {
			n := ha.MobileNode{Node: ident.Node{HomeAddress: address(i)}}
			for _, g := range generations {
				n.Keys = append(n.Keys, key(i, g))
			}
			cfg.Nodes = append(cfg.Nodes, n)
		}
		return cfg
	}
	d := newDriver(t, configured(1))
	ask := func(i, generation int) *reply {
		r := d.req()
		r.home, r.key = address(i), key(i, generation)
		r.careOf = netip.AddrFrom4([4]byte{192, 88, byte(i / 200), byte(1 + i%200)})
		r.src = netip.AddrPortFrom(r.careOf, 40000)
		return d.send(r)
	}
	accepted := func(i, generation int) {
		t.Helper()
		if p := ask(i, generation); p == nil || !p.Code.Accepted() {
			t.Fatalf("node %d with key %d: %+v", i, generation, p)
		}
	}
	for i := range nodes {
		accepted(i, 1)
	}
	bound, changes := len(d.bindings()), len(d.changes)
	d.kinds()

	d.now.Mono, d.now.Wall = d.now.Mono.Add(time.Minute), d.now.Wall.Add(time.Minute)
	d.reconfigure(configured(2, 1))
	for i := range nodes {
		accepted(i, 1+i%2)
	}
	d.now.Mono, d.now.Wall = d.now.Mono.Add(time.Minute), d.now.Wall.Add(time.Minute)
	d.reconfigure(configured(2))
	for i := range nodes {
		if i%100 == 0 {
			if p := ask(i, 1); p != nil && p.Code != mip4.CodeHAMobileNodeAuth {
				t.Fatalf("node %d: the old key got %+v", i, p)
			}
		}
		accepted(i, 2)
	}
	for _, k := range d.kinds() {
		if k == note.Unbound || k == note.Expired || k == note.Moved {
			t.Fatalf("told %v", k)
		}
	}
	if got := len(d.bindings()); got != bound || bound != nodes {
		t.Errorf("%d bindings, and %d after", bound, got)
	}
	for _, c := range d.changes[changes:] {
		if c.Op != forward.Extend {
			t.Fatalf("the data plane was told %+v", c)
		}
	}
}
