// Package ui is the dashboard: a small web server that shows a browser what a
// daemon does. Pages, styles and scripts are in the program; nothing comes
// from another host, and the browser is told to load nothing from one.
//
// It only reads. The address that it prints has a key in it, which becomes a
// cookie: another user of this host can connect, but is told nothing.
//
// What must not go in here: shapes (package control has them), or anything
// that changes a daemon.
package ui

import (
	"context"
	"crypto/rand"
	"crypto/subtle"
	"embed"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/http"
	"net/http/httputil"
	"strings"
	"time"

	"careof/internal/control"
	"careof/wire/mip4"
)

//go:embed static
var static embed.FS

// A Server is a dashboard that listens.
type Server struct {
	listener net.Listener
	http     *http.Server
	key      string
}

// Listen makes a dashboard of the daemon that client asks, on a loopback
// address with a port.
func Listen(address string, client *control.Client) (*Server, error) {
	listener, err := net.Listen("tcp", address)
	if err != nil {
		return nil, fmt.Errorf("ui: %w", err)
	}
	if a := listener.Addr().(*net.TCPAddr); !a.IP.IsLoopback() {
		listener.Close()
		return nil, fmt.Errorf("ui: %v can be reached from other hosts, and the dashboard speaks no TLS: listen on 127.0.0.1, and come through `ssh -L` from elsewhere", a)
	}
	s := &Server{listener: listener, key: rand.Text()}
	s.http = &http.Server{
		Handler:           s.handler(client),
		ReadHeaderTimeout: 10 * time.Second,
		IdleTimeout:       time.Minute,
		MaxHeaderBytes:    16 << 10,
	}
	return s, nil
}

// URL is the address to open in a browser, with the key.
func (s *Server) URL() string { return fmt.Sprintf("http://%s/?key=%s", s.listener.Addr(), s.key) }

// Serve answers until ctx ends.
func (s *Server) Serve(ctx context.Context) error {
	stop := context.AfterFunc(ctx, func() { s.http.Close() })
	defer stop()
	if err := s.http.Serve(s.listener); !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("ui: %w", err)
	}
	return nil
}

// policy lets a page load from here, and nothing from elsewhere, and lets
// nobody frame it.
const policy = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; " +
	"base-uri 'none'; form-action 'none'; frame-ancestors 'none'"

func (s *Server) handler(client *control.Client) http.Handler {
	files, err := fs.Sub(static, "static")
	if err != nil {
		panic(err) // the folder is in the program
	}
	mux := http.NewServeMux()
	mux.Handle("GET /", http.FileServerFS(files))
	mux.HandleFunc("GET /api/codes", explainCodes)
	mux.Handle("GET /api/v1/", http.StripPrefix("/api", proxy(client)))
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("Content-Security-Policy", policy)
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("Referrer-Policy", "no-referrer")
		h.Set("Cross-Origin-Opener-Policy", "same-origin")
		h.Set("Cross-Origin-Resource-Policy", "same-origin")
		h.Set("Cache-Control", "no-store")
		if err := control.OwnHost(r); err != nil {
			http.Error(w, err.Error(), http.StatusMisdirectedRequest)
			return
		}
		if !s.admit(w, r) {
			return
		}
		mux.ServeHTTP(w, r)
	})
}

// cookie is named after the port: cookies do not know ports, and there may be
// several dashboards.
func (s *Server) cookie() string {
	return fmt.Sprintf("careof-%d", s.listener.Addr().(*net.TCPAddr).Port)
}

// admit lets in whoever has the key, in the address once and from then on in a
// cookie that only this site gets.
func (s *Server) admit(w http.ResponseWriter, r *http.Request) bool {
	if key := r.URL.Query().Get("key"); r.URL.Path == "/" && s.matches(key) {
		http.SetCookie(w, &http.Cookie{Name: s.cookie(), Value: key, Path: "/", HttpOnly: true, SameSite: http.SameSiteStrictMode})
		http.Redirect(w, r, "/", http.StatusSeeOther)
		return false
	}
	if c, err := r.Cookie(s.cookie()); err == nil && s.matches(c.Value) {
		return true
	}
	http.Error(w, "Open the address that `careof ui` printed: it has the key to this page.", http.StatusForbidden)
	return false
}

func (s *Server) matches(key string) bool {
	return subtle.ConstantTimeCompare([]byte(key), []byte(s.key)) == 1
}

// proxy hands questions to the daemon. Nothing but them: no cookie and no
// other header of the browser's than the one with which a stream resumes.
func proxy(client *control.Client) http.Handler {
	return &httputil.ReverseProxy{
		Rewrite: func(p *httputil.ProxyRequest) {
			resume := p.In.Header.Get("Last-Event-ID")
			p.Out.Header = make(http.Header)
			if resume != "" {
				p.Out.Header.Set("Last-Event-ID", resume)
			}
			p.Out.URL.Scheme, p.Out.URL.Host, p.Out.Host = "http", "careof", "careof"
		},
		Transport:     client,
		FlushInterval: -1, // events go out at once
		ErrorHandler: func(w http.ResponseWriter, r *http.Request, err error) {
			if r.Context().Err() != nil {
				return // the browser has gone
			}
			w.Header().Set("Content-Type", "application/json")
			w.WriteHeader(http.StatusBadGateway)
			_ = json.NewEncoder(w).Encode(map[string]any{"schema": control.Schema, "error": "the daemon does not answer (is `careof run` running?)"})
		},
	}
}

// A code is a reply code, explained.
type code struct {
	Code  uint8  `json:"code"`
	Name  string `json:"name"`
	Text  string `json:"text"`
	Means string `json:"means"`
	Do    string `json:"do"`
	RFC   string `json:"rfc"`
}

func explainCodes(w http.ResponseWriter, _ *http.Request) {
	list := []code{}
	for _, c := range mip4.Codes() {
		list = append(list, code{uint8(c.Code), strings.TrimPrefix(c.Name, "Code"), c.Text, c.Means, c.Do, c.RFC})
	}
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(map[string]any{"schema": control.Schema, "codes": list})
}
