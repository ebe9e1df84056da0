package control

import (
	"bytes"
	"encoding/json"
	"net/netip"
	"strings"
	"testing"
)

func TestARefusedRegistrationSaysWhy(t *testing.T) {
	text, err := json.Marshal([]Registration{
		{Role: "mobile-node", Uplink: "wlan0", CareOfAddress: netip.MustParseAddr("192.168.8.100"), State: "refused", Code: 129, Why: "administratively prohibited"},
		{Role: "mobile-node", Uplink: "wwan0", CareOfAddress: netip.MustParseAddr("100.64.0.7"), State: "registered", Active: true},
	})
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	if err := registrations(&out, text); err != nil {
		t.Fatal(err)
	}
	if line := strings.Fields(strings.Split(out.String(), "\n")[1]); line[len(line)-2] != "-" {
		t.Errorf("a round trip that nobody measured is shown as %s", line[len(line)-2])
	}
	for _, want := range []string{"refused: 129 administratively prohibited ", "registered, active "} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("%q is not in\n%s", want, &out)
		}
	}
}
