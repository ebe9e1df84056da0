package control

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"
)

func TestDiameterPeersAreShown(t *testing.T) {
	text, err := json.Marshal(AAA{Peers: []AAAPeer{
		{Identity: "relay.example", State: "i-open", Watchdog: "okay", TLS: true, Requests: 7, Answers: 6, Pending: 1},
		{Identity: "aaa.home.example", State: "closed", Watchdog: "down", Why: "connection refused"},
	}})
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	if err := aaaTable(&out, text); err != nil {
		t.Fatal(err)
	}
	for _, want := range [][]string{
		{"PEER", "STATE", "WATCHDOG", "TLS", "REQUESTS", "ANSWERS", "PENDING", "SERVED", "REMARK"},
		{"relay.example", "i-open", "okay", "yes", "7", "6", "1", "0", "-"},
		{"aaa.home.example", "closed", "down", "no", "0", "0", "0", "0", "connection", "refused"},
	} {
		found := false
		for line := range strings.Lines(out.String()) {
			found = found || strings.Join(strings.Fields(line), " ") == strings.Join(want, " ")
		}
		if !found {
			t.Errorf("no line %q in\n%s", want, out.String())
		}
	}
}
