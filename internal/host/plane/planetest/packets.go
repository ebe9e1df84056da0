package planetest

import (
	"encoding/binary"
	"errors"
	"net"
	"net/netip"
	"os"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"careof/internal/core/forward"
	"careof/internal/host/plane/nstest"
	"careof/wire/encap"
)

// isICMP fits an ICMP message to dst.
func isICMP(dst netip.Addr, kind encap.ICMPType, code uint8) func([]byte) bool {
	return func(p []byte) bool {
		return p[9] == 1 && addr4(p[16:]) == dst && len(p) > 28 && p[20] == byte(kind) && p[21] == code
	}
}

func setDF(h *encap.IPv4) { h.DF = true }

// A packet that is longer than the device's MTU is cut before it enters the
// tunnel, or its sender is told when it must not be.
//
//rfc:2003#5.1
//rfc:3519#4.8
//rfc:3519#4.8-1
//rfc:3519#4.8-2
func testDeviceMTU(t *testing.T, open Open) {
	s := NewScene(t, open, 1400)
	for _, shape := range Shapes {
		t.Run(shape.Name, func(t *testing.T) {
			forgetPaths(t, s.CN)
			s.Bind(t, shape.T)
			answers, arriving := tap(t, s.CN, "eth0"), tap(t, s.MN, Device)
			SendRaw(t, s.CN, UDPPacket(Correspondent, Home, 1440, setDF))
			p := await(answers, isICMP(Correspondent, encap.DestinationUnreachable, encap.DatagramTooBig))
			if p == nil {
				t.Error("the sender of a packet with DF was not told")
			} else if mtu := binary.BigEndian.Uint16(p[26:]); mtu != 1400 {
				t.Errorf("the sender was told %d, want 1400", mtu)
			}
			SendRaw(t, s.CN, UDPPacket(Correspondent, Home, 50)) // goes behind it
			if p := await(arriving, between(Correspondent, Home)); len(p) != 28+50 {
				t.Errorf("a packet with DF was cut: %d octets", len(p))
			}
			SendRaw(t, s.CN, UDPPacket(Correspondent, Home, 1440))
			if n := countTo(2, arriving, between(Correspondent, Home)); n != 2 {
				t.Errorf("%d fragments arrived, want 2", n)
			}
		})
	}
}

// The same for a tunnel that is narrower than the device.
//
//rfc:2003#5.1
func testTunnelMTU(t *testing.T, open Open) {
	s := NewScene(t, open, 1420)
	for _, shape := range Shapes {
		t.Run(shape.Name, func(t *testing.T) {
			forgetPaths(t, s.CN)
			narrow := shape.T
			narrow.MTU = 1200
			s.Bind(t, narrow)
			answers, arriving := tap(t, s.CN, "eth0"), tap(t, s.MN, Device)
			SendRaw(t, s.CN, UDPPacket(Correspondent, Home, 1172, setDF), UDPPacket(Correspondent, Home, 1173, setDF))
			p := await(answers, isICMP(Correspondent, encap.DestinationUnreachable, encap.DatagramTooBig))
			if p == nil {
				t.Error("the sender was not told")
			} else if mtu := binary.BigEndian.Uint16(p[26:]); mtu != 1200 {
				t.Errorf("the sender was told %d, want 1200", mtu)
			}
			if n := countTo(1, arriving, between(Correspondent, Home)); n != 1 {
				t.Errorf("%d packets arrived, want the one that fits", n)
			}
			SendRaw(t, s.CN, UDPPacket(Correspondent, Home, 1300))
			if n := countTo(2, arriving, between(Correspondent, Home)); n != 2 {
				t.Errorf("%d fragments arrived, want 2", n)
			}
			Transfer(t, s.CN, Correspondent, s.MN, Home, 1<<20)
		})
	}
}

// A link in the middle of the tunnel is narrower than anybody knew: TCP goes
// on, and packets without DF are cut before they enter the tunnel.
//
//rfc:2003#4.1
//rfc:2003#5.1
//rfc:2003#4.1-6
//rfc:2003#5.1-1
func testPathMTU(t *testing.T, open Open) {
	for _, shape := range Shapes {
		t.Run(shape.Name, func(t *testing.T) {
			s := NewScene(t, open, 1460)
			s.Bind(t, shape.T)
			if err := s.R.H.LinkSetMTU(s.R.Link("eth1"), 1300); err != nil {
				t.Fatal(err)
			}
			Transfer(t, s.CN, Correspondent, s.MN, Home, 4<<20)
			arriving := tap(t, s.MN, Device)
			// 2 when the tunnel has learned, and the first one may still be
			// lost while it learns.
			SendRaw(t, s.CN, UDPPacket(Correspondent, Home, 1380))
			if n := countTo(2, arriving, between(Correspondent, Home)); n < 2 {
				t.Errorf("%d fragments arrived", n)
			}
			for p := arriving(); p != nil; p = arriving() {
				if len(p) > 1300 {
					t.Errorf("a packet of %d octets", len(p))
				}
			}
		})
	}
}

