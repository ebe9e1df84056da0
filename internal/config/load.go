package config

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/BurntSushi/toml"
)

// Load reads and checks a configuration file. The error is of type
// [Problems]: every mistake in the file, and in the files that it names.
// What is allowed but doubtful is in [Config.Warnings].
func Load(path string) (*Config, error) {
	text, err := readText(path)
	if err != nil {
		var pathError *os.PathError
		if errors.As(err, &pathError) {
			err = pathError.Err
		}
		return nil, Problems{{File: path, Text: "cannot read: " + err.Error(), Hint: "name the file with -c"}}
	}
	return Parse(path, string(text))
}

// maxFile bounds a configuration file, in octets. Very many nodes belong into
// a nodes-file.
const maxFile = 16 << 20

// readText reads a configuration file.
func readText(path string) ([]byte, error) {
	f, _, err := openRegular(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err == nil && len(text) > maxFile {
		err = fmt.Errorf("it is longer than %d bytes", maxFile)
	}
	return text, err
}

// errIrregular says that a name is that of a folder, a pipe or a device.
var errIrregular = errors.New("no regular file")

// openRegular opens a file without ever waiting: opening a pipe that nobody
// writes to would.
func openRegular(path string) (*os.File, os.FileInfo, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, nil, err
	}
	info, err := f.Stat()
	if err == nil && !info.Mode().IsRegular() {
		err = errIrregular
	}
	if err != nil {
		f.Close()
		return nil, nil, err
	}
	return f, info, nil
}

// Parse is [Load] for a text that is already there. Relative names in it start
// at the folder of path.
func Parse(path, text string) (*Config, error) {
	d := &decoder{file: path, dir: filepath.Dir(path)}
	var m map[string]any
	if _, err := toml.Decode(text, &m); err != nil {
		return nil, Problems{syntaxProblem(path, err)}
	}
	d.lines = scanLines(text)

	c := &Config{File: path, lines: d.lines}
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
