package demo

import (
	"fmt"
	"io"
	"slices"
	"time"

	"careof/internal/lab/median"
	"careof/internal/lab/netns"
)

// A Handover is one move and what it cost.
type Handover struct {
	Number         int
	Iface, Segment string // where to
	Leave          string // the interface that loses its link
	Make           bool   // make before break: the new link is there before the old one goes
	Cold           bool   // the routers on the new path have to find each other first
	At             time.Time
	Up, Down       netns.Window  // from and to the mobile node
	Late           time.Duration // how late this machine ran what was due, at worst

	begin, end time.Time // the datagrams sent in this time are this handover's
}

// recount counts again, when nothing is on its way any more.
func (h *Handover) recount(s *netns.Stream) {
	for _, d := range []struct {
		of *netns.Window
		by *netns.StreamDirection
	}{{&h.Down, s.Down()}, {&h.Up, s.Up()}} {
		w := d.by.Window(h.begin, h.end)
		w.LargestGap, w.GapAt = d.of.LargestGap, d.of.GapAt
		*d.of = w
	}
}

// A Report is what a demonstration has measured.
type Report struct {
	RoundTrip time.Duration // between mobile node and home agent, nothing else
	Handovers []Handover
	Transfer  netns.TransferResult
	Unwritten error // why there is no demo.pcapng
}

// What the figures are held against: see product.md, "Figures to reach".
const (
	downlinkExtra = 20 * time.Millisecond // over the round trip
	uplinkLimit   = 20 * time.Millisecond
)

func (h *Handover) kind() string {
	if h.Make {
		return "make before break"
	}
	return "break before make"
}

var places = map[string]string{access1: "network 1", access2: "network 2, behind a NAT"}

func (h *Handover) story(from string) string {
	if h.Make {
		return fmt.Sprintf("%s gets a link to %s, then %s loses %s", h.Iface, places[h.Segment], h.Leave, places[from])
	}
	if h.Iface == h.Leave {
		return fmt.Sprintf("%s goes from %s to %s", h.Iface, places[from], places[h.Segment])
	}
	return fmt.Sprintf("%s loses %s, then %s gets a link to %s", h.Leave, places[from], h.Iface, places[h.Segment])
}

// result is what a handover cost, on one line.
func (h *Handover) result() string {
	busy := ""
	if h.Late > tooLate {
		busy = fmt.Sprintf("   (this machine was %d ms late)", h.Late.Milliseconds())
	}
	return h.figures() + busy
}

// figures are a handover's.
func (h *Handover) figures() string {
	return fmt.Sprintf("%2d %s  to %-23s  gap %3d ms down, %3d ms up   lost %2d down, %2d up   twice %d", h.Number, h.kind(), places[h.Segment],
		h.Down.LargestGap.Milliseconds(), h.Up.LargestGap.Milliseconds(), h.Down.Lost, h.Up.Lost, h.Down.Duplicates+h.Up.Duplicates)
}

// Broken lists the promises that were broken: what makes the demonstration fail.
func (r *Report) Broken() []string {
	var list []string
	say := func(broken bool, format string, args ...any) {
		if broken {
			list = append(list, fmt.Sprintf(format, args...))
		}
	}
	say(r.Transfer.Resets > 0, "the TCP connection was reset")
	say(r.Transfer.Resets == 0 && r.Transfer.Err != nil, "the TCP transfer failed: %v", r.Transfer.Err)
	say(!r.Transfer.Down.Intact, "TCP to the mobile node: %d octets sent, %d received, not the same", r.Transfer.Down.Sent, r.Transfer.Down.Received)
	say(!r.Transfer.Up.Intact, "TCP from the mobile node: %d octets sent, %d received, not the same", r.Transfer.Up.Sent, r.Transfer.Up.Received)
	for _, h := range r.Handovers {
		if h.Make {
			lost, twice := h.Down.Lost+h.Up.Lost, h.Down.Duplicates+h.Up.Duplicates
			say(lost > 0, "handover %d made before it broke and lost %d packets", h.Number, lost)
			say(twice > 0, "handover %d made before it broke and delivered %d packets twice", h.Number, twice)
		}
	}
	return list
}

// Late is how late this machine ran what was due, at worst.
func (r *Report) Late() (worst time.Duration) {
	for _, h := range r.Handovers {
		worst = max(worst, h.Late)
	}
	return worst
}

