package daemon

import (
	"context"
	"log/slog"
	"net/netip"
	"sort"
	"sync"
	"sync/atomic"
	"time"

	"careof/internal/config"
	"careof/internal/control"
	"careof/internal/core/note"
)

// A hub is where every note goes: to the log, to a count, and to whoever
// subscribed. It never blocks the machine that spoke.
type hub struct {
	log    *slog.Logger
	levels atomic.Pointer[config.Log]

	mu     sync.Mutex
	counts map[note.Kind]uint64
	next   int
	ears   map[int]*ear
	id     uint64 // of the last event
	past   *history
}

// An ear is a subscriber.
type ear struct {
	events chan control.Event
	missed bool // it was full, and has not been told yet
}

// earRoom is how many events a slow subscriber may be behind.
const earRoom = 1024

func newHub(log *slog.Logger, levels config.Log) *hub {
	h := &hub{
		log: log, counts: make(map[note.Kind]uint64), ears: make(map[int]*ear), past: newHistory(),
		// Microseconds come faster than events, so that the next process goes
		// on with greater ids, and small enough for a float.
		id: uint64(time.Now().UnixMicro()),
	}
	h.levels.Store(&levels)
	return h
}

// slogLevels translates a note's level.
var slogLevels = [...]slog.Level{note.Debug: slog.LevelDebug, note.Info: slog.LevelInfo, note.Warn: slog.LevelWarn, note.Error: slog.LevelError}

func (h *hub) note(n note.Note) {
	h.mu.Lock()
	if n.Role == "" {
		// Machines count for themselves.
		h.counts[n.Kind]++
	}
	h.id++
	e := control.Event{ID: h.id, Time: time.Now(), Note: n}
	h.past.add(e)
	for _, ear := range h.ears {
		ear.hear(e)
	}
	h.mu.Unlock()
	if level := slogLevels[n.Level]; level >= h.levels.Load().For(subsystem(n)) {
		h.log.LogAttrs(context.Background(), level, sentence(n), attributes(n)...)
	}
}

// sentence is a note's headline in the log.
func sentence(n note.Note) string {
	if n.Role == "" {
		return string(n.Kind)
	}
	return n.Role + " " + string(n.Kind)
}

// attributes are a note's fields under stable keys.
func attributes(n note.Note) []slog.Attr {
	var list []slog.Attr
	put := func(set bool, a slog.Attr) {
		if set {
			list = append(list, a)
		}
	}
	put(true, slog.String("event", string(n.Kind)))
	put(n.HomeAddress.IsValid(), slog.Any("home", n.HomeAddress))
	put(n.NAI != "", slog.String("nai", n.NAI))
	put(n.HomeAgent.IsValid(), slog.Any("ha", n.HomeAgent))
	put(n.CareOfAddress.IsValid(), slog.Any("coa", n.CareOfAddress))
	put(n.Endpoint.IsValid(), slog.String("endpoint", n.Peer()))
	put(n.Link != "", slog.String("link", n.Link))
	put(n.Encapsulation != "", slog.String("encap", n.Encapsulation))
	put(n.SPI != 0, slog.Any("spi", n.SPI))
	put(n.Code != 0, slog.Int("code", int(n.Code)))
	put(n.Lifetime != 0, slog.Duration("lifetime", n.Lifetime))
	put(n.Took != 0, slog.Duration("took", n.Took))
	put(n.Why != "", slog.String("why", n.Why))
	return list
}

// hear gives an event to a subscriber, or makes a note of its absence.
func (r *ear) hear(e control.Event) {
	if r.missed {
		select {
		case r.events <- gap(e):
			r.missed = false
		default:
			return
		}
	}
	select {
	case r.events <- e:
	default:
		r.missed = true
	}
}

// subscribe gives a new listener every event from now on, and before them
// those remembered after an event when it names one.
func (h *hub) subscribe(after *uint64) ([]control.Event, <-chan control.Event, func()) {
	h.mu.Lock()
	defer h.mu.Unlock()
	var past []control.Event
	if after != nil {
		past = h.past.since(*after)
	}
	id := h.next
	h.next++
	one := &ear{events: make(chan control.Event, earRoom)}
	h.ears[id] = one
	return past, one.events, func() {
		h.mu.Lock()
		defer h.mu.Unlock()
		delete(h.ears, id)
	}
}

// listeners is how many there are.
func (h *hub) listeners() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return len(h.ears)
}

// timeline is what happened to a node, the latest first.
func (h *hub) timeline(home netip.Addr, nai string) []control.Moment {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.past.timeline(home, nai)
}

// counters lists how often each kind of note of the host itself was heard, by
// name.
func (h *hub) counters() []control.Counter {
	h.mu.Lock()
	defer h.mu.Unlock()
	list := make([]control.Counter, 0, len(h.counts))
	for kind, value := range h.counts {
		list = append(list, control.Counter{Name: "host." + string(kind), Value: value, Meaning: kind.Meaning()})
	}
	sort.Slice(list, func(i, j int) bool { return list[i].Name < list[j].Name })
	return list
}
