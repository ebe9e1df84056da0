// Package inform asks a DHCP server about the network that a host has its address from
// already: DHCPINFORM (RFC 2131 section 3.4). A mobile node asks the server of its home
// network, through the tunnel: from its home address, to the server's, so nothing on the
// way needs to know. There is no lease; what is answered is about the moment.
//
// What must not go in here: leases of uplinks, which are package dhcp's.
package inform

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"os"
	"syscall"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv4"
	"golang.org/x/sys/unix"

	"careof/internal/host/netspace"
)

// A Question is whom to ask, and as who.
type Question struct {
	Device string     // that the packets go through
	Home   netip.Addr // this host's address
	Server netip.Addr
	Client string // the client identifier, a name
}

// An Answer is what the server says, as it says it: nothing is checked.
type Answer struct {
	Servers []netip.Addr // name servers
	Router  netip.Addr
	Domain  string
}

const (
	serverPort, clientPort = 67, 68
	attempts               = 4
	firstWait              = 4 * time.Second
)

// ErrSilent says that the server did not answer.
var ErrSilent = errors.New("the DHCP server does not answer")

// Ask asks, and asks again after 4, 8 and 16 seconds, each plus or minus one: "The client
// MUST adopt a retransmission strategy that incorporates a randomized exponential backoff"
// (RFC 2131 section 4.1).
func Ask(ctx context.Context, space *netspace.Space, q Question) (Answer, error) {
	conn, err := listen(ctx, space, q)
	if err != nil {
		return Answer{}, fmt.Errorf("inform: %w", err)
	}
	defer conn.Close()
	stop := context.AfterFunc(ctx, func() { conn.Close() })
	defer stop()
	m, err := message(q)
	if err != nil {
		return Answer{}, fmt.Errorf("inform: %w", err)
	}
	wait := firstWait
	for range attempts {
		if _, err := conn.WriteToUDPAddrPort(m.ToBytes(), netip.AddrPortFrom(q.Server, serverPort)); err != nil {
			return Answer{}, fmt.Errorf("inform: %w", err)
		}
		until := time.Now().Add(wait - time.Second + rand.N(2*time.Second))
		if a, ok, err := hear(conn, q, m, until); ok || err != nil {
			return a, err
		}
		wait *= 2
	}
	return Answer{}, fmt.Errorf("inform: %w: %s", ErrSilent, q.Server)
}

// listen opens the client's port at the home address, beside whatever DHCP client the host
// has on its links.
func listen(ctx context.Context, space *netspace.Space, q Question) (*net.UDPConn, error) {
	lc := net.ListenConfig{Control: func(_, _ string, c syscall.RawConn) (err error) {
		return errors.Join(c.Control(func(fd uintptr) {
			err = errors.Join(unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_REUSEADDR, 1), unix.BindToDevice(int(fd), q.Device))
		}), err)
	}}
	var conn net.PacketConn
	err := space.Do(func() (err error) {
		conn, err = lc.ListenPacket(ctx, "udp4", netip.AddrPortFrom(q.Home, clientPort).String())
		return err
	})
	if err != nil {
		return nil, err
	}
	return conn.(*net.UDPConn), nil
}

// message is the question: the home address is in 'ciaddr', and "MUST NOT request lease
// time parameters" is kept (RFC 2131 section 4.4.3). A tunnel has no link-layer address,
// so one of local administration is made of the home address; the name tells the node
// apart.
//
//rfc:2131#4.4.3
func message(q Question) (*dhcpv4.DHCPv4, error) {
	a := q.Home.As4()
	return dhcpv4.NewInform(net.HardwareAddr{0x02, 0, a[0], a[1], a[2], a[3]}, net.IP(a[:]),
		dhcpv4.WithOption(dhcpv4.OptClientIdentifier(append([]byte{0}, q.Client...))),
		dhcpv4.WithRequestedOptions(dhcpv4.OptionRouter, dhcpv4.OptionDomainNameServer, dhcpv4.OptionDomainName))
}

// hear waits for the answer to a message. Everything else is passed over.
func hear(conn *net.UDPConn, q Question, m *dhcpv4.DHCPv4, until time.Time) (Answer, bool, error) {
	if err := conn.SetReadDeadline(until); err != nil {
		return Answer{}, false, fmt.Errorf("inform: %w", err)
	}
	var b [4096]byte
	for {
		n, from, err := conn.ReadFromUDPAddrPort(b[:])
		switch {
		case errors.Is(err, os.ErrDeadlineExceeded):
			return Answer{}, false, nil
		case err != nil:
			return Answer{}, false, fmt.Errorf("inform: %w", err)
		case from.Addr().Unmap() != q.Server:
			continue
		}
		r, err := dhcpv4.FromBytes(b[:n])
		if err == nil && r.OpCode == dhcpv4.OpcodeBootReply && r.TransactionID == m.TransactionID && r.MessageType() == dhcpv4.MessageTypeAck {
			return read(r), true, nil
		}
	}
}

func read(r *dhcpv4.DHCPv4) Answer {
	a := Answer{Domain: r.DomainName()}
	for _, ip := range r.DNS() {
		if s, ok := netip.AddrFromSlice(ip.To4()); ok {
			a.Servers = append(a.Servers, s)
		}
	}
	if list := r.Router(); len(list) > 0 {
		a.Router, _ = netip.AddrFromSlice(list[0].To4())
	}
	return a
}
