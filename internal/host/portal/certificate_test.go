package portal_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"log"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"careof/internal/host/portal"
)

// An authority signs certificates.
type authority struct {
	key  *ecdsa.PrivateKey
	self *x509.Certificate
}

func newAuthority(t *testing.T) *authority {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	now := time.Now()
	a := &authority{key: key, self: &x509.Certificate{
		SerialNumber: big.NewInt(1), NotBefore: now.Add(-48 * time.Hour), NotAfter: now.Add(48 * time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}}
	der, err := x509.CreateCertificate(rand.Reader, a.self, a.self, &key.PublicKey, key)
	if err == nil {
		a.self, err = x509.ParseCertificate(der)
	}
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// sign makes a server's certificate for a name, until then.
func (a *authority) sign(t *testing.T, name string, until time.Time) tls.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.CreateCertificate(rand.Reader, &x509.Certificate{
		SerialNumber: big.NewInt(2), DNSNames: []string{name}, NotBefore: until.Add(-24 * time.Hour), NotAfter: until,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}, a.self, &key.PublicKey, a.key)
	if err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

// A network may name any API; what that says is believed when its certificate is one
// for that name, now, of an authority that this host believes. Otherwise no portal's
// address comes of it, and the words say what is wrong.
//
//rfc:8908#4.1-6
//rfc:8908#7-1
func TestAWrongCertificateNamesNoPortal(t *testing.T) {
	believed, stranger := newAuthority(t), newAuthority(t)
	roots := x509.NewCertPool()
	roots.AddCert(believed.self)
	const host = "portal.hotel.example"
	later, before := time.Now().Add(time.Hour), time.Now().Add(-time.Hour)
	for name, c := range map[string]struct {
		certificate tls.Certificate
		words       string // empty: it is believed
	}{
		"the right one":       {believed.sign(t, host, later), ""},
		"another host's":      {believed.sign(t, "login.hotel.example", later), "not " + host},
		"one that is over":    {believed.sign(t, host, before), "expired"},
		"of an own authority": {stranger.sign(t, host, later), "unknown authority"},
	} {
		t.Run(name, func(t *testing.T) {
			server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				w.Header().Set("Content-Type", "application/captive+json")
				fmt.Fprint(w, `{"captive": true, "user-portal-url": "https://login.hotel.example/"}`)
			}))
			server.TLS = &tls.Config{Certificates: []tls.Certificate{c.certificate}}
			server.Config.ErrorLog = log.New(io.Discard, "", 0)
			server.StartTLS()
			defer server.Close()
			_, port, err := net.SplitHostPort(server.Listener.Addr().String())
			if err != nil {
				t.Fatal(err)
			}
			// The name leads to the server, as the network's own name server says.
			dial := func(ctx context.Context, network, _ string) (net.Conn, error) {
				return new(net.Dialer).DialContext(ctx, network, server.Listener.Addr().String())
			}
			said, err := portal.Ask(t.Context(), dial, roots, "https://"+net.JoinHostPort(host, port)+"/api")
			switch {
			case c.words == "" && (err != nil || said.Page != "https://login.hotel.example/"):
				t.Errorf("%+v, %v", said, err)
			case c.words != "" && (err == nil || !strings.Contains(err.Error(), c.words) || said != (portal.Answer{})):
				t.Errorf("%+v, %v does not say %q", said, err, c.words)
			}
		})
	}
}
