// Package portal finds out whether a network lets its guests out, or shows them
// a page first: a captive portal. It asks for a page that is known to be empty
// (status 204), in plain HTTP since that is what portals answer in its stead.
package portal

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"sync"
	"time"
)

// A State is how a network stands.
type State uint8

// The states.
const (
	Unknown State = iota // nothing came back: no network, or one that blocks this
	Open
	Captive
)

var stateNames = [...]string{"unknown", "open", "captive"}

func (s State) String() string {
	if int(s) < len(stateNames) {
		return stateNames[s]
	}
	return fmt.Sprintf("State(%d)", uint8(s))
}

// wait bounds one check.
const wait = 10 * time.Second

// Check asks for the page over a network: dial makes connections over it. page
// is where the portal wants its guests, of a network that is captive; empty when
// it names nothing that could be opened.
func Check(ctx context.Context, dial func(ctx context.Context, network, address string) (net.Conn, error), empty string) (s State, page string, err error) {
	ctx, cancel := context.WithTimeout(ctx, wait)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, empty, nil)
	if err != nil {
		return Unknown, "", fmt.Errorf("portal: %w", err)
	}
	// No proxy: what the network itself does is asked. No client either, which
	// would not show an answer that leads to an address it cannot read.
	var said opening
	transport := http.Transport{DialContext: said.over(dial), DisableKeepAlives: true, MaxResponseHeaderBytes: 1 << 14}
	answer, err := transport.RoundTrip(request)
	if err != nil {
		if status := said.status(); status != 0 && status != http.StatusNoContent {
			// It is not the empty page, whatever is wrong with the rest of it.
			return Captive, "", nil
		}
		return Unknown, "", fmt.Errorf("portal: %w", why(err))
	}
	defer answer.Body.Close()
	if answer.StatusCode == http.StatusNoContent {
		return Open, "", nil
	}
	if answer.Header.Get("Location") == "" && answer.StatusCode/100 != 3 {
		// The page itself, at the address that was asked for (RFC 6585 section 6
		// has 511 for it).
		return Captive, empty, nil
	}
	if at, err := answer.Location(); err == nil {
		return Captive, shown(at.String()), nil
	}
	return Captive, "", nil
}

// An opening is how the answer to a question in plain HTTP begins, as far as its
// status: portals write the rest as they like.
type opening struct {
	mu   sync.Mutex
	text []byte
}

const statusLine = len("HTTP/1.1 204")

// over has the connections that dial makes heard.
func (o *opening) over(dial func(ctx context.Context, network, address string) (net.Conn, error)) func(ctx context.Context, network, address string) (net.Conn, error) {
	return func(ctx context.Context, network, address string) (net.Conn, error) {
		c, err := dial(ctx, network, address)
		if err != nil {
			return nil, err
		}
		return &heard{c, o}, nil
	}
}

type heard struct {
	net.Conn
	by *opening
}

func (h *heard) Read(b []byte) (int, error) {
	n, err := h.Conn.Read(b)
	h.by.mu.Lock()
	h.by.text = append(h.by.text, b[:min(n, statusLine-len(h.by.text))]...)
	h.by.mu.Unlock()
	return n, err
}

// status is that of the answer; 0 when there is none, or no HTTP.
func (o *opening) status() int {
	o.mu.Lock()
	defer o.mu.Unlock()
	if len(o.text) < statusLine || !bytes.HasPrefix(o.text, []byte("HTTP/1.")) {
		return 0
	}
	n, err := strconv.Atoi(string(o.text[statusLine-3:]))
	if err != nil || n < 100 {
		return 0
	}
	return n
}

// bounded is an address as it may be shown: a portal can write what it likes.
// Where even the host is too long, there is nothing to show.
func bounded(u *url.URL) string {
	const most = 300
	s := u.String()
	if len(s) > most {
		s = (&url.URL{Scheme: u.Scheme, Host: u.Host}).String()
	}
	if len(s) > most {
		return ""
	}
	return s
}
