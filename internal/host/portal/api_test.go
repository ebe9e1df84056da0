package portal_test

import (
	"context"
	"crypto/x509"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"careof/internal/host/portal"
)

// The API is believed over TLS alone, and in what RFC 8908 lets it say.
//
//rfc:8908#4-1
//rfc:8908#4.1-6
//rfc:8908#5-1
//rfc:8908#5-7
//rfc:8908#7-1
func TestTheAPISaysHowTheNetworkStands(t *testing.T) {
	const media = "application/captive+json"
	var said, kind, accept string
	handler := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		accept = r.Header.Get("Accept")
		w.Header().Set("Content-Type", kind)
		_, _ = w.Write([]byte(said))
	})
	server, plain := httptest.NewTLSServer(handler), httptest.NewServer(handler)
	defer server.Close()
	defer plain.Close()
	dial, roots := new(net.Dialer).DialContext, x509.NewCertPool()
	roots.AddCert(server.Certificate())
	for _, c := range []struct {
		said, kind string
		want       portal.Answer
		wrong      bool
	}{
		{`{"captive": true, "user-portal-url": "https://login.hotel.example/", "venue-info-url": "https://hotel.example/"}`, media,
			portal.Answer{Captive: true, Page: "https://login.hotel.example/", Venue: "https://hotel.example/"}, false},
		{`{"captive": false, "seconds-remaining": 90.5, "something-new": [1]}`, media, portal.Answer{Remaining: 90*time.Second + 500*time.Millisecond}, false},
		{`{"captive": true, "user-portal-url": "javascript:alert(1)"}`, media, portal.Answer{Captive: true}, false},
		{`{"captive": false, "seconds-remaining": -1}`, media + "; charset=utf-8", portal.Answer{}, false},
		{`{"user-portal-url": "https://login.hotel.example/"}`, media, portal.Answer{}, true}, // captive is required
		{`{"captive": "yes"}`, media, portal.Answer{}, true},
		{`<html>Welcome</html>`, "text/html", portal.Answer{}, true},
	} {
		said, kind = c.said, c.kind
		got, err := portal.Ask(t.Context(), dial, roots, server.URL)
		if (err != nil) != c.wrong || got != c.want {
			t.Errorf("%s: %+v, %v", c.said, got, err)
		}
		if accept != media {
			t.Errorf("asked for %q", accept)
		}
	}
	said, kind = `{"captive": true}`, media
	if _, err := portal.Ask(t.Context(), dial, nil, server.URL); err == nil {
		t.Error("a certificate that nobody vouches for was believed")
	}
	if _, err := portal.Ask(t.Context(), dial, roots, plain.URL); err == nil {
		t.Error("plain HTTP was believed")
	}
	_, wrong := portal.Ask(t.Context(), dial, nil, server.URL)
	said, kind = "<html>", "text/html"
	_, page := portal.Ask(t.Context(), dial, roots, server.URL)
	said, kind = "{captive", media
	_, broken := portal.Ask(t.Context(), dial, roots, server.URL)
	late := func(ctx context.Context, _, _ string) (net.Conn, error) { return nil, context.DeadlineExceeded }
	_, silent := portal.Ask(t.Context(), late, roots, server.URL)
	// What is wrong is for people to read, in one line.
	for _, c := range []struct {
		err   error
		words string
	}{
		{wrong, "certificate"}, {page, `it answers 200 with "text/html", and not with application/captive+json`},
		{broken, "its answer is not what RFC 8908 says: invalid character"}, {silent, "nothing is answered within 10s"},
	} {
		if c.err == nil || !strings.Contains(c.err.Error(), c.words) || strings.Contains(c.err.Error(), "Get ") {
			t.Errorf("%v does not say %q", c.err, c.words)
		}
	}
}
