package main

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"careof/internal/enrol"
)

// meeting answers at a port as a home agent does at which nodes join, and returns
// a token for it.
func meeting(t *testing.T, answer http.HandlerFunc) string {
	t.Helper()
	server := httptest.NewTLSServer(answer)
	t.Cleanup(server.Close)
	return enrol.Token{Address: server.Listener.Addr().String(), Pin: sha256.Sum256(server.Certificate().Raw)}.String()
}

func granted(w http.ResponseWriter, _ *http.Request) {
	_ = json.NewEncoder(w).Encode(enrol.Grant{
		HomeAddress: netip.MustParseAddr("10.10.0.7"), HomeAgent: "198.51.100.1", SPI: 4711,
		Algorithm: "hmac-sha256", Key: bytes.Repeat([]byte{7}, 32),
	})
}

func refused(w http.ResponseWriter, _ *http.Request) {
	http.Error(w, "no", http.StatusForbidden)
}

func joinIn(dir, token string) (code int, said string) {
	var out bytes.Buffer
	code = Main([]string{"join", "--dir", dir, "--uplink", "wlan0", token}, strings.NewReader(""), &out, &out)
	return code, out.String()
}

// A node that is not let in is left as it was, so that nobody finds half a
// configuration and wonders.
func TestAJoinThatIsRefusedLeavesNothingBehind(t *testing.T) {
	token := meeting(t, refused)
	for _, before := range []string{"", "etc", "etc/careof", "etc/careof/keys.d"} {
		root := t.TempDir()
		if err := os.MkdirAll(filepath.Join(root, before), 0o700); err != nil {
			t.Fatal(err)
		}
		code, said := joinIn(filepath.Join(root, "etc", "careof"), token)
		if code == 0 || !strings.Contains(said, "does not take this token") {
			t.Errorf("%d: %s", code, said)
		}
		if _, err := os.Stat(filepath.Join(root, before)); err != nil {
			t.Errorf("what was there has gone: %v", err)
		}
		if left := missing(filepath.Join(root, "etc", "careof", "keys.d")); len(left)+strings.Count(before, "/")+min(1, len(before)) != 3 {
			t.Errorf("with %q before, only %q are not there after", before, left)
		}
	}
}

// A node that joins anew, as the same one, finds its old key in the way when its
// token is used up already: both stay.
func TestANodeJoinsAnewBesideItsOldKey(t *testing.T) {
	token, dir := meeting(t, granted), t.TempDir()
	old := filepath.Join(dir, "keys.d", "10.10.0.7")
	if err := os.Mkdir(filepath.Dir(old), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(old, []byte("0123456789abcdef0123456789abcdef\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	// The service does not read this folder.
	if code, said := joinIn(dir, token); code != 0 || strings.Contains(said, "systemctl") || !strings.Contains(said, "careof run -c "+dir) {
		t.Fatalf("%d: %s", code, said)
	}
	for file, want := range map[string]string{
		old: "0123456789abcdef0123456789abcdef\n", old + "-2": strings.Repeat("07", 32) + "\n",
	} {
		if text, err := os.ReadFile(file); err != nil || string(text) != want {
			t.Errorf("%s has %q, %v", file, text, err)
		}
	}
	if text, err := os.ReadFile(filepath.Join(dir, "careof.toml")); err != nil || !strings.Contains(string(text), `"keys.d/10.10.0.7-2"`) {
		t.Errorf("%s, %v", text, err)
	}
}

// Who cannot reach the home agent behind the rules of a stopped daemon is told so,
// and how to take them off; nobody else is.
func TestAJoinBehindTheRulesOfAStoppedDaemonIsTold(t *testing.T) {
	silent := errors.New("enrol: cannot reach the home agent")
	err := keptIn(silent, func() ([]string, error) { return []string{"careof0"}, nil })
	if !errors.Is(err, silent) || !strings.Contains(err.Error(), "the rules of a stopped careof (careof0) keep what this host sends in") || !strings.Contains(err.Error(), "careof release") {
		t.Errorf("%v", err)
	}
	for _, none := range []func() ([]string, error){
		func() ([]string, error) { return nil, nil },
		func() ([]string, error) { return nil, errors.New("not permitted") },
	} {
		if err := keptIn(silent, none); err.Error() != silent.Error() {
			t.Errorf("%v", err)
		}
		var said bytes.Buffer
		if (&env{stderr: &said}).warnKeptIn(none); said.Len() > 0 {
			t.Errorf("%s", said.String())
		}
	}
	// Nobody has to wait for that until the home agent has not answered.
	var said bytes.Buffer
	(&env{stderr: &said}).warnKeptIn(func() ([]string, error) { return []string{"careof0"}, nil })
	if !strings.Contains(said.String(), "a stopped careof (careof0)") || !strings.Contains(said.String(), "careof release") {
		t.Errorf("%q", said.String())
	}
}
