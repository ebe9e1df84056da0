package live

import (
	"errors"
	"net"
	"net/netip"
	"os"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"careof/internal/control"
	"careof/internal/lab/topology"
	"careof/wire/encap"
)

// Somebody on the path says, in a router's name, that it carries only 556 octets.
// The node's probes know better: programs send packets of the whole length all the
// while.
//
//rfc:8899#4.6.2
func TestAForgedTooBigMakesNoTunnelNarrow(t *testing.T) {
	t.Parallel()
	plan := topology.Default()
	server := netip.AddrPortFrom(netip.MustParseAddr(address(t, plan.Node("cn"))), 7)
	l := build(t, plan, Options{Kernel: true})
	s := NewStage(t.Context(), l, t.Logf)
	defer s.Close()
	in := func(node string, f func() error) {
		t.Helper()
		if err := l.Network.Node(node).Do(f); err != nil {
			t.Fatal(err)
		}
	}
	var echo *net.UDPConn
	in("cn", func() (err error) {
		echo, err = net.ListenUDP("udp4", net.UDPAddrFromAddrPort(server))
		return err
	})
	defer echo.Close()
	go func() {
		b := make([]byte, 2000)
		for {
			n, from, err := echo.ReadFromUDPAddrPort(b)
			if err != nil {
				return
			}
			_, _ = echo.WriteToUDPAddrPort(b[:n], from)
		}
	}()
	s.Plug("mn", "wlan0", "access1")
	s.Until("the node is registered", 30*time.Second, func() bool { return s.Binding("mn").Registered })
	var c *net.UDPConn
	in("mn", func() (err error) {
		if c, err = net.DialUDP("udp4", nil, net.UDPAddrFromAddrPort(server)); err != nil {
			return err
		}
		raw, err := c.SyscallConn()
		if err != nil {
			return err
		}
		return errors.Join(err, raw.Control(func(fd uintptr) {
			err = os.NewSyscallError("setsockopt", unix.SetsockoptInt(int(fd), unix.SOL_IP, unix.IP_MTU_DISCOVER, unix.IP_PMTUDISC_DO))
		}), err)
	})
	defer c.Close()
	passes := func() bool {
		b := make([]byte, 2000)
		if _, err := c.Write(b[:1300]); err != nil {
			return false
		}
		_ = c.SetReadDeadline(time.Now().Add(time.Second))
		n, err := c.Read(b)
		return err == nil && n == 1300
	}
	s.Until("a long packet comes back", 30*time.Second, passes)
	var registrations []control.Registration
	if err := l.Daemon("mn").Show("registrations", "", &registrations); err != nil || len(registrations) != 1 {
		t.Fatalf("%+v, %v", registrations, err)
	}
	r := registrations[0]
	kinds := map[string]encap.Kind{"ipip": encap.IPIP, "gre": encap.GRE}
	kind, plain := kinds[r.Encapsulation]
	if !plain {
		t.Fatalf("the tunnel is %s", r.Encapsulation)
	}
	inner, err := encap.AppendEcho(nil, &encap.Echo{Type: encap.EchoRequest, Src: netip.MustParseAddr("10.10.0.5"), Dst: server.Addr(), Data: make([]byte, 1000)}, 1)
	if err != nil {
		t.Fatal(err)
	}
	quote, err := encap.Append(nil, &encap.Header{Kind: kind, Src: r.CareOfAddress, Dst: r.HomeAgent, DF: true}, inner)
	if err != nil {
		t.Fatal(err)
	}
	forged := encap.ICMPError(encap.ICMP{Type: encap.DestinationUnreachable, Code: encap.DatagramTooBig, MTU: 576}, netip.MustParseAddr("192.0.2.1"), quote)
	for range 20 {
		in("core", func() error {
			fd, err := unix.Socket(unix.AF_INET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.IPPROTO_RAW)
			if err != nil {
				return os.NewSyscallError("socket", err)
			}
			defer unix.Close(fd)
			return os.NewSyscallError("sendto", unix.Sendto(fd, forged, 0, &unix.SockaddrInet4{Addr: r.CareOfAddress.As4()}))
		})
		s.Until("a long packet passes all the same", 20*time.Second, passes)
	}
}
