package main

import (
	"bufio"
	"fmt"
	"io"
	"io/fs"
	"path"
	"regexp"
	"strconv"
	"strings"
)

// A requirement is one sentence of an RFC that says what must or should be.
type requirement struct {
	section
	Keyword string // "MUST", "SHOULD NOT" …
	Who     string // "HA", "FA", "MN", "all"
	Text    string // in our words
	Gap     string // why it is not met; "" when it is
	NotOurs string // why it does not concern this program
}

// first matches the first line of a requirement.
var first = regexp.MustCompile(`^([0-9A-Z]+(?:\.[0-9]+)*)-([0-9]+)\s+(MUST NOT|MUST|SHOULD NOT|SHOULD)\s+(\S+)\s+(\S.*)$`)

// readRequirements reads the lists of a folder: a file for each RFC, named
// 5944.txt, with a line for each requirement,
//
//	3.7.2.2-1  MUST  FA  relays what the mobile node has signed as it is
//
// and, indented below it, why it is not met or does not concern us:
//
//	gap: why
//	not ours: why
func readRequirements(tree fs.FS) ([]requirement, error) {
	names, err := fs.Glob(tree, "*.txt")
	if err != nil {
		return nil, err
	}
	var all []requirement
	for _, name := range names {
		rfc, err := strconv.Atoi(strings.TrimSuffix(path.Base(name), ".txt"))
		if err != nil {
			return nil, fmt.Errorf("%s: the name is not an RFC's number", name)
		}
		f, err := tree.Open(name)
		if err != nil {
			return nil, err
		}
		list, err := readList(rfc, name, f)
		f.Close()
		if err != nil {
			return nil, err
		}
		all = append(all, list...)
	}
	return all, nil
}

func readList(rfc int, name string, r io.Reader) ([]requirement, error) {
	var list []requirement
	lines := bufio.NewScanner(r)
	for n := 1; lines.Scan(); n++ {
		line := lines.Text()
		text := strings.TrimSpace(line)
		if text == "" || text[0] == '#' {
			continue
		}
		wrong := func(how string) error { return fmt.Errorf("%s:%d: %s", name, n, how) }
		if line[0] == ' ' || line[0] == '\t' {
			if len(list) == 0 {
				return nil, wrong("there is no requirement before this line")
			}
			last := &list[len(list)-1]
			if why, ok := strings.CutPrefix(text, "gap: "); ok && last.Gap == "" {
				last.Gap = why
			} else if why, ok := strings.CutPrefix(text, "not ours: "); ok && last.NotOurs == "" {
				last.NotOurs = why
			} else {
				return nil, wrong("write gap: and why, or not ours: and why, once")
			}
			continue
		}
		m := first.FindStringSubmatch(line)
		if m == nil {
			return nil, wrong("write 3.7.2.2-1 MUST FA and what, in our words")
		}
		r := requirement{section: parseSection(strconv.Itoa(rfc), m[1], m[2]), Keyword: m[3], Who: m[4], Text: m[5]}
		if len(list) > 0 && list[len(list)-1].compare(r.section) >= 0 {
			return nil, wrong("out of order, or there twice")
		}
		list = append(list, r)
	}
	return list, lines.Err()
}

// A state says how well a requirement is met.
type state uint8

const (
	met         state = iota // code and test are marked, for it or for its section
	untested                 // code only
	missing                  // a gap with its reason
	notOurs                  // it does not concern us, with the reason
	unexplained              // nothing is marked
	states
)

var stateNames = [states]string{"code and test", "code, no test", "gap", "not ours", "unexplained"}

// judge says how well a requirement is met, by what is marked.
func (r *requirement) judge(found map[section][]place) state {
	code, test := false, false
	for _, s := range []section{r.section, r.whole()} {
		for _, p := range found[s] {
			code, test = code || !p.Test, test || p.Test
		}
	}
	switch {
	case r.Gap != "":
		return missing
	case r.NotOurs != "":
		return notOurs
	case code && test:
		return met
	case code:
		return untested
	}
	return unexplained
}
