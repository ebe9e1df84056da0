package control

import (
	"strings"
	"testing"
)

func TestAWideTableHasEveryMember(t *testing.T) {
	for name, c := range map[string]struct{ what, answer, want string }{
		"list": {"bindings", `{"schema":1,"bindings":[
			{"home_address":"10.10.0.5","nat":true,"counters":{"sent_bytes":7}},
			{"home_address":"10.10.0.6","nai":"van@fleet","nat":false,"gateways":["192.0.2.1","192.0.2.2"],"counters":{"sent_bytes":8}}]}`,
			"HOME_ADDRESS  NAI        NAT    GATEWAYS             COUNTERS.SENT_BYTES\n" +
				"10.10.0.5     -          true   -                    7\n" +
				"10.10.0.6     van@fleet  false  192.0.2.1,192.0.2.2  8\n"},
		"one thing": {"status", `{"status":{"version":"1","forwarded":{"entries":3}}}`, "version            1\nforwarded.entries  3\n"},
		"nothing":   {"bindings", `{"bindings":[]}`, "no bindings\n"},
	} {
		var out strings.Builder
		if err := Wide(&out, c.what, []byte(c.answer)); err != nil || out.String() != c.want {
			t.Errorf("%s: %v\n%s", name, err, out.String())
		}
	}
	if err := Wide(&strings.Builder{}, "status", []byte(`{"status":7}`)); err == nil {
		t.Error("a number was a table")
	}
}

// What was sent and received is counted for a node, and stands once in the table
// however many bindings the node has.
func TestTheTrafficOfANodeIsShownOnce(t *testing.T) {
	const answer = `{"schema":1,"NAME":[
		{"home_address":"10.10.0.5","care_of_address":"203.0.113.9","counters":{"sent_bytes":77,"received_bytes":88}},
		{"home_address":"10.10.0.5","care_of_address":"172.20.0.9","counters":{"sent_bytes":77,"received_bytes":88}},
		{"home_address":"10.10.0.6","care_of_address":"172.20.0.8","counters":{"sent_bytes":55,"received_bytes":66}}]}`
	for what, above := range map[string]string{"bindings": "(above)", "binding": "counted above"} {
		var out strings.Builder
		if err := Table(&out, what, []byte(strings.Replace(answer, "NAME", what, 1))); err != nil {
			t.Fatal(err)
		}
		for _, n := range []string{"77", "88", "55", "66"} {
			if strings.Count(out.String(), n) != 1 {
				t.Errorf("%s: %s stands there %d times:\n%s", what, n, strings.Count(out.String(), n), out.String())
			}
		}
		if !strings.Contains(out.String(), above) {
			t.Errorf("%s:\n%s", what, out.String())
		}
	}
}
