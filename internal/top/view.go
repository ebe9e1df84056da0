package top

import (
	"fmt"
	"net/netip"
	"strings"
	"time"

	"github.com/charmbracelet/lipgloss"

	"careof/internal/control"
	"careof/internal/core/forward"
	"careof/internal/core/note"
)

// Lines above and below the list.
const (
	headLines   = 4 // title, roles, tabs, heading
	footLines   = 1
	detailLines = 9
)

// body is how many lines the list has.
func (m *model) body() int {
	n := m.height - headLines - footLines
	if m.detail {
		n -= detailLines
	}
	return max(n, 1)
}

var (
	bold    = lipgloss.NewStyle().Bold(true)
	faint   = lipgloss.NewStyle().Faint(true)
	chosen  = lipgloss.NewStyle().Reverse(true)
	warning = lipgloss.NewStyle().Bold(true).Foreground(lipgloss.Color("3"))
	bad     = lipgloss.NewStyle().Bold(true).Foreground(lipgloss.Color("1"))
)

func (m *model) paint(s lipgloss.Style, text string) string {
	if !m.colour {
		return text
	}
	return s.Render(text)
}

// View implements [tea.Model]: exactly as many lines as there are.
func (m *model) View() string {
	var lines []string
	add := func(s string) { lines = append(lines, s) }
	if m.help {
		lines = m.helpLines()
	} else {
		add(m.title())
		add(m.roles())
		add(m.tabs())
		heading, rows := m.list()
		add(m.paint(bold, m.fit("  "+heading)))
		first := 0
		if c := m.cursor[m.view]; c >= m.body() {
			first = c - m.body() + 1
		}
		for i := first; i < min(first+m.body(), len(rows)); i++ {
			if i == m.cursor[m.view] {
				add(m.paint(chosen, pad(m.fit("> "+rows[i]), m.width)))
				continue
			}
			add(m.fit("  " + rows[i]))
		}
		if len(rows) == 0 {
			add(m.paint(faint, m.fit("  "+m.nothing())))
		}
		if m.detail {
			for len(lines) < m.height-footLines-detailLines {
				add("")
			}
			add(m.paint(faint, strings.Repeat("─", m.width)))
			for _, l := range m.details() {
				add(m.fit("  " + l))
			}
		}
	}
	lines = lines[:min(len(lines), m.height-footLines)]
	for len(lines) < m.height-footLines {
		add("")
	}
	add(m.foot())
	narrow := lipgloss.NewStyle().MaxWidth(m.width)
	for i, l := range lines {
		if lipgloss.Width(l) > m.width {
			lines[i] = narrow.Render(l)
		}
	}
	return strings.Join(lines, "\n")
}

// fit cuts a line to the width.
func (m *model) fit(s string) string {
	r := []rune(s)
	if len(r) <= m.width {
		return s
	}
	return string(r[:max(m.width-1, 0)]) + "…"
}

func pad(s string, width int) string {
	if n := width - len([]rune(s)); n > 0 {
		return s + strings.Repeat(" ", n)
	}
	return s
}

func (m *model) title() string {
	s := m.last.status
	left := "careof " + s.Version
	if m.err != nil {
		return m.paint(bad, m.fit(left+"  "+m.err.Error()))
	}
	if s.Version == "" {
		return m.paint(bold, "careof") + "  asking the daemon"
	}
	up := time.Since(s.Started).Truncate(time.Second)
	right := fmt.Sprintf("up %v  %s %s  out %s/s  in %s/s", up, s.Plane, s.Device, size(m.total.sent), size(m.total.received))
	if m.paused {
		right = "PAUSED  " + right
	}
	return m.paint(bold, left) + m.fitted(len([]rune(left)), "  "+right)
}

// fitted cuts what follows a text of so many characters.
func (m *model) fitted(used int, s string) string {
	r := []rune(s)
	if room := m.width - used; len(r) > room {
		return string(r[:max(room-1, 0)]) + "…"
	}
	return s
}

