package main

import (
	"encoding/xml"
	"flag"
	"fmt"
	"html"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"careof/internal/control"
)

// record writes what the documents show: make pictures
var record = flag.Bool("record", false, "write the terminal recordings of docs/images")

// A frame is what a terminal showed, with its colours (ECMA-48), and for how
// long a reader may look at it.
type frame struct {
	text string
	long time.Duration
}

// A recording is a terminal that is looked at while something happens.
type recording struct {
	name, title, about string
	wide, tall         int
	screen             *screen
	frames             []frame
}

// see waits for words and keeps what is shown then.
func (r *recording) see(long time.Duration, words ...string) {
	r.screen.t.Helper()
	r.screen.shows(words...)
	r.frames = append(r.frames, frame{strings.TrimRight(r.screen.tmux("capture-pane", "-e", "-p"), "\n"), long})
}

// enter types a command.
func (r *recording) enter(line string) {
	r.screen.t.Helper()
	r.screen.tmux("send-keys", "-l", line)
	r.screen.tmux("send-keys", "Enter")
}

// TestTheRecordingsAreOfARun moves a node in a laboratory and looks at careof
// top, show and monitor meanwhile. What the documents show must be what is seen;
// with -record it becomes that.
func TestTheRecordingsAreOfARun(t *testing.T) {
	if !namespaces() {
		t.Skip("namespaces cannot be made here")
	}
	folder := t.TempDir()
	lab := func(args ...string) string {
		t.Helper()
		cmd := exec.Command("careof", append([]string{"lab"}, args...)...)
		cmd.Env = append(os.Environ(), "XDG_RUNTIME_DIR="+folder, "CAREOF_SOCKET=")
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("careof lab %v: %v\n%s", args, err, out)
		}
		return string(out)
	}
	shell := func(name, node, title, about string, wide, tall int) *recording {
		t.Helper()
		s := newScreenOf(t, wide, tall, "env", "CAREOF_SOCKET="+folder+"/careof-lab/default/"+node+"/careof.sock", "PS1=$ ", "/bin/sh")
		s.shows("$")
		return &recording{name: name, title: title, about: about, wide: wide, tall: tall, screen: s}
	}
	t.Cleanup(func() {
		cmd := exec.Command("careof", "lab", "down")
		cmd.Env = append(os.Environ(), "XDG_RUNTIME_DIR="+folder)
		_ = cmd.Run()
	})
	lab("up", "--detach")
	top := shell("top", "ha", "careof top at a home agent", "A node is bound at 203.0.113.50, then it has moved behind a NAT that calls it 100.64.0.2; the traffic goes on.", 80, 24)
	show := shell("show", "ha", "careof show bindings, before and after a move", "The care-of address changes from 203.0.113.50 to 192.168.8.100, and the tunnel from IP-in-IP to UDP.", 120, 8)
	monitor := shell("monitor", "mn", "careof monitor at a mobile node that moves", "The link goes, another one comes, the node asks its home agent and is registered.", 146, 14)
	top.enter("careof top")
	top.see(time.Second, "home-agent serving", "q quit")
	lab("move", "mn", "access1")
	ping := exec.Command("careof", "lab", "exec", "cn", "--", "ping", "-q", "-i", "0.2", "10.10.0.5")
	ping.Env = append(os.Environ(), "XDG_RUNTIME_DIR="+folder, "CAREOF_SOCKET=")
	if err := ping.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = ping.Process.Signal(os.Interrupt)
		_ = ping.Wait()
	})
	top.see(2*time.Second, "203.0.113.50")
	show.see(time.Second, "$")
	show.enter("careof show bindings")
	show.see(2*time.Second, "203.0.113.50")
	monitor.enter("careof monitor")
	monitor.see(time.Second, "careof monitor")
	// The daemon's end of the connection is a socket of the client's network.
	connected := func() bool {
		text, err := os.ReadFile("/proc/net/unix")
		return err == nil && strings.Contains(string(text), folder+"/careof-lab/default/mn/careof.sock")
	}
	for end := time.Now().Add(patience); !connected(); <-time.After(20 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("the monitor never asked its daemon")
		}
	}
	lab("move", "mn", "access2")
	top.screen.matches(newWay)
	if *record {
		top.screen.shows("420 B") // five pings a second; a busy machine sends them in bursts
	}
	top.see(4*time.Second, "100.64.0.2")
	show.enter("careof show bindings")
	show.see(4*time.Second, "192.168.8.100", "udp/ipip,nat")
	monitor.see(4*time.Second, "registered", "192.168.8.100")
	for _, r := range []*recording{top, show, monitor} {
		file := filepath.Join("../../docs/images", r.name+".svg")
		if *record {
			if err := os.WriteFile(file, r.svg(), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		kept, err := os.ReadFile(file)
		if err != nil {
			t.Errorf("%v (make pictures writes it)", err)
			continue
		}
		// Times, counters and their units differ from run to run; words do not,
		// but for events: a link that comes back at once has not gone.
		fresh := append(spokenWords(t, r.svg()), control.Explained()...)
		for _, w := range spokenWords(t, kept) {
			if !slices.Contains(fresh, w) {
				t.Errorf("%s shows %q, and careof does not any more: make pictures", file, w)
			}
		}
	}
}

// newWay is the row of the node behind the NAT, with packets in both directions.
var newWay = regexp.MustCompile(`100\.64\.0\.2:\d+ +\S+ +[1-9][0-9.]* k?B +[1-9][0-9.]* k?B`)

var word = regexp.MustCompile(`[A-Za-z][A-Za-z'-]{3,}`)

// spokenWords are the words that a recording shows.
func spokenWords(t *testing.T, svg []byte) (words []string) {
	t.Helper()
	for d := xml.NewDecoder(strings.NewReader(string(svg))); ; {
		token, err := d.Token()
		if token == nil {
			slices.Sort(words)
			return slices.Compact(words)
		}
		if err != nil {
			t.Fatal(err)
		}
		if at, is := token.(xml.StartElement); is && at.Name.Local == "style" {
			if err := d.Skip(); err != nil {
				t.Fatal(err)
			}
		}
		if text, is := token.(xml.CharData); is {
			for _, field := range strings.Fields(string(text)) {
				if !strings.ContainsAny(field, "0123456789") {
					words = append(words, word.FindAllString(field, -1)...)
				}
			}
		}
	}
}

// Measures of the drawing, in pixels.
const (
	cellWide, cellTall = 7.8, 18
	margin             = 14
)

// svg draws the frames one after another; for who wants no motion, the last.
func (r *recording) svg() []byte {
	var whole time.Duration
	for _, f := range r.frames {
		whole += f.long
	}
	var b strings.Builder
	wide, tall := float64(r.wide)*cellWide+2*margin, r.tall*cellTall+2*margin
	fmt.Fprintf(&b, `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %.0f %d" role="img" aria-labelledby="title desc">
<title id="title">%s</title>
<desc id="desc">%s</desc>
<style>
  text { font: 13px ui-monospace, "DejaVu Sans Mono", monospace; fill: #dfe3e8; white-space: pre }
  .back { fill: #16181c; stroke: #b9bfc7 }
  @media (prefers-color-scheme: dark) { .back { stroke: #4a515b } }
  .b { font-weight: 700 } .d { fill: #949ba5 } .c1 { fill: #ff8a80 } .c2 { fill: #5fd0b4 } .c3 { fill: #f0a35e } .c4 { fill: #8ab4f8 } .c5 { fill: #d7a6f0 } .c6 { fill: #7fd6e6 }
  .block { fill: #dfe3e8 } .r { fill: #16181c }
`, wide, tall, html.EscapeString(r.title), html.EscapeString(r.about))
	var begin time.Duration
	for i, f := range r.frames {
		from, to := 100*begin.Seconds()/whole.Seconds(), 100*(begin+f.long).Seconds()/whole.Seconds()
		begin += f.long
		fmt.Fprintf(&b, "  @keyframes f%d { 0%%, 100%% { visibility: hidden } %.2f%%, %.2f%% { visibility: visible } }\n", i, from, to-0.01)
		last := "hidden"
		if i == len(r.frames)-1 {
			last = "visible"
		}
		fmt.Fprintf(&b, "  #f%d { visibility: %s; animation: f%d %.0fs step-end infinite }\n", i, last, i, whole.Seconds())
	}
	fmt.Fprintf(&b, "  @media (prefers-reduced-motion: reduce) { g { animation: none !important } }\n</style>\n<rect class=\"back\" x=\".5\" y=\".5\" width=\"%.0f\" height=\"%d\" rx=\"8\"/>\n", wide-1, tall-1)
	for i, f := range r.frames {
		fmt.Fprintf(&b, "<g id=\"f%d\">\n", i)
		for row, line := range strings.Split(f.text, "\n") {
			drawLine(&b, row, line)
		}
		b.WriteString("</g>\n")
	}
	b.WriteString("</svg>\n")
	return []byte(b.String())
}

var sgr = regexp.MustCompile("\x1b\\[([0-9;]*)m|\x1b\\([B0]|\x0f")

// drawLine draws a terminal's line, a run of one style at a time.
func drawLine(b *strings.Builder, row int, line string) {
	var style []string
	column, y := 0, margin+row*cellTall
	run := func(text string) {
		width := utf8.RuneCountInString(text)
		x := margin + float64(column)*cellWide
		column += width
		if slices.Contains(style, "r") {
			fmt.Fprintf(b, "<rect class=\"block\" x=\"%.1f\" y=\"%d\" width=\"%.1f\" height=\"%d\"/>\n", x, y, float64(width)*cellWide, cellTall)
		}
		for text != "" { // wide gaps are not drawn, for their width is the font's
			trimmed := strings.TrimLeft(text, " ")
			x += float64(len(text)-len(trimmed)) * cellWide
			part, rest, gap := strings.Cut(trimmed, "  ")
			if part != "" {
				class := ""
				if len(style) > 0 {
					class = fmt.Sprintf(" class=%q", strings.Join(style, " "))
				}
				runes := utf8.RuneCountInString(part)
				fmt.Fprintf(b, "<text%s x=\"%.1f\" y=\"%d\" textLength=\"%.1f\">%s</text>\n", class, x, y+13, float64(runes)*cellWide, html.EscapeString(part))
				x += float64(runes) * cellWide
			}
			if text = rest; gap {
				x += 2 * cellWide
			}
		}
	}
	at := 0
	for _, m := range sgr.FindAllStringSubmatchIndex(line, -1) {
		run(line[at:m[0]])
		at = m[1]
		if m[2] >= 0 {
			style = styled(style, line[m[2]:m[3]])
		}
	}
	run(line[at:])
}

// styled applies a Select Graphic Rendition.
func styled(style []string, codes string) []string {
	style = slices.Clone(style)
	set := func(class string) {
		style = slices.DeleteFunc(style, func(c string) bool { return c == class || class[0] == 'c' && c[0] == 'c' })
		style = append(style, class)
	}
	list := strings.Split(codes, ";")
	for i := 0; i < len(list); i++ {
		code, _ := strconv.Atoi(list[i]) // nothing is 0
		switch {
		case code == 0:
			style = nil
		case code == 1:
			set("b")
		case code == 2 || code == 90:
			set("d")
		case code == 7:
			set("r")
		case code >= 31 && code <= 36:
			set(fmt.Sprintf("c%d", code-30))
		case code >= 91 && code <= 96:
			set(fmt.Sprintf("c%d", code-90))
		case code == 39:
			style = slices.DeleteFunc(style, func(c string) bool { return c[0] == 'c' })
		case code == 38 || code == 48:
			if i+2 < len(list) && list[i+1] == "5" {
				if n, _ := strconv.Atoi(list[i+2]); code == 38 && n%8 > 0 && n%8 < 7 && n < 16 {
					set(fmt.Sprintf("c%d", n%8))
				} else if code == 38 && n >= 232 {
					set("d")
				}
				i += 2
			} else {
				i += 4
			}
		}
	}
	return style
}
