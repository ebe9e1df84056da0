package top

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	tea "github.com/charmbracelet/bubbletea"
	"github.com/charmbracelet/lipgloss"

	"careof/internal/control"
	"careof/internal/core/forward"
	"careof/internal/core/note"
)

var start = time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)

// reading is an answer with n bindings, so many seconds after the first.
func reading(m *model, n int, seconds int) answer {
	a := answer{question: m.question(), at: start.Add(time.Duration(seconds) * time.Second), page: control.Page{Total: n, Matched: n}}
	a.status = control.Status{Version: "1.0", Started: start, Plane: "bpf", Device: "careof0", Roles: []control.RoleStatus{{Role: "home-agent", State: "serving", Summary: fmt.Sprintf("%d bindings", n)}}}
	a.status.Forwarded.SentBytes = uint64(seconds) * 1_000_000
	for i := range n {
		a.bindings = append(a.bindings, control.Binding{
			HomeAddress: netip.AddrFrom4([4]byte{10, 10, byte(i >> 8), byte(i)}), NAI: fmt.Sprintf("van%d@a-fleet-with-a-long-name.example", i),
			Endpoint: control.Endpoint(netip.MustParseAddrPort("203.0.113.200:54321")), Encapsulation: "udp", State: "active",
			Remaining: control.Seconds(9 * time.Minute), Counters: forward.Counters{SentBytes: uint64(seconds*(i+1)) * 1000},
		})
	}
	return a
}

// fits checks that a screen is as large as the terminal, and not larger.
func fits(t *testing.T, m *model) string {
	t.Helper()
	screen := m.View()
	lines := strings.Split(screen, "\n")
	if len(lines) != m.height {
		t.Errorf("%d lines on a terminal of %d:\n%s", len(lines), m.height, screen)
	}
	for _, l := range lines {
		if w := lipgloss.Width(l); w > m.width {
			t.Errorf("%d columns on a terminal of %d: %q", w, m.width, l)
		}
	}
	return screen
}

func press(m *model, keys ...string) {
	for _, k := range keys {
		m.key(k)
	}
}

// What a slow line brings together are still the keys that were pressed.
func TestKeysThatComeTogetherAreAllPressed(t *testing.T) {
	for _, c := range []struct {
		msg  tea.KeyMsg
		want []string
	}{
		{tea.KeyMsg{Type: tea.KeyRunes, Runes: []rune("/van")}, []string{"/", "v", "a", "n"}},
		{tea.KeyMsg{Type: tea.KeyRunes, Runes: []rune("4"), Alt: true}, []string{"esc", "4"}},
		{tea.KeyMsg{Type: tea.KeyEnter, Alt: true}, []string{"esc", "enter"}},
		{tea.KeyMsg{Type: tea.KeyEsc}, []string{"esc"}},
	} {
		if got := keys(c.msg); !slices.Equal(got, c.want) {
			t.Errorf("%v: %q, want %q", c.msg, got, c.want)
		}
	}
}

func TestEverythingFitsOnSmallTerminals(t *testing.T) {
	for _, size := range [][2]int{{80, 24}, {40, 12}, {200, 60}, {20, 6}} {
		for _, colour := range []bool{false, true} {
			m := newModel(colour)
			m.width, m.height = size[0], size[1]
			fits(t, m)
			m.answered(reading(m, 150, 0))
			m.happened(happened(control.Event{Time: start, Note: note.Note{Kind: note.Moved, Role: "home-agent", HomeAddress: netip.MustParseAddr("10.10.0.1"), Why: strings.Repeat("long ", 50)}}))
			for _, keys := range [][]string{nil, {"down", "down", "enter"}, {"end"}, {"4"}, {"enter"}, {"3"}, {"2"}, {"?"}, {"x"}, {"/", "v", "a", "n"}, {"enter"}, {"esc"}, {"p"}} {
				press(m, keys...)
				fits(t, m)
			}
			m.answered(answer{question: m.question(), err: errors.New("daemon not reachable: " + strings.Repeat("long ", 50))})
			fits(t, m)
		}
	}
}

