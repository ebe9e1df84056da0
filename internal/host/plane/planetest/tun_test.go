package planetest_test

import (
	"net/netip"
	"sync/atomic"
	"testing"

	"careof/internal/core/forward"
	"careof/internal/host/plane/planetest"
	"careof/internal/host/plane/tun"
	"careof/wire/encap"
)

type end struct{ *tun.Plane }

func (e end) Strangers() uint64 {
	t := e.Totals()
	return t.Strangers + t.Malformed
}

func open(_ testing.TB, c planetest.Config) (planetest.Plane, error) {
	dev, err := tun.OpenDevice(planetest.Device, c.MTU, false)
	if err != nil {
		return nil, err
	}
	p, err := tun.New(tun.Config{Device: dev, Datagrams: c.Datagrams, HomeNetworks: c.HomeNetworks, Casts: c.Casts, Secret: c.Secret})
	if err != nil {
		dev.Close()
		return nil, err
	}
	return end{p}, nil
}

// The user-space plane is the measure of the others, and of the suite.
func TestUserSpace(t *testing.T) { planetest.Run(t, open) }

// counting counts what goes to the UDP sockets.
type counting struct {
	tun.Datagrams
	calls, messages atomic.Int64
}

func (c *counting) SendTrain(local, peer netip.AddrPort, link string, tos uint8, size int, pieces [][]byte) error {
	c.calls.Add(1)
	c.messages.Add(int64(len(pieces) / 2))
	return c.Datagrams.SendTrain(local, peer, link, tos, size, pieces)
}

// TCP segments that the kernel hands over as one train leave as one call, which
// the socket makes one system call of (UDP_SEGMENT).
func TestTrainsStayTogether(t *testing.T) {
	var sent []*counting
	s := planetest.NewScene(t, func(_ testing.TB, c planetest.Config) (planetest.Plane, error) {
		dev, err := tun.OpenDevice(planetest.Device, c.MTU, false)
		if err != nil {
			return nil, err
		}
		count := &counting{Datagrams: c.Datagrams}
		sent = append(sent, count)
		p, err := tun.New(tun.Config{Device: dev, Datagrams: count})
		return end{p}, err
	}, 1420)
	s.Bind(t, forward.Tunnel{Encap: encap.UDP})
	planetest.Transfer(t, s.CN, planetest.Correspondent, s.MN, planetest.Home, 16<<20)
	calls, messages := sent[0].calls.Load(), sent[0].messages.Load()
	if messages < 16<<20*9/10/1420 || messages < 4*calls {
		t.Errorf("%d messages in %d calls", messages, calls)
	}
}
