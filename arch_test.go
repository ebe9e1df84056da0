// Package careof_test holds the checks that are about the repository as a
// whole: who may import whom, what the pure layers may touch, and the house
// rules that a machine can check.
package careof_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"go/ast"
	"go/format"
	"go/parser"
	"go/token"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

const module = "careof"

// A layer is a part of the module with its own rule about imports. The
// longest path that fits a package names its layer.
type layer struct {
	path  string   // of the packages, without the module's name
	may   []string // the layers that it may import besides itself; "*" for all
	tests []string // the ones that its tests may import besides those
	libs  bool     // whether it may import other modules; tests always may
}

var layers = []layer{
	{path: "wire"},
	{path: "internal/core", may: []string{"wire"}},
	{path: "internal/proto", may: []string{"wire", "internal/core"}, tests: []string{"internal/lab/world"}},
	{path: "internal/proto/mip4/feature", may: []string{"wire", "internal/core", "internal/proto"}, tests: []string{"internal/lab/world", "internal/proto/mip4/standard"}},
	{path: "internal/proto/mip4/standard", may: []string{"wire", "internal/core", "internal/proto", "internal/proto/mip4/feature"}, tests: []string{"internal/lab/world"}},
	{path: "internal/config", may: []string{"wire", "internal/core"}, libs: true},
	{path: "internal/capture", may: []string{"wire"}, libs: true},
	{path: "internal/crowd"},
	{path: "internal/control", may: []string{"wire", "internal/core", "internal/config", "internal/crowd"}, libs: true},
	{path: "internal/enrol", may: []string{"internal/core", "internal/crowd"}},
	{path: "internal/snmp", may: []string{"wire", "internal/core", "internal/control"}},
	{path: "internal/openapi", may: []string{"internal/control"}, tests: []string{"internal/core"}},
	{path: "client", may: []string{"internal/core", "internal/control"}, tests: []string{"internal/config"}},
	{path: "internal/metrics", may: []string{"internal/control"}, libs: true},
	{path: "internal/ui", may: []string{"wire", "internal/control"}, tests: []string{"internal/core", "internal/openapi", "internal/config", "internal/daemon", "internal/lab"}, libs: true},
	{path: "internal/top", may: []string{"wire", "internal/core", "internal/control"}, libs: true},
	{path: "internal/decode", may: []string{"wire", "internal/capture"}, libs: true},
	{path: "internal/host", may: []string{"wire", "internal/core", "internal/capture"}, tests: []string{"internal/lab/netns"}, libs: true},
	{path: "internal/lab/nat", may: []string{"wire"}},
	{path: "internal/lab/world", may: []string{"wire", "internal/core", "internal/proto", "internal/proto/mip4/feature", "internal/proto/mip4/standard", "internal/lab/nat", "internal/capture"}},
	{path: "internal/lab", may: []string{"*"}, libs: true},
	{path: "internal/daemon", may: []string{"wire", "internal/core", "internal/proto", "internal/proto/mip4/feature", "internal/proto/mip4/standard", "internal/config", "internal/enrol", "internal/snmp", "internal/control", "internal/metrics", "internal/capture", "internal/decode", "internal/host", "internal/buildinfo", "internal/roles"}, tests: []string{"internal/lab", "internal/lab/netns"}, libs: true},
	{path: "internal/conformance"},
	{path: "internal/manual", may: []string{"wire", "internal/config"}, libs: true},
	{path: "internal/buildinfo"},
	{path: "internal/roles", may: []string{"wire", "internal/core", "internal/proto", "internal/proto/mip4/feature", "internal/proto/mip4/standard", "internal/config"}},
	{path: "cmd", may: []string{"wire", "internal/config", "internal/enrol", "internal/control", "internal/ui", "internal/decode", "internal/capture", "internal/daemon", "internal/lab", "internal/buildinfo", "internal/manual", "internal/top"}, tests: []string{"internal/core"}, libs: true},
	// Files that are installed, for the laboratory.
	{path: "packaging/examples/freeradius"},
	// Only tests, of what is installed.
	{path: "packaging", tests: []string{"internal/config", "internal/control", "internal/daemon", "internal/host"}},
}

// fits tells whether a package path lies in the layer's part of the tree.
func (l *layer) fits(path string) bool {
	return path == l.path || strings.HasPrefix(path, l.path+"/")
}

