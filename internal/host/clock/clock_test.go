package clock

import (
	"testing"
	"time"

	"careof/internal/core/engine"
)

// A clock that is set jumps once, in either direction; one that goes does not, also when
// it goes a little wrong, or while the host sleeps.
func TestAClockThatIsSetJumpsOnce(t *testing.T) {
	var w Watch
	now := engine.Now{Mono: time.Unix(100, 0), Wall: time.Date(1970, 1, 1, 0, 1, 40, 0, time.UTC)}
	for _, c := range []struct{ lasts, wall, want time.Duration }{
		{0, 0, 0},
		{time.Second, time.Second, 0},
		{8 * time.Hour, 8*time.Hour + 100*time.Millisecond, 0},
		{time.Minute, 24*time.Hour + time.Minute, 24*time.Hour + 100*time.Millisecond},
		{time.Minute, time.Minute, 0},
		{time.Second, -time.Hour, -time.Hour - time.Second},
		{time.Second, time.Second, 0},
	} {
		now.Mono, now.Wall = now.Mono.Add(c.lasts), now.Wall.Add(c.wall)
		if got := w.Jumped(now); got != c.want {
			t.Errorf("%+v: %v", c, got)
		}
	}
}

// A process that stood still between its looks at the two clocks looks again, but
// not for ever.
func TestBothClocksAreReadAtOneInstant(t *testing.T) {
	for _, c := range []struct {
		still int // how many looks at the first clock something comes behind
		apart time.Duration
	}{{0, 0}, {1, 0}, {4, 0}, {100, 800 * time.Millisecond}} {
		at, looks := time.Unix(1700000000, 0), 0
		wall := func() time.Time {
			now := at
			if looks++; looks%2 == 1 && looks/2 < c.still {
				at = at.Add(800 * time.Millisecond)
			}
			return now
		}
		now := pair(wall, func() time.Time { return at })
		if got := now.Mono.Sub(now.Wall); got != c.apart {
			t.Errorf("still %d times: the clocks are %v apart, not %v", c.still, got, c.apart)
		}
	}
}
