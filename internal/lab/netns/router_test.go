package netns

import (
	"context"
	"encoding/binary"
	"errors"
	"net"
	"net/netip"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"careof/internal/lab/nat"
)

// routed is a host on each side of a user-space router: a 10.0.0.2 -- 10.0.0.1 r 198.51.100.1 -- 198.51.100.2 b.
type routed struct {
	network *Network
	router  *Router
	a, b    *Node
	inside  *Segment
	outside *Segment
}

func newRouted(t *testing.T, outside RouterPortConfig) routed {
	n := newNetwork(t)
	x := routed{network: n, router: must(n.NewRouter("r"))(t)}
	x.inside, x.outside = must(n.NewSegment("inside", Conditions{}))(t), must(n.NewSegment("outside", Conditions{}))(t)
	must(x.router.Attach(x.inside, "in", RouterPortConfig{Address: prefix("10.0.0.1/24")}))(t)
	outside.Address = prefix("198.51.100.1/24")
	must(x.router.Attach(x.outside, "out", outside))(t)
	x.a, x.b = must(n.NewNode("a", NodeConfig{}))(t), must(n.NewNode("b", NodeConfig{}))(t)
	must(x.a.Attach(x.inside, "eth0", PortConfig{Addresses: []netip.Prefix{prefix("10.0.0.2/24")}}))(t)
	must(x.b.Attach(x.outside, "eth0", PortConfig{Addresses: []netip.Prefix{prefix("198.51.100.2/24")}}))(t)
	ok(t, x.a.AddRoute(Route{Prefix: prefix("0.0.0.0/0"), Via: addr("10.0.0.1")}))
	return x
}

// translated adds the NAT; b has no route to the inside.
func (x routed) translated(t *testing.T) {
	ok(t, x.router.Translate("out", nat.Config{Inside: prefix("10.0.0.0/24")}))
}

func (x routed) plain(t *testing.T) {
	ok(t, x.b.AddRoute(Route{Prefix: prefix("10.0.0.0/24"), Via: addr("198.51.100.1")}))
}

func TestRouterForwardsBothWays(t *testing.T) {
	x := newRouted(t, RouterPortConfig{})
	x.plain(t)
	echo(t, x.b, "198.51.100.2:7")
	echo(t, x.a, "10.0.0.2:7")
	if got, _ := ask(t, listen(t, x.a, "10.0.0.2:4000"), "198.51.100.2:7"); got != "10.0.0.2:4000" {
		t.Error("b saw ", got)
	}
	if got, _ := ask(t, listen(t, x.b, "198.51.100.2:4000"), "10.0.0.2:7"); got != "198.51.100.2:4000" {
		t.Error("a saw ", got)
	}
}

func TestNATGivesTheExternalAddressAndRebindingAnotherPort(t *testing.T) {
	x := newRouted(t, RouterPortConfig{})
	x.translated(t)
	echo(t, x.b, "198.51.100.2:7")
	conn := listen(t, x.a, "10.0.0.2:434")
	first, _ := ask(t, conn, "198.51.100.2:7")
	again, _ := ask(t, conn, "198.51.100.2:7")
	if !strings.HasPrefix(first, "198.51.100.1:") || first != again {
		t.Errorf("b saw %s, then %s", first, again)
	}
	ok(t, x.router.Rebind())
	moved, _ := ask(t, conn, "198.51.100.2:7")
	if moved == first || !strings.HasPrefix(moved, "198.51.100.1:") {
		t.Errorf("after rebinding b saw %s, before %s", moved, first)
	}
	stranger := listen(t, x.b, "198.51.100.2:9999")
	if !silent(t, stranger, moved) {
		t.Error("a stranger's packet was answered")
	}
	if s := x.router.NATStats(); s.Inbound[nat.Filtered] != 1 || s.Rebinds != 1 {
		t.Errorf("statistics: %+v", s)
	}
}

func TestTCPPassesTheNAT(t *testing.T) {
	x := newRouted(t, RouterPortConfig{})
	x.translated(t)
	transfer := must(StartTransfer(within(t), TransferConfig{
		Client: x.a, Server: x.b, Listen: endpoint("198.51.100.2:80"), Up: 1 << 20, Down: 1 << 20, Seed: 5,
	}))(t)
	intact(t, transfer.Wait(within(t)), 1<<20, 1<<20)
}

