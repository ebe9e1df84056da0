package control

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"
	"time"
)

// A loss that nobody measures any more, or that is minutes old, is shown with its
// age; one of now is not. An interval that was learnt of a NAT is told.
func TestTheTableOfUplinksSaysHowOldALossIs(t *testing.T) {
	now := time.Now()
	text, err := json.Marshal([]Uplink{
		{Interface: "wlan0", State: "in-use", Why: "the only uplink that can be used", Probes: 64, Loss: 0.32, Measured: now.Add(-5*time.Minute - 20*time.Second)},
		{Interface: "wwan0", State: "standby", Probes: 16, Loss: 0.25, Measured: now.Add(-4 * time.Second), Probed: true,
			Keepalive: &Keepalive{Interval: Seconds(62 * time.Second), Assigned: Seconds(110 * time.Second), Learnt: true}},
		{Interface: "wwan1", State: "standby", Probes: 16, Loss: 0.125, Measured: now.Add(-2*time.Hour - time.Minute), Probed: true,
			Keepalive: &Keepalive{Interval: Seconds(110 * time.Second), Assigned: Seconds(110 * time.Second)}},
	})
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	if err := Table(&out, "uplinks", []byte(`{"uplinks":`+string(text)+`}`)); err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(out.String(), "\n")
	for i, want := range []string{"  32 %, 5m ago  the only uplink that can be used", "  25 %          keepalives every 1m2s, learnt of this network's NAT", "  12 %, 2h ago  -"} {
		if !strings.HasSuffix(strings.TrimRight(lines[i+1], " "), want) {
			t.Errorf("%q does not end in %q", lines[i+1], want)
		}
	}
}