func (m *model) roles() string {
	var words []string
	for _, r := range m.last.status.Roles {
		words = append(words, r.Role+" "+r.State+": "+r.Summary)
	}
	if n := len(m.last.status.Warnings); n > 0 {
		return m.paint(warning, m.fit(fmt.Sprintf("%d warnings (careof show status)  ", n)+strings.Join(words, "; ")))
	}
	return m.fit(strings.Join(words, "; "))
}

func (m *model) tabs() string {
	var b strings.Builder
	for i, name := range viewNames {
		word := fmt.Sprintf(" %d %s ", i+1, name)
		if view(i) == m.view {
			word = m.paint(chosen, "["+word[1:len(word)-1]+"]")
		}
		b.WriteString(word)
	}
	var state []string
	if m.search != "" || m.searching {
		cursor := ""
		if m.searching {
			cursor = "_"
		}
		state = append(state, "/"+m.search+cursor)
	}
	if p := m.last.page; p.Total > 0 {
		state = append(state, fmt.Sprintf("%d of %d", p.Matched, p.Total))
	}
	if q := m.question(); q.sort != "" {
		state = append(state, "by "+strings.ReplaceAll(q.sort, "_", " "))
	}
	const tabsWidth = 46
	return b.String() + m.fitted(tabsWidth, " "+strings.Join(state, "  "))
}

func (m *model) nothing() string {
	switch {
	case m.last.status.Version == "" || m.reading && m.rows() == 0 && m.last.at.IsZero():
		return "…"
	case m.search != "":
		return "nothing has " + m.search + " in it (esc shows all)"
	}
	return [...]string{"no bindings: this daemon is no home agent, or nobody is registered", "no visitors", "no uplinks: this daemon is no mobile node", "nothing has happened yet"}[m.view]
}

// list is the heading and the rows of the present view.
func (m *model) list() (heading string, rows []string) {
	switch m.view {
	case viewBindings:
		heading = fmt.Sprintf("%-24s %-21s %-8s %9s %9s", "MOBILE NODE", "ENDPOINT", "LEFT", "OUT/s", "IN/s")
		for _, b := range m.last.bindings {
			who := b.HomeAddress.String()
			if b.NAI != "" {
				who = b.NAI
			}
			r := m.rates[b.HomeAddress]
			rows = append(rows, fmt.Sprintf("%-24s %-21s %-8s %9s %9s", cutTo(who, 24), b.Endpoint, b.Remaining, size(r.sent), size(r.received)))
		}
	case viewVisitors:
		heading = fmt.Sprintf("%-24s %-16s %-10s %-9s %-8s", "VISITOR", "HOME AGENT", "INTERFACE", "STATE", "LEFT")
		for _, v := range m.last.visitors {
			who := v.NAI
			if who == "" {
				who = v.HomeAddress.String()
			}
			rows = append(rows, fmt.Sprintf("%-24s %-16s %-10s %-9s %-8s", cutTo(who, 24), v.HomeAgent, v.Interface, v.State, v.Remaining))
		}
	case viewUplinks:
		heading = fmt.Sprintf("%-12s %4s %-8s %-16s %s", "INTERFACE", "PRIO", "STATE", "CARE-OF ADDRESS", "WHY")
		for _, u := range m.last.uplinks {
			state := u.State
			switch {
			case u.Home:
				state = "home"
			case state == "in-use":
				state = "IN USE"
			}
			care := "-"
			if u.CareOfAddress.IsValid() {
				care = u.CareOfAddress.String()
			}
			rows = append(rows, fmt.Sprintf("%-12s %4d %-8s %-16s %s", u.Interface, u.Priority, state, care, u.Why))
		}
	default:
		heading = fmt.Sprintf("%-12s %-14s %s", "TIME", "ROLE", "EVENT")
		for _, e := range m.shownEvents() {
			rows = append(rows, fmt.Sprintf("%-12s %-14s %v", e.Time.Local().Format("15:04:05.000"), e.Role, e.Note))
		}
	}
	return heading, rows
}

func cutTo(s string, n int) string {
	if r := []rune(s); len(r) > n {
		return string(r[:n-1]) + "…"
	}
	return s
}

