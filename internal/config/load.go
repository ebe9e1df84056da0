package config

import (
	"errors"
	"os"
	"path/filepath"
	"strings"

	"github.com/BurntSushi/toml"
)

// Load reads and checks a configuration file. The error is of type
// [Problems]: every mistake in the file, and in the files that it names.
// What is allowed but doubtful is in [Config.Warnings].
func Load(path string, sections ...*Section) (*Config, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		var pathError *os.PathError
		if errors.As(err, &pathError) {
			err = pathError.Err
		}
		return nil, Problems{{File: path, Text: "cannot read: " + err.Error(), Hint: "name the file with -c"}}
	}
	return Parse(path, string(text), sections...)
}

// Parse is [Load] for a text that is already there. Relative names in it start
// at the folder of path.
func Parse(path, text string, sections ...*Section) (*Config, error) {
	d := &decoder{
		file:     path,
		dir:      filepath.Dir(path),
		sections: map[string]*Section{},
		extra:    map[string]any{},
	}
	for _, s := range sections {
		if d.sections[s.name] != nil {
			panic("config: section " + s.name + " is there twice")
		}
		d.sections[s.name] = s
	}
	var m map[string]any
	if _, err := toml.Decode(text, &m); err != nil {
		return nil, Problems{syntaxProblem(path, err)}
	}
	d.lines = scanLines(text)

	c := &Config{File: path, sections: sections, extra: d.extra}
	decodeTable(d, "", rootTable, m, c)
	d.check(c)
	c.Warnings = d.warnings.sorted(path)
	if len(d.problems) > 0 {
		return nil, d.problems.sorted(path)
	}
	return c, nil
}

// syntaxProblem is for a text that is no TOML. The library stops at the first
// mistake of this sort.
func syntaxProblem(path string, err error) Problem {
	p := Problem{File: path, Text: strings.TrimPrefix(err.Error(), "toml: ")}
	var syntax toml.ParseError
	if errors.As(err, &syntax) {
		p.Line = syntax.Position.Line
		p.Key = syntax.LastKey
		p.Text = syntax.Message
		if p.Text == "" {
			p.Text = strings.TrimPrefix(syntax.Error(), "toml: ")
		}
		// The library has already counted the end of the line that it did
		// not expect.
		if strings.HasSuffix(p.Text, `got '\n' instead`) && p.Line > 1 {
			p.Line--
		}
		for _, h := range syntaxHints {
			if strings.Contains(p.Text, h.text) {
				p.Hint = h.hint
				break
			}
		}
	}
	return p
}

// syntaxHints say what to do about the library's commonest complaints.
var syntaxHints = []struct{ text, hint string }{
	{"already been defined", "remove one of the two"},
	{"Invalid float", `texts and addresses stand between quotes: "192.0.2.1"`},
	{"expected a top-level item to end with a newline", `texts and durations stand between quotes: "10m"`},
	{"expected value but found", `texts and addresses stand between quotes: "auto"`},
	{"Invalid TOML Datetime", "texts stand between quotes"},
	{"strings cannot contain newlines", "a quote is missing at the end of the line"},
}
