package tun

import (
	"net/netip"
	"testing"

	"go.uber.org/goleak"

	"careof/internal/core/forward"
	"careof/internal/host/sock"
	"careof/wire/encap"
)

// discard takes everything.
type discard struct{}

func (discard) SendData(_, _ netip.AddrPort, _ string, _ uint8, _ [][]byte) error { return nil }
func (discard) SendTrain(_, _ netip.AddrPort, _ string, _ uint8, _ int, _ [][]byte) error {
	return nil
}

// Close ends every goroutine, and what comes later does no harm.
func TestCloseLeavesNothingBehind(t *testing.T) {
	defer goleak.VerifyNone(t, goleak.IgnoreCurrent())
	b := newBench(t)
	b.put(agentEntry(toCareOf(forward.Tunnel{Encap: encap.UDP})))
	for range 2 {
		if err := b.p.Close(); err != nil {
			t.Fatal(err)
		}
	}
	b.fromNetwork(arriving(toCareOf(forward.Tunnel{Encap: encap.UDP})), udpPacket(homeAddr, cnAddr, 10))
	if err := b.p.Apply(t.Context(), []forward.Change{{Op: forward.Put, Entry: agentEntry()}}); err == nil {
		t.Error("applied after the end")
	}
}

// Whatever comes from the network or the kernel, nothing panics, and nothing
// that does not match is forwarded.
func FuzzPlane(f *testing.F) {
	h := arriving(toCareOf(forward.Tunnel{Encap: encap.UDP, Inside: encap.Minimal}))
	m, _ := encap.AppendTunnelData(nil, &h, udpPacket(homeAddr, cnAddr, 20))
	f.Add(m)
	for _, shape := range shapes {
		h := arriving(toCareOf(shape.t))
		p, _ := encap.Append(nil, &h, udpPacket(homeAddr, cnAddr, 20))
		f.Add(p)
	}
	f.Add(tooBig(1000, udpPacket(cnAddr, homeAddr, 20)))
	dev := &fakeDevice{in: make(chan [][]byte), out: make(chan []byte, 64), closed: make(chan struct{})}
	raw := &fakeRaw{out: make(chan []byte, 64), closed: make(chan struct{}), mtu: 600}
	plane, err := New(Config{Device: dev, Datagrams: discard{}, HomeNetworks: []netip.Prefix{network}, raw: raw})
	if err != nil {
		f.Fatal(err)
	}
	f.Cleanup(func() { plane.Close() })
	b := &bench{p: plane, dev: dev, raw: raw}
	for i, shape := range shapes {
		put(f, plane, forward.Entry{Key: forward.Key(shape.name), Role: forward.HomeAgent,
			Inner: netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 10, 0, byte(5 + i)}), 32), Tunnels: []forward.Tunnel{toCareOf(shape.t)}})
	}
	x := newBatch(1)
	f.Fuzz(func(t *testing.T, p []byte) {
		if len(p) > 2000 {
			return
		}
		n := copy(x.bufs[0][headroom:], p)
		x.packets[0], x.n = x.bufs[0][headroom:headroom+n], 1
		plane.rawPackets(x)
		plane.Deliver([]sock.Data{{Local: netip.AddrPortFrom(haAddr, encap.Port), From: netip.AddrPortFrom(careOf, mnPort), Message: p}})
		b.icmp(append([]byte(nil), p...))
		dev.in <- [][]byte{p}
		dev.in <- nil
		for len(dev.out) > 0 {
			if q := <-dev.out; !network.Contains(word4(q[12:16])) {
				t.Errorf("forwarded from %v", word4(q[12:16]))
			}
		}
		for len(raw.out) > 0 {
			<-raw.out
		}
	})
}
