package planetest

import (
	"encoding/binary"
	"math/rand/v2"
	"net/netip"
	"testing"

	"careof/internal/core/forward"
	"careof/internal/host/plane/nstest"
	"careof/wire/encap"
)

// Ten thousand forged packets of every kind, at the home agent and at the
// mobile node: none is forwarded, none answered. The router in the middle
// forges; it can spoof any address.
//
//rfc:3024#4.3.2
//rfc:2003#6.2-1
func testStrangers(t *testing.T, open Open) {
	const each = 10000
	s := NewScene(t, open, 1420)
	rng := rand.New(rand.NewPCG(1, 2))
	random := func() netip.Addr {
		return netip.AddrFrom4([4]byte{11, byte(rng.Uint32()), byte(rng.Uint32()), byte(1 + rng.IntN(250))})
	}
	bound := forward.Tunnel{Encap: encap.UDP, Inside: encap.GRE, HasKey: true, Key: 1000}
	s.Bind(t, bound)
	for _, victim := range []struct {
		name          string
		node          *nstest.Node
		plane         Plane
		key           forward.Key
		addr, peer    netip.Addr
		wan, lan      string
		src, dst      netip.Addr // of an inner packet that would pass
		insideForeign func() []byte
	}{
		{name: "home agent", node: s.HA, plane: s.Agent, key: AgentKey, addr: Agent, peer: CareOf, wan: "wan0", lan: "lan0", src: Home, dst: Correspondent,
			insideForeign: func() []byte { return UDPPacket(random(), Correspondent, 50) }},
		{name: "mobile node", node: s.MN, plane: s.Mobile, key: MobileKey, addr: CareOf, peer: Agent, wan: "eth0", lan: Device, src: Correspondent, dst: Home,
			insideForeign: func() []byte { return UDPPacket(Correspondent, random(), 50) }},
	} {
		passing := UDPPacket(victim.src, victim.dst, 50)
		shape := func(kind encap.Kind) encap.Header {
			return header(forward.Tunnel{Encap: kind}, victim.peer, victim.addr)
		}
		keyed := func() encap.Header { return header(bound, victim.peer, victim.addr) }
		kinds := []struct {
			name string
			make func() []byte
		}{
			{"ipip", func() []byte {
				h := shape(encap.IPIP)
				h.Src = router
				return forge(t, h, passing)
			}},
			{"ipip from the peer", func() []byte { return forge(t, shape(encap.IPIP), passing) }},
			{"gre", func() []byte { return forge(t, shape(encap.GRE), passing) }},
			{"minimal", func() []byte { return forge(t, shape(encap.Minimal), passing) }},
			{"udp in another form", func() []byte { return forge(t, shape(encap.UDP), passing) }},
			{"udp with another key", func() []byte {
				h := keyed()
				h.Key = rng.Uint32N(1000)
				return forge(t, h, passing)
			}},
			{"udp from anywhere with the right key", func() []byte {
				h := keyed()
				h.Src = random()
				return forge(t, h, passing)
			}},
			{"the tunnel itself with a foreign inner address", func() []byte { return forge(t, keyed(), victim.insideForeign()) }},
			{"nested", func() []byte {
				return forge(t, shape(encap.IPIP), forge(t, shape(encap.IPIP), passing))
			}},
			{"noise behind a tunnel header", func() []byte {
				p, _ := encap.AppendIPv4(nil, &encap.IPv4{TTL: 64, Protocol: uint8([]encap.Kind{encap.IPIP, encap.GRE, encap.Minimal}[rng.IntN(3)]), Src: victim.peer, Dst: victim.addr}, 48)
				for range 48 {
					p = append(p, byte(rng.Uint32()))
				}
				return p
			}},
			{"the tunnel itself with a length that lies", func() []byte {
				p := forge(t, keyed(), passing)
				whole := binary.BigEndian.Uint16(p[24:])
				binary.BigEndian.PutUint16(p[24:], [...]uint16{0, 8, 12, whole - 30, whole + 30}[rng.IntN(5)])
				p[26], p[27] = 0, 0 // no checksum
				return p
			}},
			{"noise in the tunnel itself", func() []byte {
				p := forge(t, keyed(), passing)
				h := keyed()
				at := h.Overhead() - 8 + rng.IntN(8)
				if rng.IntN(2) == 0 {
					at = h.Overhead() + rng.IntN(12) // inner header: its checksum tells
				}
				p[at] ^= byte(1 + rng.IntN(255))
				return p
			}},
		}
		for _, kind := range kinds {
			t.Run(victim.name+"/"+kind.name, func(t *testing.T) {
				packets := make([][]byte, each)
				for i := range packets {
					packets[i] = kind.make()
				}
				before := victim.plane.Strangers()
				answers, forwarded := tap(t, victim.node, victim.wan), tap(t, victim.node, victim.lan)
				// The kernel itself drops datagrams whose checksum or length is wrong.
				counted := kind.name != "noise in the tunnel itself" && kind.name != "the tunnel itself with a length that lies"
				for i := 0; i < each; i += 500 {
					SendRaw(t, s.R, packets[i:i+500]...)
					if counted {
						arrived(t, victim.plane, before, i+500)
					}
				}
				for p := forwarded(); p != nil; p = forwarded() {
					if len(p) >= 20 && p[0]>>4 == 4 {
						t.Fatalf("forwarded: % x", p[:20])
					}
				}
				for p := answers(); p != nil; p = answers() {
					if len(p) >= 20 && p[0]>>4 == 4 && addr4(p[12:]) == victim.addr {
						t.Fatalf("answered: % x", p[:20])
					}
				}
			})
		}
		if c := victim.plane.Counters(victim.key); c.ReceivedPackets != 0 {
			t.Errorf("%s: %d packets were taken", victim.name, c.ReceivedPackets)
		}
	}
	// And the tunnel works on.
	Transfer(t, s.CN, Correspondent, s.MN, Home, 1<<20)
}

// arrived waits until nine of ten strangers' packets are counted: a busy machine's
// queues do not hold ten thousand.
func arrived(t *testing.T, p Plane, before uint64, sent int) {
	t.Helper()
	until(t, "nine of ten that are counted: did they arrive?", func() bool { return p.Strangers()-before >= uint64(sent)*9/10 })
}

// The same where there is no binding at all: an agent that nobody uses, and a
// mobile node at home, are as silent.
func testNobodyBound(t *testing.T, open Open) {
	const each = 10000
	s := NewScene(t, open, 1420)
	answers, forwarded := tap(t, s.HA, "wan0"), tap(t, s.HA, "lan0")
	for _, shape := range Shapes {
		t.Run(shape.Name, func(t *testing.T) {
			before := s.Agent.Strangers()
			packet := forge(t, header(shape.T, CareOf, Agent), UDPPacket(Home, Correspondent, 50))
			packets := make([][]byte, 500)
			for i := range packets {
				packets[i] = packet
			}
			sent := 0
			for range each / len(packets) {
				SendRaw(t, s.R, packets...)
				sent += len(packets)
				arrived(t, s.Agent, before, sent)
			}
			if p := first(forwarded, between(Home, Correspondent)); p != nil {
				t.Errorf("forwarded: % x", p[:20])
			}
			if p := first(answers, func(p []byte) bool { return addr4(p[12:]) == Agent }); p != nil {
				t.Errorf("answered: % x", p[:20])
			}
		})
	}
}
