package tun

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
	"careof/wire/encap"
)

// A link in the middle of the tunnel is narrower than anybody knew: the sender
// is told, and its TCP goes on; packets without DF are fragmented before they
// enter the tunnel.
//
//rfc:2003#4.1
//rfc:2003#5.1
func TestPathMTU(t *testing.T) {
	for _, shape := range shapes {
		if shape.name != "ipip" && shape.name != "gre-key" && shape.name != "udp" {
			continue
		}
		t.Run(shape.name, func(t *testing.T) {
			s := newScene(t, 1460)
			s.bind(t, shape.t)
			narrow(t, s, 1300)
			transfer(t, s.cn, cnAddr, s.mn, homeAddr, 4<<20)
			b := s.agent.bindings["mn"].tunnels[0]
			want := 1300 - b.overhead()
			if got := b.soft.limit(b.mtu, s.agent.now()); got != want {
				t.Errorf("the tunnel's MTU is %d, want %d", got, want)
			}
			// An unconnected sender that does not do path MTU discovery.
			var got net.PacketConn
			s.mn.Do(func() {
				var err error
				got, err = net.ListenPacket("udp4", netip.AddrPortFrom(homeAddr, 7777).String())
				must(t, err)
			})
			defer got.Close()
			s.cn.Do(func() {
				c, err := net.ListenPacket("udp4", "10.9.0.2:0")
				if err != nil {
					t.Error(err)
					return
				}
				defer c.Close()
				must(t, setUDP(c, unix.IP_MTU_DISCOVER, unix.IP_PMTUDISC_DONT))
				_, err = c.WriteTo(make([]byte, 1400), got.LocalAddr())
				must(t, err)
			})
			got.SetReadDeadline(time.Now().Add(3 * time.Second))
			buf := make([]byte, 2000)
			if n, _, err := got.ReadFrom(buf); n != 1400 || err != nil {
				t.Errorf("fragmented datagram: %d octets, %v", n, err)
			}
		})
	}
}

// narrow sets the MTU of the router's link to the mobile node. (A veth drops
// what is longer than its own MTU when it comes from the other side, so this
// is for traffic towards the node only.)
func narrow(t *testing.T, s *scene, mtu int) {
	t.Helper()
	if err := s.r.H.LinkSetMTU(s.r.Link("eth1"), mtu); err != nil {
		t.Fatal(err)
	}
}

// setUDP sets an IP option of a UDP socket.
func setUDP(c any, option, value int) error {
	sc, err := c.(*net.UDPConn).SyscallConn()
	if err != nil {
		return err
	}
	var set error
	err = sc.Control(func(fd uintptr) { set = unix.SetsockoptInt(int(fd), unix.IPPROTO_IP, option, value) })
	return errors.Join(err, set)
}

// A router has no way to the care-of address: the correspondent node is told
// that the host is unreachable, the machine gets a hint, and the tunnel stays.
//
//rfc:2003#4.1
func TestUnreachableInsideTheTunnel(t *testing.T) {
	s := newScene(t, 1420)
	s.bind(t, forward.Tunnel{Encap: encap.IPIP})
	r := &netlink.Route{Dst: &net.IPNet{IP: careOf.AsSlice(), Mask: net.CIDRMask(32, 32)}, Type: unix.RTN_UNREACHABLE}
	if err := s.r.H.RouteAdd(r); err != nil {
		t.Fatal(err)
	}
	s.cn.Do(func() {
		c, err := net.Dial("udp4", netip.AddrPortFrom(homeAddr, 9).String())
		if err != nil {
			t.Error(err)
			return
		}
		defer c.Close()
		// Without it the kernel tells of fatal errors only.
		must(t, setUDP(c, unix.IP_RECVERR, 1))
		_, err = c.Write([]byte("x"))
		must(t, err)
		c.SetReadDeadline(time.Now().Add(3 * time.Second))
		_, err = c.Read(make([]byte, 1))
		if !errors.Is(err, unix.EHOSTUNREACH) && !errors.Is(err, unix.ENETUNREACH) {
			if errors.Is(err, os.ErrDeadlineExceeded) {
				t.Error("the correspondent node was not told")
			} else {
				t.Errorf("the correspondent node was told %v", err)
			}
		}
	})
	e := waitFor[forward.Unreachable](t, s.agent)
	if e.Key != "mn" || e.Peer != careOf || e.Type != 3 {
		t.Errorf("event %+v", e)
	}
	if err := s.r.H.RouteDel(r); err != nil {
		t.Fatal(err)
	}
	transfer(t, s.cn, cnAddr, s.mn, homeAddr, 1<<20)
}

// tooBig is a "fragmentation needed" from a router about a packet that the
// agent sent.
func tooBig(mtu uint16, quote []byte) []byte {
	p := encap.ICMPError(encap.ICMP{Type: encap.DestinationUnreachable, Code: encap.DatagramTooBig, MTU: mtu}, other, quote)
	return p
}

func (b *bench) icmp(packet []byte) {
	x := newBatch(1, true)
	x.packets[0], x.n = packet, 1
	b.p.icmpPackets()(x)
}

