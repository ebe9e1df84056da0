package main

import (
	"bufio"
	"cmp"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io"
	"io/fs"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// A section is a section of an RFC, or one requirement in it; Number is empty
// for the RFC as a whole, Item is 0 for the section as a whole.
type section struct {
	RFC    int
	Number string // "3.7.2.2", or "A.1" in an appendix
	Item   int    // counted from 1 in the order of the text
}

// compare orders sections as their RFC does.
func (s section) compare(o section) int {
	if c := cmp.Compare(s.RFC, o.RFC); c != 0 {
		return c
	}
	a, b := strings.Split(s.Number, "."), strings.Split(o.Number, ".")
	for i := range min(len(a), len(b)) {
		x, errX := strconv.Atoi(a[i])
		y, errY := strconv.Atoi(b[i])
		c := strings.Compare(a[i], b[i])
		if errX == nil && errY == nil {
			c = cmp.Compare(x, y)
		}
		if c != 0 {
			return c
		}
	}
	return cmp.Or(cmp.Compare(len(a), len(b)), cmp.Compare(s.Item, o.Item))
}

func (s section) String() string {
	if s.Number == "" {
		return fmt.Sprintf("RFC %d", s.RFC)
	}
	return fmt.Sprintf("RFC %d section %s", s.RFC, s.where())
}

// where is the section's number, with the requirement's behind it.
func (s section) where() string {
	if s.Item == 0 {
		return s.Number
	}
	return fmt.Sprintf("%s-%d", s.Number, s.Item)
}

// whole is the section that a requirement stands in.
func (s section) whole() section { return section{RFC: s.RFC, Number: s.Number} }

// marker matches a comment that names a section; a note may follow it.
var marker = regexp.MustCompile(`^//rfc:([0-9]+)(?:#([0-9A-Z]+(?:\.[0-9]+)*)(?:-([0-9]+))?)?(?:\s.*)?$`)

// name matches what follows the colon in a section's name.
var name = regexp.MustCompile(`^([0-9]+)(?:#([0-9A-Z]+(?:\.[0-9]+)*))?$`)

func parseSection(rfc, number, item string) section {
	n, _ := strconv.Atoi(rfc) // the expressions allow digits only
	i, _ := strconv.Atoi(item)
	return section{n, number, i}
}

// A place is a declaration: its package's folder and its name there.
type place struct {
	Folder, Name string
	Test         bool
}

func (p place) String() string {
	if p.Name == "" {
		return p.Folder
	}
	return p.Folder + "." + p.Name
}

// collect reads the Go files of a tree.
func collect(tree fs.FS) (map[section][]place, error) {
	found := map[section][]place{}
	err := fs.WalkDir(tree, ".", func(file string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if entry.IsDir() && (entry.Name() == "testdata" || len(file) > 1 && strings.HasPrefix(entry.Name(), ".")) {
			return fs.SkipDir
		}
		// This program's own files are full of examples.
		if !strings.HasSuffix(file, ".go") || strings.HasPrefix(file, "internal/conformance/") {
			return nil
		}
		source, err := fs.ReadFile(tree, file)
		if err != nil {
			return err
		}
		return collectFile(file, source, found)
	})
	for s := range found {
		slices.SortFunc(found[s], func(a, b place) int {
			return cmp.Or(cmp.Compare(a.Folder, b.Folder), cmp.Compare(a.Name, b.Name))
		})
		found[s] = slices.Compact(found[s])
	}
	return found, err
}

// suites are packages that tests of others call: what is marked in them is a
// test.
var suites = []string{"internal/host/plane/planetest", "internal/lab/check", "internal/lab/scene"}

func collectFile(file string, source []byte, found map[section][]place) error {
	fset := token.NewFileSet()
	f, err := parser.ParseFile(fset, file, source, parser.ParseComments|parser.SkipObjectResolution)
	if err != nil {
		return err
	}
	for _, group := range f.Comments {
		for _, comment := range group.List {
			if !strings.HasPrefix(comment.Text, "//rfc:") {
				continue
			}
			m := marker.FindStringSubmatch(comment.Text)
			if m == nil {
				return fmt.Errorf("%s: %q is not understood: write //rfc:5944#3.7.2.2", fset.Position(comment.Pos()), comment.Text)
			}
			s := parseSection(m[1], m[2], m[3])
			found[s] = append(found[s], place{
				Folder: path.Dir(file),
				Name:   declarationAt(f, group),
				Test:   strings.HasSuffix(file, "_test.go") || slices.Contains(suites, path.Dir(file)),
			})
		}
	}
	return nil
}

// declarationAt names the declaration that a comment stands in, or else the
// next one after it; "" when it belongs to the package clause.
func declarationAt(f *ast.File, comment *ast.CommentGroup) string {
	if comment.End() <= f.Name.Pos() {
		return ""
	}
	for _, decl := range f.Decls {
		if decl.End() < comment.Pos() {
			continue
		}
		switch d := decl.(type) {
		case *ast.FuncDecl:
			if d.Recv != nil {
				return "(" + typeName(d.Recv.List[0].Type) + ")." + d.Name.Name
			}
			return d.Name.Name
		case *ast.GenDecl:
			if d.Tok == token.IMPORT {
				continue
			}
			for _, spec := range d.Specs {
				if spec.End() < comment.Pos() {
					continue
				}
				switch s := spec.(type) {
				case *ast.TypeSpec:
					return s.Name.Name
				case *ast.ValueSpec:
					return s.Names[0].Name
				}
			}
		}
	}
	return ""
}

func typeName(e ast.Expr) string {
	switch x := e.(type) {
	case *ast.StarExpr:
		return "*" + typeName(x.X)
	case *ast.IndexExpr:
		return typeName(x.X)
	case *ast.IndexListExpr:
		return typeName(x.X)
	case *ast.Ident:
		return x.Name
	}
	return "?"
}

// A gap is something that an RFC asks for and that is not there.
type gap struct {
	section
	Why string
}

// readGaps reads lines of the form "5944#3.6.1.2 what is missing, and why".
func readGaps(r io.Reader) ([]gap, error) {
	var gaps []gap
	lines := bufio.NewScanner(r)
	for n := 1; lines.Scan(); n++ {
		line := strings.TrimSpace(lines.Text())
		if line == "" || line[0] == '#' {
			continue
		}
		first, why, _ := strings.Cut(line, " ")
		m := name.FindStringSubmatch(first)
		if m == nil || strings.TrimSpace(why) == "" {
			return nil, fmt.Errorf("gaps.txt:%d: write 5944#3.6.1.2 and what is missing", n)
		}
		gaps = append(gaps, gap{parseSection(m[1], m[2], ""), strings.TrimSpace(why)})
	}
	slices.SortStableFunc(gaps, func(a, b gap) int { return a.section.compare(b.section) })
	return gaps, lines.Err()
}
