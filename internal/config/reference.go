package config

import (
	"fmt"
	"strings"
)

// referenceWriter prints tables as a commented TOML file.
type referenceWriter struct{ strings.Builder }

func (w *referenceWriter) comment(text string) {
	if text == "" {
		return
	}
	for line := range strings.SplitSeq(text, "\n") {
		fmt.Fprintf(w, "# %s\n", line)
	}
}

// Reference returns a complete commented configuration: every key with its
// explanation, what it may be, and its default. Keys that have no default and
// may be left out stand there as comments. It is itself a valid file, once the
// key files that it names exist.
func Reference() string {
	w := &referenceWriter{}
	w.comment("careof.toml: every key, what it may be, and its default.\n" +
		"Generated from the table that also reads the file. Unknown keys are errors.\n" +
		"A role runs when its section is there: leave out the sections that you do not need.")
	rows(w, "", rootTable)
	return w.String()
}

func referenceTable[S any](w *referenceWriter, header, path, doc string, t Table[S]) {
	w.WriteString("\n")
	w.comment(doc)
	w.WriteString(header + "\n")
	rows(w, path, t)
}

// rows prints plain keys before tables, as TOML needs it.
func rows[S any](w *referenceWriter, path string, t Table[S]) {
	for _, row := range t {
		if row.reference != nil {
			continue
		}
		w.WriteString("\n")
		w.comment(row.Doc)
		what := row.kind
		if row.Required {
			what += "; required"
		}
		if what != "" {
			w.comment("(" + what + ")")
		}
		switch {
		case row.Default != "":
			fmt.Fprintf(w, "%s = %s\n", row.Name, row.Default)
		case row.Required || row.Shown:
			fmt.Fprintf(w, "%s = %s\n", row.Name, row.Example)
		default:
			fmt.Fprintf(w, "#%s = %s\n", row.Name, row.Example)
		}
	}
	for _, row := range t {
		if row.reference != nil {
			row.reference(w, join(path, row.Name))
		}
	}
}