// Forged errors do little: none is believed about a packet that was not sent,
// no MTU below the floor, and what was believed ages.
//
//rfc:2003#5.1
func TestForgedTooBig(t *testing.T) {
	b := newBench(t)
	b.put(agentEntry(toCareOf(forward.Tunnel{Encap: encap.IPIP})))
	limit := func() int {
		tun := b.p.bindings["mn"].tunnels[0]
		return tun.soft.limit(tun.mtu, b.p.now())
	}
	pkt := udpPacket(cnAddr, homeAddr, 1400, setDF)
	quote, err := encap.Append(nil, &encap.Header{Kind: encap.IPIP, Src: haAddr, Dst: careOf, DF: true}, pkt)
	if err != nil {
		t.Fatal(err)
	}
	b.icmp(tooBig(1000, quote))
	if limit() != 1480 {
		t.Fatalf("believed before anything was sent: %d", limit())
	}
	b.fromKernel(pkt)
	sent := one(b, "packet", b.raw.out)

	wrong, _ := encap.Append(nil, &encap.Header{Kind: encap.GRE, Src: haAddr, Dst: careOf, DF: true}, pkt)
	b.icmp(tooBig(1000, wrong))
	elsewhere, _ := encap.Append(nil, &encap.Header{Kind: encap.IPIP, Src: haAddr, Dst: careOf, DF: true}, udpPacket(cnAddr, other, 100))
	b.icmp(tooBig(1000, elsewhere))
	if limit() != 1480 {
		t.Fatalf("believed about another tunnel's packet: %d", limit())
	}
	none(b, "relayed", b.raw.out)

	b.icmp(tooBig(68, sent))
	b.icmp(tooBig(100, sent))
	if limit() != minOuterMTU-20 {
		t.Fatalf("MTU %d, want the floor", limit())
	}
	e := one(b, "relayed error", b.raw.out)
	if kind, code := icmpOf(e); kind != 3 || code != 4 || binary.BigEndian.Uint16(e[26:]) != minOuterMTU-20 || word4(e[16:20]) != cnAddr {
		t.Errorf("relayed % x", e[:28])
	}
	b.wait(time.Duration(keepMTU))
	if limit() != 1480 {
		t.Errorf("MTU %d after ten minutes, want it forgotten", limit())
	}
}

// A router that quotes eight octets only does not say whose packet it was: the
// next sender is told, and its packet sent nevertheless.
//
//rfc:2003#5
func TestSoftStateWithoutAnInnerHeader(t *testing.T) {
	b := newBench(t)
	b.put(agentEntry(toCareOf(forward.Tunnel{Encap: encap.GRE, HasKey: true, Key: 5})))
	pkt := udpPacket(cnAddr, homeAddr, 100)
	b.fromKernel(pkt)
	sent := one(b, "packet", b.raw.out)
	b.icmp(encap.ICMPError(encap.ICMP{Type: encap.DestinationUnreachable, Code: encap.HostUnreachable}, other, sent[:28]))
	if e := one(b, "event", b.p.Events()).(forward.Unreachable); e.Peer != careOf || e.Code != 1 {
		t.Errorf("event %+v", e)
	}
	none(b, "relayed without knowing to whom", b.raw.out)
	b.fromKernel(pkt)
	e := one(b, "ICMP error", b.raw.out)
	if kind, code := icmpOf(e); kind != 3 || code != 1 || word4(e[16:20]) != cnAddr {
		t.Errorf("told % x", e[:28])
	}
	if _, _, err := encap.PullIP(one(b, "packet, sent nevertheless", b.raw.out)); err != nil {
		t.Error(err)
	}
	b.wait(time.Duration(keepUnreachable))
	b.fromKernel(pkt)
	one(b, "packet", b.raw.out)
	none(b, "told after the state has aged", b.raw.out)
}

// Anybody can forge a "fragmentation needed" that quotes the two ends of a
// tunnel. The kernel believes it; packets that fit go on all the same, and no
// sender is told otherwise (users-and-threats T16).
//
//rfc:2003#5.1
func TestAForgedTooBigChangesNothing(t *testing.T) {
	for _, shape := range shapes {
		if shape.name != "ipip" && shape.name != "udp" {
			continue
		}
		t.Run(shape.name, func(t *testing.T) {
			s := newScene(t, 1420)
			s.bind(t, shape.t)
			transfer(t, s.cn, cnAddr, s.mn, homeAddr, 64<<10)
			stranger := udpPacket(netip.MustParseAddr("8.8.8.8"), netip.MustParseAddr("9.9.9.9"), 1300)
			h := encap.Header{Kind: shape.t.Encap, Src: haAddr, Dst: careOf, DF: true}
			if h.Kind == encap.UDP {
				h.SrcPort, h.DstPort, h.Checksum = encap.Port, mnPort, true
			}
			outer, err := encap.Append(nil, &h, stranger)
			if err != nil {
				t.Fatal(err)
			}
			forged := encap.ICMPError(encap.ICMP{Type: encap.DestinationUnreachable, Code: encap.DatagramTooBig, MTU: 68}, netip.MustParseAddr("192.0.2.2"), outer)
			if forged == nil {
				t.Fatal("nothing was forged")
			}
			sendRaw(t, s.r, [][]byte{forged, forged})
			transfer(t, s.cn, cnAddr, s.mn, homeAddr, 1<<20)
			b := s.agent.bindings["mn"].tunnels[0]
			if got := b.soft.limit(b.mtu, s.agent.now()); got != b.mtu {
				t.Errorf("the tunnel's MTU fell from %d to %d", b.mtu, got)
			}
			routes, err := s.cn.H.RouteGet(homeAddr.AsSlice())
			if err != nil {
				t.Fatal(err)
			}
			if len(routes) != 1 || routes[0].MTU != 0 && routes[0].MTU < 1300 {
				t.Errorf("the correspondent node was told an MTU: %+v", routes)
			}
		})
	}
}