// A router has no way to the care-of address: the correspondent node is told
// that the host is unreachable, the machine gets a hint, and the tunnel stays.
//
//rfc:2003#4.1
//rfc:2003#4.1-1
//rfc:2003#4.1-3
//rfc:5944#4.2.3-5
func testUnreachable(t *testing.T, open Open) {
	s := NewScene(t, open, 1420)
	for _, shape := range Shapes {
		if shape.Name != "ipip" && shape.Name != "gre-key" && shape.Name != "udp" {
			continue
		}
		t.Run(shape.Name, func(t *testing.T) {
			s.Bind(t, shape.T)
			r := &netlink.Route{Dst: &net.IPNet{IP: CareOf.AsSlice(), Mask: net.CIDRMask(32, 32)}, Type: unix.RTN_UNREACHABLE}
			if err := s.R.H.RouteAdd(r); err != nil {
				t.Fatal(err)
			}
			s.CN.In(func() {
				c, err := net.Dial("udp4", netip.AddrPortFrom(Home, 9).String())
				if err != nil {
					t.Error(err)
					return
				}
				defer c.Close()
				// Without it the kernel tells of fatal errors only.
				sc, err := c.(*net.UDPConn).SyscallConn()
				must(t, err)
				must(t, sc.Control(func(fd uintptr) {
					must(t, unix.SetsockoptInt(int(fd), unix.IPPROTO_IP, unix.IP_RECVERR, 1))
				}))
				if err := toldOf(c); !errors.Is(err, unix.EHOSTUNREACH) && !errors.Is(err, unix.ENETUNREACH) {
					t.Errorf("the correspondent node was told %v", err)
				}
			})
			e := waitFor[forward.Unreachable](t, s.Agent)
			if e.Key != AgentKey || e.Peer != CareOf || e.Type != 3 {
				t.Errorf("event %+v", e)
			}
			if err := s.R.H.RouteDel(r); err != nil {
				t.Fatal(err)
			}
			Transfer(t, s.CN, Correspondent, s.MN, Home, 1<<20)
		})
	}
}

// toldOf sends datagrams until the kernel has an error to tell. One need not be
// enough: a Linux router grants each host five errors about routes that it
// refuses and then one a second, and the end of an earlier connection may have
// used them.
func toldOf(c net.Conn) error {
	for range 20 {
		if _, err := c.Write([]byte("x")); err != nil {
			return err
		}
		c.SetReadDeadline(time.Now().Add(500 * time.Millisecond))
		if _, err := c.Read(make([]byte, 1)); !errors.Is(err, os.ErrDeadlineExceeded) {
			return err
		}
	}
	return errors.New("nothing")
}

// tunnelled fits tunnel packets from the agent to the mobile node.
func tunnelled(shape forward.Tunnel) func([]byte) bool {
	return func(p []byte) bool { return addr4(p[16:]) == CareOf && p[9] == uint8(shape.Encap) }
}

// The outer header: TOS as the inner one, DF always, a TTL that reaches
// anywhere, valid checksums.
//
//rfc:2003#3.1
//rfc:2003#5.1
//rfc:6040#4.1
//rfc:2003#5.1-3
func testOuterHeader(t *testing.T, open Open) {
	s := NewScene(t, open, 1420)
	for _, shape := range Shapes {
		t.Run(shape.Name, func(t *testing.T) {
			s.Bind(t, shape.T)
			wire := tap(t, s.R, "eth0")
			for _, tos := range []uint8{0, 0xb8, 0xb9, 0xba, 0xbb, 0x02} {
				sent := UDPPacket(Correspondent, Home, 100, func(h *encap.IPv4) { h.TOS = tos })
				SendRaw(t, s.CN, sent)
				p := await(wire, tunnelled(shape.T))
				if p == nil {
					t.Fatalf("TOS %#x: no packet", tos)
				}
				h, inner, err := pull(p)
				if err != nil {
					t.Fatalf("TOS %#x: %v: % x", tos, err, p)
				}
				minimal := shape.T.Encap == encap.Minimal || shape.T.Inside == encap.Minimal
				if h.TOS != tos || inner[1] != tos {
					t.Errorf("TOS %#x: outer %#x, inner %#x", tos, h.TOS, inner[1])
				}
				if !minimal && !h.DF {
					t.Errorf("TOS %#x: no DF", tos)
				}
				if !minimal && h.TTL != 64 {
					t.Errorf("TTL %d", h.TTL)
				}
				if h.HasKey != shape.T.HasKey || h.Key != shape.T.Key {
					t.Errorf("key %v %#x", h.HasKey, h.Key)
				}
				if h.Kind == encap.UDP && (h.SrcPort != encap.Port || h.DstPort != MobilePort) {
					t.Errorf("ports %d to %d", h.SrcPort, h.DstPort)
				}
			}
		})
	}
}

