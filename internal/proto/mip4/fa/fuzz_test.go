package fa_test

import (
	"net/netip"
	"testing"
	"time"

	"careof/internal/core/engine"
	"careof/wire/mip4"
)

// Whatever comes from a link, from the network or in an ICMP error: no panic,
// no visit that no home agent has accepted, nothing sent to another link-layer
// address, and a denial no longer than what it answers.
func FuzzPackets(f *testing.F) {
	d := newDriver(f, config())
	r := d.req()
	f.Add(r.bytes(f), false)
	r.after = []mip4.Payload{&mip4.EncapsulatingDelivery{}}
	f.Add(r.bytes(f), false)
	r.home, r.nai = zero, "van@fleet"
	f.Add(r.bytes(f), false)
	r = d.req()
	a := answerTo(f, d.relayed(r))
	f.Add(a.bytes(f), true)
	a.nai, a.rawAfter = "van@fleet", []byte{134, 7, 0, 0, 0, 0, 9, 0, 1}
	f.Add(a.bytes(f), true)
	f.Fuzz(func(t *testing.T, b []byte, fromAgent bool) {
		d := newDriver(t, config())
		known := d.relayed(d.req())
		p := engine.Packet{Link: "eth1", HW: otherMAC, TTL: 255, Src: netip.AddrPortFrom(keyedHome, 4000), Dst: netip.AddrPortFrom(linkAddr, 434), Data: b}
		if fromAgent {
			// From the right place, but without knowing the keys.
			p = engine.Packet{Link: "eth0", TTL: 60, Src: known.Dst, Dst: known.Src, Data: b}
		}
		for _, s := range d.give(p) {
			m := parse(t, s.Data)
			switch {
			case s.HW == (engine.HardwareAddr{}) && m.Type != mip4.TypeRegistrationRequest,
				s.HW != (engine.HardwareAddr{}) && m.Type != mip4.TypeRegistrationReply,
				!fromAgent && s.HW != (engine.HardwareAddr{}) && s.HW != otherMAC:
				t.Fatalf("sent %+v", s)
			}
			if _, keyed := m.Find(mip4.ExtMobileForeign); s.HW != (engine.HardwareAddr{}) && keyed == 0 && len(s.Data) > len(b) {
				t.Fatalf("%d octets in answer to %d", len(s.Data), len(b))
			}
		}
		if len(d.plane) > 0 {
			t.Fatalf("forwards %v", d.plane)
		}
		d.step(engine.Bounced{From: plainHA, Src: known.Src, Dst: known.Dst, Type: 3, Code: 1, Data: b})
		d.advance(10 * time.Second)
		if d.pending() > 0 {
			t.Fatal("a request is pending for more than seven seconds")
		}
	})
}

// BenchmarkForgedRequests is what one core relays of a flood: every request
// from another node, the table full.
func BenchmarkForgedRequests(b *testing.B) {
	d := newDriver(b, config())
	var flood []engine.Packet
	for i := range 4096 {
		r := d.req()
		r.home = netip.AddrFrom4([4]byte{10, 66, byte(i >> 8), byte(i)})
		r.src = netip.AddrPortFrom(r.home, 40000)
		r.hw = engine.HardwareAddr{2, 66, 0, 0, byte(i >> 8), byte(i)}
		r.agent = plainHA // without an association: no authenticator to compute
		flood = append(flood, r.packet(b))
	}
	b.ReportAllocs()
	b.ResetTimer()
	for i := range b.N {
		p := flood[i%len(flood)]
		p.HW[2], p.HW[3] = byte(i>>20), byte(i>>12)
		d.now.Mono = d.now.Mono.Add(10 * time.Microsecond)
		d.a.Step(d.now, p)
	}
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "requests/s")
}
