package flood

import (
	"os"
	"strings"
	"testing"

	"careof/internal/lab/labtest"
)

func TestMain(m *testing.M) {
	labtest.Daemon()
	labtest.EnterUnlessRoot()
	os.Exit(m.Run())
}

// Amid forged requests a good node registers, every time; what is forged leaves
// no visitor and no binding behind, and costs no memory to speak of. How long
// the good node takes is printed: see `careof bench flood`.
//
//rfc:5944#5.4
func TestForgeriesLeaveNothingBehind(t *testing.T) {
	phases, err := Run(t.Context(), Options{Registrations: 3, Seed: 1, Tell: t.Output(), Command: labtest.Command})
	labtest.Allowed(t, err)
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range phases {
		if p.Visitors != 1 || p.Bindings != 1 {
			t.Errorf("flooding %s: %d visitors and %d bindings, not those of the good node", p.Flooded, p.Visitors, p.Bindings)
		}
		if p.Flooded != "nobody" && p.Rate < 100 {
			t.Errorf("flooding %s: %.0f forged requests a second are no flood", p.Flooded, p.Rate)
		}
		if p.Grown > 256<<20 {
			t.Errorf("flooding %s: the daemon has grown by %d MiB", p.Flooded, p.Grown>>20)
		}
	}
	var table strings.Builder
	if err := Write(&table, phases); err != nil {
		t.Fatal(err)
	}
	t.Logf("\n%s", table.String())
}