// The inner TTL goes down by one for each router, and a tunnel is none.
//
//rfc:2003#3.1
//rfc:2784#3.1-1
func testTTL(t *testing.T, open Open) {
	s := NewScene(t, open, 1420)
	for _, shape := range Shapes {
		t.Run(shape.Name, func(t *testing.T) {
			s.Bind(t, shape.T)
			arriving, leaving := tap(t, s.MN, Device), tap(t, s.CN, "eth0")
			SendRaw(t, s.CN, UDPPacket(Correspondent, Home, 20, func(h *encap.IPv4) { h.TTL = 9 }))
			if p := await(arriving, between(Correspondent, Home)); p == nil || p[8] != 8 {
				// Under minimal encapsulation the packet travels with its own
				// TTL, which the router in the middle takes one from.
				if p == nil || p[8] != 7 && p[8] != 63 || shape.T.Encap != encap.Minimal && shape.T.Inside != encap.Minimal {
					t.Errorf("inwards: %v", p)
				}
			}
			h := header(shape.T, CareOf, Agent)
			SendRaw(t, s.R, forge(t, h, UDPPacket(Home, Correspondent, 20, func(h *encap.IPv4) { h.TTL = 9 })))
			if p := await(leaving, between(Home, Correspondent)); p == nil || p[8] != 8 {
				t.Errorf("outwards: %v", p)
			}
		})
	}
}

// Figure 4 of RFC 6040, row by row.
//
//rfc:6040#4.2
func testECN(t *testing.T, open Open) {
	s := NewScene(t, open, 1420)
	out := tap(t, s.CN, "eth0")
	const drop = -1
	want := [4][4]int{ // inner by outer: Not-ECT, ECT(1), ECT(0), CE
		{0, 0, 0, drop},
		{1, 1, 1, 3},
		{2, 1, 2, 3},
		{3, 3, 3, 3},
	}
	for _, shape := range Shapes {
		if shape.T.Encap == encap.Minimal || shape.T.Inside == encap.Minimal {
			continue // one header, one ECN field
		}
		t.Run(shape.Name, func(t *testing.T) {
			s.Bind(t, shape.T)
			for inner := range 4 {
				for outer := range 4 {
					in := UDPPacket(Home, Correspondent, 50, func(h *encap.IPv4) { h.TOS = 0x28 | uint8(inner) })
					p := forge(t, header(shape.T, CareOf, Agent), in)
					p[1] = 0x50 | uint8(outer)
					fixSum(p)
					w := want[inner][outer]
					got := s.taken(t, w != drop, shape.T, out, p)
					switch {
					case w == drop && got != nil:
						t.Errorf("inner %d, outer %d: forwarded", inner, outer)
					case w != drop && got == nil:
						t.Errorf("inner %d, outer %d: dropped", inner, outer)
					case w != drop && got[1] != 0x28|uint8(w):
						t.Errorf("inner %d, outer %d: TOS %#x, want %#x", inner, outer, got[1], 0x28|uint8(w))
					}
				}
			}
		})
	}
}

// A tunnel packet that was cut on the way is put together first.
//
//rfc:2003#5.1
func testOuterFragments(t *testing.T, open Open) {
	s := NewScene(t, open, 1420)
	out := tap(t, s.CN, "eth0")
	for _, shape := range Shapes {
		t.Run(shape.Name, func(t *testing.T) {
			s.Bind(t, shape.T)
			inner := UDPPacket(Home, Correspondent, 1300)
			p := forge(t, header(shape.T, CareOf, Agent), inner)
			p[6] &^= 0x40
			p[4], p[5] = 0x12, 0x34
			fixSum(p)
			pieces, err := encap.Fragment(p, 600)
			if err != nil {
				t.Fatal(err)
			}
			SendRaw(t, s.R, pieces...)
			got := await(out, between(Home, Correspondent))
			if got == nil {
				t.Fatal("not forwarded")
			}
			if len(got) != len(inner) {
				t.Errorf("%d octets of %d", len(got), len(inner))
			}
		})
	}
}

