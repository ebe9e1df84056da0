package control

import (
	"bufio"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"careof/internal/config"
	"careof/internal/core/note"
)

const (
	readText = "read-0123456789abcdefghij"
	allText  = "admin-0123456789abcdefghi"
)

func tokens(c config.Control) config.Control {
	c.ReadToken, c.AllToken = config.NewToken(readText), config.NewToken(allText)
	return c
}

// overTCP serves on a loopback address and returns the URL.
func overTCP(t *testing.T, c config.Control, d *desk) string {
	t.Helper()
	c = tokens(c)
	if !c.Listen.IsValid() {
		c.Listen = netip.MustParseAddrPort("127.0.0.1:0")
	}
	s, err := ListenTCP(c, d)
	if err != nil {
		t.Fatal(err)
	}
	serving(t, s)
	return s.listener.Addr().String()
}

func TestOverTCPOnlyTheRightTokenAtOurOwnNameIsAnswered(t *testing.T) {
	address := overTCP(t, config.Control{}, &desk{unready: errors.New("the device is gone")})
	for _, c := range []struct {
		name, method, path string
		set                func(*http.Request)
		want               int
		says               string
	}{
		{"no token", "GET", "/v1/bindings", nil, http.StatusUnauthorized, "token-file"},
		{"a wrong token", "GET", "/v1/bindings", bearer(readText + "x"), http.StatusUnauthorized, ""},
		{"an empty token", "GET", "/v1/bindings", bearer(""), http.StatusUnauthorized, ""},
		{"the token, but not as a bearer", "GET", "/v1/bindings", func(r *http.Request) { r.SetBasicAuth("x", readText) }, http.StatusUnauthorized, ""},
		{"the reader reads", "GET", "/v1/bindings", bearer(readText), http.StatusOK, "10.10.0.5"},
		{"the reader changes", "POST", "/v1/anything", bearer(readText), http.StatusForbidden, "may only read"},
		{"the reader profiles", "GET", "/debug/pprof/cmdline", bearer(readText), http.StatusForbidden, ""},
		{"the admin reads", "GET", "/v1/bindings", bearer(allText), http.StatusOK, ""},
		{"the admin changes", "POST", "/v1/anything", bearer(allText), http.StatusNotFound, "openapi"},
		{"metrics need a token too", "GET", "/metrics", nil, http.StatusUnauthorized, ""},
		{"anybody asks for health", "GET", "/healthz", nil, http.StatusOK, "ok"},
		{"a stranger is not told why", "GET", "/readyz", nil, http.StatusServiceUnavailable, "not ready\n"},
		{"a reader is", "GET", "/readyz", bearer(readText), http.StatusServiceUnavailable, "the device is gone"},
		{"another host's name leads here", "GET", "/v1/bindings", both(bearer(readText), host("evil.example")), http.StatusMisdirectedRequest, "evil.example"},
		{"localhost", "GET", "/v1/bindings", both(bearer(readText), host("localhost:8434")), http.StatusOK, ""},
		{"another site's page asks", "GET", "/v1/bindings", both(bearer(readText), header("Origin", "http://evil.example")), http.StatusForbidden, "evil.example"},
		{"a sandboxed page asks", "GET", "/v1/bindings", both(bearer(readText), header("Origin", "null")), http.StatusForbidden, ""},
		{"another site embeds it", "GET", "/v1/bindings", both(bearer(readText), header("Sec-Fetch-Site", "cross-site")), http.StatusForbidden, ""},
		{"another port of this host embeds it", "GET", "/v1/bindings", both(bearer(readText), header("Sec-Fetch-Site", "same-site")), http.StatusForbidden, ""},
		{"our own page asks", "GET", "/v1/bindings", both(bearer(readText), header("Sec-Fetch-Site", "same-origin")), http.StatusOK, ""},
	} {
		r, err := http.NewRequestWithContext(t.Context(), c.method, "http://"+address+c.path, nil)
		if err != nil {
			t.Fatal(err)
		}
		if c.set != nil {
			c.set(r)
		}
		response, err := http.DefaultClient.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		text, _ := io.ReadAll(response.Body)
		response.Body.Close()
		if response.StatusCode != c.want || !strings.Contains(string(text), c.says) {
			t.Errorf("%s: status %d, want %d; %q should contain %q", c.name, response.StatusCode, c.want, text, c.says)
		}
	}
}

func bearer(token string) func(*http.Request) { return header("Authorization", "Bearer "+token) }

func header(name, value string) func(*http.Request) {
	return func(r *http.Request) { r.Header.Set(name, value) }
}

func host(name string) func(*http.Request) { return func(r *http.Request) { r.Host = name } }

func both(a, b func(*http.Request)) func(*http.Request) {
	return func(r *http.Request) { a(r); b(r) }
}

func TestBeyondThisHostThereIsNoListeningWithoutTLSNorAnywhereWithoutAToken(t *testing.T) {
	if s, err := ListenTCP(tokens(config.Control{Listen: netip.MustParseAddrPort("0.0.0.0:0")}), &desk{}); err == nil {
		s.Close()
		t.Error("it listens for everybody in the clear")
	}
	if s, err := ListenTCP(config.Control{Listen: netip.MustParseAddrPort("127.0.0.1:0")}, &desk{}); err == nil {
		s.Close()
		t.Error("it listens without a token")
	}
}

