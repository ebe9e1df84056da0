package sock

import (
	"encoding/binary"
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"careof/internal/core/engine"
	"careof/wire/encap"
	"careof/wire/nat64"
)

// An uplink's socket over IPv6 speaks of IPv4 addresses: what is sent to the home
// agent arrives at the address that stands for it, with its ECN and as many datagrams
// as there were; and what comes from an address that stands for none, a stranger's,
// is nothing.
//
//rfc:6052#2.2
//rfc:4443#3.2
func TestASocketOverIPv6(t *testing.T) {
	inNamespace(t)
	loopback, err := netlink.LinkByName("lo")
	must(t, err)
	for _, a := range []string{"2001:db8:6::5/128", "2001:db8:64::198.51.100.1/128", "2001:db8:9::1/128"} {
		addr, err := netlink.ParseAddr(a)
		must(t, err)
		addr.Flags = unix.IFA_F_NODAD
		must(t, netlink.AddrAdd(loopback, addr))
		// The kernel puts the route to an address of its own a moment later.
		for end := time.Now().Add(20 * time.Second); ; time.Sleep(time.Millisecond) {
			if list, err := netlink.RouteGet(addr.IP); err == nil && len(list) == 1 && list[0].Type == unix.RTN_LOCAL {
				break
			} else if time.Now().After(end) {
				t.Fatalf("%s is not reached: %v, %v", a, list, err)
			}
		}
	}
	prefix, err := nat64.PrefixOf(netip.MustParsePrefix("2001:db8:64::/96"))
	must(t, err)
	translated := listen6(t, "[2001:db8:64::198.51.100.1]:434")
	stranger := listen6(t, "[2001:db8:9::1]:434")

	in := newInbox()
	s := New(in.receiver(), 0)
	defer s.Close()
	careOf, peer := netip.MustParseAddr("192.0.0.1"), netip.MustParseAddrPort("198.51.100.1:434")
	s.Translate("lo", careOf, netip.MustParseAddr("2001:db8:6::5"), prefix)
	from := netip.AddrPortFrom(careOf, 0)
	must(t, s.Send(engine.Send{Link: "lo", Src: from, Dst: peer, TTL: 64, Data: []byte{1, 2, 3}}))
	text, node := read6(t, translated)
	if text != "\x01\x02\x03" || node.Addr() != netip.MustParseAddr("2001:db8:6::5") {
		t.Fatalf("%q came from %v", text, node)
	}
	if p := s.Port("lo", careOf); p != 0 {
		t.Errorf("the programs are told of port %d", p)
	}
	if p := s.From("lo", careOf, false); p != node.Port() {
		t.Errorf("captures are told of port %d, and it is %d", p, node.Port())
	}

	write6(t, stranger, node, "\x03stranger")
	write6(t, stranger, node, "\x04stranger")
	write6(t, translated, node, "\x03reply")
	write6(t, translated, node, "\x04data")
	if p := await(t, "reply", in.signals); string(p.Data) != "\x03reply" || p.Src != peer || p.Dst != netip.AddrPortFrom(careOf, node.Port()) || p.Link != "lo" || p.TTL == 0 {
		t.Errorf("signalling: %+v", p)
	}
	if d := await(t, "data", in.data); string(d.Message) != "\x04data" || d.From != peer || d.Local != netip.AddrPortFrom(careOf, node.Port()) || d.TOS != 2 {
		t.Errorf("data: %+v", d)
	}

	must(t, s.SendData(from, peer, "lo", 2, [][]byte{[]byte("\x04one"), []byte("\x04two")}))
	must(t, s.SendTrain(from, peer, "lo", 2, 4, [][]byte{[]byte("\x04"), []byte("six"), []byte("\x04tens")[:4]}))
	for _, want := range []string{"\x04one", "\x04two", "\x04six", "\x04ten"} {
		if text, from := read6(t, translated); text != want || from != node {
			t.Errorf("%q came from %v, want %q", text, from, want)
		}
	}

	// From the port beside it, where a longer keepalive interval is looked for, the
	// answer comes back too, and tunnel data do not.
	must(t, s.Send(engine.Send{Link: "lo", Src: from, Dst: peer, Aside: true, Data: []byte("\x01aside")}))
	text, beside := read6(t, translated)
	if text != "\x01aside" || beside.Addr() != node.Addr() || beside.Port() == node.Port() {
		t.Fatalf("%q came from %v", text, beside)
	}
	if p := s.From("lo", careOf, true); p != beside.Port() {
		t.Errorf("captures are told of port %d, and it is %d", p, beside.Port())
	}
	write6(t, translated, beside, "\x04data")
	write6(t, translated, beside, "\x03later")
	if p := await(t, "answer", in.signals); string(p.Data) != "\x03later" || p.Src != peer || p.Dst != netip.AddrPortFrom(careOf, beside.Port()) {
		t.Errorf("aside: %+v", p)
	}
	if len(in.data) > 0 {
		t.Errorf("aside: %+v", <-in.data)
	}

	// What routers say of its datagrams is told in IPv4; what they say of others,
	// or of those to somebody else, is not.
	router, err := net.ListenPacket("ip6:ipv6-icmp", "2001:db8:9::1")
	must(t, err)
	defer router.Close()
	tooBig := func(source, to string, port uint16, mtu uint32) {
		b := binary.BigEndian.AppendUint32([]byte{2, 0, 0, 0}, mtu)
		b = append(b, 0x60, 0, 0, 0, 1460>>8, 1460&255, 17, 60)
		b = append(append(b, netip.MustParseAddr(source).AsSlice()...), netip.MustParseAddr(to).AsSlice()...)
		b = binary.BigEndian.AppendUint16(b, port)
		b = append(b, 434>>8, 434&255, 1460>>8, 1460&255, 0, 0, encap.TunnelDataType, byte(encap.IPIP), 0, 0)
		_, err := router.WriteTo(b, &net.IPAddr{IP: net.ParseIP("2001:db8:6::5")})
		must(t, err)
	}
	const home = "2001:db8:64::198.51.100.1"
	tooBig("2001:db8:6::5", home, node.Port()^1, 1300)
	tooBig("2001:db8:6::6", home, node.Port(), 1300)
	tooBig("2001:db8:6::5", "2001:db8:65::198.51.100.1", node.Port(), 1300)
	tooBig("2001:db8:6::5", home, node.Port(), 1400)
	e, err := encap.ParseTunnelError(await(t, "an error", in.errors))
	if err != nil || e.ICMP != (encap.ICMP{Type: encap.DestinationUnreachable, Code: encap.DatagramTooBig, MTU: 1380}) || e.From != dummy ||
		e.Outer.Src != careOf || e.Outer.Dst != peer.Addr() || e.Outer.TotalLen != 1480 || e.SrcPort != node.Port() || e.Kind != encap.UDP || e.Inner != encap.IPIP {
		t.Errorf("told %+v, %v", e, err)
	}

	// The address goes, and with it the socket.
	s.Untranslate("lo", netip.Addr{})
	s.Addresses(engine.Link{Name: "lo", Up: true})
	if err := s.SendData(from, peer, "lo", 0, [][]byte{{4}}); err == nil {
		t.Error("sent without the address")
	}
}

func listen6(t *testing.T, at string) *net.UDPConn {
	t.Helper()
	c, err := net.ListenUDP("udp6", net.UDPAddrFromAddrPort(netip.MustParseAddrPort(at)))
	must(t, err)
	t.Cleanup(func() { c.Close() })
	raw, err := c.SyscallConn()
	must(t, err)
	must(t, raw.Control(func(fd uintptr) { must(t, unix.SetsockoptInt(int(fd), unix.SOL_IPV6, unix.IPV6_TCLASS, 2)) }))
	return c
}

func read6(t *testing.T, c *net.UDPConn) (string, netip.AddrPort) {
	t.Helper()
	buffer := make([]byte, 100)
	must(t, c.SetReadDeadline(time.Now().Add(20*time.Second)))
	n, from, err := c.ReadFromUDPAddrPort(buffer)
	must(t, err)
	return string(buffer[:n]), from
}

func write6(t *testing.T, c *net.UDPConn, to netip.AddrPort, text string) {
	t.Helper()
	_, err := c.WriteToUDPAddrPort([]byte(text), to)
	must(t, err)
}
