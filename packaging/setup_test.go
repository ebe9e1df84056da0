package packaging_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// A new machine is set up although its mirror fails once and a package has another
// name by now; without what every test needs the script stops, and says what that is.
func TestANewMachineIsSetUp(t *testing.T) {
	for _, c := range []struct {
		what, unknown string
		works         bool
		says          string
	}{
		{"every package is there", "none", true, ""},
		{"an optional package is missing", "kea-dhcp4-server", true, "kea-dhcp4-server is not to be had"},
		{"a package that all need is missing", "tshark", false, "please install: tshark"},
	} {
		bin := t.TempDir()
		for name, text := range map[string]string{
			"id":    "echo 0",
			"sleep": ":",
			// Its first download fails.
			"go": `[ -e "$BIN/fetched" ] || { >"$BIN/fetched"; exit 1; }`,
			// Its first installation fails, and each one with the package that is unknown.
			"apt-get": `case "$*" in *" update"*) exit 0;; esac
[ -e "$BIN/failed" ] || { >"$BIN/failed"; exit 100; }
case " $* " in *" $UNKNOWN "*) exit 100;; esac
for package; do printf '#!/bin/sh\necho "$0 $*"\n' >"$BIN/$package" && chmod +x "$BIN/$package"; done`,
			"dirname": `exec /usr/bin/dirname "$@"`,
			"chmod":   `exec /bin/chmod "$@"`,
		} {
			if err := os.WriteFile(filepath.Join(bin, name), []byte("#!/bin/sh\n"+text+"\n"), 0o755); err != nil {
				t.Fatal(err)
			}
		}
		cmd := exec.CommandContext(t.Context(), "/bin/sh", "../scripts/setup-and-test")
		cmd.Env = []string{"PATH=" + bin, "BIN=" + bin, "UNKNOWN=" + c.unknown}
		out, err := cmd.CombinedOutput()
		if works := err == nil && strings.Contains(string(out), "/make full\n"); works != c.works || !strings.Contains(string(out), c.says) {
			t.Errorf("%s: %v, want one that says %q\n%s", c.what, err, c.says, out)
		}
	}
}