func TestRatesAreFromOneReadingToTheNext(t *testing.T) {
	m := newModel(false)
	m.answered(reading(m, 3, 10))
	if screen := fits(t, m); !strings.Contains(screen, "out 0 B/s") {
		t.Errorf("a rate out of one reading:\n%s", screen)
	}
	m.answered(reading(m, 3, 12))
	screen := fits(t, m)
	for _, want := range []string{"out 1.0 MB/s", "1.0 kB", "2.0 kB", "3.0 kB", "van2@a-fleet-with-a-lon…", "3 of 3", "home-agent serving: 3 bindings"} {
		if !strings.Contains(screen, want) {
			t.Errorf("%q is missing:\n%s", want, screen)
		}
	}
	// A daemon that was started anew counts from zero again.
	again := reading(m, 3, 13)
	again.status.Forwarded.SentBytes, again.bindings[0].Counters.SentBytes = 5, 5
	m.answered(again)
	if m.total.sent != 0 || m.rates[again.bindings[0].HomeAddress].sent != 0 {
		t.Errorf("rates are %v, %v", m.total, m.rates)
	}
}

func TestKeysSortSearchAndChoose(t *testing.T) {
	m := newModel(false)
	m.answered(reading(m, 50, 0))
	if q := m.question(); q.sort != "home_address" || q.search != "" {
		t.Errorf("it asks %+v", q)
	}
	press(m, "s", "r", "/", "v", "a", "n", "7", " ", "u", "backspace", "enter")
	if q := m.question(); q.sort != "-nai" || q.search != "van7 " {
		t.Errorf("it asks %+v", q)
	}
	// An answer to what is not asked any more is not shown.
	stale := reading(m, 2, 1)
	stale.question.search = ""
	m.answered(stale)
	if m.rows() != 50 {
		t.Error("a late answer was shown")
	}
	press(m, "esc", "end")
	if m.cursor[viewBindings] != 49 || !strings.Contains(fits(t, m), "> van49@") {
		t.Errorf("the cursor is at %d:\n%s", m.cursor[viewBindings], m.View())
	}
	m.answered(reading(m, 10, 2))
	if m.cursor[viewBindings] != 9 {
		t.Errorf("the cursor is at %d of 10", m.cursor[viewBindings])
	}
	press(m, "enter")
	if screen := fits(t, m); !strings.Contains(screen, "10.10.0.9  van9@a-fleet-with-a-long-name.example") {
		t.Errorf("no details:\n%s", screen)
	}
	if !m.key("q") {
		t.Error("q does not end it")
	}
}

func TestEventsAreExplainedAndSearched(t *testing.T) {
	m := newModel(false)
	for i, kind := range []note.Kind{note.Bound, note.Denied, note.Moved} {
		m.happened(happened(control.Event{Time: start, Note: note.Note{Kind: kind, Role: "home-agent", HomeAddress: netip.AddrFrom4([4]byte{10, 10, 0, byte(i)}), Code: uint8(133 * (i % 2))}}))
	}
	press(m, "4", "down", "enter")
	screen := fits(t, m)
	if !strings.Contains(screen, "> 12:00:00.000") && !strings.Contains(screen, "denied home=10.10.0.1 code=133") || !strings.Contains(screen, "careof explain 133") {
		t.Errorf("no explanation:\n%s", screen)
	}
	// What comes does not move what is being read.
	m.happened(happened(control.Event{Time: start, Note: note.Note{Kind: note.LinkUp}}))
	if m.cursor[viewEvents] != 2 {
		t.Errorf("the cursor is at %d", m.cursor[viewEvents])
	}
	press(m, "/", "m", "o", "v", "e", "d", "enter")
	if m.rows() != 1 {
		t.Errorf("%d rows", m.rows())
	}
	for range 2 * eventRoom {
		m.happened(happened(control.Event{Note: note.Note{Kind: note.LinkUp}}))
	}
	if len(m.events) != eventRoom {
		t.Errorf("%d events are kept", len(m.events))
	}
}
