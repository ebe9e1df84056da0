// Package aaatest starts a stock FreeRADIUS for tests, with the example that the
// documentation goes through: packaging/examples/freeradius.
package aaatest

import (
	"bufio"
	"bytes"
	"crypto/x509"
	"encoding/pem"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"careof/internal/host/diameter/diametertest"
)

// Secret is what the example's server shares with agents.
const Secret = "a-long-secret-for-agents"

// RadSec is what has [FreeRADIUS] listen for TLS too, at port 2083: with ca's
// certificate of name.
func RadSec(t testing.TB, ca *diametertest.Authority, name string) (files map[string]string, replace []string) {
	t.Helper()
	cert := ca.Certificate(t, name)
	key, err := x509.MarshalPKCS8PrivateKey(cert.PrivateKey)
	if err != nil {
		t.Fatal(err)
	}
	var chain []byte
	for _, der := range cert.Certificate {
		chain = append(chain, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})...)
	}
	return map[string]string{
		"radsec.pem": string(chain), "radsec.key": string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: key})), "ca.pem": string(ca.PEM),
	}, []string{"#$INCLUDE ${confdir}/radsec.conf", "$INCLUDE ${confdir}/radsec.conf"}
}

// FreeRADIUS starts a server at ports 1812 and 1813, or at others when replace
// says so in pairs of old and new text of the configuration. in runs a function
// where the server shall be. It gives the folder that the server writes
// careof.accounting to. The test is skipped where the program is missing.
func FreeRADIUS(t testing.TB, in func(func()), replace ...string) (dir string) {
	t.Helper()
	return FreeRADIUSWith(t, in, nil, replace...)
}

// FreeRADIUSWith is [FreeRADIUS] with further files in its folder, by name.
func FreeRADIUSWith(t testing.TB, in func(func()), files map[string]string, replace ...string) (dir string) {
	t.Helper()
	program, err := exec.LookPath("freeradius")
	if err != nil {
		t.Skip("freeradius is not installed")
	}
	dir = t.TempDir()
	pairs := append([]string{"/etc/freeradius/careof", dir, "/run/freeradius", dir, "/var/log/freeradius", dir}, replace...)
	from := filepath.Join(root(t), "packaging", "examples", "freeradius")
	for _, name := range []string{"careof.conf", "careof.users", "dictionary", "radsec.conf"} {
		text, err := os.ReadFile(filepath.Join(from, name))
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, name), []byte(strings.NewReplacer(pairs...).Replace(string(text))), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for name, text := range files {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	cmd := exec.Command(program, "-f", "-d", dir, "-n", "careof", "-l", "stdout")
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd.Stderr = cmd.Stdout
	in(func() { err = cmd.Start() })
	if err != nil {
		t.Fatal(err)
	}
	ready := make(chan bool, 1)
	ended := make(chan struct{})
	var mu sync.Mutex
	var log bytes.Buffer
	go func() {
		defer close(ended)
		for lines := bufio.NewScanner(out); lines.Scan(); {
			mu.Lock()
			log.WriteString(lines.Text() + "\n")
			mu.Unlock()
			if strings.Contains(lines.Text(), "Ready to process requests") {
				ready <- true
			}
		}
	}()
	t.Cleanup(func() {
		_ = cmd.Process.Kill() // it keeps nothing
		<-ended
		_ = cmd.Wait()
		if t.Failed() {
			t.Logf("freeradius:\n%s", log.String())
		}
	})
	select {
	case <-ready:
	case <-ended:
		t.Fatalf("freeradius ended:\n%s", log.String())
	case <-time.After(30 * time.Second):
		t.Fatal("freeradius does not come up")
	}
	return dir
}

// root is the folder of the repository.
func root(t testing.TB) string {
	t.Helper()
	dir, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	for {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			return dir
		}
		up := filepath.Dir(dir)
		if up == dir {
			t.Fatal("the repository is not above the test")
		}
		dir = up
	}
}
