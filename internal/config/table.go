package config

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/BurntSushi/toml"
)

// A Table lists the keys that may stand in a TOML table whose values go to an S.
type Table[S any] []Row[S]

// A Row is one key of a [Table].
type Row[S any] struct {
	Name string
	Help
	kind string // what the value may be, for people; "" for a table

	// set stores v, the value at path, or reports what is wrong with it.
	set func(d *decoder, path string, s *S, v any)
	// values appends what is in force.
	values func(path string, s *S, out []Value) []Value
	// reference prints the row when it is a table.
	reference func(w *referenceWriter, path string)
}

// Help is what people are told about a key.
type Help struct {
	Default  string // TOML text, used when the key is left out; "" for none
	Example  string // TOML text for the reference, when there is no default
	Shown    bool   // print the example in the reference, not only as a comment
	Required bool
	Doc      string // what it does, units, RFC section; lines separated by \n
}

// A Value is one configured value: the key's path, with what identifies the
// element of a list in brackets, and its TOML text. Secrets are fingerprints.
type Value struct {
	Key  string `json:"key"`
	Text string `json:"value"`
}

// Field makes the row of a key whose value goes to at(s).
func Field[S, V any](name string, k Kind[V], at func(*S) *V, help Help) Row[S] {
	return Row[S]{
		Name: name, Help: help, kind: k.Name,
		set: func(d *decoder, path string, s *S, v any) {
			value, err := k.Parse(v)
			if err != nil {
				d.mistake(path, err)
				return
			}
			*at(s) = value
		},
		values: func(path string, s *S, out []Value) []Value {
			if text := k.Format(*at(s)); text != "" {
				out = append(out, Value{path, text})
			}
			return out
		},
	}
}

// always makes the row of a [name] table that is in force even when it is
// left out.
func always[S, E any](name string, t Table[E], at func(*S) *E, help Help) Row[S] {
	help.Default = "{}"
	return Row[S]{
		Name: name, Help: help,
		set: func(d *decoder, path string, s *S, v any) {
			if m, ok := v.(map[string]any); ok {
				decodeTable(d, path, t, m, at(s))
			} else {
				d.mistake(path, wrongType(v, "a table", "["+name+"]"))
			}
		},
		values: func(path string, s *S, out []Value) []Value {
			return tableValues(path, t, at(s), out)
		},
		reference: func(w *referenceWriter, path string) {
			referenceTable(w, "["+path+"]", path, help.Doc, t)
		},
	}
}

// optional makes the row of a [name] table that means something by being there.
func optional[S, E any](name string, t Table[E], at func(*S) **E, help Help) Row[S] {
	row := always(name, t, func(s *S) *E {
		if *at(s) == nil {
			*at(s) = new(E)
		}
		return *at(s)
	}, help)
	row.Default = ""
	values := row.values
	row.values = func(path string, s *S, out []Value) []Value {
		if *at(s) == nil {
			return out
		}
		return values(path, s, out)
	}
	return row
}

// tables makes the row of a [[name]] table, of which there may be many. id
// says what tells one from another, for [Diff].
func tables[S, E any](name string, t Table[E], at func(*S) *[]E, id func(*E) string, help Help) Row[S] {
	return Row[S]{
		Name: name, Help: help,
		set: func(d *decoder, path string, s *S, v any) {
			for i, m := range elements(d, path, name, v) {
				var e E
				decodeTable(d, indexed(path, i), t, m, &e)
				*at(s) = append(*at(s), e)
			}
		},
		values: func(path string, s *S, out []Value) []Value {
			for i := range *at(s) {
				e := &(*at(s))[i]
				out = tableValues(path+"["+id(e)+"]", t, e, out)
			}
			return out
		},
		reference: func(w *referenceWriter, path string) {
			referenceTable(w, "[["+path+"]]", path, help.Doc, t)
		},
	}
}

