package ha_test

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"testing"
	"time"

	"careof/internal/core/assoc"
	"careof/internal/core/engine"
	"careof/internal/core/ident"
	"careof/internal/proto/mip4/ha"
)

// BenchmarkRefresh is a registration that renews a binding: request in, commit
// out, answer in.
func BenchmarkRefresh(b *testing.B) {
	d := newDriver(b, config(b))
	packets := make([]engine.Packet, b.N)
	wall := d.now.Wall
	for i := range packets {
		d.now.Wall = wall.Add(time.Duration(i+1) * time.Millisecond)
		packets[i] = d.req().packet(b)
	}
	now := d.now
	now.Wall = wall
	b.ReportAllocs()
	b.ResetTimer()
	for _, p := range packets {
		now.Wall, now.Mono = now.Wall.Add(time.Millisecond), now.Mono.Add(time.Millisecond)
		for _, act := range d.a.Step(now, p) {
			if c, ok := act.(engine.Commit); ok {
				d.a.Step(now, engine.Answer{Ticket: c.Ticket})
			}
		}
	}
}

// BenchmarkRefreshAmong is a refresh of one node among many, in no order, so that
// what is known of it is in no cache; foreseen or not.
func BenchmarkRefreshAmong(b *testing.B) {
	const nodes, together = 100000, 32
	cfg := config(b)
	cfg.Networks = []ha.Network{{Prefix: netip.MustParsePrefix("10.0.0.0/8")}}
	cfg.Nodes = nil
	at := func(i int) netip.Addr { return netip.AddrFrom4([4]byte{10, 1 + byte(i>>16), byte(i >> 8), byte(i)}) }
	for i := range nodes {
		cfg.Nodes = append(cfg.Nodes, ha.MobileNode{Node: ident.Node{HomeAddress: at(i)}, Keys: []*assoc.Association{mustAssoc(b, 256, fmt.Sprintf("%032d", i), assoc.Timestamps)}})
	}
	d := newDriver(b, cfg)
	now := d.now
	serve := func(events []engine.Event) {
		for _, ev := range events {
			for _, act := range d.a.Step(now, ev) {
				if c, ok := act.(engine.Commit); ok {
					d.a.Step(now, engine.Answer{Ticket: c.Ticket})
				}
			}
		}
	}
	ask := func(i int) engine.Event {
		r := d.req()
		r.home, r.id, r.key = at(i), assoc.Timestamp(now.Wall), cfg.Nodes[i].Keys[0]
		return r.packet(b)
	}
	for i := range nodes {
		serve([]engine.Event{ask(i)})
	}
	order := rand.New(rand.NewPCG(3, 4)).Perm(nodes)
	for _, foreseen := range []bool{false, true} {
		b.Run(fmt.Sprintf("foreseen=%v", foreseen), func(b *testing.B) {
			events := make([]engine.Event, min(b.N, nodes))
			for i := 0; i < b.N; i += together {
				if i%nodes == 0 {
					b.StopTimer()
					now.Wall, now.Mono = now.Wall.Add(time.Second), now.Mono.Add(time.Second)
					for k := range events {
						events[k] = ask(order[k])
					}
					b.StartTimer()
				}
				some := events[i%nodes : min(i%nodes+together, len(events))]
				if foreseen {
					d.a.Foresee(some)
				}
				serve(some)
			}
		})
	}
}