func layerOf(path string) *layer {
	var best *layer
	for i := range layers {
		if l := &layers[i]; l.fits(path) && (best == nil || len(l.path) > len(best.path)) {
			best = l
		}
	}
	return best
}

// A listed is what `go list -json` says about a package.
type listed struct {
	ImportPath   string
	Imports      []string
	TestImports  []string
	XTestImports []string
}

func goList(t *testing.T) []listed {
	t.Helper()
	cmd := exec.Command("go", "list", "-json=ImportPath,Imports,TestImports,XTestImports", "./...")
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("go list: %v\n%s", err, stderr.Bytes())
	}
	var all []listed
	for dec := json.NewDecoder(bytes.NewReader(out)); ; {
		var p listed
		if err := dec.Decode(&p); errors.Is(err, io.EOF) {
			return all
		} else if err != nil {
			t.Fatal(err)
		}
		all = append(all, p)
	}
}

// wrongImports lists the arrows that a package must not have.
func wrongImports(p listed) []string {
	path := strings.TrimPrefix(p.ImportPath, module+"/")
	if p.ImportPath == module {
		return nil // this test itself
	}
	from := layerOf(path)
	if from == nil {
		return []string{path + " is in no layer: say in arch_test.go where it belongs"}
	}
	var wrong []string
	judge := func(imported string, inTest bool) {
		where := path
		if inTest {
			where = "a test of " + path
		}
		if !strings.HasPrefix(imported, module+"/") {
			if first, _, _ := strings.Cut(imported, "/"); strings.Contains(first, ".") && !from.libs && !inTest {
				wrong = append(wrong, fmt.Sprintf("%s imports %s: only the standard library is allowed there", where, imported))
			}
			return
		}
		target := strings.TrimPrefix(imported, module+"/")
		to := layerOf(target)
		switch {
		case to == nil:
			return // reported with that package
		case to == from && from.path == "internal/proto/mip4/feature" && target != path && target != from.path && !inTest:
			// "a feature → the roles, and another feature only if it
			// declares it". The folder itself says what a feature is.
			if !declaredNeeds[path][target] {
				wrong = append(wrong, fmt.Sprintf("%s imports the feature %s without declaring it", where, target))
			}
		case to == from, slices.Contains(from.may, "*"), slices.Contains(from.may, to.path):
		case inTest && slices.Contains(from.tests, to.path):
		default:
			wrong = append(wrong, fmt.Sprintf("%s imports %s", where, target))
		}
	}
	for _, i := range p.Imports {
		judge(i, false)
	}
	for _, i := range slices.Concat(p.TestImports, p.XTestImports) {
		judge(i, true)
	}
	return wrong
}

// declaredNeeds lists the features that may import another feature.
var declaredNeeds = map[string]map[string]bool{
	"internal/proto/mip4/feature/challenge":    {"internal/proto/mip4/feature/aaakey": true},
	"internal/proto/mip4/feature/subscriber":   {"internal/proto/mip4/feature/aaakey": true},
	"internal/proto/mip4/feature/delivery":     {"internal/proto/mip4/feature/vendor": true},
	"internal/proto/mip4/feature/hostconfig":   {"internal/proto/mip4/feature/vendor": true},
	"internal/proto/mip4/feature/liveness":     {"internal/proto/mip4/feature/path": true, "internal/proto/mip4/feature/vendor": true},
	"internal/proto/mip4/feature/path":         {"internal/proto/mip4/feature/vendor": true},
	"internal/proto/mip4/feature/natt":         {"internal/proto/mip4/feature/path": true, "internal/proto/mip4/feature/vendor": true},
	"internal/proto/mip4/feature/pathmtu":      {"internal/proto/mip4/feature/vendor": true},
	"internal/proto/mip4/feature/notification": {"internal/proto/mip4/feature/message": true},
	"internal/proto/mip4/feature/redundant":    {"internal/proto/mip4/feature/vendor": true},
	"internal/proto/mip4/feature/validate":     {"internal/proto/mip4/feature/vendor": true, "internal/proto/mip4/feature/path": true},
	"internal/proto/mip4/feature/wireguard":    {"internal/proto/mip4/feature/natt": true, "internal/proto/mip4/feature/vendor": true},
	"internal/proto/mip4/feature/vendor":       {"internal/proto/mip4/feature/opaque": true},
	"internal/proto/mip4/feature/experimental": {"internal/proto/mip4/feature/opaque": true},
}

