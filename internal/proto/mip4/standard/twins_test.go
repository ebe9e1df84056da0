package standard_test

import (
	"strings"
	"testing"
	"time"

	"careof/internal/core/note"
	"careof/internal/proto/mip4/feature/twins"
	"careof/internal/proto/mip4/standard"
)

// Two hosts with one key register in turn: the home agent says so, once, with both
// places. It does of a node whose uplink comes and goes, too.
func TestABindingThatGoesBackAndForthIsTold(t *testing.T) {
	p := newPair(t, agentConfig(t), nodeConfig(t), standard.Config{})
	p.up("lte0", lte)
	turn := func(pause time.Duration) {
		p.up("wlan0", wifi)
		p.run(pause)
		p.lose("wlan0")
		p.run(pause)
	}
	for range 3 {
		turn(5 * time.Second)
	}
	if list := noted(p.agent.notes, twins.BackAndForth); len(list) != 0 {
		t.Fatalf("told after three returns: %v", list)
	}
	for range 20 {
		turn(5 * time.Second)
	}
	list := noted(p.agent.notes, twins.BackAndForth)
	if len(list) != 1 || list[0].Level != note.Warn || list[0].HomeAddress != homeAddress ||
		!strings.Contains(list[0].Why, wifi.String()) || !strings.Contains(list[0].Why, lte.String()) {
		t.Errorf("told %v", list)
	}
}

// A node that goes to its better uplink and back every few minutes does what it
// should.
func TestABindingThatMovesNowAndThenIsNotTold(t *testing.T) {
	p := newPair(t, agentConfig(t), nodeConfig(t), standard.Config{})
	p.up("lte0", lte)
	for range 30 {
		p.up("wlan0", wifi)
		p.run(time.Minute)
		p.lose("wlan0")
		p.run(time.Minute)
	}
	if list := noted(p.agent.notes, twins.BackAndForth); len(list) != 0 {
		t.Errorf("told %v", list)
	}
}
