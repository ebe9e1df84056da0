package ha_test

import (
	"testing"
	"time"

	"careof/internal/core/engine"
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
