// Package openapi describes the control API: an OpenAPI document and a page
// for people, both made from the table of routes, from the Go shapes that are
// answered, and from the comments beside their fields. So they say what the
// code does.
package openapi

import (
	"encoding"
	"encoding/json"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"time"

	"careof/internal/control"
)

// sources are the folders with the shapes' comments, by import path.
var sources = []string{"internal/control", "internal/config", "internal/core/engine", "internal/core/forward", "internal/core/note"}

// A Schema is a JSON Schema (draft 2020-12), as OpenAPI 3.1 uses it.
type Schema struct {
	Ref         string             `json:"$ref,omitempty"`
	Type        any                `json:"type,omitempty"` // a word, or a list of them
	Format      string             `json:"format,omitempty"`
	Description string             `json:"description,omitempty"`
	Const       any                `json:"const,omitempty"`
	Items       *Schema            `json:"items,omitempty"`
	Values      *Schema            `json:"additionalProperties,omitempty"`
	Properties  map[string]*Schema `json:"properties,omitempty"`
	Required    []string           `json:"required,omitempty"`

	order []string // of Properties, as in the Go type
}

// A Document is what is known about the API.
type Document struct {
	Routes  []control.Route
	Schemas map[string]*Schema // of the named shapes

	comments map[string]string // of "package.Type" and "package.Type.Field"
	names    map[reflect.Type]string
}

// New reads the comments below root, the module's folder, and describes the API.
func New(root string) (*Document, error) {
	d := &Document{Routes: control.Routes(), Schemas: make(map[string]*Schema), comments: make(map[string]string), names: make(map[reflect.Type]string)}
	for _, source := range sources {
		if err := d.read(filepath.Join(root, source)); err != nil {
			return nil, err
		}
	}
	d.schema(reflect.TypeFor[control.Page]())
	for _, r := range d.Routes {
		for _, shape := range []any{r.Shape, r.Body} {
			if shape != nil {
				d.schema(reflect.TypeOf(shape))
			}
		}
	}
	return d, nil
}

// read collects the comments of a folder's types.
func (d *Document) read(dir string) error {
	files, err := filepath.Glob(filepath.Join(dir, "*.go"))
	if err != nil {
		return fmt.Errorf("openapi: %w", err)
	}
	for _, name := range files {
		if strings.HasSuffix(name, "_test.go") {
			continue
		}
		f, err := parser.ParseFile(token.NewFileSet(), name, nil, parser.ParseComments)
		if err != nil {
			return fmt.Errorf("openapi: %w", err)
		}
		ast.Inspect(f, func(n ast.Node) bool {
			decl, ok := n.(*ast.GenDecl)
			if !ok || decl.Tok != token.TYPE {
				return true
			}
			for _, spec := range decl.Specs {
				d.readType(f.Name.Name, decl, spec.(*ast.TypeSpec))
			}
			return false
		})
	}
	return nil
}

func (d *Document) readType(pkg string, decl *ast.GenDecl, spec *ast.TypeSpec) {
	name := pkg + "." + spec.Name.Name
	doc := spec.Doc.Text()
	if doc == "" {
		doc = decl.Doc.Text()
	}
	d.comments[name] = line(doc)
	fields, ok := spec.Type.(*ast.StructType)
	if !ok {
		return
	}
	for _, f := range fields.Fields.List {
		for _, id := range f.Names {
			d.comments[name+"."+id.Name] = line(f.Doc.Text() + " " + f.Comment.Text())
		}
	}
}

// line puts a comment on one line.
func line(text string) string { return strings.Join(strings.Fields(text), " ") }

var (
	textMarshaler = reflect.TypeFor[encoding.TextMarshaler]()
	duration      = reflect.TypeFor[time.Duration]()
	seconds       = reflect.TypeFor[control.Seconds]()
	instant       = reflect.TypeFor[time.Time]()
)

// schema describes a type; a struct by a reference to its own schema.
func (d *Document) schema(t reflect.Type) *Schema {
	switch {
	case t == instant:
		return &Schema{Type: "string", Format: "date-time"}
	case t == seconds:
		return &Schema{Type: []string{"number", "null"}, Description: "Seconds; null for no end."}
	case t == duration:
		return &Schema{Type: "integer", Description: "Nanoseconds."}
	case t.Implements(textMarshaler), reflect.PointerTo(t).Implements(textMarshaler):
		return &Schema{Type: "string"}
	}
	switch t.Kind() {
	case reflect.String:
		return &Schema{Type: "string"}
	case reflect.Bool:
		return &Schema{Type: "boolean"}
	case reflect.Float64:
		return &Schema{Type: "number"}
	case reflect.Pointer:
		return d.schema(t.Elem())
	case reflect.Slice, reflect.Array:
		return &Schema{Type: []string{"array", "null"}, Items: d.schema(t.Elem())}
	case reflect.Map:
		return &Schema{Type: []string{"object", "null"}, Values: d.schema(t.Elem())}
	case reflect.Struct:
		return &Schema{Ref: "#/components/schemas/" + d.object(t)}
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64, reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		return &Schema{Type: "integer"}
	}
	panic(fmt.Sprintf("openapi: %v is in the API, and nothing says what it is in JSON", t))
}

// object makes the schema of a struct once and returns its name.
func (d *Document) object(t reflect.Type) string {
	if name, made := d.names[t]; made {
		return name
	}
	name := t.Name()
	if _, taken := d.Schemas[name]; taken {
		pkg := t.PkgPath()[strings.LastIndex(t.PkgPath(), "/")+1:]
		name = strings.ToUpper(pkg[:1]) + pkg[1:] + name
	}
	d.names[t] = name
	s := &Schema{Type: "object", Description: d.comments[t.String()], Properties: make(map[string]*Schema)}
	d.Schemas[name] = s
	d.fields(t, s)
	return name
}

