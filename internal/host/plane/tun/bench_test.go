package tun

import (
	"net/netip"
	"runtime"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"careof/internal/core/forward"
	"careof/internal/host/plane/nstest"
	"careof/wire/encap"
)

// The throughput of one TCP connection from the correspondent node to the
// mobile node, beside the same kernel's plain forwarding of the same packets.
// Everything runs in one process on the machine's cores: sender, two planes,
// receiver. The processor time for each gigabyte is the figure that other work
// on the machine does not spoil.
func BenchmarkTCP(b *testing.B) {
	const octets = 256 << 20
	run := func(b *testing.B, s *scene, from *nstest.Node, fromAddr netip.Addr, to *nstest.Node, toAddr netip.Addr) {
		b.SetBytes(octets)
		var took time.Duration
		used, n := cpuTime(b), 0
		for b.Loop() {
			took += transfer(b, from, fromAddr, to, toAddr, octets)
			n++
		}
		total := float64(n) * octets
		b.ReportMetric(total*8/took.Seconds()/1e9, "Gbit/s")
		b.ReportMetric((cpuTime(b)-used).Seconds()/total*1e9, "cpu-s/GB")
	}
	s := newScene(b, 1420)
	s.cn.Route("198.51.100.0/24", "10.9.0.1", "", "")
	s.mn.Route("10.9.0.2/32", "198.51.100.2", "", "198.51.100.10")
	s.r.Route("10.9.0.0/24", "192.0.2.1", "", "")
	b.Run("plain", func(b *testing.B) { run(b, s, s.cn, cnAddr, s.mn, careOf) })
	if err := s.mn.H.RouteDel(s.mn.HostRoute("10.9.0.2/32")); err != nil {
		b.Fatal(err)
	}
	for _, shape := range shapes {
		s.bind(b, shape.t)
		b.Run(shape.name+"/down", func(b *testing.B) { run(b, s, s.cn, cnAddr, s.mn, homeAddr) })
		b.Run(shape.name+"/up", func(b *testing.B) { run(b, s, s.mn, homeAddr, s.cn, cnAddr) })
	}
}

// cpuTime is what this process has used so far, in user and kernel mode.
func cpuTime(b *testing.B) time.Duration {
	var u unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

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
		s := &sender{p: p, in: newBatch(1, false), answers: newBucket(1, 1)}
		packets := make([][]byte, 1024)
		for i := range packets {
			packets[i] = udpPacket(cnAddr, address(i*97%bindings), 64)
		}
		i := 0
		for b.Loop() {
			pkt := packets[i%len(packets)]
			i++
			copy(s.in.bufs[0][headroom:], pkt)
			s.now = 1
			s.packet(s.in.bufs[0], len(pkt))
			s.flush()
		}
	})
}
