package config

import "fmt"

// A Section is a table of the file that belongs to a feature, not to a role.
// Make one with [NewSection] and pass it to [Load]; read it with [Get].
type Section struct {
	name      string
	decode    func(d *decoder, path string, v any)
	values    func(c *Config, out []Value) []Value
	reference func(w *referenceWriter)
}

// A Report tells of a problem with one key of a section.
type Report func(key, hint, format string, args ...any)

// NewSection makes the section [name], a dotted path such as "aaa" or
// "home-agent.revocation", with the keys of t. doc introduces it in the
// reference. check, which may be nil, looks at the values together once they
// are decoded.
func NewSection[S any](name, doc string, t Table[S], check func(s *S, report Report)) *Section {
	return &Section{
		name: name,
		decode: func(d *decoder, path string, v any) {
			m, ok := v.(map[string]any)
			if !ok {
				d.mistake(path, wrongType(v, "a table", "["+name+"]"))
				return
			}
			s := new(S)
			before := len(d.problems)
			decodeTable(d, path, t, m, s)
			if check != nil && len(d.problems) == before {
				check(s, func(key, hint, format string, args ...any) {
					d.problem(join(path, key), hint, format, args...)
				})
			}
			d.extra[name] = s
		},
		values: func(c *Config, out []Value) []Value {
			if s, ok := c.extra[name].(*S); ok {
				out = tableValues(name, t, s, out)
			}
			return out
		},
		reference: func(w *referenceWriter) {
			referenceTable(w, "["+name+"]", name, doc, t)
		},
	}
}

// Get returns what a section of the file said, and false when it was not
// there. Asking for it as another type than it was made with is a mistake of
// the programmer.
func Get[S any](c *Config, name string) (*S, bool) {
	v, there := c.extra[name]
	if !there {
		return nil, false
	}
	s, ok := v.(*S)
	if !ok {
		panic(fmt.Sprintf("config: section %q is a %T, not a %T", name, v, s))
	}
	return s, true
}