func TestKernelMasquerading(t *testing.T) {
	n := newNetwork(t)
	inside, outside := must(n.NewSegment("inside", Conditions{}))(t), must(n.NewSegment("outside", Conditions{}))(t)
	a, b := must(n.NewNode("a", NodeConfig{}))(t), must(n.NewNode("b", NodeConfig{}))(t)
	home := must(n.NewNode("box", NodeConfig{Forward: true}))(t)
	must(a.Attach(inside, "eth0", PortConfig{Addresses: []netip.Prefix{prefix("10.0.0.2/24")}}))(t)
	must(home.Attach(inside, "lan", PortConfig{Addresses: []netip.Prefix{prefix("10.0.0.1/24")}}))(t)
	must(home.Attach(outside, "wan", PortConfig{Addresses: []netip.Prefix{prefix("198.51.100.1/24")}}))(t)
	must(b.Attach(outside, "eth0", PortConfig{Addresses: []netip.Prefix{prefix("198.51.100.2/24")}}))(t)
	ok(t, a.AddRoute(Route{Prefix: prefix("0.0.0.0/0"), Via: addr("10.0.0.1")}))
	ok(t, home.Masquerade("wan"))
	echo(t, b, "198.51.100.2:7")
	if got, _ := ask(t, listen(t, a, "10.0.0.2:0"), "198.51.100.2:7"); !strings.HasPrefix(got, "198.51.100.1:") {
		t.Error("b saw ", got)
	}
}

func TestRouterReportsItsMTUToTheKernel(t *testing.T) {
	x := newRouted(t, RouterPortConfig{MTU: 1000})
	x.plain(t)
	conn := must(x.a.DialUDP(netip.AddrPort{}, endpoint("198.51.100.2:7")))(t)
	defer conn.Close()
	setDF(t, conn)
	deadline := time.Now().Add(limit)
	for {
		_, err := conn.Write(make([]byte, 1200))
		if errors.Is(err, syscall.EMSGSIZE) {
			break // "fragmentation needed" has arrived
		}
		if time.Now().After(deadline) {
			t.Fatal("the kernel never learnt the path MTU: ", err)
		}
		pause(t.Context(), 5*time.Millisecond)
	}
	mtu, err := optionOf(conn, unix.IP_MTU)
	if err != nil || mtu != 1000 {
		t.Errorf("path MTU %d, want 1000 (%v)", mtu, err)
	}
}

func TestRouterFragmentsWhereItMay(t *testing.T) {
	x := newRouted(t, RouterPortConfig{MTU: 600})
	x.translated(t)
	to := listen(t, x.b, "198.51.100.2:7")
	from := listen(t, x.a, "10.0.0.2:0")
	setOption(t, from, unix.IP_MTU_DISCOVER, unix.IP_PMTUDISC_DONT)
	sent := make([]byte, 1400)
	for i := range sent {
		sent[i] = byte(i * 7)
	}
	buffer := make([]byte, 2000)
	for range 20 {
		from.WriteToUDPAddrPort(sent, endpoint("198.51.100.2:7"))
		to.SetReadDeadline(time.Now().Add(time.Second))
		if n, _, err := to.ReadFromUDPAddrPort(buffer); err == nil {
			if string(buffer[:n]) != string(sent) {
				t.Error("the packet changed on its way")
			}
			return
		}
	}
	t.Error("nothing arrived")
}

func TestRouterDecrementsTTLAndReportsItsEnd(t *testing.T) {
	x := newRouted(t, RouterPortConfig{})
	x.translated(t)
	conn := must(x.a.DialUDP(netip.AddrPort{}, endpoint("198.51.100.2:7")))(t)
	defer conn.Close()
	setOption(t, conn, unix.IP_TTL, 1)
	setOption(t, conn, unix.IP_RECVERR, 1)
	conn.Write([]byte("x"))
	conn.SetReadDeadline(time.Now().Add(limit))
	if _, err := conn.Read(make([]byte, 10)); !errors.Is(err, syscall.EHOSTUNREACH) {
		t.Error("want the kernel's view of time exceeded, got ", err)
	}
}

