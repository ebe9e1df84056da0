package ui

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil/promlint"

	"careof/internal/lab/live"
)

const scrapeToken = "0123456789abcdefghijklmnop"

// listenSection is a [control] section for the home agent of the laboratory,
// with files that it writes, and the certificate that a scraper trusts.
func listenSection(t *testing.T) (section string, trusted *x509.CertPool) {
	t.Helper()
	dir := t.TempDir()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), IPAddresses: []net.IP{net.IPv4(198, 51, 100, 1)},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	secret, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	cert := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	for name, content := range map[string][]byte{
		"cert": cert, "key": pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: secret}), "token": []byte(scrapeToken + "\n"),
	} {
		if err := os.WriteFile(filepath.Join(dir, name), content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	trusted = x509.NewCertPool()
	trusted.AppendCertsFromPEM(cert)
	return fmt.Sprintf(`
[control]
listen     = "198.51.100.1:8434"
tls-cert   = %q
tls-key    = %q
token-file = %q
`, filepath.Join(dir, "cert"), filepath.Join(dir, "key"), filepath.Join(dir, "token")), trusted
}

// scrape asks the home agent for its metrics over the network, from the
// correspondent node, as Prometheus does.
func scrape(t *testing.T, l *live.Lab, trusted *x509.CertPool) {
	t.Helper()
	client := &http.Client{Transport: &http.Transport{
		TLSClientConfig: &tls.Config{RootCAs: trusted}, DisableKeepAlives: true,
		DialContext: func(ctx context.Context, _, address string) (net.Conn, error) {
			return l.Network.Node("cn").DialTCP(ctx, netip.AddrPort{}, netip.MustParseAddrPort(address))
		},
	}, Timeout: patience}
	get := func(path, token string) (int, string) {
		r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "https://198.51.100.1:8434"+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		if token != "" {
			r.Header.Set("Authorization", "Bearer "+token)
		}
		response, err := client.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		defer response.Body.Close()
		text, err := io.ReadAll(response.Body)
		if err != nil {
			t.Fatal(err)
		}
		return response.StatusCode, string(text)
	}
	if status, _ := get("/metrics", scrapeToken+"x"); status != http.StatusUnauthorized {
		t.Errorf("a wrong token: status %d", status)
	}
	if status, text := get("/readyz", ""); status != http.StatusOK {
		t.Errorf("not ready: %d %s", status, text)
	}
	status, text := get("/metrics", scrapeToken)
	if status != http.StatusOK {
		t.Fatalf("status %d: %s", status, text)
	}
	for _, want := range []string{
		"careof_home_agent_bindings 1\n", "careof_home_agent_nodes 1\n", "careof_home_agent_registrations_moved_total 1\n", "careof_ready 1\n",
		"careof_plane_entries 1\n", "careof_sockets_open ", "careof_store_written_bytes_total ", "go_goroutines ",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("a scrape lacks %q", want)
		}
	}
	problems, err := promlint.New(bytes.NewReader([]byte(text))).Lint()
	if err != nil {
		t.Error(err)
	}
	for _, p := range problems {
		t.Errorf("%s: %s", p.Metric, p.Text)
	}
}
