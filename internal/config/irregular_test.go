package config

import (
	"errors"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// A pipe that nobody writes to must not make check wait for ever.
func TestPipesAndFoldersAreRefusedAtOnce(t *testing.T) {
	dir := t.TempDir()
	pipe := filepath.Join(dir, "pipe")
	if err := syscall.Mkfifo(pipe, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{pipe, dir} {
		_, err := Load(path)
		var problems Problems
		if !errors.As(err, &problems) || !strings.Contains(problems[0].Text, "no regular file") {
			t.Errorf("configuration %s: %v", path, err)
		}
		_, err = Parse(filepath.Join(dir, "careof.toml"), `version = 1
[mobile-node]
home-address = "10.10.0.5"
home-agent = "198.51.100.1"
spi = 256
algorithm = "hmac-sha256"
key-file = "`+path+`"
[[mobile-node.uplink]]
interface = "wlan0"
`)
		if !errors.As(err, &problems) || !strings.Contains(problems[0].Text, "no regular file") {
			t.Errorf("key file %s: %v", path, err)
		}
	}
}
