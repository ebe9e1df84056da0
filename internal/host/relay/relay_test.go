package relay

import (
	"context"
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv4"

	"careof/internal/host/plane/nstest"
)

// What comes out of the tunnel device reaches the server, whether the node has sent it to
// everybody or to the relay, and the answer returns by the device. The same from a host on
// another link is no node's word: nothing of it reaches the server.
func TestOnlyTheTunnelDeviceIsHeard(t *testing.T) {
	ha, node, lan := nstest.New(t, "ha"), nstest.New(t, "node"), nstest.New(t, "lan")
	nstest.Join(t, ha, "careof0", node, "eth0", 1500)
	nstest.Join(t, ha, "eth0", lan, "eth0", 1500)
	ha.Address("careof0", "10.10.0.1/24")
	ha.Address("eth0", "192.0.2.1/24")
	node.Address("eth0", "10.10.0.5/24")
	lan.Address("eth0", "192.0.2.67/24")
	at := func(n *nstest.Node, address string) (c net.PacketConn) {
		t.Helper()
		n.Do(func() {
			var err error
			if c, err = listen(netip.MustParseAddrPort(address), "eth0"); err != nil {
				t.Error(err)
			}
		})
		if c == nil {
			t.FailNow()
		}
		t.Cleanup(func() { c.Close() })
		return c
	}
	var r *Relay
	ha.Do(func() {
		var err error
		r, err = Open(Config{
			Device: "careof0", Address: netip.MustParseAddr("192.0.2.1"), Servers: []netip.Addr{netip.MustParseAddr("192.0.2.67")},
			Networks: []netip.Prefix{netip.MustParsePrefix("10.10.0.0/24")}, Information: Information{Circuit: true},
			Bound: func(_ context.Context, a netip.Addr) (Node, bool) { return van, a == home },
		})
		if err != nil {
			t.Error(err)
		}
	})
	if r == nil {
		t.FailNow()
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- r.Run(ctx) }()

	// What the stranger says comes first, so that the server would hear it first. To the
	// relay it is a server that asks.
	stranger, server, mn := at(lan, "192.0.2.67:68"), at(lan, "192.0.2.67:67"), at(node, "0.0.0.0:68")
	say := func(from net.PacketConn, to string, id byte) {
		t.Helper()
		m := asks(dhcpv4.MessageTypeDiscover, dhcpv4.WithTransactionID(dhcpv4.TransactionID{id}))
		if _, err := from.WriteTo(m, net.UDPAddrFromAddrPort(netip.MustParseAddrPort(to))); err != nil {
			t.Fatal(err)
		}
	}
	hear := func(at net.PacketConn) (*dhcpv4.DHCPv4, net.Addr) {
		t.Helper()
		if err := at.SetReadDeadline(time.Now().Add(20 * time.Second)); err != nil {
			t.Fatal(err)
		}
		b := make([]byte, 2048)
		n, from, err := at.ReadFrom(b)
		if err != nil {
			t.Fatal(err)
		}
		m, err := dhcpv4.FromBytes(b[:n])
		if err != nil {
			t.Fatal(err)
		}
		return m, from
	}
	say(stranger, "192.0.2.1:67", 1)
	say(stranger, "255.255.255.255:67", 2)
	node.Route("192.0.2.0/24", "10.10.0.1", "", "")
	for id, to := range map[byte]string{3: "192.0.2.1:67", 4: "255.255.255.255:67"} {
		say(mn, to, id)
		m, from := hear(server)
		if m.TransactionID[0] != id || from.String() != "192.0.2.1:67" || string(m.RelayAgentInfo().Get(dhcpv4.GenericOptionCode(1))) != "10.10.0.5" {
			t.Errorf("said to %s, the server hears of %v: %s", to, from, m.Summary())
		}
		if _, err := server.WriteTo(answers(m.ToBytes(), dhcpv4.MessageTypeOffer), from); err != nil {
			t.Fatal(err)
		}
		m, from = hear(mn)
		if m.TransactionID[0] != id || from.String() != "192.0.2.1:67" || m.RelayAgentInfo() != nil {
			t.Errorf("the node hears of %v: %s", from, m.Summary())
		}
	}
	for _, c := range r.Counts() {
		if want := map[Outcome]uint64{Relayed: 2, Returned: 2, Malformed: 1}[c.Outcome]; c.N != want {
			t.Errorf("%v: %d, want %d", c.Outcome, c.N, want)
		}
	}
	cancel()
	select {
	case err := <-ended:
		if err != nil {
			t.Error(err)
		}
	case <-time.After(20 * time.Second):
		t.Error("it does not end")
	}
}
