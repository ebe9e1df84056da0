// Package clock reads the host's clocks for machines, which read none.
package clock

import (
	"time"

	"golang.org/x/sys/unix"

	"careof/internal/core/engine"
)

// Now reads both clocks. The monotonic one is CLOCK_BOOTTIME, because a
// lifetime goes on while the host sleeps.
func Now() engine.Now {
	return engine.Now{Mono: Mono(), Wall: time.Now().Round(0)}
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
