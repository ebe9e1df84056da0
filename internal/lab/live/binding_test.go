package live

import (
	"net/netip"
	"testing"

	"careof/internal/control"
	"careof/internal/core/note"
	"careof/internal/lab/scene"
)

// The deregistration at a home agent that a node has left says nothing of the
// registration that it has; at its own it does.
func TestWhatANodeHasLeftDecidesNothing(t *testing.T) {
	own, left, careOf := netip.MustParseAddr("10.10.0.1"), netip.MustParseAddr("10.10.0.2"), netip.MustParseAddr("203.0.113.50")
	event := func(k note.Kind, agent netip.Addr) control.Event {
		return control.Event{Note: note.Note{Kind: k, Link: "wlan0", CareOfAddress: careOf, HomeAgent: agent}}
	}
	for _, c := range []struct {
		last control.Event
		want bool
	}{
		{event(note.Deregistered, left), true},
		{event(note.Lost, left), true},
		{event(note.Deregistered, own), false},
		{event(note.Lost, own), false},
	} {
		b := scene.Binding{Link: "wlan0", CareOf: careOf, HomeAgent: own}
		_ = decided(&b, c.last) || decided(&b, event(note.Registered, own))
		if b.Registered != c.want {
			t.Errorf("after %v at %v: registered %v", c.last.Kind, c.last.HomeAgent, b.Registered)
		}
	}
}
