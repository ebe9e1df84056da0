// Package portal finds out whether a network lets its guests out, or shows them
// a page first: a captive portal. It asks for a page that is known to be empty
// (status 204), in plain HTTP since that is what portals answer in its stead.
package portal

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"net/url"
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
// is where the portal wants its guests, of a network that is captive.
func Check(ctx context.Context, dial func(ctx context.Context, network, address string) (net.Conn, error), empty string) (s State, page string, err error) {
	ctx, cancel := context.WithTimeout(ctx, wait)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, empty, nil)
	if err != nil {
		return Unknown, "", fmt.Errorf("portal: %w", err)
	}
	// No proxy: what the network itself does is asked.
	client := http.Client{
		Transport:     &http.Transport{DialContext: dial, DisableKeepAlives: true, MaxResponseHeaderBytes: 1 << 14},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	answer, err := client.Do(request)
	if err != nil {
		return Unknown, "", fmt.Errorf("portal: %w", err)
	}
	defer answer.Body.Close()
	if answer.StatusCode == http.StatusNoContent {
		return Open, "", nil
	}
	if at, err := answer.Location(); err == nil && (at.Scheme == "http" || at.Scheme == "https") {
		return Captive, bounded(at), nil
	}
	// The page itself, at the address that was asked for (RFC 6585 section 6
	// has 511 for it).
	return Captive, empty, nil
}

// bounded is an address as it may be shown: a portal can write what it likes.
func bounded(u *url.URL) string {
	const most = 300
	if s := u.String(); len(s) <= most {
		return s
	}
	return (&url.URL{Scheme: u.Scheme, Host: u.Host}).String()
}
