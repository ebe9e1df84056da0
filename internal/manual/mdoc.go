package manual

import (
	"fmt"
	"strings"
)

// date is when the hand-written text last changed.
const date = "November 22, 2026"

// page writes one man page in mdoc(7).
type page struct{ strings.Builder }

// newPage begins a page with its title and its one-line description.
func newPage(name string, section int, describes string) *page {
	p := &page{}
	fmt.Fprintf(p, ".Dd %s\n.Dt %s %d\n.Os\n", date, strings.ToUpper(name), section)
	p.section("NAME")
	p.macro("Nm", name)
	p.macro("Nd", describes)
	return p
}

// escape makes text safe for a text line: no escape sequences, and hyphens
// that can be copied into a shell.
func escape(text string) string {
	return strings.NewReplacer(`\`, `\e`, `-`, `\-`).Replace(text)
}

// width is where text lines are broken: mandoc's style is 80 at most.
const width = 76

// text writes a paragraph. A sentence begins on a line of its own, as mdoc
// wants it; a line that begins with a control character would be taken for a
// request.
func (p *page) text(text string) {
	line := ""
	flush := func() {
		if strings.HasPrefix(line, ".") || strings.HasPrefix(line, "'") {
			line = `\&` + line
		}
		if line != "" {
			p.WriteString(line + "\n")
		}
		line = ""
	}
	for _, word := range strings.Fields(escape(text)) {
		if line != "" && len(line)+1+len(word) > width {
			flush()
		}
		if line != "" {
			line += " "
		}
		line += word
		if strings.HasSuffix(strings.TrimRight(word, `)"`), ".") {
			flush()
		}
	}
	flush()
}

// macro writes a macro with one argument that is text and never a macro.
func (p *page) macro(name, text string) {
	fmt.Fprintf(p, ".%s %s\n", name, argument(text))
}

func argument(text string) string {
	return `"\&` + strings.ReplaceAll(escape(text), `"`, `""`) + `"`
}

// section begins a section.
func (p *page) section(name string) { p.WriteString(".Sh " + name + "\n") }

// literal writes lines as they are.
func (p *page) literal(lines []string) {
	p.WriteString(".Bd -literal -offset indent\n")
	for _, l := range lines {
		l = escape(l)
		if strings.HasPrefix(l, ".") || strings.HasPrefix(l, "'") {
			l = `\&` + l
		}
		p.WriteString(l + "\n")
	}
	p.WriteString(".Ed\n")
}

// prose writes help text as commands print it: blank lines part paragraphs,
// indented lines are literal.
func (p *page) prose(text string) {
	first := true
	for _, block := range blocks(text) {
		if block.literal {
			p.literal(block.lines)
			first = false
			continue
		}
		if !first {
			p.WriteString(".Pp\n")
		}
		first = false
		p.text(strings.Join(block.lines, " "))
	}
}

// raw writes hand-written mdoc.
func (p *page) raw(text string) { p.WriteString(strings.TrimSuffix(text, "\n") + "\n") }

// block is a paragraph or a run of indented lines, without the indentation.
type block struct {
	literal bool
	lines   []string
}

func blocks(text string) []block {
	var out []block
	var now *block
	for _, l := range strings.Split(strings.Trim(text, "\n"), "\n") {
		indented := strings.HasPrefix(l, "  ")
		switch {
		case strings.TrimSpace(l) == "":
			now = nil
			continue
		case now == nil || now.literal != indented:
			out = append(out, block{literal: indented})
			now = &out[len(out)-1]
		}
		now.lines = append(now.lines, strings.TrimRight(strings.TrimPrefix(l, "  "), " "))
	}
	return out
}
