package portal

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net"
	"net/http"
	"net/url"
	"time"
)

// An Answer is what the API of a captive portal says of this host (RFC 8908
// section 5).
type Answer struct {
	Captive   bool
	Page      string        // where the guest signs in; may be empty
	Venue     string        // what there is to know about the place; may be empty
	Remaining time.Duration // until it will be captive again; 0: nothing was said
}

// mediaType is of the API's answers (RFC 8908 section 4).
const mediaType = "application/captive+json"

// answerLimit bounds an answer in octets.
const answerLimit = 64 << 10

// Ask asks the API at a URI that the network has named (RFC 8910) over that
// network. It is believed only over TLS, with a certificate that this host would
// believe anywhere: roots, or with nil those of the host. An error says what is
// wrong with it; parts of that are the network's words.
//
//rfc:8908#4-1
//rfc:8908#4.1-6
//rfc:8908#5-1
//rfc:8908#5-7
//rfc:8908#7-1
func Ask(ctx context.Context, dial func(ctx context.Context, network, address string) (net.Conn, error), roots *x509.CertPool, api string) (a Answer, err error) {
	ctx, cancel := context.WithTimeout(ctx, wait)
	defer cancel()
	// "The API server endpoint MUST be accessed over HTTP over TLS."
	if at, err := url.Parse(api); err != nil || at.Scheme != "https" || at.Host == "" {
		return a, errors.New("portal: it is not https")
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, api, nil)
	if err != nil {
		return a, fmt.Errorf("portal: %w", err)
	}
	request.Header.Set("Accept", mediaType)
	client := http.Client{
		Transport: &http.Transport{DialContext: dial, DisableKeepAlives: true, MaxResponseHeaderBytes: 1 << 14,
			TLSClientConfig: &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12}},
		CheckRedirect: func(to *http.Request, _ []*http.Request) error {
			if to.URL.Scheme != "https" {
				return errors.New("the API leads away from TLS")
			}
			return nil
		},
	}
	answer, err := client.Do(request)
	if err != nil {
		return a, fmt.Errorf("portal: %w", why(err))
	}
	defer answer.Body.Close()
	kind, _, err := mime.ParseMediaType(answer.Header.Get("Content-Type"))
	if answer.StatusCode != http.StatusOK || err != nil || kind != mediaType && kind != "application/json" {
		return a, fmt.Errorf("portal: it answers %d with %q, and not with %s", answer.StatusCode, answer.Header.Get("Content-Type"), mediaType)
	}
	var said struct {
		Captive   *bool    `json:"captive"`
		Page      string   `json:"user-portal-url"`
		Venue     string   `json:"venue-info-url"`
		Remaining *float64 `json:"seconds-remaining"`
	}
	if err := json.NewDecoder(io.LimitReader(answer.Body, answerLimit)).Decode(&said); err != nil {
		return a, fmt.Errorf("portal: its answer is not what RFC 8908 says: %w", err)
	}
	if said.Captive == nil {
		return a, errors.New("portal: its answer does not say whether this host is captive")
	}
	a = Answer{Captive: *said.Captive, Page: shown(said.Page), Venue: shown(said.Venue)}
	if s := said.Remaining; s != nil && *s > 0 && *s < float64(1<<31) {
		a.Remaining = time.Duration(*s * float64(time.Second))
	}
	return a, nil
}

// why says what was wrong, without the question.
func why(err error) error {
	var asked *url.Error
	if errors.As(err, &asked) {
		err = asked.Err
	}
	if errors.Is(err, context.DeadlineExceeded) {
		return fmt.Errorf("nothing is answered within %v", wait)
	}
	return err
}

// shown is an address as it may be shown; none, when it is none for a browser.
func shown(text string) string {
	at, err := url.Parse(text)
	if err != nil || at.Scheme != "https" && at.Scheme != "http" || at.Host == "" {
		return ""
	}
	return bounded(at)
}