func TestLayers(t *testing.T) {
	for _, p := range goList(t) {
		for _, w := range wrongImports(p) {
			t.Error(w)
		}
	}
}

// TestLayersFindsViolations plants an arrow of each forbidden sort.
func TestLayersFindsViolations(t *testing.T) {
	for _, c := range []struct {
		p    listed
		want int
	}{
		{listed{ImportPath: "careof/wire/mip4", Imports: []string{"careof/internal/core/assoc"}}, 1},
		{listed{ImportPath: "careof/wire/mip4", Imports: []string{"golang.org/x/net/ipv4"}}, 1},
		{listed{ImportPath: "careof/internal/core/assoc", Imports: []string{"careof/internal/proto/mip4/ha"}}, 1},
		{listed{ImportPath: "careof/internal/proto/mip4/ha", Imports: []string{"careof/internal/proto/mip4/feature/natt"}}, 1},
		{listed{ImportPath: "careof/internal/proto/mip4/ha", Imports: []string{"careof/internal/host/drive"}}, 1},
		{listed{ImportPath: "careof/internal/proto/mip4/feature/natt", Imports: []string{"careof/internal/proto/mip4/feature/revoke"}}, 1},
		{listed{ImportPath: "careof/internal/proto/mip4/feature/natt", Imports: []string{"careof/internal/proto/mip4/feature", "careof/internal/proto/mip4/ha"}}, 0},
		{listed{ImportPath: "careof/internal/host/drive", Imports: []string{"careof/internal/proto/mip4/ha"}}, 1},
		{listed{ImportPath: "careof/internal/host/drive", XTestImports: []string{"careof/internal/proto/mip4/ha"}}, 1},
		{listed{ImportPath: "careof/internal/lab/world", Imports: []string{"careof/internal/host/drive"}}, 1},
		{listed{ImportPath: "careof/internal/daemon", Imports: []string{"careof/internal/lab/world"}}, 1},
		{listed{ImportPath: "careof/cmd/careof", Imports: []string{"careof/internal/host/drive"}}, 1},
		{listed{ImportPath: "careof/internal/util", Imports: nil}, 1},
		{listed{ImportPath: "careof/internal/proto/mip4/ha", Imports: []string{"careof/wire/mip4", "careof/internal/core/assoc", "fmt"}, XTestImports: []string{"careof/internal/lab/world", "pgregory.net/rapid"}}, 0},
		{listed{ImportPath: "careof/internal/lab/netns", Imports: []string{"careof/internal/host/link", "golang.org/x/sys/unix"}}, 0},
	} {
		if got := wrongImports(c.p); len(got) != c.want {
			t.Errorf("%+v: %d violations found, want %d: %v", c.p, len(got), c.want, got)
		}
	}
}

// pure lists the parts of the tree that get time as an argument and luck from
// their constructor. What runs in them can be replayed from a seed.
var pure = []struct {
	path string
	lab  bool // of the simulated world: may read and write files
}{
	{"wire", false}, {"internal/core", false}, {"internal/proto", false}, {"internal/host/lease", false},
	{"internal/lab/world", true}, {"internal/lab/nat", true}, {"internal/lab/scene", true}, {"internal/lab/check", true},
}

// forbiddenImports are matched with everything below them.
var forbiddenImports = []string{"net", "sync", "syscall", "unsafe", "crypto/rand", "log", "runtime", "testing"}

// allowedImports are exceptions from them.
var allowedImports = []string{"net/netip", "net/url", "log/slog"}

// forbiddenNames are the functions that must not be named, by import path.
var forbiddenNames = map[string][]string{
	"time":     {"Now", "Sleep", "After", "AfterFunc", "NewTimer", "NewTicker", "Tick", "Since", "Until"},
	"log/slog": {"Default", "SetDefault", "Debug", "Info", "Warn", "Error", "Log"},
	"context":  {"WithTimeout", "WithDeadline"},
}

// seededNames are what math/rand offers without its global source.
var seededNames = []string{"Rand", "New", "NewSource", "Source", "Source64", "NewPCG", "PCG", "NewChaCha8", "ChaCha8", "NewZipf", "Zipf"}

