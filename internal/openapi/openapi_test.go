package openapi

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"careof/internal/control"
)

func document(t *testing.T) *Document {
	t.Helper()
	d, err := New("../..")
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func TestWhatIsWrittenIsFresh(t *testing.T) {
	for name, content := range Files(document(t)) {
		want, err := content()
		if err != nil {
			t.Fatal(err)
		}
		if got, err := os.ReadFile(filepath.Join("..", "..", name)); err != nil || !bytes.Equal(got, want) {
			t.Errorf("%s is stale: run make gen (%v)", name, err)
		}
	}
}

// fill sets everything in a value to something that is not its zero value.
func fill(v reflect.Value) {
	switch at := v.Addr().Interface().(type) {
	case *time.Time:
		*at = time.Unix(1700000000, 5e8)
		return
	case *netip.Addr:
		*at = netip.MustParseAddr("10.10.0.5")
		return
	case *netip.AddrPort:
		*at = netip.MustParseAddrPort("203.0.113.7:434")
		return
	case *netip.Prefix:
		*at = netip.MustParsePrefix("10.10.0.0/24")
		return
	case *control.Endpoint:
		*at = control.Endpoint(netip.MustParseAddrPort("203.0.113.7:434"))
		return
	}
	switch v.Kind() {
	case reflect.String:
		v.SetString("x")
	case reflect.Bool:
		v.SetBool(true)
	case reflect.Float64:
		v.SetFloat(1.5)
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		v.SetInt(3)
	case reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		v.SetUint(3)
	case reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		fill(v.Elem())
	case reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), 2, 2))
		for i := range 2 {
			fill(v.Index(i))
		}
	case reflect.Map:
		v.Set(reflect.MakeMap(v.Type()))
		one := reflect.New(v.Type().Elem()).Elem()
		fill(one)
		v.SetMapIndex(reflect.ValueOf("key").Convert(v.Type().Key()), one)
	case reflect.Struct:
		for i := range v.NumField() {
			if v.Type().Field(i).IsExported() {
				fill(v.Field(i))
			}
		}
	}
}

// A desk answers everything that can be shown, full or empty.
type desk struct{ full bool }

func (d desk) Show(_ context.Context, what, _ string) (any, error) {
	for _, r := range control.Routes() {
		if r.Name == what && r.Method == http.MethodGet {
			v := reflect.New(reflect.TypeOf(r.Shape)).Elem()
			if d.full {
				fill(v)
			}
			return v.Interface(), nil
		}
	}
	return nil, fmt.Errorf("%w: %s", control.ErrNotFound, what)
}

func (desk) Subscribe(*uint64) ([]control.Event, <-chan control.Event, func()) {
	return nil, nil, func() {}
}
func (desk) Ready(context.Context) error { return nil }

// TestEveryEndpointAnswersWhatIsDocumented calls each one that shows something,
// with every member there and with none that may be left out.
func TestEveryEndpointAnswersWhatIsDocumented(t *testing.T) {
	d := document(t)
	called := 0
	for _, full := range []bool{true, false} {
		h := control.Handler(desk{full})
		for _, r := range d.Routes {
			if r.Method != http.MethodGet || r.Name == "" {
				continue
			}
			path := strings.ReplaceAll(r.Path, "{node}", "10.10.0.5")
			if len(r.Query) > 0 && full {
				path += "?limit=1"
			}
			w := httptest.NewRecorder()
			h.ServeHTTP(w, httptest.NewRequest(http.MethodGet, path, nil))
			if w.Code == http.StatusNotFound {
				continue // needs more of the backend than Show
			}
			called++
			if w.Code != http.StatusOK {
				t.Errorf("%s: status %d: %s", path, w.Code, w.Body)
			} else if err := d.Check(r, w.Body.Bytes()); err != nil {
				t.Error(err)
			}
		}
	}
	if called < 26 {
		t.Errorf("only %d answers were compared", called)
	}
}

func TestEveryShapeIsMarshalledAsDocumented(t *testing.T) {
	d := document(t)
	for _, r := range d.Routes {
		for _, shape := range []any{r.Shape, r.Body} {
			if shape == nil {
				continue
			}
			for _, full := range []bool{true, false} {
				v := reflect.New(reflect.TypeOf(shape)).Elem()
				if full {
					fill(v)
				}
				text, err := json.Marshal(v.Interface())
				if err != nil {
					t.Fatal(err)
				}
				var value any
				if err := json.Unmarshal(text, &value); err != nil {
					t.Fatal(err)
				}
				for _, err := range d.compare(r.Path, d.schema(v.Type()), value) {
					t.Error(err)
				}
			}
		}
	}
}

// TestDifferencesAreFound plants one of each sort.
func TestDifferencesAreFound(t *testing.T) {
	d := document(t)
	for _, c := range []struct{ answer, want string }{
		{`{"schema": 1}`, "uplinks is documented as always there"},
		{`{"schema": 1, "uplinks": {}}`, "is object, documented as [array null]"},
		{`{"schema": 1, "uplinks": [{"interface": "wlan0", "priority": 1, "usable": true, "active": true, "home": false, "gateways": null, "colour": 1}]}`, "colour is not documented"},
		{`{"schema": 1, "uplinks": [{"interface": "wlan0", "priority": 1.5, "usable": true, "active": true, "home": false, "gateways": null}]}`, "priority is number, documented as integer"},
		{`{"schema": 1, "uplinks": [{"priority": 1, "usable": true, "active": true, "home": false, "gateways": null}]}`, "interface is documented as always there"},
	} {
		for _, r := range d.Routes {
			if r.Name != "uplinks" {
				continue
			}
			if err := d.Check(r, []byte(c.answer)); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("%s: %v, want %q", c.answer, err, c.want)
			}
		}
	}
}

func TestOperationsHaveNamesAndReferencesLead(t *testing.T) {
	d := document(t)
	text, err := d.JSON()
	if err != nil {
		t.Fatal(err)
	}
	ids := make(map[string]bool)
	for _, r := range d.Routes {
		id := operationID(r)
		if ids[id] {
			t.Errorf("two operations are called %s", id)
		}
		ids[id] = true
		if r.Doc == "" {
			t.Errorf("%s %s says nothing about itself", r.Method, r.Path)
		}
	}
	for part := range strings.SplitSeq(string(text), `"$ref": "#/components/schemas/`) {
		name, _, _ := strings.Cut(part, `"`)
		if name != "" && !strings.HasPrefix(part, "{") && d.Schemas[name] == nil && name != "Failure" {
			t.Errorf("a reference leads to no schema: %s", name)
		}
	}
}
