package bench

import (
	"bytes"
	"encoding/json"
	"encoding/xml"
	"errors"
	"io"
	"strings"
	"testing"
)

// The picture is made of what `careof bench tunnel -o json` prints: well formed,
// with every number in it and nothing outside of its borders.
func TestAPictureOfWhatAPacketCosts(t *testing.T) {
	var r Report
	err := json.Unmarshal([]byte(`{"rounds": 5, "kernel": "6.18", "processors": 2, "load": "0.3", "bindings": [
		{"bindings": 1, "program_ns": {"median": 511, "min": 490, "max": 587}, "cpu_us": {"median": 9.3, "min": 8.5, "max": 9.6}},
		{"bindings": 1000000, "program_ns": {"median": 1806, "min": 1755, "max": 2012}, "cpu_us": {"median": 10.4, "min": 9.2, "max": 12.4}}]}`), &r)
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	if err := r.Picture(&out); err != nil {
		t.Fatal(err)
	}
	text := out.String()
	for _, want := range []string{"1,000,000", "10.4 µs", "1806 ns", "1.1 × one binding", "load 0.3"} {
		if !strings.Contains(text, want) {
			t.Errorf("the picture does not say %q", want)
		}
	}
	for d := xml.NewDecoder(&out); ; {
		token, err := d.Token()
		if err == io.EOF {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		e, is := token.(xml.StartElement)
		if !is || e.Name.Local != "circle" {
			continue
		}
		for _, a := range e.Attr {
			var at float64
			if err := json.Unmarshal([]byte(a.Value), &at); a.Name.Local == "cy" && (err != nil || at < plotTop || at > plotBottom) {
				t.Errorf("a point lies at y = %s", a.Value)
			}
		}
	}
	if err := new(Report).Picture(&out); !errors.Is(err, ErrNoBindings) {
		t.Errorf("of a report without bindings: %v", err)
	}
}
