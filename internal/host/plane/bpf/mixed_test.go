package bpf_test

import (
	"testing"

	"careof/internal/host/offload"
	"careof/internal/host/plane/nstest"
	"careof/internal/host/plane/planetest"
	"careof/internal/host/plane/tun"
)

type slowEnd struct{ *tun.Plane }

func (e slowEnd) Strangers() uint64 { return e.Totals().Strangers }

func openSlow(_ testing.TB, c planetest.Config) (planetest.Plane, error) {
	dev, err := tun.OpenDevice(planetest.Device, c.MTU, false)
	if err != nil {
		return nil, err
	}
	p, err := tun.New(tun.Config{Device: dev, Datagrams: c.Datagrams, HomeNetworks: c.HomeNetworks})
	return slowEnd{p}, err
}

// One end has programs, the other has not, and a wire is between them: what
// leaves is whole and no longer than the wire takes.
func TestOtherEndInUserSpace(t *testing.T) {
	n := 0
	s := planetest.NewScene(t, func(t testing.TB, c planetest.Config) (planetest.Plane, error) {
		n++
		if n == 1 {
			return opener(false, nil)(t, c) // the agent
		}
		return openSlow(t, c)
	}, 1420)
	for _, at := range []struct {
		n    *nstest.Node
		link string
	}{{s.CN, "eth0"}, {s.HA, "lan0"}, {s.HA, "wan0"}, {s.R, "eth0"}, {s.R, "eth1"}, {s.MN, "eth0"}} {
		at.n.Do(func() {
			if err := offload.Segment(at.link); err != nil {
				t.Error(err)
			}
		})
	}
	for _, shape := range planetest.Shapes {
		t.Run(shape.Name, func(t *testing.T) {
			s.Bind(t, shape.T)
			planetest.Transfer(t, s.CN, planetest.Correspondent, s.MN, planetest.Home, 4<<20)
			planetest.Transfer(t, s.MN, planetest.Home, s.CN, planetest.Correspondent, 4<<20)
		})
	}
}
