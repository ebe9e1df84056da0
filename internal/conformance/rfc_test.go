package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// texts is where the RFCs are, beside the checkout.
const texts = "../../../shared/rfc"

var (
	pageBreak = regexp.MustCompile(`^(\S.*\s)?\[Page \d+\]\s*$|^RFC \d+\s{3,}`)
	heading   = regexp.MustCompile(`^(?:Appendix )?([A-Z]|\d+)((?:\.\d+)*)\.?\s{1,3}(\S.*)$`)
	numbered  = regexp.MustCompile(`^\d|^[A-Z]\.(\d|\s)|^Appendix`)
	contents  = regexp.MustCompile(`\.{4,}|(\. ){4,}`)
	spaces    = regexp.MustCompile(`\s+`)
	hyphen    = regexp.MustCompile(`- ([a-z])`)
	sentence  = regexp.MustCompile(`[.:;]\s+[A-Z"(o-]`)
	keyword   = regexp.MustCompile(`\b(MUST NOT|MUST|SHALL NOT|SHALL|REQUIRED|SHOULD NOT|SHOULD|RECOMMENDED)\b`)
	// Before RFC 2119 was the custom, small letters did.
	anyCase  = regexp.MustCompile(`(?i)\b(must not|must|shall|should not|should|recommended|required)\b`)
	keywords = regexp.MustCompile(`RFC ?2119|key words|keywords|document are to be interpreted`)
)

// early are RFCs that write their requirements in small letters too.
var early = []int{1256, 2784, 2890}

// sentences finds the sentences of an RFC's text that say what must or should
// be, by the section and their number in it.
func sentences(rfc int, text string) (found []section, what map[section]string) {
	what = map[section]string{}
	number, body := "0", []string(nil)
	finish := func() {
		flat := hyphen.ReplaceAllString(spaces.ReplaceAllString(strings.Join(body, " "), " "), "-$1")
		item := 0
		for _, s := range split(flat) {
			match := keyword
			if slices.Contains(early, rfc) {
				match = anyCase
			}
			if !match.MatchString(s) || keywords.MatchString(s) {
				continue
			}
			item++
			at := section{rfc, number, item}
			found = append(found, at)
			what[at] = s
		}
	}
	for line := range strings.Lines(strings.ReplaceAll(text, "\f", "\n")) {
		line = strings.TrimRight(line, "\n\r")
		if pageBreak.MatchString(line) {
			continue
		}
		if m := heading.FindStringSubmatch(line); m != nil && !contents.MatchString(line) && len(line) < 75 && numbered.MatchString(line) {
			finish()
			number, body = m[1]+m[2], nil
			continue
		}
		body = append(body, line)
	}
	finish()
	return found, what
}

// split cuts a text into sentences.
func split(text string) (out []string) {
	for {
		at := sentence.FindStringIndex(text)
		if at == nil {
			return append(out, text)
		}
		out = append(out, text[:at[0]+1])
		text = text[at[1]-1:]
	}
}

// TestEverySentenceIsListed holds the lists against the texts: what an RFC
// says must or should be, and nothing else.
func TestEverySentenceIsListed(t *testing.T) {
	requirements, err := readRequirements(os.DirFS("requirements"))
	if err != nil {
		t.Fatal(err)
	}
	listed := map[int]map[section]bool{}
	for _, r := range requirements {
		if listed[r.RFC] == nil {
			listed[r.RFC] = map[section]bool{}
		}
		listed[r.RFC][r.section] = true
	}
	read := 0
	for rfc, have := range listed {
		text, err := os.ReadFile(filepath.Join(texts, fmt.Sprintf("rfc%d.txt", rfc)))
		if errors.Is(err, fs.ErrNotExist) {
			t.Logf("the text of RFC %d is not beside the checkout", rfc)
			continue
		}
		read++
		if err != nil {
			t.Fatal(err)
		}
		found, what := sentences(rfc, string(text))
		for _, s := range found {
			if !have[s] {
				t.Errorf("%v is not listed: %s", s, what[s])
			}
			delete(have, s)
		}
		for s := range have {
			t.Errorf("%v is listed, and the text has no such sentence", s)
		}
	}
	if read == 0 {
		t.Skip("the texts of the RFCs are not beside the checkout")
	}
}

// TestNothingIsUnexplained: what is not marked is a gap with a reason.
func TestNothingIsUnexplained(t *testing.T) {
	found, err := collect(os.DirFS("../.."))
	if err != nil {
		t.Fatal(err)
	}
	requirements, err := readRequirements(os.DirFS("requirements"))
	if err != nil {
		t.Fatal(err)
	}
	known, listed := map[section]bool{}, map[int]bool{}
	for i := range requirements {
		r := &requirements[i]
		known[r.section], listed[r.RFC] = true, true
		if r.judge(found) == unexplained {
			t.Errorf("%v: nothing is marked, and no gap is explained: %s", r.section, r.Text)
		}
	}
	for s := range found {
		if s.Item > 0 && listed[s.RFC] && !known[s] {
			t.Errorf("%v is marked, and not listed", s)
		}
	}
}

// TestDumpSentences prints the sentences of RFCs, for who writes a list:
// RFCS="5944 3024" go test -run Dump -v.
func TestDumpSentences(t *testing.T) {
	for _, field := range strings.Fields(os.Getenv("RFCS")) {
		rfc, err := strconv.Atoi(field)
		if err != nil {
			t.Fatal(err)
		}
		text, err := os.ReadFile(filepath.Join(texts, "rfc"+field+".txt"))
		if err != nil {
			t.Fatal(err)
		}
		found, what := sentences(rfc, string(text))
		for _, s := range found {
			fmt.Printf("%d\t%s\t%s\n", rfc, s.where(), what[s])
		}
	}
}
