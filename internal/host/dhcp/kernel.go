package dhcp

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"slices"
	"syscall"
	"time"

	"github.com/mdlayher/packet"
	"github.com/vishvananda/netlink"
	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"

	"careof/internal/host/arp"
	"careof/internal/host/beside"
	"careof/internal/host/lease"
)

// protocol tags the default routes as of DHCP: RTPROT_DHCP, which `ip route`
// shows as "proto dhcp".
const protocol = unix.RTPROT_DHCP

// index is a link's, zero when it is gone.
func (c *Client) index(link string) int {
	l, err := c.handle.LinkByName(link)
	if err != nil {
		return 0
	}
	return l.Attrs().Index
}

// configure gives the link what a lease says, then takes away what another one
// gave it.
func (w *worker) configure(l lease.Lease) error {
	w.own(l.Address)
	w.client.promote(w.Name)
	if err := w.extend(l); err != nil {
		return err
	}
	var err error
	if before := w.applied; before != nil && before.Address != l.Address {
		// Once more: where it may not be promoted, the new address went with
		// the old one of the same network.
		err = errors.Join(w.withdraw(*before), w.extend(l))
	} else if before != nil && before.Gateway != l.Gateway {
		err = w.client.unroute(w.Name, w.Metric, *before)
	}
	w.applied = &l
	if e := w.client.route(w.Name, w.Metric, l); e != nil {
		err = errors.Join(err, e)
	}
	return err
}

// promote lets the other addresses of a network stay when the first one goes:
// the next lease's, or that of somebody who takes the link over. Where /proc/sys
// cannot be written it is as the host has it.
func (c *Client) promote(link string) {
	_ = c.space.Do(func() error {
		return os.WriteFile("/proc/sys/net/ipv4/conf/"+link+"/promote_secondaries", []byte("1"), 0)
	})
}

// extend sets until when the kernel keeps the address.
func (w *worker) extend(l lease.Lease) error {
	link, err := w.client.handle.LinkByName(w.Name)
	if err != nil {
		return fmt.Errorf("dhcp: %s: %w", w.Name, err)
	}
	left := int(min(time.Until(l.Until)/time.Second, 1<<32-1))
	a := &netlink.Addr{IPNet: ipNet(l.Address), ValidLft: max(left, 1), PreferedLft: max(left, 1)}
	if l.Address.Bits() < 31 {
		a.Broadcast = lease.Last(l.Address).AsSlice()
	}
	if !l.Connected(w.client.guard().Tunnelled) {
		a.Flags |= unix.IFA_F_NOPREFIXROUTE
	}
	if err := w.client.handle.AddrReplace(link, a); err != nil {
		return fmt.Errorf("dhcp: address %v on %s: %w", l.Address, w.Name, err)
	}
	return nil
}

// withdraw takes from the link what a lease gave it. It is no error when that
// is gone.
func (w *worker) withdraw(l lease.Lease) error {
	if w.unicast != nil && w.unicast.addr == l.Address.Addr() {
		w.unicast.close()
		w.unicast = nil
	}
	w.applied = nil
	link, err := w.client.handle.LinkByName(w.Name)
	if err != nil {
		return nil
	}
	err = w.client.unroute(w.Name, w.Metric, l)
	if e := w.client.handle.AddrDel(link, &netlink.Addr{IPNet: ipNet(l.Address)}); e != nil && !errors.Is(e, unix.EADDRNOTAVAIL) {
		err = errors.Join(err, fmt.Errorf("dhcp: take %v from %s: %w", l.Address, w.Name, e))
	}
	return err
}

func defaultRoute(index, metric int, l lease.Lease) *netlink.Route {
	return &netlink.Route{
		LinkIndex: index, Table: unix.RT_TABLE_MAIN, Protocol: protocol, Priority: metric, Type: unix.RTN_UNICAST,
		Dst: ipNet(netip.PrefixFrom(netip.IPv4Unspecified(), 0)), Gw: l.Gateway.AsSlice(), Src: l.Address.Addr().AsSlice(),
		// Gateways outside of the network are usual with /32 leases.
		Flags: unix.RTNH_F_ONLINK,
	}
}

func (c *Client) route(link string, metric int, l lease.Lease) error {
	if !l.Gateway.IsValid() {
		return nil
	}
	if err := c.handle.RouteReplace(defaultRoute(c.index(link), metric, l)); err != nil {
		return fmt.Errorf("dhcp: default route over %s: %w", link, err)
	}
	return nil
}

func (c *Client) unroute(link string, metric int, l lease.Lease) error {
	if !l.Gateway.IsValid() {
		return nil
	}
	if err := c.handle.RouteDel(defaultRoute(c.index(link), metric, l)); err != nil && !errors.Is(err, unix.ESRCH) {
		return fmt.Errorf("dhcp: default route over %s: %w", link, err)
	}
	return nil
}

// present tells whether the link has the address and the default route that a
// lease gave it.
func (c *Client) present(name string, metric int, l lease.Lease) (address, route bool, err error) {
	link, err := c.handle.LinkByName(name)
	if err != nil {
		return false, false, fmt.Errorf("dhcp: %s: %w", name, err)
	}
	addrs, err := c.handle.AddrList(link, netlink.FAMILY_V4)
	if err != nil {
		return false, false, fmt.Errorf("dhcp: the addresses of %s: %w", name, err)
	}
	want := ipNet(l.Address).String()
	address = slices.ContainsFunc(addrs, func(a netlink.Addr) bool { return a.IPNet.String() == want })
	if !l.Gateway.IsValid() {
		return address, true, nil
	}
	routes, err := c.handle.RouteListFiltered(netlink.FAMILY_V4, defaultRoute(link.Attrs().Index, metric, l), netlink.RT_FILTER_TABLE|netlink.RT_FILTER_OIF)
	if err != nil {
		return false, false, fmt.Errorf("dhcp: the routes of %s: %w", name, err)
	}
	route = slices.ContainsFunc(routes, func(r netlink.Route) bool {
		return r.Priority == metric && r.Protocol == protocol && r.Gw.Equal(l.Gateway.AsSlice())
	})
	return address, route, nil
}