// A packet that is a fragment already goes through the tunnel as it is.
//
//rfc:2004#3
func testInnerFragments(t *testing.T, open Open) {
	s := NewScene(t, open, 1420)
	for _, shape := range Shapes {
		t.Run(shape.Name, func(t *testing.T) {
			s.Bind(t, shape.T)
			arriving := tap(t, s.MN, Device)
			pieces, err := encap.Fragment(UDPPacket(Correspondent, Home, 1300), 600)
			if err != nil {
				t.Fatal(err)
			}
			SendRaw(t, s.CN, pieces...)
			if n := countTo(len(pieces), arriving, between(Correspondent, Home)); n != len(pieces) {
				t.Errorf("%d fragments of %d arrived", n, len(pieces))
			}
		})
	}
}

// Anybody can forge a "fragmentation needed" that quotes the two ends of a
// tunnel. The kernel believes it; packets that fit go on all the same, and no
// sender is told otherwise (users-and-threats T16).
//
//rfc:2003#5.1
func testForgedTooBig(t *testing.T, open Open) {
	for _, shape := range Shapes {
		t.Run(shape.Name, func(t *testing.T) {
			s := NewScene(t, open, 1420)
			s.Bind(t, shape.T)
			Transfer(t, s.CN, Correspondent, s.MN, Home, 64<<10)
			stranger := UDPPacket(netip.MustParseAddr("8.8.8.8"), netip.MustParseAddr("9.9.9.9"), 1300)
			h := header(shape.T, Agent, CareOf)
			h.DF = true
			forged := encap.ICMPError(encap.ICMP{Type: encap.DestinationUnreachable, Code: encap.DatagramTooBig, MTU: 68}, router, forge(t, h, stranger))
			if forged == nil {
				t.Fatal("nothing was forged")
			}
			SendRaw(t, s.R, forged, forged)
			Transfer(t, s.CN, Correspondent, s.MN, Home, 1<<20)
			arriving := tap(t, s.MN, Device)
			SendRaw(t, s.CN, UDPPacket(Correspondent, Home, 1300, setDF))
			if await(arriving, between(Correspondent, Home)) == nil {
				t.Error("a packet that fits did not arrive")
			}
			routes, err := s.CN.H.RouteGet(Home.AsSlice())
			if err != nil {
				t.Fatal(err)
			}
			if len(routes) != 1 || routes[0].MTU != 0 && routes[0].MTU < 1300 {
				t.Errorf("the correspondent node was told an MTU: %+v", routes)
			}
		})
	}
}

// A probe of the path's MTU goes through a tunnel whole, however narrow that is
// believed to be, and its answer too.
//
//rfc:8899#4.1
func testProbes(t *testing.T, open Open) {
	s := NewScene(t, open, 1420)
	for i, shape := range Shapes {
		t.Run(shape.Name, func(t *testing.T) {
			narrow := shape.T
			narrow.MTU = 1200
			s.Bind(t, narrow)
			echo := encap.Echo{Type: encap.EchoRequest, Src: Home, Dst: Agent, ID: 7, Seq: uint16(i)}
			token := uint64(1000 + i)
			probe, err := encap.AppendProbe(nil, echo, token, 1400, 1)
			if err != nil {
				t.Fatal(err)
			}
			wire := tap(t, s.R, "eth1")
			sendInto(t, s.MN, Device, probe)
			if got := waitFor[forward.EchoReply](t, s.Mobile); got.Token != token || got.Seq != echo.Seq {
				t.Errorf("event %+v, want token %d", got, token)
			}
			for p := wire(); p != nil; p = wire() {
				if len(p) > 150 && len(p) < 1400 {
					t.Errorf("a packet of %d octets on the way: it was cut", len(p))
				}
			}
		})
	}
}

// sendInto sends a packet into a device, as a mobile node sends its own.
func sendInto(t *testing.T, n *nstest.Node, device string, packet []byte) {
	t.Helper()
	n.In(func() {
		fd, err := unix.Socket(unix.AF_INET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.IPPROTO_RAW)
		if err != nil {
			t.Error(err)
			return
		}
		defer unix.Close(fd)
		if err := unix.BindToDevice(fd, device); err != nil {
			t.Error(err)
			return
		}
		if err := unix.Sendto(fd, packet, 0, &unix.SockaddrInet4{Addr: [4]byte(packet[16:20])}); err != nil {
			t.Error(err)
		}
	})
}
