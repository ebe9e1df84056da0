// Command site writes careof's guides as a static site: one page for each
// Markdown file, a navigation, a search that needs no server. It reads from
// the repository and nothing else, and fails when a link leads nowhere.
//
//	go run -C docs/site . OUT
package main

import (
	"bytes"
	"embed"
	"encoding/json"
	"errors"
	"fmt"
	"html/template"
	"io/fs"
	"net/url"
	"os"
	"path"
	"path/filepath"
	"strings"

	"github.com/yuin/goldmark"
	"github.com/yuin/goldmark/ast"
	"github.com/yuin/goldmark/extension"
	"github.com/yuin/goldmark/parser"
	"github.com/yuin/goldmark/text"
)

//go:embed page.html site.css search.js
var assets embed.FS

// repository is where this program stands in it.
const repository = "../.."

// A chapter is a part of the navigation.
type chapter struct {
	Title string
	Pages []*page
}

// A page is one Markdown file. Source is its path in the repository, Path the
// page's in the site.
type page struct {
	Source, Path, Title string
	Body                template.HTML
	Text                string
	anchors             map[string]bool
	links               []string
}

// contents are the pages in the order of the navigation. A guide that is named
// nowhere here comes among the guides.
func contents() []chapter {
	pages := func(sources ...string) []*page {
		var out []*page
		for _, source := range sources {
			name := strings.ToLower(strings.TrimSuffix(path.Base(source), ".md"))
			switch source {
			case "README.md":
				name = "index"
			case "docs/README.md":
				name = "guides"
			case "SECURITY.md": // docs/security.md is the guide
				name = "security-policy"
			}
			out = append(out, &page{Source: source, Path: name + ".html"})
		}
		return out
	}
	first := pages("README.md", "docs/README.md", "docs/concept.md", "docs/which-mode.md", "docs/join.md", "docs/office.md", "docs/mobile-router.md", "docs/uplinks.md", "docs/fleet.md", "docs/lab.md", "docs/quickstart.md")
	reference := pages("docs/configuration.md", "docs/codes.md")
	project := pages("docs/benchmarks.md", "CONFORMANCE.md", "ARCHITECTURE.md", "CONTRIBUTING.md", "SECURITY.md", "CHANGELOG.md")
	known := map[string]bool{}
	for _, p := range append(append(append([]*page{}, first...), reference...), project...) {
		known[p.Source] = true
	}
	var guides []*page
	names, _ := filepath.Glob(filepath.Join(repository, "docs/*.md"))
	for _, name := range names {
		if source := "docs/" + filepath.Base(name); !known[source] {
			guides = append(guides, pages(source)...)
		}
	}
	return []chapter{{"Begin", first}, {"Guides", guides}, {"Reference", reference}, {"Project", project}}
}

func main() {
	if len(os.Args) != 2 {
		fmt.Fprintln(os.Stderr, "usage: go run -C docs/site . OUT")
		os.Exit(2)
	}
	if err := write(os.Args[1]); err != nil {
		fmt.Fprintln(os.Stderr, "site:", err)
		os.Exit(1)
	}
}

func write(out string) error {
	chapters := contents()
	bySource, byPath := map[string]*page{}, map[string]*page{}
	for _, c := range chapters {
		for _, p := range c.Pages {
			if other := byPath[p.Path]; other != nil {
				return fmt.Errorf("%s and %s would both be %s", other.Source, p.Source, p.Path)
			}
			bySource[p.Source], byPath[p.Path] = p, p
		}
	}
	markdown := goldmark.New(goldmark.WithExtensions(extension.GFM), goldmark.WithParserOptions(parser.WithAutoHeadingID()))
	files := map[string]string{} // of the site: what else it takes from the repository
	for _, c := range chapters {
		for _, p := range c.Pages {
			if err := p.read(markdown, bySource, files); err != nil {
				return err
			}
		}
	}
	if err := check(chapters); err != nil {
		return err
	}

	layout, err := template.ParseFS(assets, "page.html")
	if err != nil {
		return err
	}
	if err := os.MkdirAll(out, 0o755); err != nil {
		return err
	}
	type entry struct{ Path, Title, Text string }
	var index []entry
	for _, c := range chapters {
		for _, p := range c.Pages {
			var b bytes.Buffer
			if err := layout.Execute(&b, map[string]any{"Chapters": chapters, "Page": p}); err != nil {
				return err
			}
			if err := os.WriteFile(filepath.Join(out, p.Path), b.Bytes(), 0o644); err != nil {
				return err
			}
			index = append(index, entry{p.Path, p.Title, p.Text})
		}
	}
	// A script and not a JSON file: pages read from a disk may load the one
	// and not the other.
	list, err := json.Marshal(index)
	if err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(out, "index.js"), append(append([]byte("const pages = "), list...), ";\n"...), 0o644); err != nil {
		return err
	}
	for _, name := range []string{"site.css", "search.js"} {
		data, err := assets.ReadFile(name)
		if err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(out, name), data, 0o644); err != nil {
			return err
		}
	}
	for target, source := range files {
		data, err := os.ReadFile(filepath.Join(repository, source))
		if err != nil {
			return err
		}
		target = filepath.Join(out, target)
		if err := os.MkdirAll(filepath.Dir(target), 0o755); err != nil {
			return err
		}
		if err := os.WriteFile(target, data, 0o644); err != nil {
			return err
		}
	}
	return nil
}

