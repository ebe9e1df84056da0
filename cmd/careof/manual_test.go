package main

import (
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"careof/internal/manual"
)

// TestManualIsFresh holds docs/ against the commands and the configuration's
// table.
func TestManualIsFresh(t *testing.T) {
	t.Setenv("CAREOF_SOCKET", "")
	root := newRoot(&env{stdout: io.Discard, stderr: io.Discard})
	files := manual.Files(root)
	if len(files) < 5 {
		t.Fatalf("%d pages", len(files))
	}
	for _, f := range files {
		got, err := os.ReadFile(filepath.Join("../../docs", f.Name))
		if err != nil {
			t.Error(err)
		} else if string(got) != f.Text {
			t.Errorf("docs/%s is stale: run make gen", f.Name)
		}
	}
}

// TestManPagesAreWellFormed lints them with mandoc(1).
func TestManPagesAreWellFormed(t *testing.T) {
	mandoc, err := exec.LookPath("mandoc")
	if err != nil {
		t.Skip("mandoc is not installed")
	}
	pages, err := filepath.Glob("../../docs/man/*.[0-9]")
	if err != nil || len(pages) < 3 {
		t.Fatalf("%d man pages, error %v", len(pages), err)
	}
	for _, p := range pages {
		// Style advice is for people; warnings are mistakes.
		out, err := exec.Command(mandoc, "-T", "lint", "-W", "warning", p).CombinedOutput()
		if err != nil || strings.TrimSpace(string(out)) != "" {
			t.Errorf("%s: %v\n%s", p, err, out)
		}
	}
}
