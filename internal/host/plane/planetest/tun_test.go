package planetest_test

import (
	"testing"

	"careof/internal/host/plane/planetest"
	"careof/internal/host/plane/tun"
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
	p, err := tun.New(tun.Config{Device: dev, Datagrams: c.Datagrams, HomeNetworks: c.HomeNetworks})
	if err != nil {
		dev.Close()
		return nil, err
	}
	return end{p}, nil
}

// The user-space plane is the measure of the others, and of the suite.
func TestUserSpace(t *testing.T) { planetest.Run(t, open) }
