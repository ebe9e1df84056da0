package main

import (
	"bytes"
	"os"
	"slices"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/google/go-cmp/cmp"
)

func TestPageIsUpToDate(t *testing.T) {
	want, err := generate("../..")
	if err != nil {
		t.Fatal(err)
	}
	got, err := os.ReadFile("../../CONFORMANCE.md")
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Error("CONFORMANCE.md is stale: run make gen")
		before, after := strings.Split(string(got), "\n"), strings.Split(string(want), "\n")
		for _, line := range after {
			if !slices.Contains(before, line) {
				t.Logf("new: %s", line)
			}
		}
	}
}

func TestCollect(t *testing.T) {
	tree := fstest.MapFS{
		"proto/ha/reply.go": {Data: []byte(`package ha

// Reply answers.
//
//rfc:5944#3.8.3.2
//rfc:5944#3.8.3.10 only the second sentence
func (a *Agent[T]) Reply() {
	//rfc:3519#4.1
	_ = 1
}

//rfc:2794
type Agent[T any] struct{}

const (
	a = 1
	//rfc:5944#B
	b = 2
)
`)},
		"proto/ha/reply_test.go": {Data: []byte("//rfc:2003\n\npackage ha\n\n//rfc:5944#3.8.3.2\nfunc TestReply() {}\n")},
		"proto/testdata/x.go":    {Data: []byte("package x\n//rfc:1\nfunc F() {}\n")},
	}
	found, err := collect(tree)
	if err != nil {
		t.Fatal(err)
	}
	var page bytes.Buffer
	gaps, err := readGaps(strings.NewReader("# comment\n5944#3.6 later\n2003 sooner\n"))
	if err != nil {
		t.Fatal(err)
	}
	if err := write(&page, found, nil, gaps); err != nil {
		t.Fatal(err)
	}
	_, tables, _ := strings.Cut(page.String(), "\n## ")
	if diff := cmp.Diff("RFC 2003\n\n| section | code | tests |\n| --- | --- | --- |\n"+
		"| (all) |  | `proto/ha` |\n\n## RFC 2794\n\n| section | code | tests |\n| --- | --- | --- |\n"+
		"| (all) | `proto/ha.Agent` |  |\n\n## RFC 3519\n\n| section | code | tests |\n| --- | --- | --- |\n"+
		"| 4.1 | `proto/ha.(*Agent).Reply` |  |\n\n## RFC 5944\n\n| section | code | tests |\n| --- | --- | --- |\n"+
		"| 3.8.3.2 | `proto/ha.(*Agent).Reply` | `proto/ha.TestReply` |\n"+
		"| 3.8.3.10 | `proto/ha.(*Agent).Reply` |  |\n"+
		"| B | `proto/ha.b` |  |\n\n## Gaps\n\n- RFC 2003: sooner\n- RFC 5944 section 3.6: later\n", tables); diff != "" {
		t.Error(diff)
	}
}

func TestBadMarksAreErrors(t *testing.T) {
	_, err := collect(fstest.MapFS{"x.go": {Data: []byte("package x\n\n//rfc:5944 3.2 #\n//rfc:rfc5944#3\nfunc F() {}\n")}})
	if err == nil || !strings.Contains(err.Error(), "x.go:4") {
		t.Errorf("error %v", err)
	}
	for _, line := range []string{"5944#3.6", "section 3.6 missing", "5944#x missing"} {
		if _, err := readGaps(strings.NewReader(line)); err == nil {
			t.Errorf("%q is read as a gap", line)
		}
	}
}
