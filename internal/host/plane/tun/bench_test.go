package tun

import (
	"net/netip"
	"testing"

	"careof/internal/host/plane/nstest"
)

// The throughput of one TCP connection from the correspondent node to the
// mobile node, beside the same kernel's plain forwarding of the same packets.
// Everything runs in one process on the machine's cores: sender, two planes,
// receiver.
func BenchmarkTCP(b *testing.B) {
	const octets = 256 << 20
	run := func(b *testing.B, s *scene, from *nstest.Node, fromAddr netip.Addr, to *nstest.Node, toAddr netip.Addr) {
		b.SetBytes(octets)
		for b.Loop() {
			d := transfer(b, from, fromAddr, to, toAddr, octets)
			b.ReportMetric(octets*8/d.Seconds()/1e9, "Gbit/s")
		}
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