// certify writes a certificate for name and returns a pool that trusts it.
func certify(t *testing.T, dir, name string, serial int64) *x509.CertPool {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(serial), DNSNames: []string{name}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
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
	for file, content := range map[string][]byte{"cert": cert, "key": pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: secret})} {
		if err := os.WriteFile(filepath.Join(dir, file), content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(cert)
	return pool
}

func TestOverTLSTheNameIsTheCertificatesAndARenewedOneIsUsed(t *testing.T) {
	dir := t.TempDir()
	pool := certify(t, dir, "ha.example", 1)
	address := overTCP(t, config.Control{TLSCert: filepath.Join(dir, "cert"), TLSKey: filepath.Join(dir, "key")}, &desk{})
	get := func(pool *x509.CertPool, host string) (int, *big.Int, error) {
		transport := &http.Transport{
			TLSClientConfig: &tls.Config{RootCAs: pool},
			DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
				return new(net.Dialer).DialContext(ctx, "tcp", address)
			},
			DisableKeepAlives: true,
		}
		r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "https://ha.example/v1/bindings", nil)
		if err != nil {
			return 0, nil, err
		}
		bearer(readText)(r)
		r.Host = host
		response, err := (&http.Client{Transport: transport}).Do(r)
		if err != nil {
			return 0, nil, err
		}
		response.Body.Close()
		return response.StatusCode, response.TLS.PeerCertificates[0].SerialNumber, nil
	}
	if status, _, err := get(pool, "ha.example"); err != nil || status != http.StatusOK {
		t.Errorf("status %d, %v", status, err)
	}
	if status, _, err := get(pool, "evil.example"); err != nil || status != http.StatusMisdirectedRequest {
		t.Errorf("a name that is not the handshake's: status %d, %v", status, err)
	}
	renewed := certify(t, dir, "ha.example", 2)
	later := time.Now().Add(time.Minute)
	if err := os.Chtimes(filepath.Join(dir, "cert"), later, later); err != nil {
		t.Fatal(err)
	}
	if status, serial, err := get(renewed, "ha.example"); err != nil || status != http.StatusOK || serial.Int64() != 2 {
		t.Errorf("after the renewal: status %d, certificate %v, %v", status, serial, err)
	}
}

func TestAStreamResumesAfterTheLastEventID(t *testing.T) {
	d := &desk{events: make(chan Event, 1)}
	for id := uint64(11); id < 14; id++ {
		d.past = append(d.past, Event{ID: id, Note: note.Note{Kind: note.Moved, HomeAddress: sample().HomeAddress, Code: uint8(id)}})
	}
	d.past = append(d.past, Event{ID: 14, Note: note.Note{Kind: note.Refreshed, HomeAddress: sample().HomeAddress}}, Event{ID: 15, Note: note.Note{Kind: note.Moved}})
	d.events <- Event{ID: 16, Note: note.Note{Kind: note.Moved, HomeAddress: sample().HomeAddress}}
	server := httptest.NewServer(Handler(d))
	defer server.Close()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, server.URL+"/v1/events?kinds=moved&node=10.10.0.5", nil)
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Last-Event-ID", "12")
	response, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	var ids []string
	for lines := bufio.NewScanner(response.Body); len(ids) < 2 && lines.Scan(); {
		if id, ok := strings.CutPrefix(lines.Text(), "id: "); ok {
			ids = append(ids, id)
		}
	}
	if got := strings.Join(ids, " "); got != "13 16" {
		t.Errorf("after event 12 came %q, want the moves of that node: 13 16", got)
	}
}

func many(n int) []Binding {
	list := make([]Binding, n)
	for i := range list {
		list[i] = sample()
		list[i].HomeAddress = netip.AddrFrom4([4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)})
		list[i].NAI = fmt.Sprintf("van%d@fleet.example", i)
		list[i].Remaining = Seconds(time.Duration(i) * time.Millisecond)
	}
	return list
}

func TestAHundredThousandBindingsComeInPages(t *testing.T) {
	d := &desk{many: many(100000)}
	c := serve(t, d)
	for _, one := range []struct {
		query          string
		first          string
		rows, matching int
	}{
		{"limit=3&offset=99998", "van99998@fleet.example", 2, 100000},
		{"search=VAN4711%40", "van4711@fleet.example", 1, 1},
		{"search=van123+10.1.224", "van123072@fleet.example", 0, 0},
		{"search=van99&sort=-remaining&limit=5", "van99999@fleet.example", 5, 1111},
		{"offset=200000", "", 0, 100000},
	} {
		var list []Binding
		page, err := c.Page(t.Context(), "bindings", one.query, &list)
		if err != nil {
			t.Errorf("%s: %v", one.query, err)
			continue
		}
		if len(list) != one.rows || page.Matched != one.matching || page.Total != 100000 || one.rows > 0 && list[0].NAI != one.first {
			t.Errorf("%s: %d rows, %+v", one.query, len(list), page)
		}
	}
	for _, wrong := range []string{"limit=1001", "limit=x", "offset=-1", "sort=colour"} {
		if _, err := c.Page(t.Context(), "bindings", wrong, &[]Binding{}); !errors.Is(err, ErrInvalid) {
			t.Errorf("%s: %v", wrong, err)
		}
	}
}

func TestManyReadersOfPagesCostTheMachinesOneQuestion(t *testing.T) {
	p, asked := newPages(), 0
	for range 3 {
		if _, _, err := p.take("bindings", func() (any, error) { asked++; return many(1), nil }); err != nil {
			t.Fatal(err)
		}
	}
	if asked != 1 {
		t.Errorf("three pages asked the machines %d times", asked)
	}
	// An error is not kept.
	if _, _, err := p.take("visitors", func() (any, error) { return nil, ErrTimeout }); !errors.Is(err, ErrTimeout) {
		t.Error(err)
	}
	if list, _, err := p.take("visitors", func() (any, error) { return many(2), nil }); err != nil || len(list.([]Binding)) != 2 {
		t.Errorf("%v, %v", list, err)
	}
}
