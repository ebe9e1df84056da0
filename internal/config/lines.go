package config

import (
	"strconv"
	"strings"
)

// lineTable knows on which line of a TOML text each key and table stands. The
// TOML library reports lines only for syntax errors, so this is a scan of its
// own. It reads texts that the library has already accepted, and may
// therefore be simple. Keys inside inline tables are not found; [lineTable.find]
// then answers with the line of what encloses them.
type lineTable map[string]int

// find returns the line of a path, or that of its nearest known ancestor.
func (t lineTable) find(path string) int {
	for path != "" {
		if line, ok := t[path]; ok {
			return line
		}
		if i := strings.LastIndexAny(path, ".["); i >= 0 {
			path = path[:i]
			continue
		}
		break
	}
	return 0
}

func scanLines(text string) lineTable {
	t := lineTable{}
	counts := map[string]int{} // elements seen of each array of tables
	prefix := ""
	lines := strings.Split(text, "\n")
	for i := 0; i < len(lines); i++ {
		line := strings.TrimSpace(lines[i])
		switch {
		case line == "" || line[0] == '#':
		case strings.HasPrefix(line, "[["):
			parts, _ := splitKey(line[2:], ']')
			path := t.resolve(parts[:len(parts)-1], counts, i+1)
			path = join(path, parts[len(parts)-1])
			n := counts[path]
			counts[path]++
			if n == 0 {
				t[path] = i + 1
			}
			prefix = path + "[" + strconv.Itoa(n) + "]"
			t[prefix] = i + 1
		case line[0] == '[':
			parts, _ := splitKey(line[1:], ']')
			prefix = t.resolve(parts, counts, i+1)
			t[prefix] = i + 1
		default:
			parts, rest := splitKey(line, '=')
			path := prefix
			for _, part := range parts {
				path = join(path, part)
				if _, known := t[path]; !known {
					t[path] = i + 1
				}
			}
			i += valueLines(rest, lines[i+1:])
		}
	}
	return t
}

// resolve writes a table's name as a path in which each array of tables
// carries the index of its latest element. Tables that are not written
// themselves are there from this line on.
func (t lineTable) resolve(parts []string, counts map[string]int, line int) string {
	path := ""
	for _, part := range parts {
		path = join(path, part)
		if n := counts[path]; n > 0 {
			path += "[" + strconv.Itoa(n-1) + "]"
		}
		if _, known := t[path]; !known {
			t[path] = line
		}
	}
	return path
}

func join(path, part string) string {
	if path == "" {
		return part
	}
	return path + "." + part
}

// splitKey splits a dotted key, which may have quoted parts, up to the
// character end, and returns what follows.
func splitKey(s string, end byte) (parts []string, rest string) {
	var part strings.Builder
	for i := 0; i < len(s); i++ {
		switch c := s[i]; c {
		case end:
			return append(parts, part.String()), s[i+1:]
		case '.':
			parts = append(parts, part.String())
			part.Reset()
		case '"', '\'':
			for i++; i < len(s) && s[i] != c; i++ {
				part.WriteByte(s[i])
			}
		case ' ', '\t':
		default:
			part.WriteByte(c)
		}
	}
	return append(parts, part.String()), ""
}

// valueLines returns how many of the following lines still belong to a value
// that begins with first: arrays and strings may span lines.
func valueLines(first string, following []string) int {
	depth, quote := 0, ""
	scan := func(s string) {
		for i := 0; i < len(s); i++ {
			if quote != "" {
				if s[i] == '\\' && quote[0] == '"' {
					i++
				} else if strings.HasPrefix(s[i:], quote) {
					i += len(quote) - 1
					quote = ""
				}
				continue
			}
			switch c := s[i]; c {
			case '#':
				return
			case '[', '{':
				depth++
			case ']', '}':
				depth--
			case '"', '\'':
				quote = s[i : i+1]
				if three := strings.Repeat(quote, 3); strings.HasPrefix(s[i:], three) {
					quote = three
					i += 2
				}
			}
		}
	}
	scan(first)
	n := 0
	for (depth > 0 || len(quote) == 3) && n < len(following) {
		scan(following[n])
		n++
	}
	return n
}
