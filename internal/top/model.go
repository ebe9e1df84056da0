package top

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"careof/internal/control"
	"careof/internal/core/forward"
)

// A view is one of the lists.
type view int

const (
	viewBindings view = iota
	viewVisitors
	viewUplinks
	viewEvents
	views
)

var viewNames = [...]string{"Bindings", "Visitors", "Uplinks", "Events"}

// orders are what each view can be sorted by, as the API names it.
var orders = [views][]string{
	viewBindings: {"home_address", "nai", "care_of_address", "remaining", "since", "sent_bytes", "received_bytes"},
	viewVisitors: {"home_address", "nai", "home_agent", "interface", "remaining", "since"},
}

// eventRoom is how many events are remembered.
const eventRoom = 1000

// A rate is octets a second.
type rate struct{ sent, received float64 }

// A model is everything that is shown.
type model struct {
	width, height int
	colour        bool

	view      view
	sort      [views]int
	reverse   [views]bool
	search    string
	searching bool
	cursor    [views]int
	detail    bool
	help      bool
	paused    bool
	reading   bool

	last   answer // of the present view
	total  rate
	before struct {
		at       time.Time
		all      forward.Counters
		counters map[netip.Addr]forward.Counters
	}
	rates  map[netip.Addr]rate
	events []control.Event // the latest first
	err    error
}

func newModel(colour bool) *model {
	return &model{width: 80, height: 24, colour: colour, rates: make(map[netip.Addr]rate)}
}

func (m *model) question() question {
	q := question{view: m.view, search: m.search}
	if list := orders[m.view]; len(list) > 0 {
		q.sort = list[m.sort[m.view]%len(list)]
		if m.reverse[m.view] {
			q.sort = "-" + q.sort
		}
	}
	return q
}

// answered takes what was read, and works rates out of it.
func (m *model) answered(a answer) {
	m.reading = false
	m.err = a.err
	if a.err != nil || a.question != m.question() {
		return
	}
	if m.view == viewBindings || m.view == viewVisitors {
		m.rate(&a)
	}
	m.last = a
	m.cursor[m.view] = max(0, min(m.cursor[m.view], m.rows()-1))
}

func (m *model) rate(a *answer) {
	counters := make(map[netip.Addr]forward.Counters)
	for _, b := range a.bindings {
		counters[b.HomeAddress] = b.Counters
	}
	for _, v := range a.visitors {
		counters[v.HomeAddress] = v.Counters
	}
	all := a.status.Forwarded.Counters
	if passed := a.at.Sub(m.before.at).Seconds(); !m.before.at.IsZero() && passed > 0.2 {
		clear(m.rates)
		for address, now := range counters {
			if old, there := m.before.counters[address]; there {
				m.rates[address] = between(old, now, passed)
			}
		}
		m.total = between(m.before.all, all, passed)
	} else if !m.before.at.IsZero() {
		return // too soon to tell: the next one is compared with the same
	}
	m.before.at, m.before.all, m.before.counters = a.at, all, counters
}

// between is the rate from one reading to the next; a count that went back was
// started anew.
func between(old, now forward.Counters, seconds float64) rate {
	grown := func(a, b uint64) float64 {
		if b < a {
			return 0
		}
		return float64(b-a) / seconds
	}
	return rate{grown(old.SentBytes, now.SentBytes), grown(old.ReceivedBytes, now.ReceivedBytes)}
}

func (m *model) happened(e happened) {
	if m.paused {
		return
	}
	m.events = slices.Insert(m.events, 0, control.Event(e))
	m.events = m.events[:min(len(m.events), eventRoom)]
	if m.view == viewEvents && m.cursor[viewEvents] > 0 && m.matches(control.Event(e)) {
		m.cursor[viewEvents]++ // stay on the same one
	}
}

func (m *model) matches(e control.Event) bool {
	text := strings.ToLower(e.Role + " " + e.Note.String())
	for w := range strings.FieldsSeq(strings.ToLower(m.search)) {
		if !strings.Contains(text, w) {
			return false
		}
	}
	return true
}

// shownEvents are those that the search leaves.
func (m *model) shownEvents() []control.Event {
	if m.search == "" {
		return m.events
	}
	var list []control.Event
	for _, e := range m.events {
		if m.matches(e) {
			list = append(list, e)
		}
	}
	return list
}

// rows is how many rows the present view has.
func (m *model) rows() int {
	switch m.view {
	case viewBindings:
		return len(m.last.bindings)
	case viewVisitors:
		return len(m.last.visitors)
	case viewUplinks:
		return len(m.last.uplinks)
	}
	return len(m.shownEvents())
}

// key does what a key stands for, and tells whether it ends the program.
func (m *model) key(k string) (quit bool) {
	if m.searching {
		m.typed(k)
		return k == "ctrl+c"
	}
	if m.help {
		m.help = false
		return k == "ctrl+c"
	}
	step := 0
	switch k {
	case "q", "ctrl+c":
		return true
	case "esc":
		switch {
		case m.detail:
			m.detail = false
		case m.search != "":
			m.search = ""
		}
	case "?", "h":
		m.help = true
	case "/":
		m.searching, m.detail = true, false
	case "tab", "right", "l":
		m.turn(1)
	case "shift+tab", "left":
		m.turn(-1)
	case "1", "2", "3", "4":
		m.turn(int(k[0]-'1') - int(m.view))
	case "s":
		if n := len(orders[m.view]); n > 0 {
			m.sort[m.view] = (m.sort[m.view] + 1) % n
		}
	case "r":
		m.reverse[m.view] = !m.reverse[m.view]
	case "p", " ":
		m.paused = !m.paused
	case "enter":
		m.detail = !m.detail && m.rows() > 0
	case "up", "k":
		step = -1
	case "down", "j":
		step = 1
	case "pgup":
		step = -m.body()
	case "pgdown":
		step = m.body()
	case "home", "g":
		step = -rowLimit - eventRoom
	case "end", "G":
		step = rowLimit + eventRoom
	}
	m.cursor[m.view] = max(0, min(m.cursor[m.view]+step, m.rows()-1))
	return false
}

func (m *model) typed(k string) {
	switch k {
	case "enter", "ctrl+c":
		m.searching = false
	case "esc":
		m.searching, m.search = false, ""
	case "backspace":
		if r := []rune(m.search); len(r) > 0 {
			m.search = string(r[:len(r)-1])
		}
	case "space":
		m.search += " "
	default:
		if r := []rune(k); len(r) == 1 {
			m.search += k
		}
	}
	m.cursor[m.view] = 0
}

func (m *model) turn(by int) {
	next := (int(m.view) + by + int(views)) % int(views)
	if view(next) == m.view {
		return
	}
	m.view, m.detail = view(next), false
	m.last = answer{status: m.last.status}
	m.before.at = time.Time{}
}

// size writes octets for people.
func size(v float64) string {
	units := []string{"B", "kB", "MB", "GB", "TB"}
	i := 0
	for ; v >= 999.5 && i < len(units)-1; i++ {
		v /= 1000
	}
	if i == 0 || v >= 99.5 {
		return fmt.Sprintf("%.0f %s", v, units[i])
	}
	return fmt.Sprintf("%.1f %s", v, units[i])
}
