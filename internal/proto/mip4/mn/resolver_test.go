package mn_test

import (
	"errors"
	"math/rand/v2"
	"net/netip"
	"testing"
	"time"

	"careof/internal/core/engine"
	"careof/internal/proto/mip4/mn"
)

// A resolver that never answers does not keep the node waiting for ever, and
// an answer that comes too late is not counted twice.
func TestSilentResolver(t *testing.T) {
	cfg := config(t)
	cfg.HomeAgents = []mn.HomeAgent{{Name: "ha.example"}}
	n, err := mn.New(cfg, rand.New(rand.NewPCG(1, 1)))
	if err != nil {
		t.Fatal(err)
	}
	var asked []engine.Ticket
	step := func(now engine.Now, ev engine.Event) {
		for _, a := range n.Step(now, ev) {
			if q, ok := a.(engine.Ask); ok {
				asked = append(asked, q.Ticket)
			}
		}
	}
	now := start
	step(now, engine.LinkChanged{Link: engine.Link{
		Name: "wlan0", Up: true, Addresses: []netip.Prefix{netip.MustParsePrefix("203.0.113.50/24")}, Gateways: []netip.Addr{netip.MustParseAddr("203.0.113.1")},
	}})
	if len(asked) != 1 {
		t.Fatalf("%d questions at the start", len(asked))
	}
	for range 3 {
		at := n.Deadline()
		if at.IsZero() || at.Sub(now.Mono) > time.Minute {
			t.Fatalf("the next deadline is %v", at)
		}
		now = engine.Now{Mono: at, Wall: now.Wall.Add(at.Sub(now.Mono))}
		step(now, engine.Wake{})
	}
	if len(asked) != 2 {
		t.Fatalf("%d questions after the first was not answered", len(asked))
	}
	// The late answer belongs to a question that was given up: it starts none.
	step(now, engine.Answer{Ticket: asked[0], Err: errors.New("late")})
	if len(asked) != 2 {
		t.Errorf("%d questions after a late answer", len(asked))
	}
}
