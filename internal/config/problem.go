package config

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// A Problem is one mistake, or one thing worth a second look, in a
// configuration file.
type Problem struct {
	File string `json:"file"`
	Line int    `json:"line"`          // from 1; 0 when the problem is the file itself
	Key  string `json:"key,omitempty"` // dotted path, as in "home-agent.mobile-node.spi"
	Text string `json:"problem"`
	Hint string `json:"hint,omitempty"` // what to do about it
}

// String returns `file:line: key: problem (hint)`, without the parts that are
// not known.
func (p Problem) String() string {
	var b strings.Builder
	b.WriteString(p.File)
	if p.Line > 0 {
		fmt.Fprintf(&b, ":%d", p.Line)
	}
	b.WriteString(": ")
	if p.Key != "" {
		b.WriteString(p.Key + ": ")
	}
	b.WriteString(p.Text)
	if p.Hint != "" {
		b.WriteString(" (" + p.Hint + ")")
	}
	return b.String()
}

// Problem is one that shows only when the file is used: a port that is taken, a
// folder that cannot be written to. It has the line of the key, or of the table that the key is missing from.
func (c *Config) Problem(key, text, hint string) Problem {
	return Problem{File: c.File, Line: c.lines.find(key), Key: key, Text: text, Hint: hint}
}

// Problems is a list of mistakes in the order of the file. It is the error
// that [Load] returns.
type Problems []Problem

// Error returns the problems, one a line.
func (p Problems) Error() string {
	lines := make([]string, len(p))
	for i, one := range p {
		lines[i] = one.String()
	}
	return strings.Join(lines, "\n")
}

// sorted orders problems by file and line. The main file comes first, then
// the files that it names, in the order of their names.
func (p Problems) sorted(main string) Problems {
	slices.SortStableFunc(p, func(a, b Problem) int {
		if (a.File == main) != (b.File == main) {
			if a.File == main {
				return -1
			}
			return 1
		}
		return cmp.Or(cmp.Compare(a.File, b.File), cmp.Compare(a.Line, b.Line))
	})
	return p
}