// impurities lists what a pure file must not have.
func impurities(fset *token.FileSet, f *ast.File, lab bool) []string {
	var found []string
	report := func(pos token.Pos, format string, args ...any) {
		found = append(found, fmt.Sprintf("%s: %s", fset.Position(pos), fmt.Sprintf(format, args...)))
	}
	names := map[string]string{} // local name -> import path
	for _, spec := range f.Imports {
		path, _ := strconv.Unquote(spec.Path.Value)
		forbidden := slices.ContainsFunc(forbiddenImports, func(p string) bool { return path == p || strings.HasPrefix(path, p+"/") })
		if !lab && (path == "os" || strings.HasPrefix(path, "os/")) {
			forbidden = true
		}
		if forbidden && !slices.Contains(allowedImports, path) {
			report(spec.Pos(), "imports %s", path)
		}
		name := path[strings.LastIndex(path, "/")+1:]
		if path == "math/rand/v2" {
			name = "rand"
		}
		if spec.Name != nil {
			name = spec.Name.Name
		}
		if name == "." {
			report(spec.Pos(), "imports %s without its name", path)
		}
		names[name] = path
	}
	ast.Inspect(f, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.GoStmt:
			report(n.Pos(), "starts a goroutine")
		case *ast.SelectorExpr:
			x, ok := n.X.(*ast.Ident)
			if !ok || x.Obj != nil { // a variable of that name
				break
			}
			path := names[x.Name]
			if slices.Contains(forbiddenNames[path], n.Sel.Name) {
				report(n.Pos(), "uses %s.%s", path, n.Sel.Name)
			}
			if (path == "math/rand" || path == "math/rand/v2") && !slices.Contains(seededNames, n.Sel.Name) {
				report(n.Pos(), "uses the global random source: %s.%s", path, n.Sel.Name)
			}
		}
		return true
	})
	return found
}

func TestPureLayers(t *testing.T) {
	for _, part := range pure {
		for _, path := range goFiles(t, part.path) {
			if strings.HasSuffix(path, "_test.go") {
				continue
			}
			fset := token.NewFileSet()
			f, err := parser.ParseFile(fset, path, nil, 0)
			if err != nil {
				t.Error(err)
				continue
			}
			for _, found := range impurities(fset, f, part.lab) {
				t.Error(found)
			}
		}
	}
}

// TestPureLayersFindsViolations plants one violation of each sort.
func TestPureLayersFindsViolations(t *testing.T) {
	for _, c := range []struct {
		source string
		want   int
	}{
		{`import "net"`, 1},
		{`import "net/http"`, 1},
		{`import "net/netip"`, 0},
		{`import "os"`, 1},
		{`import "sync/atomic"`, 1},
		{`import "crypto/rand"`, 1},
		{`import "unsafe"`, 1},
		{`import . "time"`, 1},
		{`import "time"; var t = time.Now()`, 1},
		{`import clock "time"; var t = clock.Now`, 1},
		{`import "time"; func f(t time.Time) time.Duration { return time.Since(t) }`, 1},
		{`import "time"; func f() { <-time.After(1) }`, 1},
		{`import "time"; func f(t time.Time) time.Time { return t.Add(time.Second) }`, 0},
		{`func f() { go f() }`, 1},
		{`import "math/rand/v2"; var n = rand.IntN(5)`, 1},
		{`import "math/rand"; func f(rng *rand.Rand) int { return rng.Intn(5) }`, 0},
		{`import "math/rand/v2"; func f() *rand.Rand { return rand.New(rand.NewPCG(1, 2)) }`, 0},
		{`import "log/slog"; func f() { slog.Info("x") }`, 1},
		{`import "log/slog"; func f() slog.Value { return slog.StringValue("x") }`, 0},
	} {
		fset := token.NewFileSet()
		f, err := parser.ParseFile(fset, "planted.go", "package planted; "+c.source, 0)
		if err != nil {
			t.Fatal(err)
		}
		if got := impurities(fset, f, false); len(got) != c.want {
			t.Errorf("%s: %d found, want %d: %v", c.source, len(got), c.want, got)
		}
	}
}

// goFiles lists the Go files of a folder, nothing when it is not there.
func goFiles(t *testing.T, root string) []string {
	t.Helper()
	return files(t, root, func(path string) bool { return strings.HasSuffix(path, ".go") })
}

