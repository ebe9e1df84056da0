package handover

import (
	"context"
	"slices"
	"strings"
	"testing"
	"time"

	"careof/internal/lab/labtest"
)

// One move between two uplinks, with careof in both worlds and with the programs
// that it is held against: each makes it, and has its row. How long it takes is
// nobody's business here.
func TestOneMoveBesideTheReferences(t *testing.T) {
	labtest.Need(t)
	if testing.Short() {
		t.Skip("takes half a minute: make full makes it")
	}
	ctx, cancel := context.WithTimeout(t.Context(), 6*time.Minute)
	defer cancel()
	const move = "break before make, the other uplink stands by"
	r, err := Run(ctx, Options{Moves: 1, Only: move, OneWay: 25 * time.Millisecond, Seed: 1, Command: labtest.Command, Tell: t.Output()})
	var table strings.Builder
	if err := r.Write(&table); err != nil {
		t.Fatal(err)
	}
	t.Logf("\n%s", table.String())
	if err != nil {
		t.Fatal(err)
	}
	var rows []string
	for _, m := range r.Roams {
		rows = append(rows, m.System+", "+m.World)
		if m.System == "strongSwan" && missingStrongSwan() != "" {
			if m.Note != missingStrongSwan() {
				t.Errorf("strongSwan is not installed, and its row says %q", m.Note)
			}
			continue
		}
		if m.Move != move || len(m.Moves) != 1 || m.Note != "" {
			t.Errorf("%d moves with %s in %s: %s", len(m.Moves), m.System, m.World, m.Note)
		}
	}
	want := []string{"careof, virtual", "careof, namespaces", "wireguard-go, namespaces", "strongSwan, namespaces"}
	if !slices.Equal(rows, want) {
		t.Errorf("rows %q, want %q", rows, want)
	}
}
