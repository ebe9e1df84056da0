package tun

import (
	"maps"
	"slices"
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

// Tag is the number that a shortcut has put on an entry with [Plane.SetTag], so
// that it needs no table of its own for a million of them; 0 for one that has
// none, and where there is no such entry. It stays with the entry's key until
// the entry is deleted.
func (p *Plane) Tag(k forward.Key) uint64 {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.asleep.mu.RLock()
	defer p.asleep.mu.RUnlock()
	if at := p.tagOf(k); at != nil {
		return *at
	}
	return 0
}

// SetTag puts a number on an entry, if there is one with this key.
func (p *Plane) SetTag(k forward.Key, tag uint64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.asleep.mu.Lock()
	defer p.asleep.mu.Unlock()
	if at := p.tagOf(k); at != nil {
		*at = tag
	}
}

// tagOf is where an entry's tag is. The caller holds both locks.
func (p *Plane) tagOf(k forward.Key) *uint64 {
	if z := p.asleep.find(k); z != nil {
		return &z.tag
	}
	if b := p.bindings[k]; b != nil {
		return &b.tag
	}
	return nil
}

// Awake are the keys of the entries of which user space may have counted
// something.
func (p *Plane) Awake() []forward.Key {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Collect(maps.Keys(p.bindings))
}
