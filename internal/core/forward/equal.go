package forward

import (
	"slices"
	"time"
)

// untilSlack is how far two ends of a tunnel's life may be apart and still
// count as the same: what is stored is wall-clock time, and comes back from a
// restart a little different on the monotonic clock.
const untilSlack = time.Second

// Equal tells whether two entries ask for the same, so that a restart repairs
// only what differs.
func (e Entry) Equal(other Entry) bool {
	return e.Key == other.Key && e.Role == other.Role && e.Inner == other.Inner &&
		e.Intercept == other.Intercept && e.HomeLink == other.HomeLink &&
		e.Deliver == other.Deliver && e.Router == other.Router && e.Network == other.Network && e.Gateway == other.Gateway && e.Broadcast == other.Broadcast &&
		e.HomeNetwork == other.HomeNetwork && e.LocalGroups == other.LocalGroups && e.Plain == other.Plain && e.Numbered == other.Numbered &&
		slices.Equal(e.Direct, other.Direct) && slices.Equal(e.Redundant, other.Redundant) &&
		slices.Equal(e.Routes, other.Routes) &&
		slices.EqualFunc(e.Tunnels, other.Tunnels, Tunnel.Equal)
}

// Equal tells whether two tunnels are the same and end within a second of
// each other.
func (t Tunnel) Equal(other Tunnel) bool {
	apart := t.Until.Sub(other.Until).Abs()
	sameEnd := t.Until.IsZero() == other.Until.IsZero() && apart <= untilSlack
	t.Until, other.Until = time.Time{}, time.Time{}
	return sameEnd && t == other
}
