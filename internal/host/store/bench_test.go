package store

import (
	"fmt"
	"testing"

	"careof/internal/core/engine"
)

// BenchmarkApply makes groups of records durable, as the registrations that
// gather during one sync are; ns/record is what each of them pays.
func BenchmarkApply(b *testing.B) {
	for _, n := range []int{1, 32, 512} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			s, err := Open(b.TempDir())
			if err != nil {
				b.Fatal(err)
			}
			defer s.Close()
			records := make([]engine.Record, n)
			i := 0
			b.ReportAllocs()
			for b.Loop() {
				for k := range records {
					records[k] = engine.Record{Key: fmt.Appendf(nil, "ha/node/10.%d.%d.%d", i>>16&255, i>>8&255, i&255), Value: make([]byte, 134)}
					i++
				}
				if err := s.Apply("home-agent", records); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*n), "ns/record")
		})
	}
}
