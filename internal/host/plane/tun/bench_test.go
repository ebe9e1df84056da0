package tun

import (
	"net/netip"
	"runtime"
	"testing"
	"time"

	"careof/internal/core/forward"
	"careof/wire/encap"
)

// What a hundred thousand bindings cost: to install, to refresh, in memory, and
// for a packet that has to find its own among them.
func BenchmarkBindings(b *testing.B) {
	const bindings = 100_000
	dev := &fakeDevice{in: make(chan [][]byte), out: make(chan []byte), closed: make(chan struct{})}
	raw := &fakeRaw{closed: make(chan struct{}), mtu: 1500}
	p, err := New(Config{Device: dev, Datagrams: discard{}, raw: raw})
	if err != nil {
		b.Fatal(err)
	}
	defer p.Close()
	address := func(i int) netip.Addr { return netip.AddrFrom4([4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)}) }
	entry := func(i int) forward.Entry {
		t := toCareOf(forward.Tunnel{Encap: encap.UDP})
		t.Peer = netip.AddrPortFrom(netip.AddrFrom4([4]byte{100, byte(i >> 16), byte(i >> 8), byte(i)}), 40000)
		return forward.Entry{Key: forward.Key(address(i).String()), Role: forward.HomeAgent, Inner: netip.PrefixFrom(address(i), 32), Tunnels: []forward.Tunnel{t}}
	}
	apply := func(b *testing.B, op forward.Op, i int) {
		e := entry(i)
		if err := p.Apply(b.Context(), []forward.Change{{Op: op, Entry: e, Until: p.clock().Add(time.Minute)}}); err != nil {
			b.Fatal(err)
		}
	}
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	for i := range bindings {
		apply(b, forward.Put, i)
	}
	runtime.GC()
	runtime.ReadMemStats(&after)
	b.Run("put", func(b *testing.B) {
		i := 0
		for b.Loop() {
			apply(b, forward.Put, i%bindings)
			i++
		}
		b.ReportMetric(float64(after.HeapAlloc-before.HeapAlloc)/bindings, "octets/binding")
	})
	b.Run("extend", func(b *testing.B) {
		i := 0
		for b.Loop() {
			apply(b, forward.Extend, i%bindings)
			i++
		}
	})
	b.Run("packet", func(b *testing.B) {
		s := &sender{p: p, in: newIntake(), answers: newBucket(1, 1)}
		packets := make([][]byte, 1024)
		for i := range packets {
			packets[i] = udpPacket(cnAddr, address(i*97%bindings), 64)
		}
		i := 0
		for b.Loop() {
			pkt := packets[i%len(packets)]
			i++
			s.in.reset()
			clear(s.in.next()[:virtualHeader])
			s.in.took(virtualHeader + copy(s.in.next()[virtualHeader:], pkt))
			s.now = 1
			s.arrival(&s.in.arrivals[0])
			s.flush()
		}
	})
}
