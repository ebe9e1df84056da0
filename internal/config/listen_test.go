package config

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestTheAPIOverTCPNeedsATokenAndBeyondThisHostTLS(t *testing.T) {
	dir := t.TempDir()
	for name, content := range map[string]string{
		"read": "0123456789abcdefghijk\n", "admin": "zyxwvutsrqponmlkjihgf\n", "short": "1234\n", "words": "one two three four five six\n", "cert": "none", "key": "none",
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(dir, "open"), []byte("0123456789abcdefghijk\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ name, text, want string }{
		{"right", "listen = \"127.0.0.1:8434\"\ntoken-file = \"read\"\nadmin-token-file = \"admin\"", ""},
		{"no token", "listen = \"127.0.0.1:8434\"", "control.token-file: is missing"},
		{"for everybody in the clear", "listen = \"0.0.0.0:8434\"\ntoken-file = \"read\"", "control.listen: 0.0.0.0:8434 can be reached from other hosts, and there is no TLS"},
		{"half a certificate", "listen = \"0.0.0.0:8434\"\ntls-cert = \"cert\"\ntoken-file = \"read\"", "control.tls-key: is missing"},
		{"no certificate", "listen = \"0.0.0.0:8434\"\ntls-cert = \"cert\"\ntls-key = \"key\"\ntoken-file = \"read\"", "do not make a certificate"},
		{"a short token", "listen = \"127.0.0.1:8434\"\ntoken-file = \"short\"", "at least 20"},
		{"words", "listen = \"127.0.0.1:8434\"\ntoken-file = \"words\"", "on one line"},
		{"a token for all to read", "listen = \"127.0.0.1:8434\"\ntoken-file = \"open\"", "can be read by others"},
		{"no file", "listen = \"127.0.0.1:8434\"\ntoken-file = \"none\"", "(`openssl rand -hex 32` makes one"},
		{"one token for both", "listen = \"127.0.0.1:8434\"\ntoken-file = \"read\"\nadmin-token-file = \"read\"", "is the same token"},
		{"nothing to listen on", "token-file = \"read\"", "means nothing without listen"},
		{"a name", "listen = \"localhost:8434\"", "is no IP address with a port"},
	} {
		_, err := Parse(filepath.Join(dir, "careof.toml"), "version = 1\n[control]\n"+c.text+"\n[mobile-node]\nhome-address = \"10.10.0.5\"\nhome-agent = \"198.51.100.1\"\nspi = 256\nkey = \"hex:00112233445566778899aabbccddeeff\"\nalgorithm = \"hmac-sha256\"\n[[mobile-node.uplink]]\ninterface = \"eth0\"\n")
		switch {
		case c.want == "" && err != nil:
			t.Errorf("%s: %v", c.name, err)
		case c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)):
			t.Errorf("%s: %v, want %q", c.name, err, c.want)
		}
	}
}

func TestATokenIsNeverShown(t *testing.T) {
	token := NewToken("0123456789abcdefghijk")
	if text := token.String(); text != "REDACTED" || !token.Matches("0123456789abcdefghijk") || token.Matches("") || (Token{}).Matches("") {
		t.Errorf("a token shows as %s", text)
	}
}