// fields adds a struct's fields, those of embedded structs like its own.
func (d *Document) fields(t reflect.Type, s *Schema) {
	for f := range t.Fields() {
		tag, options, _ := strings.Cut(f.Tag.Get("json"), ",")
		if tag == "-" || !f.IsExported() {
			continue
		}
		if f.Anonymous && tag == "" && f.Type.Kind() == reflect.Struct {
			d.fields(f.Type, s)
			continue
		}
		if tag == "" {
			tag = f.Name
		}
		one := d.schema(f.Type)
		if comment := d.comments[t.String()+"."+f.Name]; comment != "" {
			one.Description = strings.TrimSpace(comment + " " + one.Description)
		}
		s.Properties[tag] = one
		s.order = append(s.order, tag)
		if !strings.Contains(options, "omit") {
			s.Required = append(s.Required, tag)
		}
	}
}

// Answer is the schema of what a route answers; nil when that is not JSON.
func (d *Document) Answer(r control.Route) *Schema {
	if r.Name == "" {
		return nil
	}
	s := &Schema{
		Type: "object", Required: []string{"schema", r.Name},
		Properties: map[string]*Schema{
			"schema": {Type: "integer", Const: control.Schema},
			r.Name:   d.schema(reflect.TypeOf(r.Shape)),
		},
	}
	if slices.ContainsFunc(r.Query, func(p control.Parameter) bool { return p.Name == "offset" }) {
		s.Properties["page"] = d.schema(reflect.TypeFor[control.Page]())
	}
	return s
}

// JSON is the OpenAPI document.
func (d *Document) JSON() ([]byte, error) {
	paths := make(map[string]map[string]any)
	for _, r := range d.Routes {
		if paths[r.Path] == nil {
			paths[r.Path] = make(map[string]any)
		}
		paths[r.Path][strings.ToLower(r.Method)] = d.operation(r)
	}
	failure := &Schema{Type: "object", Required: []string{"schema", "error"}, Properties: map[string]*Schema{
		"schema": {Type: "integer", Const: control.Schema}, "error": {Type: "string", Description: "What went wrong, and where."},
	}}
	schemas := map[string]*Schema{"Failure": failure}
	for name, s := range d.Schemas {
		schemas[name] = s
	}
	text, err := json.MarshalIndent(map[string]any{
		"openapi": "3.1.0",
		"info": map[string]any{
			"title": "careof control API", "version": "1",
			"description": "HTTP and JSON on a unix socket, and on TCP where the configuration says so. Members may be added; none changes its meaning or goes away.",
		},
		"servers":    []any{map[string]any{"url": "http://careof", "description": "The unix socket; the host's name is not looked at."}},
		"security":   []any{map[string]any{"token": []string{}}, map[string]any{}},
		"paths":      paths,
		"components": map[string]any{"schemas": schemas, "securitySchemes": map[string]any{"token": map[string]any{"type": "http", "scheme": "bearer", "description": "Over TCP. On the unix socket the kernel says who asks."}}},
	}, "", "  ")
	if err != nil {
		return nil, fmt.Errorf("openapi: %w", err)
	}
	return append(text, '\n'), nil
}

func (d *Document) operation(r control.Route) map[string]any {
	var parameters []any
	for _, name := range pathParameters(r.Path) {
		parameters = append(parameters, map[string]any{"name": name, "in": "path", "required": true, "schema": Schema{Type: "string"}})
	}
	for _, p := range r.Query {
		parameters = append(parameters, map[string]any{"name": p.Name, "in": "query", "description": p.Doc, "schema": Schema{Type: p.Type}})
	}
	good := map[string]any{"description": "What was asked for."}
	switch answer := d.Answer(r); {
	case answer != nil:
		good["content"] = map[string]any{"application/json": map[string]any{"schema": answer}}
	case r.Type != "":
		content := map[string]any{}
		if r.Shape != nil {
			content["schema"] = d.schema(reflect.TypeOf(r.Shape))
		}
		good["content"] = map[string]any{r.Type: content}
	}
	op := map[string]any{
		"operationId": operationID(r), "summary": r.Doc,
		"responses": map[string]any{"200": good, "default": map[string]any{
			"description": "A failure.",
			"content":     map[string]any{"application/json": map[string]any{"schema": Schema{Ref: "#/components/schemas/Failure"}}},
		}},
	}
	if parameters != nil {
		op["parameters"] = parameters
	}
	if r.Body != nil {
		op["requestBody"] = map[string]any{"content": map[string]any{"application/json": map[string]any{"schema": d.schema(reflect.TypeOf(r.Body))}}}
	}
	if r.Open {
		op["security"] = []any{map[string]any{}}
	}
	return op
}

// operationID is a word for a route: "getBinding", "postReload".
func operationID(r control.Route) string {
	id := strings.ToLower(r.Method)
	for part := range strings.FieldsFuncSeq(strings.TrimPrefix(r.Path, "/v1"), func(c rune) bool { return c == '/' || c == '.' }) {
		part = strings.Trim(part, "{}")
		id += strings.ToUpper(part[:1]) + part[1:]
	}
	return id
}

func pathParameters(path string) (names []string) {
	for part := range strings.SplitSeq(path, "/") {
		if strings.HasPrefix(part, "{") {
			names = append(names, strings.Trim(part, "{}"))
		}
	}
	return names
}

func typeOf(r control.Route) reflect.Type { return reflect.TypeOf(r.Shape) }
func bodyOf(r control.Route) reflect.Type { return reflect.TypeOf(r.Body) }

func (d *Document) pageSchema() *Schema { return d.schema(reflect.TypeFor[control.Page]()) }