func indexed(path string, i int) string { return path + "[" + strconv.Itoa(i) + "]" }

// elements returns the elements of an array of tables.
func elements(d *decoder, path, name string, v any) []map[string]any {
	switch v := v.(type) {
	case []map[string]any:
		return v
	case []any:
		out := make([]map[string]any, 0, len(v))
		for _, item := range v {
			m, ok := item.(map[string]any)
			if !ok {
				d.mistake(path, wrongType(item, "a table", ""))
				return nil
			}
			out = append(out, m)
		}
		return out
	case map[string]any:
		d.mistake(path, mistakef("write [["+keyOf(path)+"]]", "is a list of tables"))
		return nil
	}
	d.mistake(path, wrongType(v, "a list of tables", "[["+keyOf(path)+"]]"))
	return nil
}

// decodeTable fills s: defaults first, then what m says.
func decodeTable[S any](d *decoder, path string, t Table[S], m map[string]any, s *S) {
	known := make([]string, 0, len(t))
	for _, row := range t {
		known = append(known, row.Name)
		at := join(path, row.Name)
		v, there := m[row.Name]
		switch {
		case there:
			if row.Default != "" {
				row.set(new(decoder), at, s, parseText(row.Default)) // whose problems nobody reads
			}
			row.set(d, at, s, v)
		case row.Required:
			hint := ""
			if row.Example != "" {
				hint = "for example " + row.Name + " = " + row.Example
			}
			d.mistake(at, mistakef(hint, "is missing"))
		case row.Default != "":
			row.set(d, at, s, parseText(row.Default))
		}
	}
	var unknown []string
	for name := range m {
		if !slices.Contains(known, name) {
			unknown = append(unknown, name)
		}
	}
	slices.Sort(unknown)
	for _, name := range unknown {
		d.mistake(join(path, name), mistakef(didYouMean(name, known), "unknown key"))
	}
}

func tableValues[S any](path string, t Table[S], s *S, out []Value) []Value {
	for _, row := range t {
		out = row.values(join(path, row.Name), s, out)
	}
	return out
}

// parseText parses the TOML text of a default or an example. They are written
// by programmers, so a bad one is theirs to fix.
func parseText(text string) any {
	var m map[string]any
	if _, err := toml.Decode("x = "+text, &m); err != nil {
		panic(fmt.Sprintf("config: default or example %q: %v", text, err))
	}
	return m["x"]
}

// A decoder collects what is wrong with one file.
type decoder struct {
	file      string // as the user named it
	dir       string // relative names in the file start here
	lines     lineTable
	nodesFile string // where the nodes file was found
	// The nodes of that file are the last ones, from firstFromFile on, and
	// stand on these lines.
	firstFromFile int
	nodeLines     []int32
	problems      Problems
	warnings      Problems
}

// keyOf is a path without the indices of list elements.
func keyOf(path string) string {
	var b strings.Builder
	depth := 0
	for _, c := range path {
		switch c {
		case '[':
			depth++
		case ']':
			depth--
		default:
			if depth == 0 {
				b.WriteRune(c)
			}
		}
	}
	return b.String()
}

func (d *decoder) problem(path, hint, format string, args ...any) {
	d.problems = append(d.problems, d.at(path, hint, fmt.Sprintf(format, args...)))
}

func (d *decoder) warn(path, hint, format string, args ...any) {
	d.warnings = append(d.warnings, d.at(path, hint, fmt.Sprintf(format, args...)))
}

func (d *decoder) at(path, hint, text string) Problem {
	return Problem{File: d.file, Line: d.lines.find(path), Key: keyOf(path), Text: text, Hint: hint}
}

// mistake reports err, and its hint when it has one.
func (d *decoder) mistake(path string, err error) {
	var m *mistake
	if errors.As(err, &m) {
		d.problem(path, m.hint, "%s", m.text)
		return
	}
	d.problem(path, "", "%s", reason(err))
}
