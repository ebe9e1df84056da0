package ha_test

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"testing"

	"careof/internal/core/assoc"
	"careof/internal/core/engine"
	"careof/internal/core/forward"
	"careof/internal/core/ident"
	"careof/internal/proto/mip4/ha"
	"careof/wire/mip4"
)

// Every request reaches the one shard that knows its node, and each shard is
// a home agent like the whole.
func TestShards(t *testing.T) {
	const shards = 3
	cfg := config(t)
	cfg.Networks[0].Pool = []ha.Range{{From: netip.MustParseAddr("10.10.0.100"), To: netip.MustParseAddr("10.10.0.199")}}
	for i := range 30 {
		cfg.Nodes = append(cfg.Nodes, ha.MobileNode{
			Node: ident.Node{NAI: ident.NAI(fmt.Sprintf("n%d@fleet", i))},
			Keys: []*assoc.Association{mustAssoc(t, 256, "0123456789abcdef", assoc.Timestamps)},
		})
	}
	route := ha.Route(cfg, shards)
	var agents [shards]*driver
	for i := range agents {
		c := cfg
		c.Shard, c.Shards = i, shards
		agents[i] = newDriver(t, c)
	}
	used := make(map[int]bool)
	given := make(map[netip.Addr]bool)
	for i := range 30 {
		r := agents[0].van()
		r.nai, r.key = fmt.Sprintf("n%d@fleet", i), mustAssoc(t, 256, "0123456789abcdef", assoc.Timestamps)
		p := r.packet(t)
		shard := route(p)
		used[shard] = true
		for k, d := range agents {
			got := d.sendRaw(p)
			if (got != nil) != (k == shard) {
				t.Fatalf("node %d: routed to %d, shard %d answers: %v", i, shard, k, got != nil)
			}
			if got == nil {
				continue
			}
			if got.Code != mip4.CodeAccepted || given[got.HomeAddress] {
				t.Fatalf("node %d: code %d, address %v", i, got.Code, got.HomeAddress)
			}
			given[got.HomeAddress] = true
			// By its new address, and the plane's events about it, likewise.
			r.nai, r.home = "", got.HomeAddress
			if s := route(r.packet(t)); s != shard {
				t.Errorf("node %d by address: shard %d, want %d", i, s, shard)
			}
			if s := route(engine.Plane{Event: forward.EndpointSeen{Key: forward.Key("ha/" + got.HomeAddress.String())}}); s != shard {
				t.Errorf("node %d by entry: shard %d, want %d", i, s, shard)
			}
		}
	}
	if len(used) != shards {
		t.Errorf("only %d shards are used", len(used))
	}
	if s := route(agents[0].req().packet(t)); agents[s].send(agents[0].req()) == nil {
		t.Error("a node by home address was routed to the wrong shard")
	}
	if s := route(engine.Command{Value: ha.ListBindings{}}); s != ha.EveryShard {
		t.Errorf("a list goes to shard %d", s)
	}
	if s := route(engine.LinkChanged{}); s != ha.EveryShard {
		t.Errorf("a link change goes to shard %d", s)
	}
	if s := route(engine.Packet{Data: []byte{1, 2, 3}}); s < 0 || s >= shards {
		t.Errorf("garbage goes to shard %d", s)
	}
}

// The same events give the same actions: no order of a map shows.
func TestDeterminism(t *testing.T) {
	run := func() string {
		d := newDriver(t, config(t))
		rng := rand.New(rand.NewPCG(7, 7))
		trace := ""
		for range 300 {
			var r *request
			switch rng.IntN(4) {
			case 0:
				r = d.req()
			case 1:
				r = d.van()
			case 2:
				r = d.bus()
			default:
				r = d.cab()
			}
			r.careOf = netip.AddrFrom4([4]byte{192, 0, 2, byte(rng.IntN(4))})
			r.src = netip.AddrPortFrom(r.careOf, 4000)
			r.flags |= mip4.RequestFlags(rng.UintN(256)) & (mip4.FlagS | mip4.FlagM | mip4.FlagG | mip4.FlagB)
			if rng.IntN(5) == 0 {
				r.lifetime = 0
			}
			if p := d.send(r); p != nil {
				trace += fmt.Sprintf("%x\n", p.Data)
			}
			d.advance(1e9)
		}
		return trace + fmt.Sprint(d.notes, d.changes)
	}
	if a, b := run(), run(); a != b {
		t.Error("two runs differ")
	}
}
