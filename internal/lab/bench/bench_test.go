package bench

import (
	"bytes"
	"io"
	"slices"
	"strings"
	"testing"
	"time"

	"careof/internal/host/plane/bpf"
)

// Every way gets something through in every state of the links, and the report
// has a row for each.
func TestTunnel(t *testing.T) {
	r, err := Tunnel(t.Context(), Options{Rounds: 1, Time: 30 * time.Millisecond, Measures: []string{"64", "tcp1", "wire1", "gro4"}, Tell: io.Discard})
	if err != nil {
		t.Fatal(err)
	}
	want := Ways()
	for _, w := range r.Without {
		t.Logf("without %s: %s", w.Way, w.Why)
		want = slices.DeleteFunc(want, func(name string) bool { return name == w.Way })
	}
	if len(r.Measures) != 4 {
		t.Fatalf("%d measures", len(r.Measures))
	}
	for _, m := range r.Measures {
		var have []string
		for _, row := range m.Rows {
			have = append(have, row.Way)
			if row.Rate.Median <= 0 || row.Ratio.Median <= 0 || row.Cost.Median <= 0 {
				t.Errorf("%s, %s: %+v", m.Name, row.Way, row)
			}
		}
		if !slices.Equal(have, want) {
			t.Errorf("%s: ways %v, want %v", m.Name, have, want)
		}
		if base := m.Rows[0].Ratio; base.Median != 1 {
			t.Errorf("%s: plain forwarding is %v of itself", m.Name, base.Median)
		}
	}
	var text bytes.Buffer
	if err := r.Write(&text); err != nil {
		t.Fatal(err)
	}
	for _, name := range want {
		if strings.Count(text.String(), "\n"+name+" ") != 4 {
			t.Errorf("%s is not in every table:\n%s", name, text.String())
		}
	}
}

// The cost among bindings is measured with the packets that the program has
// really seen.
func TestBindings(t *testing.T) {
	if err := bpf.Supported(); err != nil {
		t.Skip(err)
	}
	r, err := Tunnel(t.Context(), Options{Rounds: 1, Time: 20 * time.Millisecond, Measures: []string{"64"}, Ways: []string{"bpf-ipip"}, Bindings: []int{100, 1}, Tell: io.Discard})
	if err != nil {
		t.Fatal(err)
	}
	if len(r.Bindings) != 2 || r.Bindings[0].Bindings != 1 || r.Bindings[1].Bindings != 100 {
		t.Fatalf("%+v", r.Bindings)
	}
	for _, b := range r.Bindings {
		if b.Program.Median < 20 || b.Program.Median > 1e6 || b.CPU.Median <= 0 || b.PerSecond <= 0 {
			t.Errorf("%+v", b)
		}
	}
}

// The median of rounds is the one in the middle, or lies between two.
func TestSpread(t *testing.T) {
	if got, want := spread([]float64{3, 1, 2}), (Spread{2, 1, 3}); got != want {
		t.Errorf("%+v, want %+v", got, want)
	}
	if got, want := spread([]float64{4, 1}), (Spread{2.5, 1, 4}); got != want {
		t.Errorf("%+v, want %+v", got, want)
	}
}
