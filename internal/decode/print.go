package decode

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"time"
	"unicode/utf8"
)

const (
	// maxText is how much of a long value the text shows; JSON has all of it.
	maxText = 64
	// rfcColumn is where the section stands, behind names and values.
	rfcColumn = 76
)

// WriteText prints the report for people: a head line for each packet, its
// comment, its summary, and a line for each field with offset, length, name,
// value and RFC section. A line with an error ends with it, behind "!".
func (r *Report) WriteText(w io.Writer) error {
	bw := bufio.NewWriter(w)
	for i := range r.Packets {
		if i > 0 {
			fmt.Fprintln(bw)
		}
		writePacket(bw, &r.Packets[i])
	}
	return bw.Flush()
}

func writePacket(w *bufio.Writer, p *Packet) {
	fmt.Fprintf(w, "packet %d: %s, %d octets", p.Number, p.Kind, p.Length)
	if p.Guessed {
		fmt.Fprint(w, " (guessed from its first octets)")
	}
	if p.Cut > 0 {
		fmt.Fprintf(w, ", %d of them not captured", p.Cut)
	}
	if p.Time != nil {
		fmt.Fprintf(w, ", %s", p.Time.UTC().Format(time.RFC3339Nano))
	}
	fmt.Fprintln(w)
	if p.Comment != "" {
		for _, l := range strings.Split(p.Comment, "\n") {
			fmt.Fprintf(w, "# %s\n", clean(l))
		}
	}
	fmt.Fprintf(w, "  %s\n", clean(p.Summary))
	writeFields(w, p.Fields, 0)
}

func writeFields(w *bufio.Writer, fields []Field, depth int) {
	for _, f := range fields {
		line := fmt.Sprintf("%6d %5d  %s%s", f.Offset, f.Length, strings.Repeat("  ", depth), f.Name)
		if f.Value != "" {
			line += ": " + clip(clean(f.Value))
		}
		if f.RFC != "" {
			pad := max(0, rfcColumn-utf8.RuneCountInString(line))
			line += strings.Repeat(" ", pad) + "  " + f.RFC
		}
		if f.Error != "" {
			line += "  ! " + clean(f.Error)
		}
		fmt.Fprintln(w, line)
		writeFields(w, f.Nested, depth+1)
	}
}

// clip shortens a long value.
func clip(s string) string {
	if utf8.RuneCountInString(s) <= maxText || !isHex(s) {
		return s
	}
	return s[:maxText] + "…"
}

func isHex(s string) bool {
	for _, c := range s {
		if digit(c) < 0 {
			return false
		}
	}
	return true
}

// clean keeps a stranger's text from driving the terminal.
func clean(s string) string {
	return strings.Map(func(c rune) rune {
		if c < ' ' || c >= 0x7f && c < 0xa0 || c == utf8.RuneError || c >= 0x200e && c <= 0x202e || c >= 0x2066 && c <= 0x2069 {
			return '.'
		}
		return c
	}, s)
}

// WriteJSON prints the report as one JSON object.
func (r *Report) WriteJSON(w io.Writer) error {
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	e.SetEscapeHTML(false)
	return e.Encode(r)
}
