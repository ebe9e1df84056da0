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
	"net/netip"
	"os"
	"time"

	"careof/internal/host/homedhcp"
	"careof/internal/host/lease"
	"careof/internal/host/netspace"
	"github.com/insomniacslk/dhcp/dhcpv4"
)

// A Question is whom to ask, and as who.
type Question struct {
	Link   string     // that packets for the home address come in by
	Home   netip.Addr // this host's address
	Server netip.Addr // or the relay that stands for it
	Client string     // the client identifier, a name
}

// An Answer is what the server says, as it says it: nothing is checked.
type Answer struct {
	Servers []netip.Addr // name servers
	Router  netip.Addr
	Domain  string
}

const (
	attempts  = 4
	firstWait = 4 * time.Second
)

// ErrSilent says that the server did not answer.
var ErrSilent = errors.New("the DHCP server does not answer")

// Ask asks, and asks again after 4, 8 and 16 seconds, each plus or minus one: "The client
// MUST adopt a retransmission strategy that incorporates a randomized exponential backoff"
// (RFC 2131 section 4.1).
func Ask(ctx context.Context, space *netspace.Space, q Question) (Answer, error) {
	conn, err := homedhcp.Listen(ctx, space, q.Home, q.Link)
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
		if err := conn.Send(m.ToBytes(), q.Server); err != nil {
			return Answer{}, fmt.Errorf("inform: %w", err)
		}
		until := time.Now().Add(wait - time.Second + rand.N(2*time.Second))
		if a, ok, err := hear(conn, m, until); ok || err != nil {
			return a, err
		}
		wait *= 2
	}
	return Answer{}, fmt.Errorf("inform: %w: %s", ErrSilent, q.Server)
}

// message is the question: the home address is in 'ciaddr', and "MUST NOT request lease
// time parameters" is kept (RFC 2131 section 4.4.3).
//
//rfc:2131#4.4.3
func message(q Question) (*dhcpv4.DHCPv4, error) {
	hw := lease.Hardware(q.Home)
	return dhcpv4.NewInform(hw[:], q.Home.AsSlice(),
		dhcpv4.WithOption(dhcpv4.OptClientIdentifier(lease.Identifier(q.Client))),
		dhcpv4.WithRequestedOptions(dhcpv4.OptionRouter, dhcpv4.OptionDomainNameServer, dhcpv4.OptionDomainName))
}

// A port is where answers come in. *homedhcp.Conn is one.
type port interface {
	SetReadDeadline(time.Time) error
	Receive(b []byte) (n int, from netip.Addr, err error)
}

// hear waits for the answer to a message. Everything else is passed over. Whose address it
// comes from is not looked at: a server that was asked through a relay may answer "directly
// to the address given in the 'ciaddr' field" (RFC 2131 section 4.3.5).
//
//rfc:2131#4.3.5
func hear(conn port, m *dhcpv4.DHCPv4, until time.Time) (Answer, bool, error) {
	if err := conn.SetReadDeadline(until); err != nil {
		return Answer{}, false, fmt.Errorf("inform: %w", err)
	}
	var b [4096]byte
	for {
		n, _, err := conn.Receive(b[:])
		switch {
		case errors.Is(err, os.ErrDeadlineExceeded):
			return Answer{}, false, nil
		case err != nil:
			return Answer{}, false, fmt.Errorf("inform: %w", err)
		}
		r, err := dhcpv4.FromBytes(b[:n])
		if err == nil && r.OpCode == dhcpv4.OpcodeBootReply && r.TransactionID == m.TransactionID &&
			string(r.ClientHWAddr) == string(m.ClientHWAddr) && r.MessageType() == dhcpv4.MessageTypeAck {
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
