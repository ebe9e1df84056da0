package homedhcp

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"syscall"
	"time"

	"golang.org/x/net/ipv4"
	"golang.org/x/sys/unix"

	"careof/internal/host/lease"
	"careof/internal/host/netspace"
)

// A Conn is the client's port at the home address. What it sends goes where packets of the
// home address go, also through a foreign agent; what it hears has come over one link.
type Conn struct {
	p    *ipv4.PacketConn
	link string
	n    int // the link's index
}

// Listen opens the port at the home address, beside whatever DHCP client the host has on its
// links. link is where packets for the home address come in: the tunnel device, or the link
// to a foreign agent.
func Listen(ctx context.Context, space *netspace.Space, home netip.Addr, link string) (*Conn, error) {
	lc := net.ListenConfig{Control: func(_, _ string, c syscall.RawConn) (err error) {
		return errors.Join(c.Control(func(fd uintptr) {
			err = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_REUSEADDR, 1)
		}), err)
	}}
	c := &Conn{link: link}
	err := space.Do(func() error {
		ifi, err := net.InterfaceByName(link)
		if err != nil {
			return err
		}
		conn, err := lc.ListenPacket(ctx, "udp4", netip.AddrPortFrom(home, lease.ClientPort).String())
		if err != nil {
			return err
		}
		c.p, c.n = ipv4.NewPacketConn(conn), ifi.Index
		return c.p.SetControlMessage(ipv4.FlagInterface, true)
	})
	if err != nil {
		if c.p != nil {
			c.p.Close()
		}
		return nil, fmt.Errorf("homedhcp: %s: %w", link, err)
	}
	return c, nil
}

// Everybody is the address of all servers on a link.
var Everybody = netip.AddrFrom4([4]byte{255, 255, 255, 255})

// Send sends a message to a server, to the relay that stands for it, or to everybody on the
// link.
func (c *Conn) Send(b []byte, to netip.Addr) error {
	var how *ipv4.ControlMessage
	if to == Everybody {
		how = &ipv4.ControlMessage{IfIndex: c.n}
	}
	if _, err := c.p.WriteTo(b, how, net.UDPAddrFromAddrPort(netip.AddrPortFrom(to, lease.ServerPort))); err != nil {
		return fmt.Errorf("homedhcp: %w", err)
	}
	return nil
}

// Receive waits for a message. What has come in over another link than packets for the home
// address do was sent by somebody there: it is passed over.
func (c *Conn) Receive(b []byte) (n int, from netip.Addr, err error) {
	for {
		n, cm, addr, err := c.p.ReadFrom(b)
		if err != nil {
			return 0, netip.Addr{}, fmt.Errorf("homedhcp: %w", err)
		}
		u, ok := addr.(*net.UDPAddr)
		if ok && cm != nil && cm.IfIndex == c.n {
			return n, u.AddrPort().Addr().Unmap(), nil
		}
	}
}

// SetReadDeadline ends Receive at a time.
func (c *Conn) SetReadDeadline(t time.Time) error { return c.p.SetReadDeadline(t) }

// Close closes the port.
func (c *Conn) Close() error { return c.p.Close() }
