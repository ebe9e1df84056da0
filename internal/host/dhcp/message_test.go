package dhcp

import (
	"math/rand/v2"
	"net/netip"
	"testing"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv4"

	"careof/internal/core/engine"
	"careof/internal/host/lease"
)

// Whatever frame comes in as an offer, the machine stands it.
func FuzzFrame(f *testing.F) {
	own, now := engine.HardwareAddr{2, 0, 0, 0, 0, 1}, time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)
	up := func() (*lease.Machine, *dhcpv4.DHCPv4) {
		m := lease.ForLink(own, rand.New(rand.NewPCG(1, 2)), nil, false, nil)
		return m, m.Up(now)[0].(lease.Send).Message
	}
	_, asked := up()
	f.Add(frame(own, netip.Addr{}, asked.ToBytes()))
	f.Fuzz(func(t *testing.T, b []byte) {
		m, asked := up()
		if p := messageOf(b); p != nil {
			p.TransactionID, p.ClientHWAddr, p.OpCode = asked.TransactionID, own[:], dhcpv4.OpcodeBootReply
			m.Message(now, true, p)
			p.UpdateOption(dhcpv4.OptMessageType(dhcpv4.MessageTypeOffer))
			m.Message(now, true, p)
		}
	})
}
