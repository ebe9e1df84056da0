package tun

import (
	"time"

	"careof/internal/core/forward"
)

// A Shortcut is a faster plane in front of this one. Packets that it takes
// this one never sees; what routers say about them comes here all the same.
type Shortcut interface {
	// LastSent tells when the shortcut last sent for an entry, zero when never.
	LastSent(forward.Key) time.Time
	// Heed asks that packets of an entry go through this plane until then,
	// because of what routers have told: all of them when mtu is 0, else those
	// that are longer.
	Heed(key forward.Key, mtu int, until time.Time)
}

// SetShortcut puts s in front of the plane.
func (p *Plane) SetShortcut(s Shortcut) { p.shortcut.Store(&s) }

// lastSent is the instant of the last packet of the tunnel's entry, by
// whichever way.
func (p *Plane) lastSent(t *tunnel, now int64) int64 {
	sent := t.sent.Load()
	s := p.shortcut.Load()
	if s == nil || sent != 0 && now-sent <= recent {
		return sent
	}
	if last := (*s).LastSent(t.of.entry.Key); !last.IsZero() {
		// 0 means never; what the shortcut sent before this process began
		// counts as sent when it began.
		sent = max(sent, p.instant(last), 1)
	}
	return sent
}

func (p *Plane) heed(t *tunnel, mtu int, until int64) {
	if s := p.shortcut.Load(); s != nil {
		(*s).Heed(t.of.entry.Key, mtu, p.timeOf(until))
	}
}
