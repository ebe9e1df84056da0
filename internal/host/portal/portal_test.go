package portal_test

import (
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"careof/internal/host/portal"
)

// raw answers with octets.
func raw(w http.ResponseWriter, text string) {
	c, _, err := w.(http.Hijacker).Hijack()
	if err != nil {
		return
	}
	defer c.Close()
	_, _ = io.WriteString(c, text)
}

// What a network may answer to the question for an empty page.
func TestANetworkIsOpenOrCaptive(t *testing.T) {
	for _, c := range []struct {
		name   string
		answer http.HandlerFunc
		want   portal.State
		page   string // its beginning
	}{
		{"the empty page", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNoContent) }, portal.Open, ""},
		{"a redirection", func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "https://login.hotel.example/", http.StatusFound)
		}, portal.Captive, "https://login.hotel.example/"},
		{"a page of the portal's", func(w http.ResponseWriter, _ *http.Request) { w.Write([]byte("<h1>Welcome</h1>")) }, portal.Captive, "http://127.0.0.1"},
		{"511", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNetworkAuthenticationRequired) }, portal.Captive, "http://127.0.0.1"},
		{"a script", func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Location", "javascript:alert(1)")
			w.WriteHeader(http.StatusFound)
		}, portal.Captive, ""},
		{"a very long address", func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Location", "http://login.example/?"+strings.Repeat("x", 5000))
			w.WriteHeader(http.StatusFound)
		}, portal.Captive, "http://login.example"},
		{"a very long host", func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Location", "http://"+strings.Repeat("x", 5000)+"/")
			w.WriteHeader(http.StatusFound)
		}, portal.Captive, ""},
		{"an address that is none", func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Location", "http://login.hotel.example:port/%zz")
			w.WriteHeader(http.StatusFound)
		}, portal.Captive, ""},
		{"a redirection to nowhere", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusFound) }, portal.Captive, ""},
		{"more than anybody reads", func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Location", "http://login.example/?"+strings.Repeat("x", 100_000))
			w.WriteHeader(http.StatusFound)
		}, portal.Captive, ""},
		{"what is no HTTP behind its first line", func(w http.ResponseWriter, _ *http.Request) { raw(w, "HTTP/1.1 302 Found\r\nWelcome\r\n\r\n") }, portal.Captive, ""},
		{"no HTTP", func(w http.ResponseWriter, _ *http.Request) { raw(w, "SSH-2.0-OpenSSH_9.2\r\n") }, portal.Unknown, ""},
		{"nothing", func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }, portal.Unknown, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			server := httptest.NewServer(c.answer)
			defer server.Close()
			state, page, err := portal.Check(t.Context(), new(net.Dialer).DialContext, server.URL)
			if state != c.want || !strings.HasPrefix(page, c.page) || (page == "") != (c.page == "") || len(page) > 300 || (err != nil) != (c.want == portal.Unknown) {
				t.Errorf("%v %q %v, want %v %q", state, page, err, c.want, c.page)
			}
		})
	}
}
