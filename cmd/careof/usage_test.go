package main

import (
	"strings"
	"testing"
)

// Who types a wrong command line is told which word is missing, too many or
// unknown, and what would be right.
func TestAWrongCommandLineIsToldWhatIsWrong(t *testing.T) {
	for line, want := range map[string]string{
		"show":                "careof show: WHAT is missing\nusage: careof show WHAT [ADDRESS]",
		"show binding a b":    `careof show: "b" is an argument too many`,
		"revoke":              "careof revoke: ADDRESS|NAI is missing",
		"lab move mn":         "careof lab move: SEGMENT is missing",
		"lab exec mn":         "careof lab exec: COMMAND is missing",
		"lab mov mn isp":      `careof lab has no command "mov" (did you mean "move"?)`,
		"bench nothing":       `careof bench has no command "nothing" (careof bench --help lists them)`,
		"check careof.toml":   `careof check takes no arguments, but there is "careof.toml"`,
		"undrain everything":  `careof undrain: "everything" is an argument too many`,
		"shwo":                `unknown command "shwo"`,
		"show status --outpt": "unknown flag: --outpt (careof show --help lists them)",
	} {
		var out, stderr strings.Builder
		if code := Main(strings.Fields(line), strings.NewReader(""), &out, &stderr); code != exitUsage || !strings.Contains(stderr.String(), want) {
			t.Errorf("careof %s: exit code %d\n%s\nwant %s", line, code, stderr.String(), want)
		}
	}
}