// details are the lines about the chosen row.
func (m *model) details() []string {
	at := m.cursor[m.view]
	if at >= m.rows() {
		return nil
	}
	switch m.view {
	case viewBindings:
		b := m.last.bindings[at]
		return append([]string{
			fmt.Sprintf("%v  %s", b.HomeAddress, b.NAI),
			fmt.Sprintf("care-of address %v, endpoint %v, %s", b.CareOfAddress, b.Endpoint, b.State),
			fmt.Sprintf("tunnel %s%s%s", b.Encapsulation, words(b.ReverseTunnel, ", reverse"), words(b.NAT, ", behind a NAT")),
			fmt.Sprintf("granted %v, left %v, since %s", b.Granted, b.Remaining, b.Since.Local().Format(time.DateTime)),
			counted(b.Counters),
		}, m.latest(b.HomeAddress, b.NAI)...)
	case viewVisitors:
		v := m.last.visitors[at]
		return append([]string{
			fmt.Sprintf("%v  %s  %s on %s", v.HomeAddress, v.NAI, v.LinkLayerAddress, v.Interface),
			fmt.Sprintf("home agent %v, care-of address %v", v.HomeAgent, v.CareOfAddress),
			fmt.Sprintf("tunnel %s, delivery %s, %s", v.Encapsulation, v.Delivery, v.State),
			fmt.Sprintf("granted %v, left %v, since %s", v.Granted, v.Remaining, v.Since.Local().Format(time.DateTime)),
			counted(v.Counters),
		}, m.latest(v.HomeAddress, v.NAI)...)
	case viewUplinks:
		u := m.last.uplinks[at]
		return []string{
			fmt.Sprintf("%s  priority %d", u.Interface, u.Priority),
			fmt.Sprintf("%s, usable %v, at home %v", u.State, u.Usable, u.Home),
			fmt.Sprintf("gateways %v", u.Gateways), u.Why,
		}
	}
	e := m.shownEvents()[at]
	lines := []string{e.Time.Local().Format(time.DateTime) + "  " + e.Role + " " + string(e.Kind), fields(e.Note)}
	for _, x := range control.ExplainName(string(e.Kind)) {
		lines = append(lines, x.Means, x.Do)
	}
	if e.Code != 0 {
		lines = append(lines, fmt.Sprintf("careof explain %d", e.Code))
	}
	return lines
}

func fields(n note.Note) string { return strings.TrimPrefix(n.String(), string(n.Kind)+" ") }

func words(is bool, text string) string {
	if is {
		return text
	}
	return ""
}

func counted(c forward.Counters) string {
	return fmt.Sprintf("out %s in %d packets, in %s in %d packets, %d dropped",
		size(float64(c.SentBytes)), c.SentPackets, size(float64(c.ReceivedBytes)), c.ReceivedPackets, c.DroppedPackets)
}

// latest are the last events about a node.
func (m *model) latest(home netip.Addr, nai string) (lines []string) {
	for _, e := range m.events {
		if (e.HomeAddress == home || nai != "" && e.NAI == nai) && len(lines) < 3 {
			lines = append(lines, e.Time.Local().Format(time.TimeOnly)+" "+e.Note.String())
		}
	}
	return lines
}

func (m *model) foot() string {
	text := "q quit  tab view  / search  s sort  r reverse  enter details  p pause  ? help"
	if m.searching {
		text = "type to search; enter keeps it, esc ends it"
	} else if m.help {
		text = "any key goes back"
	}
	return m.paint(faint, m.fit(text))
}

func (m *model) helpLines() []string {
	return []string{
		m.paint(bold, "careof top"),
		"",
		"  tab, shift+tab, 1-4   bindings, visitors, uplinks, events",
		"  up, down, j, k        choose a row; pgup, pgdown, home, end",
		"  enter                 details of the row, and what happened to it lately",
		"  /                     search: rows that have all the words",
		"  s, r                  sort by another column; the other way round",
		"  p, space              pause",
		"  esc                   close the details, end the search",
		"  q                     quit",
		"",
		"  The daemon searches and sorts: of long lists the first 200 rows are shown.",
		"  OUT is what goes into the tunnel to the node, IN what comes from it.",
	}
}
