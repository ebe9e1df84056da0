package control

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"os"
	"strings"
	"sync"
	"time"

	"careof/internal/config"
	"careof/internal/crowd"
)

// A right is what a caller may do.
type right uint8

const (
	nothing right = iota
	reading
	changing
)

type rightKey struct{}

// mayRead tells whether the caller of a request was admitted to read.
func mayRead(r *http.Request) bool {
	has, _ := r.Context().Value(rightKey{}).(right)
	return has >= reading
}

// mayChange tells whether the caller may change things.
func mayChange(r *http.Request) bool {
	has, _ := r.Context().Value(rightKey{}).(right)
	return has >= changing
}

// admit serves a request of a caller with a right, when the right is enough.
func admit(has right, next http.Handler, w http.ResponseWriter, r *http.Request, otherwise error) {
	needs := changing
	if r.Method == http.MethodGet || r.Method == http.MethodHead {
		needs = reading
	}
	if has < needs && !isOpen(r) {
		fail(w, otherwise)
		return
	}
	next.ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), rightKey{}, has)))
}

// isOpen tells whether a request is answered to anybody.
func isOpen(r *http.Request) bool {
	for _, row := range observeRoutes {
		if row.Open && row.Method == r.Method && row.Path == r.URL.Path {
			return true
		}
	}
	return false
}

const (
	// connectionLimit bounds the connections of the TCP listener, each of which
	// costs memory before anything is known about its other end.
	connectionLimit = 256
	// strangerLimit bounds those of one source that have shown no token yet.
	strangerLimit = 32
	// strangerTime is how long a handshake may take, and a request's header.
	strangerTime = 3 * time.Second
)

// ListenTCP serves the API of a backend on the address that the
// configuration names: over TLS when it has a certificate, and only to callers
// with a token.
func ListenTCP(c config.Control, backend Backend) (*Server, error) {
	var secure *tls.Config
	if c.TLSCert != "" {
		certificate := &certificate{cert: c.TLSCert, key: c.TLSKey}
		if _, err := certificate.get(nil); err != nil {
			return nil, fmt.Errorf("control: %w", err)
		}
		secure = &tls.Config{MinVersion: tls.VersionTLS12, GetCertificate: certificate.get, NextProtos: []string{"http/1.1"}}
	} else if !c.Listen.Addr().IsLoopback() {
		return nil, fmt.Errorf("control: %v can be reached from other hosts, and there is no TLS (hint: tls-cert and tls-key)", c.Listen)
	}
	if !c.ReadToken.Set() && !c.AllToken.Set() {
		return nil, errors.New("control: nobody could be admitted over TCP: there is no token")
	}
	listener, err := net.Listen("tcp", c.Listen.String())
	if err != nil {
		return nil, fmt.Errorf("control: %w", err)
	}
	s := &Server{listener: crowd.New(listener, connectionLimit, strangerLimit)}
	if secure != nil {
		s.listener = tls.NewListener(s.listener, secure)
	}
	s.http = &http.Server{
		Handler:           ownHost(byToken(c, Handler(backend))),
		ReadHeaderTimeout: strangerTime,
		IdleTimeout:       time.Minute,
		ConnContext:       crowd.WithVisitor,
		MaxHeaderBytes:    16 << 10,
		ErrorLog:          quiet(),
	}
	return s, nil
}

// byToken admits callers by their bearer token (RFC 6750 section 2.1).
func byToken(c config.Control, next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		scheme, token, _ := strings.Cut(r.Header.Get("Authorization"), " ")
		has := nothing
		if strings.EqualFold(scheme, "Bearer") {
			// Both are compared, so that the time does not tell which one it was.
			mayRead, mayChange := c.ReadToken.Matches(token), c.AllToken.Matches(token)
			if mayChange {
				has = changing
			} else if mayRead {
				has = reading
			}
		}
		otherwise := fmt.Errorf("%w: this token may only read", ErrDenied)
		if has == nothing {
			otherwise = fmt.Errorf("%w: send Authorization: Bearer with the token of control.token-file or control.admin-token-file", ErrUnauthenticated)
			w.Header().Set("WWW-Authenticate", "Bearer")
			w.Header().Set("Connection", "close")
		} else {
			crowd.IsKnown(r)
		}
		w.Header().Set("Cache-Control", "no-store")
		admit(has, next, w, r, otherwise)
	})
}

// ownHost refuses what a web browser was made to send by somebody else's
// page: a name that somebody else's DNS leads here (the Host header tells), or
// a request across origins (Origin and Sec-Fetch-Site tell).
func ownHost(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if err := OwnHost(r); err != nil {
			fail(w, err)
			return
		}
		next.ServeHTTP(w, r)
	})
}

// OwnHost tells why a request was not meant for this server: nil when it was.
// Without TLS the host must be an address, or localhost; with it, the
// certificate has already said for whom the server speaks, and the name must
// be the one of the handshake.
func OwnHost(r *http.Request) error {
	host := r.Host
	if name, _, err := net.SplitHostPort(host); err == nil {
		host = name
	}
	host = strings.Trim(host, "[]")
	_, notAddress := netip.ParseAddr(host)
	switch {
	case notAddress == nil, strings.EqualFold(host, "localhost"):
	case r.TLS != nil && r.TLS.ServerName != "" && strings.EqualFold(host, r.TLS.ServerName):
	default:
		return fmt.Errorf("%w: %q is no name of this server", ErrMisdirected, host)
	}
	if origin := r.Header.Get("Origin"); origin != "" {
		u, err := url.Parse(origin)
		scheme := "http"
		if r.TLS != nil {
			scheme = "https"
		}
		if err != nil || u.Host != r.Host || u.Scheme != scheme {
			return fmt.Errorf("%w: a page of %q may not ask here", ErrDenied, origin)
		}
	}
	switch r.Header.Get("Sec-Fetch-Site") {
	case "", "none", "same-origin":
		return nil
	}
	return fmt.Errorf("%w: a page of another site may not ask here", ErrDenied)
}

// A certificate is read anew when its file has changed.
type certificate struct {
	cert, key string

	mu     sync.Mutex
	loaded *tls.Certificate
	stamp  time.Time
}

func (c *certificate) get(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	info, err := os.Stat(c.cert)
	if err == nil && c.loaded != nil && info.ModTime().Equal(c.stamp) {
		return c.loaded, nil
	}
	pair, failed := tls.LoadX509KeyPair(c.cert, c.key)
	if failed != nil {
		if c.loaded != nil {
			return c.loaded, nil // half a renewal: the old one until it is whole
		}
		return nil, failed
	}
	c.loaded = &pair
	if err == nil {
		c.stamp = info.ModTime()
	}
	return c.loaded, nil
}
