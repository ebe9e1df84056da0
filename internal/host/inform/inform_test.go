package inform

import (
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv4"
)

var question = Question{Link: "lo", Home: netip.MustParseAddr("10.10.0.5"), Server: netip.MustParseAddr("127.0.0.1"), Client: "van7@fleet.example"}

// A client "MUST NOT request lease time parameters", and has its address in 'ciaddr'; the
// server is told no address that it could give out.
//
//rfc:2131#4.4.3
func TestTheQuestionIsOneOfAHostWithAnAddress(t *testing.T) {
	m, err := message(question)
	if err != nil {
		t.Fatal(err)
	}
	if m, err = dhcpv4.FromBytes(m.ToBytes()); err != nil {
		t.Fatal(err)
	}
	if m.MessageType() != dhcpv4.MessageTypeInform || !m.ClientIPAddr.Equal(net.IP{10, 10, 0, 5}) || !m.GatewayIPAddr.IsUnspecified() || m.IsBroadcast() ||
		m.Options.Has(dhcpv4.OptionIPAddressLeaseTime) || m.IsOptionRequested(dhcpv4.OptionIPAddressLeaseTime) || m.Options.Has(dhcpv4.OptionRequestedIPAddress) {
		t.Errorf("%s", m.Summary())
	}
	if id := string(m.Options.Get(dhcpv4.OptionClientIdentifier)); id != "\x00van7@fleet.example" {
		t.Errorf("client identifier %q", id)
	}
}

// A loop is a port on the loopback device.
type loop struct{ *net.UDPConn }

func (l loop) Receive(b []byte) (int, netip.Addr, error) {
	n, from, err := l.ReadFromUDPAddrPort(b)
	return n, from.Addr(), err
}

// Nothing counts but the acknowledgement of this question, whichever of its addresses the
// server has answered from.
func TestOnlyTheAnswerIsHeard(t *testing.T) {
	open := func() *net.UDPConn {
		c, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IP{127, 0, 0, 1}})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { c.Close() })
		return c
	}
	conn, server := open(), open()
	m, err := message(question)
	if err != nil {
		t.Fatal(err)
	}
	answer := func(from *net.UDPConn, change func(*dhcpv4.DHCPv4), more ...dhcpv4.Modifier) {
		t.Helper()
		r, err := dhcpv4.NewReplyFromRequest(m, append(more, dhcpv4.WithMessageType(dhcpv4.MessageTypeAck))...)
		if err != nil {
			t.Fatal(err)
		}
		if change != nil {
			change(r)
		}
		if _, err := from.WriteTo(r.ToBytes(), conn.LocalAddr()); err != nil {
			t.Fatal(err)
		}
	}
	answer(server, func(r *dhcpv4.DHCPv4) { r.ClientHWAddr = net.HardwareAddr{2, 0, 10, 10, 0, 6} })
	answer(server, func(r *dhcpv4.DHCPv4) { r.TransactionID[0]++ })
	answer(server, func(r *dhcpv4.DHCPv4) { r.UpdateOption(dhcpv4.OptMessageType(dhcpv4.MessageTypeNak)) })
	answer(server, func(r *dhcpv4.DHCPv4) { r.OpCode = dhcpv4.OpcodeBootRequest })
	if _, err := server.WriteTo([]byte("nonsense"), conn.LocalAddr()); err != nil {
		t.Fatal(err)
	}
	if _, ok, err := hear(loop{conn}, m, time.Now().Add(50*time.Millisecond)); ok || err != nil {
		t.Fatalf("it took something else for the answer: %v", err)
	}
	answer(server, nil, dhcpv4.WithDNS(net.IP{10, 10, 0, 53}), dhcpv4.WithRouter(net.IP{10, 10, 0, 1}),
		dhcpv4.WithOption(dhcpv4.OptDomainName("fleet.example")))
	a, ok, err := hear(loop{conn}, m, time.Now().Add(10*time.Second))
	if !ok || err != nil || len(a.Servers) != 1 || a.Servers[0] != netip.MustParseAddr("10.10.0.53") || a.Router != netip.MustParseAddr("10.10.0.1") ||
		a.Domain != "fleet.example" {
		t.Errorf("%+v, %v, %v", a, ok, err)
	}
}