func files(t *testing.T, root string, want func(string) bool) []string {
	t.Helper()
	var out []string
	err := filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
		switch {
		case errors.Is(err, fs.ErrNotExist):
			return nil // not there, or gone while we look
		case err != nil:
			return err
		case entry.IsDir() && entry.Name() == ".git":
			return fs.SkipDir
		case entry.Type().IsRegular() && want(path):
			out = append(out, path)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func TestGoFilesAreFormatted(t *testing.T) {
	for _, path := range goFiles(t, ".") {
		source, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		formatted, err := format.Source(source)
		if err != nil {
			t.Errorf("%s: %v", path, err)
		} else if !bytes.Equal(source, formatted) {
			t.Errorf("%s is not formatted: gofmt -w %s", path, path)
		}
	}
}

// unfinished matches the marks of work left for later. It is put together so
// that it does not match itself.
var unfinished = regexp.MustCompile(`\b(` + "TO" + "DO|FIX" + `ME)\b`)

func TestNothingIsLeftForLater(t *testing.T) {
	suffixes := []string{".go", ".md", ".toml", ".txt", ".txtar", ".sh", "Makefile"}
	for _, path := range files(t, ".", func(path string) bool {
		return slices.ContainsFunc(suffixes, func(s string) bool { return strings.HasSuffix(path, s) })
	}) {
		content, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		for i, line := range bytes.Split(content, []byte("\n")) {
			if unfinished.Match(line) {
				t.Errorf("%s:%d: %s", path, i+1, bytes.TrimSpace(line))
			}
		}
	}
}

// selfEvident are methods whose meaning is their interface's.
var selfEvident = []string{"String", "GoString", "Error", "Unwrap", "Is", "LogValue", "MarshalText", "MarshalJSON", "UnmarshalText", "Format"}

// undocumented lists the exported identifiers without a comment.
func undocumented(fset *token.FileSet, f *ast.File) []string {
	var out []string
	report := func(pos token.Pos, name string) {
		out = append(out, fmt.Sprintf("%s: %s has no comment", fset.Position(pos), name))
	}
	for _, decl := range f.Decls {
		switch d := decl.(type) {
		case *ast.FuncDecl:
			if d.Doc != nil || !d.Name.IsExported() {
				continue
			}
			if d.Recv != nil && (!receiver(d).IsExported() || slices.Contains(selfEvident, d.Name.Name)) {
				continue
			}
			report(d.Pos(), d.Name.Name)
		case *ast.GenDecl:
			for _, spec := range d.Specs {
				switch s := spec.(type) {
				case *ast.TypeSpec:
					if s.Name.IsExported() && s.Doc == nil && d.Doc == nil && s.Comment == nil {
						report(s.Pos(), s.Name.Name)
					}
				case *ast.ValueSpec:
					if s.Names[0].IsExported() && s.Doc == nil && d.Doc == nil && s.Comment == nil {
						report(s.Pos(), s.Names[0].Name)
					}
				}
			}
		}
	}
	return out
}

func receiver(d *ast.FuncDecl) *ast.Ident {
	e := d.Recv.List[0].Type
	for {
		switch x := e.(type) {
		case *ast.StarExpr:
			e = x.X
		case *ast.IndexExpr:
			e = x.X
		case *ast.IndexListExpr:
			e = x.X
		case *ast.Ident:
			return x
		default:
			return ast.NewIdent("_")
		}
	}
}

func TestWireIsDocumented(t *testing.T) {
	for _, path := range goFiles(t, "wire") {
		if strings.HasSuffix(path, "_test.go") {
			continue
		}
		fset := token.NewFileSet()
		f, err := parser.ParseFile(fset, path, nil, parser.ParseComments)
		if err != nil {
			t.Error(err)
			continue
		}
		for _, u := range undocumented(fset, f) {
			t.Error(u)
		}
	}
}

func TestWireIsDocumentedFindsViolations(t *testing.T) {
	fset := token.NewFileSet()
	f, err := parser.ParseFile(fset, "planted.go", `package planted
type T int
func F() {}
// G is fine.
func G() {}
const C = 1
func (T) M() {}
func (T) String() string { return "" }
func (t) M() {}
`, parser.ParseComments)
	if err != nil {
		t.Fatal(err)
	}
	if got := undocumented(fset, f); len(got) != 4 {
		t.Errorf("%d found, want 4: %v", len(got), got)
	}
}
