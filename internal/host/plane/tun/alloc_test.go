//go:build !race

package tun

import (
	"net/netip"
	"testing"

	"careof/internal/core/forward"
	"careof/internal/host/sock"
	"careof/wire/encap"
)

// quiet is a device that forgets what is written to it.
type quiet struct{ *fakeDevice }

func (quiet) write([]train) error { return nil }

// Nothing is allocated on the way of a packet. (The race detector makes sync.Pool
// forget at random, so it does not see this test.)
func TestNoAllocationPerPacket(t *testing.T) {
	b := newBench(t)
	// A plane of its own without goroutines: the test is the only one here.
	p := &Plane{config: b.p.config, clock: b.p.clock, began: b.p.began, dev: quiet{b.dev}, raw: b.raw, bindings: map[forward.Key]*binding{}}
	p.SetOwn(nil, nil)
	p.config.Datagrams = discard{}
	p.scratch.New = func() any { return newBatch(0) }
	put(t, p, agentEntry(toCareOf(forward.Tunnel{Encap: encap.UDP})))
	put(t, p, forward.Entry{Key: "raw", Role: forward.HomeAgent, Inner: netip.PrefixFrom(homeAddr.Next(), 32),
		Tunnels: []forward.Tunnel{toCareOf(forward.Tunnel{Encap: encap.GRE, HasKey: true, Key: 1})}})
	s := &sender{p: p, in: newIntake(), answers: newBucket(1, 1)}
	for name, dst := range map[string]netip.Addr{"UDP": homeAddr, "GRE": homeAddr.Next()} {
		pkt := udpPacket(cnAddr, dst, 1000)
		n := testing.AllocsPerRun(200, func() {
			s.in.reset()
			clear(s.in.next()[:virtualHeader])
			s.in.took(virtualHeader + copy(s.in.next()[virtualHeader:], pkt))
			s.now = 1
			s.arrival(&s.in.arrivals[0])
			s.raw = s.raw[:0]
			s.flush()
		})
		if n != 0 {
			t.Errorf("%s: %v allocations for a packet sent", name, n)
		}
	}
	h := arriving(toCareOf(forward.Tunnel{Encap: encap.UDP}))
	m, err := encap.AppendTunnelData(nil, &h, udpPacket(homeAddr, cnAddr, 1000))
	if err != nil {
		t.Fatal(err)
	}
	data := []sock.Data{{Local: netip.AddrPortFrom(h.Dst, h.DstPort), From: netip.AddrPortFrom(h.Src, h.SrcPort), Message: m}}
	if n := testing.AllocsPerRun(200, func() { p.Deliver(data) }); n > 0.5 {
		t.Errorf("%v allocations for a packet received", n)
	}
	if p.Counters("mn").ReceivedPackets == 0 || p.Counters("raw").SentPackets == 0 {
		t.Error("the packets took another way")
	}
}