// read renders the page. Links to other pages become theirs in the site; files
// that it links to or shows are noted in files.
func (p *page) read(markdown goldmark.Markdown, bySource map[string]*page, files map[string]string) error {
	source, err := os.ReadFile(filepath.Join(repository, p.Source))
	if err != nil {
		return err
	}
	doc := markdown.Parser().Parse(text.NewReader(source))
	p.anchors = map[string]bool{}
	var plain strings.Builder
	err = ast.Walk(doc, func(n ast.Node, entering bool) (ast.WalkStatus, error) {
		if !entering {
			return ast.WalkContinue, nil
		}
		switch n := n.(type) {
		case *ast.Heading:
			if id, ok := n.AttributeString("id"); ok {
				p.anchors[string(id.([]byte))] = true
			}
			if p.Title == "" {
				p.Title = heading(n, source)
			}
		case *ast.Text:
			plain.Write(n.Value(source))
			plain.WriteByte(' ')
		case *ast.CodeBlock, *ast.FencedCodeBlock:
			for i := range n.Lines().Len() {
				line := n.Lines().At(i)
				plain.Write(line.Value(source))
			}
		case *ast.Link:
			to, err := p.resolve(string(n.Destination), bySource, files)
			if err != nil {
				return ast.WalkStop, err
			}
			n.Destination = []byte(to)
		case *ast.Image:
			to, err := p.resolve(string(n.Destination), bySource, files)
			if err != nil {
				return ast.WalkStop, err
			}
			n.Destination = []byte(to)
		}
		return ast.WalkContinue, nil
	})
	if err != nil {
		return err
	}
	var body bytes.Buffer
	if err := markdown.Renderer().Render(&body, source, doc); err != nil {
		return err
	}
	// The text is the repository's own, not a stranger's.
	p.Body, p.Text = template.HTML(body.String()), strings.Join(strings.Fields(plain.String()), " ")
	return nil
}

func heading(n ast.Node, source []byte) string {
	var b strings.Builder
	for c := n.FirstChild(); c != nil; c = c.NextSibling() {
		switch c := c.(type) {
		case *ast.Text:
			b.Write(c.Value(source))
		default:
			b.WriteString(heading(c, source))
		}
	}
	return b.String()
}

// resolve turns a link of the repository into one of the site.
func (p *page) resolve(to string, bySource map[string]*page, files map[string]string) (string, error) {
	u, err := url.Parse(to)
	if err != nil {
		return "", fmt.Errorf("%s: link %q: %w", p.Source, to, err)
	}
	if u.IsAbs() {
		return to, nil
	}
	target := p.Source
	if u.Path != "" {
		target = path.Join(path.Dir(p.Source), u.Path)
	}
	if other := bySource[target]; other != nil {
		link := other.Path
		if u.Fragment != "" {
			link += "#" + u.Fragment
		}
		p.links = append(p.links, link)
		return link, nil
	}
	info, err := os.Stat(filepath.Join(repository, target))
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return "", fmt.Errorf("%s: link %q: there is no such file", p.Source, to)
	case err != nil:
		return "", err
	case info.IsDir():
		return "", fmt.Errorf("%s: link %q: a folder has no page: name a file in it", p.Source, to)
	}
	files[target] = target
	return target, nil
}

// check finds links to headings that are not there.
func check(chapters []chapter) error {
	byPath := map[string]*page{}
	for _, c := range chapters {
		for _, p := range c.Pages {
			byPath[p.Path] = p
		}
	}
	var wrong []error
	for _, c := range chapters {
		for _, p := range c.Pages {
			for _, link := range p.links {
				if to, anchor, ok := strings.Cut(link, "#"); ok && !byPath[to].anchors[anchor] {
					wrong = append(wrong, fmt.Errorf("%s: link %q: there is no such heading", p.Source, link))
				}
			}
		}
	}
	return errors.Join(wrong...)
}
