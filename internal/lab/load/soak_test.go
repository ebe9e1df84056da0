package load

import (
	"testing"
	"time"

	"careof/internal/lab/labtest"
)

// TestForgedTrafficMovesNothingAndRealTrafficGoesOn is the soak in small; `careof
// bench soak --for 10m` is the whole one.
func TestForgedTrafficMovesNothingAndRealTrafficGoesOn(t *testing.T) {
	labtest.Need(t)
	for _, plane := range []string{"tun", "auto"} {
		t.Run(plane, func(t *testing.T) {
			r, err := Soak(t.Context(), SoakOptions{
				For: 3 * time.Second, Nodes: 100, Registrations: 100, Packets: 100, Forged: 400,
				Plane: plane, Shards: 2, Command: labtest.Command, Progress: func(s string) { t.Log(s) },
			})
			if err != nil {
				t.Fatal(err)
			}
			for _, wrong := range r.Verdict() {
				t.Error(wrong)
			}
			if r.ForgedMessages < 100 || r.ForgedPackets < 100 || r.Registrations.Sent < 50 {
				t.Errorf("hardly anything was sent: %+v", r)
			}
			if r.ForgedAnswered == 0 {
				t.Error("no replay was refused: did any forged message arrive?")
			}
			if r.Bindings != 100 {
				t.Errorf("%d bindings afterwards, want 100", r.Bindings)
			}
		})
	}
}

// A verdict finds each thing that must not be.
func TestAVerdictFindsWhatIsWrong(t *testing.T) {
	well := func() *SoakReport {
		full := Traffic{1000, 1000}
		return &SoakReport{Registrations: full, ToNodes: full, FromNodes: full, Sung: 10,
			Memory: []int64{50 << 20, 100 << 20, 110 << 20, 90 << 20, 120 << 20}}
	}
	if wrong := well().Verdict(); len(wrong) > 0 {
		t.Errorf("of a good report: %q", wrong)
	}
	for name, spoil := range map[string]func(*SoakReport){
		"accepted":  func(r *SoakReport) { r.ForgedAccepted = 1 },
		"forwarded": func(r *SoakReport) { r.ForgedPassed = 1 },
		"canary":    func(r *SoakReport) { r.MissedTwice = 1 },
		"silent":    func(r *SoakReport) { r.Sung = 0 },
		"replies":   func(r *SoakReport) { r.Registrations.Arrived = 980 },
		"to":        func(r *SoakReport) { r.ToNodes.Arrived = 980 },
		"from":      func(r *SoakReport) { r.FromNodes = Traffic{} },
		"memory":    func(r *SoakReport) { r.Memory[4] = 200 << 20 },
	} {
		r := well()
		spoil(r)
		if wrong := r.Verdict(); len(wrong) != 1 {
			t.Errorf("%s: the verdict is %q", name, wrong)
		}
	}
}
