package world

import (
	"time"

	"careof/internal/core/engine"
)

// A Clock is a node's idea of time: a monotonic clock that begins anew with
// every boot of the machine, and a wall clock that may be wrong, drift and
// jump.
type Clock struct {
	world *World
	boot  time.Time     // what the monotonic clock said when the world began
	skew  time.Duration // wall minus true time
	drift float64       // seconds gained per second
	since time.Duration // when drift began to count
}

// Now is the instant on both clocks.
func (c *Clock) Now() engine.Now {
	w := c.world
	gained := time.Duration(float64(w.now-c.since) * c.drift)
	return engine.Now{
		Mono: c.boot.Add(w.now),
		Wall: w.Time().Add(c.skew + gained),
	}
}

// Jump sets the wall clock forward or, with a negative duration, back.
func (c *Clock) Jump(by time.Duration) { c.skew += by }

// SetWall sets the wall clock to a time of day.
func (c *Clock) SetWall(t time.Time) { c.skew += t.Sub(c.Now().Wall) }

// Correct sets the wall clock right and ends its drift.
func (c *Clock) Correct() { c.skew, c.drift = 0, 0 }

// Drift makes the wall clock gain seconds per second from now on.
func (c *Clock) Drift(perSecond float64) {
	c.skew += time.Duration(float64(c.world.now-c.since) * c.drift)
	c.drift, c.since = perSecond, c.world.now
}

// Skew is the wall clock's present error.
func (c *Clock) Skew() time.Duration { return c.Now().Wall.Sub(c.world.Time()) }

// sinceMono translates an instant of this clock to the world's time.
func (c *Clock) sinceMono(mono time.Time) time.Duration { return mono.Sub(c.boot) }

// reboot lets the monotonic clock begin somewhere else, as it does when the
// machine, not only the daemon, starts again.
func (c *Clock) reboot(boots int) {
	c.boot = time.Unix(int64(1000*(boots+1)), 0).UTC().Add(-c.world.now)
}
