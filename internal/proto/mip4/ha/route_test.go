package ha_test

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"testing"
	"time"

	"careof/internal/core/assoc"
	"careof/internal/core/engine"
	"careof/internal/core/forward"
	"careof/internal/core/ident"
	"careof/internal/proto/mip4/ha"
	"careof/wire/mip4"
)

// fleet is a configuration with nodes of every kind: by name, by name and
// address, by address, and by an address that lies in a pool.
func fleet(t *testing.T) ha.Config {
	cfg := config(t)
	cfg.Networks[0].Pool = []ha.Range{{From: netip.MustParseAddr("10.10.0.100"), To: netip.MustParseAddr("10.10.0.124")}}
	key := []*assoc.Association{mustAssoc(t, 256, "0123456789abcdef", assoc.Timestamps)}
	for i := range 40 {
		n := ha.MobileNode{Keys: key}
		if i%4 < 2 {
			n.NAI = ident.NAI(fmt.Sprintf("n%d@fleet", i))
		}
		switch i % 4 {
		case 1, 2:
			n.HomeAddress = netip.AddrFrom4([4]byte{10, 10, 0, byte(150 + i)})
		case 3:
			n.HomeAddress = netip.AddrFrom4([4]byte{10, 10, 0, byte(100 + i/4)})
		}
		cfg.Nodes = append(cfg.Nodes, n)
	}
	return cfg
}

// A sharded home agent, which lives in as many drivers with one store.
type sharded struct {
	t      *testing.T
	route  func(engine.Event) int
	shards []*driver
}

func newSharded(t *testing.T, cfg ha.Config, n int) *sharded {
	s := &sharded{t: t, route: ha.Route(cfg, n)}
	for i := range n {
		cfg.Shard, cfg.Shards = i, n
		s.shards = append(s.shards, newDriver(t, cfg))
		s.shards[i].store = s.shards[0].store
	}
	return s
}

// restart makes a home agent of another number of shards from the records.
func (s *sharded) restart(cfg ha.Config, n int) *sharded {
	again := &sharded{t: s.t, route: ha.Route(cfg, n)}
	for i := range n {
		cfg.Shard, cfg.Shards = i, n
		again.shards = append(again.shards, s.shards[0].restart(cfg, time.Second))
	}
	return again
}

// request is a request of the node in fleet, as it looks while the node has no
// address of the pool.
func (s *sharded) request(i int) *request {
	r := s.shards[0].req()
	r.home = netip.AddrFrom4([4]byte{})
	c := fleet(s.t).Nodes[len(config(s.t).Nodes)+i]
	r.nai, r.key = string(c.NAI), c.Keys[0]
	if c.HomeAddress.IsValid() {
		r.home = c.HomeAddress
	}
	return r
}

// accepted sends a request to every shard: one answers, the one that the route
// names, and accepts.
func (s *sharded) accepted(r *request) *reply {
	s.t.Helper()
	p := r.packet(s.t)
	shard := s.route(p)
	var accepted *reply
	for k, d := range s.shards {
		got := d.sendRaw(p)
		if (got != nil) != (k == shard) {
			s.t.Fatalf("%s %v: routed to %d, shard %d answers: %v", r.nai, r.home, shard, k, got != nil)
		}
		if got != nil {
			accepted = got
		}
	}
	if accepted.Code != mip4.CodeAccepted {
		s.t.Fatalf("%s %v: code %v", r.nai, r.home, accepted.Code)
	}
	return accepted
}

// entries are the forwarding entries of all shards.
func (s *sharded) entries() map[forward.Key]forward.Entry {
	all := make(map[forward.Key]forward.Entry)
	for k, d := range s.shards {
		for e := range d.a.Entries() {
			if _, twice := all[e.Key]; twice {
				s.t.Errorf("shard %d forwards %s, which another does too", k, e.Key)
			}
			all[e.Key] = e
		}
	}
	return all
}

