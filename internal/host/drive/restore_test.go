package drive

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"testing"

	"careof/internal/core/engine"
	"careof/internal/core/forward"
)

// adopter is a plane that takes over by itself what it has.
type adopter struct {
	plane
	t       *testing.T
	applied []forward.Key
	batches int
	full    int // batches that are taken; 0: all
}

var errFull = errors.New("full")

func (p *adopter) Adopts() bool { return true }

func (p *adopter) List(context.Context) iter.Seq[forward.Entry] {
	p.t.Error("the entries are listed, of a plane that compares by itself")
	return func(func(forward.Entry) bool) {}
}

func (p *adopter) Apply(_ context.Context, changes []forward.Change) error {
	if p.batches++; p.full > 0 && p.batches > p.full {
		return errFull
	}
	for _, c := range changes {
		if c.Op != forward.Put {
			p.t.Errorf("operation %d at a start, want Put alone", c.Op)
		}
		p.applied = append(p.applied, c.Entry.Key)
	}
	return nil
}

func restoreMany(t *testing.T, p *adopter, n int) error {
	m := &toy{}
	for i := range n {
		m.entries = append(m.entries, forward.Entry{Key: forward.Key(fmt.Sprint(i)), Role: forward.HomeAgent})
	}
	p.t = t
	d := New("toy", World{Store: &stage{}, Plane: p}, []engine.Machine{m}, nil)
	return d.Restore(t.Context(), func(forward.Entry) bool { return true })
}

func TestAPlaneThatAdoptsGetsEverythingInOrderAndIsNotListed(t *testing.T) {
	p := &adopter{}
	n := 3*repairBatch + 7
	if err := restoreMany(t, p, n); err != nil {
		t.Fatal(err)
	}
	if len(p.applied) != n {
		t.Fatalf("%d entries applied, want %d", len(p.applied), n)
	}
	for i, k := range p.applied {
		if want := forward.Key(fmt.Sprint(i)); k != want {
			t.Fatalf("entry %d is %q, want %q", i, k, want)
		}
	}
}

func TestARestoreEndsWithThePlanesError(t *testing.T) {
	for full := 1; full <= 3; full++ {
		p := &adopter{full: full}
		if err := restoreMany(t, p, 5*repairBatch); !errors.Is(err, errFull) {
			t.Fatalf("after %d batches: error %v, want the plane's", full, err)
		}
	}
}
