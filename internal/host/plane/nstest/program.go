package nstest

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// A Program sends from a socket that it has bound to an address of its host, to
// an interface, or to both. None of it takes a privilege, but for the mark.
type Program struct {
	Network string // "udp4", "tcp6" and so on
	Source  netip.Addr
	Link    string
	Mark    int // SO_MARK; 0 for none

	// Patience is how long it waits for a connection; 0 for not long, where packets
	// are lost on purpose.
	Patience time.Duration
}

func (p Program) String() string {
	return fmt.Sprintf("%s bound to %v and %q, mark %#x", p.Network, p.Source, p.Link, p.Mark)
}

// Sends sends a datagram, or tries to connect, and tells how that went.
func (p Program) Sends(n *Node, to netip.AddrPort) (err error) {
	n.t.Helper()
	datagrams := strings.HasPrefix(p.Network, "udp")
	n.Do(func() {
		d := net.Dialer{Timeout: cmp.Or(p.Patience, 300*time.Millisecond), Control: func(_, _ string, raw syscall.RawConn) (err error) {
			failed := raw.Control(func(fd uintptr) {
				if p.Link != "" {
					err = unix.BindToDevice(int(fd), p.Link)
				}
				if p.Mark != 0 {
					err = errors.Join(err, unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_MARK, p.Mark))
				}
			})
			return errors.Join(failed, err)
		}}
		switch local := netip.AddrPortFrom(p.Source, 0); {
		case !p.Source.IsValid():
		case datagrams:
			d.LocalAddr = net.UDPAddrFromAddrPort(local)
		default:
			d.LocalAddr = net.TCPAddrFromAddrPort(local)
		}
		var c net.Conn
		if c, err = d.DialContext(context.Background(), p.Network, to.String()); err != nil {
			return
		}
		defer c.Close()
		if datagrams {
			_, err = c.Write([]byte("x"))
		}
	})
	return err
}

// To counts what a link has seen for a destination, or for several: packets, and
// questions (ARP) where it is. next is what [Node.Packets] gives.
func To(next func() []byte, dst ...netip.Addr) (count int) {
	is := func(b []byte) {
		if slices.ContainsFunc(dst, func(a netip.Addr) bool { return bytes.Equal(b, a.AsSlice()) }) {
			count++
		}
	}
	for p := next(); p != nil; p = next() {
		switch {
		case len(p) >= 28 && p[0] == 0 && p[1] == 1:
			is(p[24:28])
		case len(p) >= 20 && p[0]>>4 == 4:
			is(p[16:20])
		case len(p) >= 40 && p[0]>>4 == 6:
			is(p[24:40])
		}
	}
	return count
}
