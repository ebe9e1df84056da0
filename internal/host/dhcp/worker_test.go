package dhcp

import (
	"math/rand/v2"
	"testing"
	"time"

	"careof/internal/core/engine"
	"careof/internal/host/lease"
)

// A clock that is set moves what a link waits for: it neither waits for a year, nor is over.
func TestAClockThatIsSetDelaysNothing(t *testing.T) {
	at := engine.Now{Mono: time.Unix(100, 0), Wall: time.Date(1970, 1, 1, 0, 1, 40, 0, time.UTC)}
	w := &worker{machine: lease.ForLink(engine.HardwareAddr{2, 0, 0, 0, 0, 1}, rand.New(rand.NewPCG(1, 2)), nil, false, nil)}
	now := w.now(at)
	w.patient = now.Add(patience)
	w.machine.Up(now)
	wait := w.machine.Deadline().Sub(now)
	for _, by := range []time.Duration{50 * 365 * 24 * time.Hour, -time.Hour} {
		at.Wall = at.Wall.Add(by)
		now = w.now(at)
		if got := w.machine.Deadline().Sub(now); got != wait || w.patient.Sub(now) != patience || !now.Equal(at.Wall) {
			t.Errorf("set by %v it waits %v instead of %v, and %v instead of %v", by, got, wait, w.patient.Sub(now), patience)
		}
	}
}
