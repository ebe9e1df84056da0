package netns

import (
	"testing"
	"time"
)

// BenchmarkTransfer is one TCP stream over a segment: what the wire itself can carry.
func BenchmarkTransfer(b *testing.B) {
	for _, row := range []struct {
		name string
		c    Conditions
	}{{"direct", Conditions{}}, {"25ms", Conditions{Delay: 25 * time.Millisecond}}} {
		b.Run(row.name, func(b *testing.B) {
			const size = 32 << 20
			b.SetBytes(size)
			for range b.N {
				b.StopTimer()
				p := newPair(b, row.c)
				b.StartTimer()
				transfer, err := StartTransfer(b.Context(), TransferConfig{Client: p.a, Server: p.b, Listen: endpoint("10.0.0.2:80"), Up: size})
				if err != nil {
					b.Fatal(err)
				}
				if r := transfer.Wait(b.Context()); !r.Up.Intact {
					b.Fatalf("%+v", r)
				}
			}
		})
	}
}
