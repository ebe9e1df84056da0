package load

import (
	"os"
	"testing"

	"careof/internal/lab/labtest"
)

func TestMain(m *testing.M) {
	labtest.Daemon()
	labtest.Enter()
	os.Exit(m.Run())
}

// TestEveryAnsweredBindingForwardsAndSurvives is the benchmark in small: it
// fails by itself when an answered binding does not forward, also after
// SIGTERM and kill -9, and when a refresh is refused.
func TestEveryAnsweredBindingForwardsAndSurvives(t *testing.T) {
	labtest.Need(t)
	r, err := Registrations(t.Context(), Options{Nodes: 300, Round: 100, Rounds: 2, Plane: "tun", Command: labtest.Command, Progress: func(s string) { t.Log(s) }})
	if err != nil {
		t.Fatal(err)
	}
	if r.Forwarding != 600 {
		t.Errorf("%d packets were seen in their tunnels, want 200 before and after each restart", r.Forwarding)
	}
	if len(r.Rates) != 4 || r.Rates[1].Count != 300 || r.Rates[0].Median <= 0 {
		t.Errorf("the rates are %+v", r.Rates)
	}
}
