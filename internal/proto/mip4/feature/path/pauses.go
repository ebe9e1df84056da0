package path

import "time"

// pauses are the longest for which nothing came although it should have, and then
// did, of the last two periods: longest first.
type pauses struct {
	until       time.Time // the end of the present period
	now, before [ordinary]time.Duration
}

const (
	// period is how long a pause is remembered, and at most twice as long.
	period = 5 * time.Minute
	// ordinary is how often one must have been to be no doubt any more.
	ordinary = 3
)

func (p *pauses) add(pause time.Duration, now time.Time) {
	if now.After(p.until) {
		p.before = p.now
		if now.Sub(p.until) > period {
			p.before = [ordinary]time.Duration{}
		}
		p.now, p.until = [ordinary]time.Duration{}, now.Add(period)
	}
	p.now = longest(p.now, pause)
}

// usual is the pause that was reached, or exceeded, as often as makes it ordinary.
func (p *pauses) usual() time.Duration { return longest(p.now, p.before[:]...)[ordinary-1] }

// longest are the longest of a list and more, longest first.
func longest(list [ordinary]time.Duration, more ...time.Duration) [ordinary]time.Duration {
	for _, d := range more {
		for i := range list {
			if d > list[i] {
				list[i], d = d, list[i]
			}
		}
	}
	return list
}
