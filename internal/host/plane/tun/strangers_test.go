package tun

import (
	"math/rand/v2"
	"net/netip"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"careof/internal/core/forward"
	"careof/internal/host/plane/nstest"
	"careof/wire/encap"
)

// sendRaw sends whole IPv4 packets from a node, whatever they say about
// themselves.
func sendRaw(t testing.TB, n *nstest.Node, packets [][]byte) {
	t.Helper()
	n.Do(func() {
		fd, err := unix.Socket(unix.AF_INET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.IPPROTO_RAW)
		if err != nil {
			t.Error(err)
			return
		}
		defer unix.Close(fd)
		for _, p := range packets {
			to := &unix.SockaddrInet4{Addr: [4]byte(p[16:20])}
			if err := unix.Sendto(fd, p, 0, to); err != nil && err != unix.ENOBUFS {
				t.Error(err)
				return
			}
		}
	})
}

// Ten thousand forged packets of every kind, at the home agent and at the
// mobile node, with and without a binding: none is forwarded, none answered.
// The router in the middle forges; it can spoof any address.
func TestStrangersGetSilence(t *testing.T) {
	const each = 10000
	s := newScene(t, 1420)
	rng := rand.New(rand.NewPCG(1, 2))
	random := func() netip.Addr {
		return netip.AddrFrom4([4]byte{11, byte(rng.Uint32()), byte(rng.Uint32()), byte(1 + rng.IntN(250))})
	}
	bound := forward.Tunnel{Encap: encap.UDP, Inside: encap.GRE, HasKey: true, Key: 1000}
	s.bind(t, bound)
	attacker := netip.MustParseAddr("192.0.2.2")
	forge := func(h encap.Header, inner []byte) []byte {
		p, err := encap.Append(nil, &h, inner)
		if err != nil {
			t.Fatal(err)
		}
		return p
	}
	header := func(kind encap.Kind, src, dst netip.Addr) encap.Header {
		h := encap.Header{Kind: kind, Src: src, Dst: dst, Checksum: kind == encap.UDP}
		if kind == encap.UDP {
			h.SrcPort, h.DstPort = mnPort, encap.Port
			if dst == careOf {
				h.SrcPort, h.DstPort = encap.Port, mnPort
			}
		}
		return h
	}
	for _, victim := range []struct {
		name          string
		node          *nstest.Node
		plane         *Plane
		addr, peer    netip.Addr
		wan, lan      string
		src, dst      netip.Addr // of an inner packet that would pass
		insideForeign func() []byte
	}{
		{name: "home agent", node: s.ha, plane: s.agent, addr: haAddr, peer: careOf, wan: "wan0", lan: "lan0", src: homeAddr, dst: cnAddr,
			insideForeign: func() []byte { return udpPacket(random(), cnAddr, 50) }},
		{name: "mobile node", node: s.mn, plane: s.mobile, addr: careOf, peer: haAddr, wan: "eth0", lan: "careof0", src: cnAddr, dst: homeAddr,
			insideForeign: func() []byte { return udpPacket(cnAddr, random(), 50) }},
	} {
		passing := udpPacket(victim.src, victim.dst, 50)
		kinds := []struct {
			name string
			make func() []byte
		}{
			{"ipip", func() []byte { return forge(header(encap.IPIP, attacker, victim.addr), passing) }},
			{"ipip from the peer", func() []byte { return forge(header(encap.IPIP, victim.peer, victim.addr), passing) }},
			{"gre", func() []byte { return forge(header(encap.GRE, victim.peer, victim.addr), passing) }},
			{"minimal", func() []byte { return forge(header(encap.Minimal, victim.peer, victim.addr), passing) }},
			{"udp in another form", func() []byte { return forge(header(encap.UDP, victim.peer, victim.addr), passing) }},
			{"udp with another key", func() []byte {
				h := header(encap.UDP, victim.peer, victim.addr)
				h.Inner, h.HasKey, h.Key = encap.GRE, true, rng.Uint32N(1000)
				return forge(h, passing)
			}},
			{"udp from anywhere with the right key", func() []byte {
				h := header(encap.UDP, random(), victim.addr)
				h.Inner, h.HasKey, h.Key = encap.GRE, true, bound.Key
				return forge(h, passing)
			}},
			{"the tunnel itself with a foreign inner address", func() []byte {
				h := header(encap.UDP, victim.peer, victim.addr)
				h.Inner, h.HasKey, h.Key = encap.GRE, true, bound.Key
				return forge(h, victim.insideForeign())
			}},
			{"nested", func() []byte {
				return forge(header(encap.IPIP, victim.peer, victim.addr), forge(header(encap.IPIP, victim.peer, victim.addr), passing))
			}},
			{"noise behind a tunnel header", func() []byte {
				p, _ := encap.AppendIPv4(nil, &encap.IPv4{TTL: 64, Protocol: uint8([]encap.Kind{encap.IPIP, encap.GRE, encap.Minimal}[rng.IntN(3)]), Src: victim.peer, Dst: victim.addr}, 48)
				for range 48 {
					p = append(p, byte(rng.Uint32()))
				}
				return p
			}},
		}
		for _, kind := range kinds {
			t.Run(victim.name+"/"+kind.name, func(t *testing.T) {
				packets := make([][]byte, each)
				for i := range packets {
					packets[i] = kind.make()
				}
				before := victim.plane.Totals()
				answers, forwarded := victim.node.Packets(victim.wan), victim.node.Packets(victim.lan)
				for i := 0; i < each; i += 500 {
					sendRaw(t, s.r, packets[i:i+500])
				}
				for p := forwarded(); p != nil; p = forwarded() {
					if len(p) >= 20 && p[0]>>4 == 4 {
						t.Fatalf("forwarded: % x", p[:20])
					}
				}
				for p := answers(); p != nil; p = answers() {
					if len(p) >= 20 && p[0]>>4 == 4 && word4(p[12:16]) == victim.addr {
						t.Fatalf("answered: % x", p[:20])
					}
				}
				after := victim.plane.Totals()
				counted := after.Strangers + after.Malformed - before.Strangers - before.Malformed
				if counted < each*9/10 {
					t.Errorf("%d of %d were counted: did they arrive?", counted, each)
				}
			})
		}
		c := victim.plane.Counters("mn")
		if victim.plane == s.mobile {
			c = victim.plane.Counters("home")
		}
		if c.ReceivedPackets != 0 {
			t.Errorf("%s: %d packets were taken", victim.name, c.ReceivedPackets)
		}
	}
	// And the tunnel works on.
	transfer(t, s.cn, cnAddr, s.mn, homeAddr, 1<<20)
}

// waitFor reads events until one fits.
func waitFor[E forward.Event](t testing.TB, p *Plane) E {
	t.Helper()
	end := time.After(5 * time.Second)
	for {
		select {
		case e := <-p.Events():
			if want, ok := e.(E); ok {
				return want
			}
		case <-end:
			t.Fatalf("no %T", *new(E))
		}
	}
}
