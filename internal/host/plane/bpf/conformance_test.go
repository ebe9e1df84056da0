package bpf_test

import (
	"errors"
	"net/netip"
	"os"
	"testing"

	"careof/internal/core/engine"
	"careof/internal/core/forward"
	"careof/internal/host/plane/bpf"
	"careof/internal/host/plane/planetest"
	"careof/internal/host/plane/tun"
	"careof/internal/host/sock"
)

// end is a plane of the suite.
type end struct {
	*bpf.Plane
	slow *tun.Plane
}

func (e end) Deliver(d []sock.Data) { e.slow.Deliver(d) }

func (e end) Heard(link string, packet []byte) { e.slow.Heard(link, packet) }

func (e end) Groups(k forward.Key) []netip.Addr { return e.slow.Groups(k) }

func (e end) Strangers() uint64 {
	t := e.slow.Totals()
	return t.Strangers + t.Malformed
}

// opener opens planes; change adapts their configuration.
func opener(persistent bool, change func(*bpf.Config)) planetest.Open {
	return func(t testing.TB, c planetest.Config) (planetest.Plane, error) {
		dev, err := tun.OpenDevice(planetest.Device, c.MTU, persistent)
		if err != nil {
			return nil, err
		}
		slow, err := tun.New(tun.Config{Device: dev, Datagrams: c.Datagrams, HomeNetworks: c.HomeNetworks, Casts: c.Casts, Secret: c.Secret})
		if err != nil {
			dev.Close()
			return nil, err
		}
		config := bpf.Config{Slow: slow, Device: planetest.Device, Capacity: 1024, Port: c.Datagrams.Port}
		if change != nil {
			change(&config)
		}
		p, err := bpf.Open(config)
		if err != nil {
			slow.Close()
			if errors.Is(err, bpf.ErrUnsupported) && os.Geteuid() != 0 {
				t.Skip(err)
			}
			return nil, err
		}
		if c.Casts != nil {
			if err := p.SetAside(c.Casts.Destinations(c.HomeNetworks)); err != nil {
				return nil, errors.Join(err, p.Close())
			}
		}
		for _, name := range c.Underlays {
			if err := p.Link(engine.Link{Name: name, Up: true}); err != nil {
				return nil, errors.Join(err, p.Close())
			}
		}
		return end{p, slow}, nil
	}
}

func TestConformance(t *testing.T) { planetest.Run(t, opener(false, nil)) }
