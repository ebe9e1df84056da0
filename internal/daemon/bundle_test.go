package daemon

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"careof/internal/control"
)

// unpack reads a bundle.
func unpack(t *testing.T, b []byte) map[string]string {
	t.Helper()
	zip, err := gzip.NewReader(bytes.NewReader(b))
	if err != nil {
		t.Fatal(err)
	}
	files := make(map[string]string)
	for r := tar.NewReader(zip); ; {
		h, err := r.Next()
		if err == io.EOF {
			return files
		}
		if err != nil {
			t.Fatal(err)
		}
		text, err := io.ReadAll(r)
		if err != nil {
			t.Fatal(err)
		}
		_, name, _ := strings.Cut(h.Name, "/")
		files[name] = string(text)
	}
}

func TestABundleHasEverythingButSecrets(t *testing.T) {
	n := newPairNet(t)
	secrets := []string{"00112233445566778899aabbccddeeff", "deadbeef0102030405060708090a0b0c", "feedface0102030405060708090a0b0c", "cafebabe0102030405060708090a0b0c"}
	for name, text := range map[string]string{"key": secrets[1] + "\n", "nodes": "- 10.10.0.31 301 hmac-sha256 hex:" + secrets[2] + "\n"} {
		if err := os.WriteFile(filepath.Join(n.dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	n.write("ha", with(pairHomeText, "home-agent", "nodes-file = \"nodes\"")+
		"[[home-agent.mobile-node]]\nhome-address = \"10.10.0.30\"\nspi = 300\nkey-file = \"key\"\nalgorithm = \"hmac-sha256\"\n"+
		"[[home-agent.foreign-agent]]\naddress = \"203.0.113.1\"\nspi = 302\nkey = \"hex:"+secrets[3]+"\"\nalgorithm = \"hmac-sha256\"\n# the old key was "+secrets[3]+"\n")
	if done := n.reload(n.home, control.ReloadOrder{}); !done.Applied || done.Added != 2 {
		t.Fatalf("it came to %+v", done)
	}
	var file bytes.Buffer
	if err := n.home.Bundle(t.Context(), &file); err != nil {
		t.Fatal(err)
	}
	files := unpack(t, file.Bytes())
	for name, want := range map[string]string{
		"README": "no keys", "version.json": "go", "config.txt": "home-agent.mobile-node[10.10.0.30].spi = 300",
		"show/status.json": "home-agent", "show/bindings.json": "10.10.0.5", "show/counters.json": "registrations_bound",
		"show/stages.json": "Authenticate", "show/plane.json": "ha/10.10.0.5", "events.jsonl": `"event":"bound"`, "doctor.json": "forwarding",
		"goroutines.txt": "goroutine profile", "memory.json": "heap_bytes", "log.json": "info",
		"kernel/system.txt": "Linux", "kernel/links.txt": "careof0", "kernel/routes.txt": "10.10.0.0/24", "kernel/sysctl.txt": "net.ipv4.ip_forward = 1",
	} {
		if !strings.Contains(files[name], want) || strings.Contains(files[name], "this part failed") {
			t.Errorf("%s does not have %q:\n%.300s", name, want, files[name])
		}
	}
	for name, text := range files {
		for _, s := range secrets {
			raw, err := hex.DecodeString(s)
			if err != nil {
				t.Fatal(err)
			}
			for _, form := range []string{s, strings.ToUpper(s), string(raw), base64.StdEncoding.EncodeToString(raw), base64.RawURLEncoding.EncodeToString(raw)} {
				if strings.Contains(text, form) {
					t.Errorf("%s has the secret %s", name, s)
				}
			}
		}
	}
	var all struct{ Bindings []control.Binding }
	if err := json.Unmarshal([]byte(files["show/bindings.json"]), &all); err != nil || len(all.Bindings) != 1 {
		t.Errorf("bindings are %+v, %v", all, err)
	}
}
