package ha_test

import (
	"net/netip"
	"testing"
	"time"

	"careof/internal/core/assoc"
	"careof/internal/core/engine"
	"careof/wire/mip4"

	"pgregory.net/rapid"
)

// Whatever an attacker on the path delays, repeats, reorders and redirects,
// and whenever the home agent crashes: no Identification is accepted twice,
// none older than an accepted one is, and the binding is always that of the
// newest request that was accepted.
//
//rfc:5944#5.7.1
func TestBindingNeverRegresses(t *testing.T) {
	cfg := config(t)
	rapid.Check(t, func(rt *rapid.T) {
		d := newDriver(t, cfg)
		var seen []engine.Packet
		var newest uint64     // Identification of the newest accepted request
		var bound *netip.Addr // its care-of address, nil when it deregistered or ran out
		var expires time.Time
		deliver := func(p engine.Packet) {
			fresh := len(d.bindings())
			m, err := mip4.Parse(p.Data)
			if err != nil {
				rt.Fatal(err)
			}
			r, err := m.Request()
			if err != nil {
				rt.Fatal(err)
			}
			notes := len(d.notes)
			got := d.sendRaw(p)
			if got == nil || !got.Code.Accepted() {
				return
			}
			for _, n := range d.notes[notes:] {
				if n.Kind == "repeated" {
					if len(d.bindings()) != fresh {
						rt.Fatal("a repeat changed the bindings")
					}
					return
				}
			}
			if r.Identification <= newest {
				rt.Fatalf("accepted %x after %x", r.Identification, newest)
			}
			newest = r.Identification
			switch {
			case r.Lifetime == 0 && bound != nil && *bound == r.CareOfAddress:
				bound = nil
			case r.Lifetime > 0:
				bound, expires = &r.CareOfAddress, d.now.Mono.Add(time.Duration(got.Lifetime)*time.Second)
			}
		}
		for range rapid.IntRange(5, 40).Draw(rt, "steps") {
			switch rapid.SampledFrom([]string{"request", "held back", "replay", "replay", "wait", "crash"}).Draw(rt, "step") {
			case "request", "held back":
				r := d.req()
				r.careOf = netip.AddrFrom4([4]byte{192, 0, 2, rapid.ByteRange(1, 4).Draw(rt, "host")})
				r.src = netip.AddrPortFrom(r.careOf, 40000)
				r.lifetime = rapid.SampledFrom([]uint16{0, 5, 300}).Draw(rt, "lifetime")
				r.id = assoc.Timestamp(d.now.Wall.Add(time.Duration(rapid.IntRange(-3000, 3000).Draw(rt, "skew")) * time.Millisecond))
				p := r.packet(t)
				seen = append(seen, p)
				if rapid.Bool().Draw(rt, "delivered") {
					deliver(p)
				}
			case "replay":
				if len(seen) > 0 {
					p := rapid.SampledFrom(seen).Draw(rt, "which")
					if rapid.Bool().Draw(rt, "redirected") {
						p.Src = netip.MustParseAddrPort("203.0.113.66:666")
					}
					deliver(p)
				}
			case "wait":
				d.advance(time.Duration(rapid.IntRange(0, 8000).Draw(rt, "ms")) * time.Millisecond)
			case "crash":
				gone := d.now.Mono
				d = d.restart(cfg, time.Second)
				expires = d.now.Mono.Add(expires.Sub(gone) - time.Second)
				d.step(engine.Wake{})
			}
			if bound != nil && !d.now.Mono.Before(expires) {
				bound = nil
			}
			list := d.bindings()
			switch {
			case bound == nil && len(list) != 0:
				rt.Fatalf("bound to %v, want nothing", list[0].CareOfAddress)
			case bound != nil && (len(list) != 1 || list[0].CareOfAddress != *bound):
				rt.Fatalf("bindings %+v, want %v alone", list, *bound)
			}
			if (len(list) == 1) != (len(d.plane) == 1) {
				rt.Fatalf("%d bindings and %d forwarding entries", len(list), len(d.plane))
			}
		}
	})
}

// FuzzPacket: what anybody may send does no harm. Without the key there is
// neither an answer nor a trace of it.
func FuzzPacket(f *testing.F) {
	d := newDriver(f, config(f))
	f.Add(d.req().packet(f).Data)
	f.Add(d.van().packet(f).Data)
	r := d.req()
	r.rawAfter = make34(300)
	f.Add(r.packet(f).Data)
	f.Fuzz(func(t *testing.T, data []byte) {
		d := newDriver(t, config(t))
		d.now.Wall = d.now.Wall.Add(24 * time.Hour) // the seeds are old
		p := engine.Packet{Link: "wan0", Src: netip.AddrPortFrom(careOf, 40000), Dst: netip.AddrPortFrom(agentAddr, port), Data: data}
		d.step(p)
		for _, s := range d.sent {
			m, err := mip4.Parse(s.Data)
			if err != nil {
				t.Fatal(err)
			}
			if r, err := m.Reply(); err != nil || r.Code.Accepted() {
				t.Fatalf("accepted %x", data)
			}
		}
		if len(d.plane) != 0 || len(d.store) != 0 {
			t.Fatal("left state")
		}
	})
}
