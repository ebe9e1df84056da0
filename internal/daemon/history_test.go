package daemon

import (
	"log/slog"
	"net/netip"
	"testing"
	"time"

	"careof/internal/config"
	"careof/internal/control"
	"careof/internal/core/note"
)

func quietHub() *hub { return newHub(slog.New(slog.DiscardHandler), config.Log{}) }

var van = netip.MustParseAddr("10.10.0.5")

func TestATimelineTellsMovesAndCountsRefreshes(t *testing.T) {
	h := quietHub()
	tell := func(kind note.Kind, careOf string) {
		n := note.Note{Kind: kind, Role: "home-agent", HomeAddress: van, Identification: uint64(len(careOf))}
		if careOf != "" {
			n.CareOfAddress = netip.MustParseAddr(careOf)
		}
		h.note(n)
	}
	tell(note.Bound, "192.0.2.1")
	tell(note.Refreshed, "192.0.2.1")
	tell(note.Refreshed, "192.0.2.1")
	tell(note.Moved, "203.0.113.1")
	for range 3 {
		tell(note.Denied, "203.0.113.1")
	}
	h.note(note.Note{Kind: note.Bound, HomeAddress: netip.MustParseAddr("10.10.0.6")})
	got := h.timeline(van, "")
	if len(got) != 3 {
		t.Fatalf("%d moments, want 3: %+v", len(got), got)
	}
	for i, want := range []struct {
		kind             note.Kind
		times, refreshes int
	}{{note.Denied, 3, 0}, {note.Moved, 1, 0}, {note.Bound, 1, 2}} {
		if m := got[i]; m.Kind != want.kind || m.Times != want.times || m.Refreshes != want.refreshes {
			t.Errorf("moment %d is %s, %d times, %d refreshes; want %+v", i, m.Kind, m.Times, m.Refreshes, want)
		}
	}
}

func TestStrangersCannotMakeUsForget(t *testing.T) {
	h := quietHub()
	h.note(note.Note{Kind: note.Bound, HomeAddress: van})
	for range 2 * momentRoom {
		h.note(note.Note{Kind: note.Ignored, HomeAddress: van})
	}
	zero := uint64(0)
	past, _, cancel := h.subscribe(&zero)
	cancel()
	if len(past) != 1 || past[0].Kind != note.Bound {
		t.Errorf("%d events are remembered", len(past))
	}
	if got := h.timeline(van, ""); len(got) != 1 {
		t.Errorf("the timeline has %d moments", len(got))
	}
}

func TestAHistoryHasARoomAndForgetsTheOldestNodes(t *testing.T) {
	h := newHistory()
	at := func(i int) netip.Addr { return netip.AddrFrom4([4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)}) }
	n := momentRoom + 1000
	for i := range n {
		h.add(control.Event{ID: uint64(i + 1), Time: time.Unix(int64(i), 0), Note: note.Note{Kind: note.Bound, HomeAddress: at(i)}})
	}
	if len(h.nodes) != momentRoom {
		t.Errorf("%d nodes are remembered, there is room for %d", len(h.nodes), momentRoom)
	}
	if got := h.timeline(at(0), ""); len(got) != 0 {
		t.Error("the oldest node is still there")
	}
	if got := h.timeline(at(n-1), ""); len(got) != 1 || got[0].HomeAddress != at(n-1) {
		t.Errorf("the latest node's timeline is %+v", got)
	}
}

func TestAListenerResumesWhereItWas(t *testing.T) {
	h := quietHub()
	for range 10 {
		h.note(note.Note{Kind: note.Bound, HomeAddress: van})
	}
	last := h.id
	from := last - 3
	past, _, cancel := h.subscribe(&from)
	cancel()
	if len(past) != 3 || past[0].ID != last-2 || past[2].ID != last {
		t.Errorf("after %d came %+v", from, past)
	}
	if past, _, cancel = h.subscribe(&last); len(past) != 0 {
		t.Errorf("after the last event came %+v", past)
	}
	cancel()
}

func TestAListenerIsToldWhatItMissed(t *testing.T) {
	h := quietHub()
	h.note(note.Note{Kind: note.Bound, HomeAddress: van})
	first := h.id
	_, events, cancel := h.subscribe(nil)
	defer cancel()
	for range recentRoom + earRoom {
		h.note(note.Note{Kind: note.Moved, HomeAddress: van})
	}
	past, _, again := h.subscribe(&first)
	again()
	if past[0].Kind != control.Gap || len(past) != recentRoom+1 {
		t.Errorf("a listener that resumes too late gets %d events, first %s", len(past), past[0].Kind)
	}
	for range earRoom {
		<-events
	}
	h.note(note.Note{Kind: note.Unbound, HomeAddress: van})
	if e := <-events; e.Kind != control.Gap {
		t.Errorf("a slow listener next hears %s, want a gap", e.Kind)
	}
	if e := <-events; e.Kind != note.Unbound {
		t.Errorf("then it hears %s", e.Kind)
	}
}