// Missed lists the figures that are not what is aimed at. A busy machine can
// be the reason, so they do not make the demonstration fail.
func (r *Report) Missed() []string {
	var list []string
	down, up := r.gaps(false)
	if limit := r.RoundTrip + downlinkExtra; len(down) > 0 && median.Of(down) > limit {
		list = append(list, fmt.Sprintf("the median downlink gap is %v, more than a round trip and %v", millis(median.Of(down)), downlinkExtra))
	}
	if len(up) > 0 && median.Of(up) > uplinkLimit {
		list = append(list, fmt.Sprintf("the median uplink gap is %v, more than %v", millis(median.Of(up)), uplinkLimit))
	}
	return list
}

// gaps lists the gaps of one kind of handover, over paths in use.
func (r *Report) gaps(make bool) (down, up []time.Duration) {
	for _, h := range r.Handovers {
		if h.Make == make && !h.Cold {
			down, up = append(down, h.Down.LargestGap), append(up, h.Up.LargestGap)
		}
	}
	return down, up
}

func millis(d time.Duration) string {
	return fmt.Sprintf("%.1f ms", float64(d)/float64(time.Millisecond))
}

// Write prints the table at the end.
func (r *Report) Write(w io.Writer) error {
	p := &printer{w: w}
	for _, make := range []bool{false, true} {
		down, up := r.gaps(make)
		if len(down) == 0 {
			continue
		}
		var lostDown, lostUp, twice int
		for _, h := range r.Handovers {
			if h.Make == make && !h.Cold {
				lostDown, lostUp = lostDown+h.Down.Lost, lostUp+h.Up.Lost
				twice += h.Down.Duplicates + h.Up.Duplicates
			}
		}
		p.line("")
		p.line("%-34s %12s %12s   %s", fmt.Sprintf("%d handovers, %s", len(down), (&Handover{Make: make}).kind()), "to the node", "from it", "aimed at")
		aim := "no gap: a datagram comes every 5 ms"
		if !make {
			aim = fmt.Sprintf("%v (a round trip + 20 ms), %v", millis(r.RoundTrip+downlinkExtra), millis(uplinkLimit))
		}
		p.line("  %-32s %12s %12s   %s", "longest silence, median", millis(median.Of(down)), millis(median.Of(up)), aim)
		p.line("  %-32s %12s %12s", "longest silence, worst", millis(slices.Max(down)), millis(slices.Max(up)))
		aim = ""
		if make {
			aim = "0, 0"
		}
		p.line("  %-32s %12d %12d   %s", "datagrams lost", lostDown, lostUp, aim)
		p.line("  %-32s %12d %12s   0", "datagrams delivered twice", twice, "")
	}
	for _, h := range r.Handovers {
		if h.Cold {
			p.line("")
			p.line("%-34s %12s %12s", "handover 1, over a path yet unused", "to the node", "from it")
			p.line("  %-32s %12s %12s   %s (two round trips + 20 ms)", "longest silence", millis(h.Down.LargestGap), millis(h.Up.LargestGap),
				millis(2*r.RoundTrip+downlinkExtra))
			p.line("  %-32s %12d %12d", "datagrams lost", h.Down.Lost, h.Up.Lost)
		}
	}
	t := r.Transfer
	p.line("")
	p.line("%-34s %12s %12s", "one TCP connection, all the time", "to the node", "from it")
	p.line("  %-32s %12d %12d", "bytes received", t.Down.Received, t.Up.Received)
	p.line("  %-32s %12d %12d   0, 0", "bytes lost", t.Down.Sent-t.Down.Received, t.Up.Sent-t.Up.Received)
	p.line("  %-32s %12s %12s   (SHA-256)", "the same at both ends", yes(t.Down.Intact), yes(t.Up.Intact))
	p.line("  %-32s %12s %12s", "longest silence", millis(t.Down.LargestGap), millis(t.Up.LargestGap))
	p.line("  %-32s %12d %12s   0", "resets", t.Resets, "")
	p.line("")
	for _, m := range r.Missed() {
		p.line("missed: %s", m)
	}
	for _, b := range r.Broken() {
		p.line("BROKEN: %s", b)
	}
	if late := r.Late(); late > tooLate {
		p.line("this machine is too busy to judge: it ran what was due up to %d ms late", late.Milliseconds())
	}
	return p.err
}

func yes(b bool) string {
	if b {
		return "yes"
	}
	return "NO"
}

// A printer remembers the first failure.
type printer struct {
	w   io.Writer
	err error
}

func (p *printer) line(format string, args ...any) {
	if p.err == nil {
		_, p.err = fmt.Fprintf(p.w, format+"\n", args...)
	}
}