func ipNet(p netip.Prefix) *net.IPNet {
	return &net.IPNet{IP: p.Addr().AsSlice(), Mask: net.CIDRMask(p.Bits(), 32)}
}

// send sends to a server from the lease's address, or to everybody from below
// IP.
func (w *worker) send(s lease.Send) error {
	b := s.Message.ToBytes()
	if !s.To.IsValid() {
		if err := w.listen(); err != nil {
			return err
		}
		return w.raw.send(frame(w.link.HW, s.From, b))
	}
	if w.unicast == nil {
		conn, err := w.client.bind(w.Name, s.From)
		if err != nil {
			return err
		}
		w.unicast = &leaseSocket{conn: conn, addr: s.From}
		go w.unicast.read(w.messages)
	}
	if _, err := w.unicast.conn.WriteTo(b, net.UDPAddrFromAddrPort(netip.AddrPortFrom(s.To, lease.ServerPort))); err != nil {
		return fmt.Errorf("dhcp: %w", err)
	}
	return nil
}

// A leaseSocket is where servers answer to the lease's own address.
type leaseSocket struct {
	conn net.PacketConn
	addr netip.Addr
}

func (s *leaseSocket) close() { s.conn.Close() }

func (s *leaseSocket) read(out chan<- []byte) {
	buf := make([]byte, 1<<16)
	for {
		n, _, err := s.conn.ReadFrom(buf)
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil {
			continue // an ICMP error about what was sent
		}
		select {
		case out <- append([]byte{}, buf[:n]...):
		default: // nobody needs so many
		}
	}
}

// bind opens a socket at the lease's address and on the link: what it sends
// uses that, whatever the main table prefers.
func (c *Client) bind(link string, from netip.Addr) (conn net.PacketConn, err error) {
	config := net.ListenConfig{Control: func(_, _ string, raw syscall.RawConn) error {
		var err error
		if e := raw.Control(func(fd uintptr) {
			err = errors.Join(unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_REUSEADDR, 1), unix.BindToDevice(int(fd), link), beside.Own(int(fd)))
		}); e != nil {
			return e
		}
		return err
	}}
	err = c.space.Do(func() (err error) {
		conn, err = config.ListenPacket(context.Background(), "udp4", netip.AddrPortFrom(from, lease.ClientPort).String())
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("dhcp: %w", err)
	}
	return conn, nil
}

// A rawSocket hears and says DHCP and ARP below IP.
type rawSocket struct{ conn *packet.Conn }

func (s *rawSocket) close() { s.conn.Close() }

func (s *rawSocket) send(b []byte) error {
	if _, err := s.conn.WriteTo(b, &packet.Addr{HardwareAddr: net.HardwareAddr(arp.Broadcast[:])}); err != nil {
		return fmt.Errorf("dhcp: %w", err)
	}
	return nil
}

// filter lets up ARP, and UDP to the client's port.
func filter() ([]bpf.RawInstruction, error) {
	return bpf.Assemble([]bpf.Instruction{
		bpf.LoadAbsolute{Off: 12, Size: 2},
		bpf.JumpIf{Cond: bpf.JumpEqual, Val: unix.ETH_P_ARP, SkipTrue: 8},
		bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: unix.ETH_P_IP, SkipTrue: 8},
		bpf.LoadAbsolute{Off: etherLen + 9, Size: 1},
		bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: unix.IPPROTO_UDP, SkipTrue: 6},
		bpf.LoadAbsolute{Off: etherLen + 6, Size: 2},
		bpf.JumpIf{Cond: bpf.JumpBitsSet, Val: 0x1fff, SkipTrue: 4},
		bpf.LoadMemShift{Off: etherLen},
		bpf.LoadIndirect{Off: etherLen + 2, Size: 2},
		bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: lease.ClientPort, SkipTrue: 1},
		bpf.RetConstant{Val: 1 << 16},
		bpf.RetConstant{Val: 0},
	})
}

// listen opens the socket below IP, if it is not open.
func (w *worker) listen() error {
	if w.raw != nil {
		return nil
	}
	program, err := filter()
	if err != nil {
		return fmt.Errorf("dhcp: %w", err)
	}
	var conn *packet.Conn
	err = w.client.space.Do(func() error {
		ifi, err := net.InterfaceByName(w.Name)
		if err != nil {
			return err
		}
		conn, err = packet.Listen(ifi, packet.Raw, unix.ETH_P_ALL, &packet.Config{Filter: program})
		return err
	})
	if err != nil {
		return fmt.Errorf("dhcp: %s: %w", w.Name, err)
	}
	w.raw = &rawSocket{conn}
	go w.raw.read(w.frames)
	return nil
}

func (s *rawSocket) read(out chan<- []byte) {
	buf := make([]byte, 1<<16)
	for {
		n, _, err := s.conn.ReadFrom(buf)
		switch {
		case errors.Is(err, net.ErrClosed), errors.Is(err, os.ErrClosed):
			return
		case err != nil:
			time.Sleep(readPause) // ENETDOWN and the like pass
			continue
		}
		select {
		case out <- append([]byte{}, buf[:n]...):
		default: // a server says it again
		}
	}
}

// readPause keeps a socket whose link is down from being asked all the time.
const readPause = 20 * time.Millisecond