// Every request reaches the one shard that knows its node, and each shard is
// a home agent like the whole.
func TestShards(t *testing.T) {
	const shards = 3
	cfg := fleet(t)
	s := newSharded(t, cfg, shards)
	used := make(map[int]bool)
	given := make(map[netip.Addr]bool)
	for i := range 40 {
		r := s.request(i)
		got := s.accepted(r)
		shard := s.route(r.packet(t))
		used[shard] = true
		if given[got.HomeAddress] {
			t.Fatalf("node %d has address %v, which another has too", i, got.HomeAddress)
		}
		given[got.HomeAddress] = true
		// By its address alone, and the plane's events about it, likewise.
		r.nai, r.home = "", got.HomeAddress
		if to := s.route(r.packet(t)); to != shard {
			t.Errorf("node %d by address: shard %d, want %d", i, to, shard)
		}
		if to := s.route(engine.Plane{Event: forward.EndpointSeen{Key: forward.Key("ha/" + got.HomeAddress.String())}}); to != shard {
			t.Errorf("node %d by entry: shard %d, want %d", i, to, shard)
		}
		if to := s.route(engine.Command{Value: ha.ShowBinding{Node: ident.Node{HomeAddress: got.HomeAddress}}}); to != shard {
			t.Errorf("a question about node %d: shard %d, want %d", i, to, shard)
		}
	}
	if len(used) != shards {
		t.Errorf("only %d shards are used", len(used))
	}
	if to := s.route(engine.Command{Value: ha.ListBindings{}}); to != ha.EveryShard {
		t.Errorf("a list goes to shard %d", to)
	}
	if to := s.route(engine.LinkChanged{}); to != ha.EveryShard {
		t.Errorf("a link change goes to shard %d", to)
	}
	if to := s.route(engine.Packet{Data: []byte{1, 2, 3}}); to < 0 || to >= shards {
		t.Errorf("garbage goes to shard %d", to)
	}
}

// The number of shards is the host's business: a restart with another number
// keeps every binding and every address that was given out, and refuses what
// was answered before.
//
//rfc:5944#5.7
func TestARestartWithAnotherNumberOfShardsKeepsEverything(t *testing.T) {
	cfg := fleet(t)
	s := newSharded(t, cfg, 3)
	homes := make(map[int]netip.Addr)
	old := make(map[int]*request)
	for i := range 40 {
		old[i] = s.request(i)
		homes[i] = s.accepted(old[i]).HomeAddress
	}
	for _, n := range []int{1, 2, 5, 3} {
		before := s.entries()
		s = s.restart(cfg, n)
		after := s.entries()
		if len(before) != 40 || len(after) != 40 {
			t.Fatalf("%d shards: %d bindings, before the restart %d, want 40", n, len(after), len(before))
		}
		for key, e := range before {
			if got := after[key]; got.Inner != e.Inner || len(got.Tunnels) != 1 || got.Tunnels[0].Peer != e.Tunnels[0].Peer {
				t.Fatalf("%d shards: %v has become %v", n, e, after[key])
			}
		}
		for i := range 40 {
			p := old[i].packet(t)
			if got := s.shards[s.route(p)].sendRaw(p); got != nil && got.Code.Accepted() {
				t.Fatalf("%d shards: an old request of node %d is accepted again", n, i)
			}
			old[i] = s.request(i)
			if got := s.accepted(old[i]); got.HomeAddress != homes[i] {
				t.Fatalf("%d shards: node %d has %v, had %v", n, i, got.HomeAddress, homes[i])
			}
		}
	}
}

// As long as the pool has an address, a node gets one, whatever its name.
func TestThePoolServesAsManyNodesAsItHasAddresses(t *testing.T) {
	cfg := fleet(t)
	cfg.Networks[0].Pool = []ha.Range{{From: netip.MustParseAddr("10.10.0.130"), To: netip.MustParseAddr("10.10.0.139")}}
	s := newSharded(t, cfg, 4)
	for i := 0; i < 40; i += 4 { // ten nodes
		s.accepted(s.request(i))
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
