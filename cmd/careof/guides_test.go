package main

import (
	"encoding/xml"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"careof/internal/config"
	"careof/internal/lab/topology"
)

// guides returns the texts that a person follows, by name.
func guides(t *testing.T) map[string]string {
	t.Helper()
	names, err := filepath.Glob("../../docs/*.md")
	if err != nil || len(names) < 8 {
		t.Fatalf("%d guides, error %v", len(names), err)
	}
	out := map[string]string{}
	for _, name := range append(names, "../../README.md") {
		text, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		out[filepath.Base(filepath.Dir(name))+"/"+filepath.Base(name)] = string(text)
	}
	return out
}

// fenced returns the blocks of one language in a guide.
func fenced(text, language string) (blocks []string) {
	for _, m := range regexp.MustCompile("(?s)```"+language+"\n(.*?)```").FindAllStringSubmatch(text, -1) {
		blocks = append(blocks, m[1])
	}
	return blocks
}

var keyFileName = regexp.MustCompile(`(?:key|secret)-file = "([^"]+)"`)

// putKeys makes the key files that a configuration names.
func putKeys(t *testing.T, dir, text string) {
	t.Helper()
	for _, m := range keyFileName.FindAllStringSubmatch(text, -1) {
		path := filepath.Join(dir, m[1])
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(strings.Repeat("5a", 32)+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

func TestConfigurationsInTheGuidesAreValid(t *testing.T) {
	n := 0
	for name, text := range guides(t) {
		for _, block := range fenced(text, "toml") {
			n++
			if strings.Contains(block, "[[node]]") {
				if _, err := topology.Parse(name, block); err != nil {
					t.Errorf("%v\n%s", err, block)
				}
				continue
			}
			dir := t.TempDir()
			putKeys(t, dir, block)
			c, err := config.Parse(filepath.Join(dir, "careof.toml"), block)
			if err != nil {
				t.Errorf("%s: %v\n%s", name, err, block)
				continue
			}
			for _, w := range c.Warnings {
				// A guide may begin with connections that others can read where it
				// says so, and how to end that.
				if !strings.Contains(fmt.Sprint(w), "require-tls") || !strings.Contains(text, "give every connection TLS") {
					t.Errorf("%s: %v\n%s", name, w, block)
				}
			}
		}
	}
	if n < 7 {
		t.Errorf("only %d configurations were found", n)
	}
}

// spoken finds commands in running text.
var spoken = regexp.MustCompile("`(?:sudo )?(careof [^`]+)`")

// TestCommandsInTheGuidesExist parses every careof command line that a guide
// tells people to type.
func TestCommandsInTheGuidesExist(t *testing.T) {
	t.Setenv("CAREOF_SOCKET", "")
	n := 0
	for name, text := range guides(t) {
		var lines []string
		for _, block := range fenced(text, "sh") {
			lines = append(lines, strings.Split(block, "\n")...)
		}
		for _, m := range spoken.FindAllStringSubmatch(text, -1) {
			lines = append(lines, m[1])
		}
		for _, line := range lines {
			line, _, _ = strings.Cut(line, "#")
			line, _, _ = strings.Cut(line, "&&")
			args := strings.Fields(strings.TrimPrefix(strings.TrimSpace(line), "sudo "))
			if len(args) < 2 || args[0] != "careof" {
				continue
			}
			n++
			root := newRoot(&env{stdout: io.Discard, stderr: io.Discard})
			cmd, rest, err := root.Find(args[1:])
			if err == nil {
				err = cmd.ParseFlags(rest)
			}
			// A command may be spoken of without its arguments.
			if err == nil && len(rest) > 0 {
				err = cmd.ValidateArgs(cmd.Flags().Args())
			}
			if err != nil || !cmd.Runnable() || cmd == root {
				t.Errorf("%s: %q: %v", name, line, err)
			}
		}
	}
	if n < 30 {
		t.Errorf("only %d commands were found", n)
	}
}

// TestEveryGuideIsFound wants each in the table of contents.
func TestEveryGuideIsFound(t *testing.T) {
	all := guides(t)
	for name := range all {
		if page, is := strings.CutPrefix(name, "docs/"); is && page != "README.md" && !strings.Contains(all["docs/README.md"], "("+page+")") {
			t.Errorf("docs/README.md does not lead to %s", page)
		}
	}
}

// TestTheSiteIsBuilt fails too when a link of a guide leads nowhere.
func TestTheSiteIsBuilt(t *testing.T) {
	out := t.TempDir()
	cmd := exec.Command("go", "run", "-C", "../../docs/site", ".", out)
	if text, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, text)
	}
	for name := range guides(t) {
		page, ok := strings.CutPrefix(strings.TrimSuffix(name, ".md")+".html", "docs/")
		if !ok || page == "README.html" {
			continue // index.html and guides.html
		}
		if _, err := os.Stat(filepath.Join(out, page)); err != nil {
			t.Error(err)
		}
	}
}

// picture finds images in a guide.
var picture = regexp.MustCompile(`!\[([^\]]*)\]\(([^)]+)\)`)

// TestPicturesCanBeSeenByEverybody wants words in place of each picture, and
// drawings that fit dark pages and load nothing from elsewhere.
func TestPicturesCanBeSeenByEverybody(t *testing.T) {
	shown := map[string]bool{}
	for name, text := range guides(t) {
		for _, m := range picture.FindAllStringSubmatch(text, -1) {
			shown[filepath.Base(m[2])] = true
			if len(m[1]) < 8 {
				t.Errorf("%s: %s has no words for those who cannot see it: %q", name, m[2], m[1])
			}
		}
	}
	files, err := filepath.Glob("../../docs/images/*")
	if err != nil || len(files) < 8 {
		t.Fatalf("%d pictures, error %v", len(files), err)
	}
	for _, file := range files {
		if !shown[filepath.Base(file)] {
			t.Errorf("%s is in no guide", file)
		}
		if filepath.Ext(file) != ".svg" {
			continue
		}
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		var drawing struct {
			XMLName xml.Name `xml:"svg"`
			Role    string   `xml:"role,attr"`
			Title   string   `xml:"title"`
			Desc    string   `xml:"desc"`
		}
		if err := xml.Unmarshal(text, &drawing); err != nil || drawing.Role != "img" || drawing.Title == "" || drawing.Desc == "" {
			t.Errorf("%s: %v; it needs role=\"img\", a title and a description: %+v", file, err, drawing)
		}
		if !strings.Contains(string(text), "prefers-color-scheme: dark") {
			t.Errorf("%s does not fit a dark page", file)
		}
		if strings.Contains(string(text), "href=") || strings.Contains(string(text), "@import") || strings.Contains(string(text), "<script") {
			t.Errorf("%s loads something, or runs", file)
		}
	}
}

// TestTheGuidesAreTrue follows guides word by word, on machines made of
// namespaces: each command, each file, by the daemon's own user.
func TestTheGuidesAreTrue(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		guide, telling string
		environment    string
	}{
		{guide: "quickstart.md", telling: "public"},
		{guide: "quickstart.md", telling: "cloud", environment: "PRIVATE=10.0.0.4"},
		{guide: "join.md", telling: "plain"},
		{guide: "join.md", telling: "network"},
		{guide: "office.md"},
		{guide: "mobile-router.md"},
		{guide: "fleet.md"},
		{guide: "lab.md"},
	} {
		t.Run(strings.TrimSuffix(c.guide+" "+c.telling, " "), func(t *testing.T) {
			t.Parallel()
			text := guides(t)["docs/"+c.guide]
			if strings.Contains(text, "<!-- on here") {
				newReader(t).follow(c.guide, text, c.telling)
				return
			}
			newFollower(t, c.environment).follow(c.guide, text, c.telling)
		})
	}
}
