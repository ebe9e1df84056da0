package main

import (
	"bytes"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// Bundles that are made within one second are each a file, and say which.
func TestABundleOverwritesNone(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "careof.sock")
	l, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	made := 0
	server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		made++
		fmt.Fprint(w, made)
	})}
	go func() { _ = server.Serve(l) }()
	defer server.Close()
	t.Chdir(t.TempDir())
	for i := 1; i <= 5; i++ {
		var out bytes.Buffer
		if code := Main([]string{"debug", "bundle", "--socket", socket}, strings.NewReader(""), &out, &out); code != 0 {
			t.Fatalf("%d: %s", code, out.String())
		}
		if text, err := os.ReadFile(strings.TrimSpace(out.String())); err != nil || string(text) != fmt.Sprint(i) {
			t.Errorf("bundle %d is said to be in %s, which has %q, %v", i, out.String(), text, err)
		}
	}
	if files, err := filepath.Glob("careof-bundle-*.tar.gz"); err != nil || len(files) != 5 {
		t.Errorf("after five bundles there are %q, %v", files, err)
	}
}
