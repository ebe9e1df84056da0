// Package clock reads the host's clocks for machines, which read none.
package clock

import (
	"time"

	"golang.org/x/sys/unix"

	"careof/internal/core/engine"
)

// Now reads both clocks. The monotonic one is CLOCK_BOOTTIME, because a
// lifetime goes on while the host sleeps.
func Now() engine.Now { return pair(time.Now, Mono) }

// together is how far apart two clocks are read at one instant.
const together = time.Millisecond

// pair reads both clocks at one instant. On a busy machine something may come
// between: what is told by one clock and kept by the other would be wrong by as
// much, and a second of it would be taken for a clock that was set.
func pair(wall, mono func() time.Time) engine.Now {
	for tries := 0; ; tries++ {
		w := wall()
		m := mono()
		if wall().Sub(w) < together || tries == 5 {
			return engine.Now{Mono: m, Wall: w.Round(0)}
		}
	}
}

// Mono reads CLOCK_BOOTTIME. The result compares only with others of the same
// boot; it is not a time of day.
func Mono() time.Time {
	var ts unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &ts); err != nil {
		// Linux has had it since 2.6.39; without it nothing here can be right.
		panic("clock: CLOCK_BOOTTIME: " + err.Error())
	}
	return time.Unix(ts.Sec, ts.Nsec)
}

// leastJump parts a clock that is set from one that is steered.
const leastJump = time.Second

// A Watch tells of jumps of the wall clock: whoever sets it makes nothing last longer,
// nor end. The zero value begins with the first look.
type Watch struct{ from engine.Now }

// Jumped is how far the wall clock was set since the last jump, or the first look.
func (w *Watch) Jumped(now engine.Now) (by time.Duration) {
	if !w.from.Mono.IsZero() {
		by = now.Wall.Sub(w.from.Wall) - now.Mono.Sub(w.from.Mono)
		if by.Abs() < leastJump {
			return 0
		}
	}
	w.from = now
	return by
}
