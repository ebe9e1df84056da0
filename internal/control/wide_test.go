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