func TestRouterReportsHostsThatDoNotAnswer(t *testing.T) {
	x := newRouted(t, RouterPortConfig{})
	x.translated(t)
	conn := must(x.a.DialUDP(netip.AddrPort{}, endpoint("198.51.100.77:7")))(t)
	defer conn.Close()
	setOption(t, conn, unix.IP_RECVERR, 1)
	conn.Write([]byte("x"))
	conn.SetReadDeadline(time.Now().Add(limit))
	if _, err := conn.Read(make([]byte, 10)); !errors.Is(err, syscall.EHOSTUNREACH) {
		t.Error("want host unreachable, got ", err)
	}
}

func TestKernelErrorsPassTheNATInwards(t *testing.T) {
	x := newRouted(t, RouterPortConfig{})
	x.translated(t)
	conn := must(x.a.DialUDP(netip.AddrPort{}, endpoint("198.51.100.2:9")))(t) // nobody listens: port unreachable
	defer conn.Close()
	conn.Write([]byte("x"))
	conn.SetReadDeadline(time.Now().Add(limit))
	if _, err := conn.Read(make([]byte, 10)); !errors.Is(err, syscall.ECONNREFUSED) {
		t.Error("want connection refused, got ", err)
	}
}

func TestRouterFollowsAGratuitousARP(t *testing.T) {
	x := newRouted(t, RouterPortConfig{})
	x.plain(t)
	echo(t, x.b, "198.51.100.2:7")
	ask(t, listen(t, x.a, "10.0.0.2:0"), "198.51.100.2:7")
	x.router.mu.Lock()
	out := x.router.ports[1]
	before := out.neighbours[addr("198.51.100.2")].mac
	x.router.mu.Unlock()
	moved := MAC{2, 9, 9, 9, 9, 9}
	gratuitous := arpPacket(arpReply, moved, addr("198.51.100.2"), moved, addr("198.51.100.2"))
	x.router.hear(out, ethernet(broadcastMAC, moved, etherTypeARP, gratuitous))
	x.router.mu.Lock()
	after := out.neighbours[addr("198.51.100.2")].mac
	x.router.mu.Unlock()
	if before == moved || after != moved {
		t.Errorf("before %s, after %s", before, after)
	}
}

func TestRouterAnswersPing(t *testing.T) {
	x := newRouted(t, RouterPortConfig{})
	x.translated(t)
	for _, row := range []struct {
		from *Node
		to   string
	}{{x.a, "10.0.0.1"}, {x.b, "198.51.100.1"}, {x.a, "198.51.100.2"}} {
		ok(t, ping(t, row.from, row.to))
	}
}

func TestRouterSurvivesAnyBytes(t *testing.T) {
	x := newRouted(t, RouterPortConfig{})
	x.translated(t)
	r := x.network.rand("garbage")
	out := x.router.ports[1]
	seed := ethernet(out.port.mac, MAC{2}, etherTypeIPv4, newIPv4(17, addr("198.51.100.2"), addr("198.51.100.1"), make([]byte, 40)))
	for range 20000 {
		frame := append([]byte(nil), seed[:ethernetHeader+r.IntN(len(seed)-ethernetHeader+1)]...)
		for range r.IntN(4) {
			frame[12+r.IntN(len(frame)-12)] = byte(r.Uint32())
		}
		if len(frame) >= ethernetHeader+20 && r.IntN(2) == 0 && frame[14]>>4 == 4 && int(frame[14]&15)*4 <= len(frame)-ethernetHeader && frame[14]&15 >= 5 {
			sealIPv4(frame[ethernetHeader:])
		}
		x.router.hear(out, frame)
	}
}

// ping sends one echo request by an unprivileged ICMP socket and waits for the answer.
func ping(t *testing.T, from *Node, to string) error {
	t.Helper()
	var conn net.PacketConn
	err := from.Do(func() error {
		fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, unix.IPPROTO_ICMP)
		if err != nil {
			return err
		}
		conn, err = packetConn(fd)
		return err
	})
	if err != nil {
		return err
	}
	defer conn.Close()
	request := []byte{icmpEchoRequest, 0, 0, 0, 0, 0, 0, 1, 'h', 'i'}
	binary.BigEndian.PutUint16(request[2:], checksum(request))
	target := &net.UDPAddr{IP: addr(to).AsSlice()}
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	defer cancel()
	for ctx.Err() == nil {
		if _, err := conn.WriteTo(request, target); err != nil {
			return err
		}
		conn.SetReadDeadline(time.Now().Add(time.Second))
		if _, _, err = conn.ReadFrom(make([]byte, 100)); err == nil {
			return nil
		}
	}
	return err
}
