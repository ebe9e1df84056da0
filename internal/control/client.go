package control

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"net/url"
	"os"
	"strings"
	"syscall"
)

// A Client asks a daemon.
type Client struct {
	path string   // of the socket, or the URL as given
	base *url.URL // where requests go
	http *http.Client
}

// TokenVariable names the variable of the environment with the name of the
// file that has the token for a daemon over TCP.
const TokenVariable = "CAREOF_TOKEN_FILE"

// NewClient makes a client of the daemon that listens on path: a unix socket,
// or the URL of a [control] listen, "https://ha.example:8434", for which the
// token comes from the file that CAREOF_TOKEN_FILE names. Nothing is sent yet.
func NewClient(path string) *Client {
	if strings.HasPrefix(path, "https://") || strings.HasPrefix(path, "http://") {
		if base, err := url.Parse(path); err == nil {
			return &Client{path: path, base: base, http: &http.Client{Transport: &bearing{next: http.DefaultTransport}}}
		}
	}
	return &Client{path: path, base: &url.URL{Scheme: "http", Host: "careof"}, http: &http.Client{Transport: &http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			var d net.Dialer
			return d.DialContext(ctx, "unix", path)
		},
	}}}
}

// bearing adds the token to each request.
type bearing struct{ next http.RoundTripper }

// RoundTrip implements [http.RoundTripper].
func (b *bearing) RoundTrip(r *http.Request) (*http.Response, error) {
	file := os.Getenv(TokenVariable)
	if file == "" {
		return nil, fmt.Errorf("%w: set %s to the name of the file with the token", ErrUnauthenticated, TokenVariable)
	}
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrUnauthenticated, err)
	}
	r = r.Clone(r.Context())
	r.Header.Set("Authorization", "Bearer "+strings.TrimSpace(string(text)))
	return b.next.RoundTrip(r)
}

// RoundTrip implements [http.RoundTripper]: it sends a request to the daemon,
// whatever host the request names. So a proxy can stand before the API.
func (c *Client) RoundTrip(r *http.Request) (*http.Response, error) {
	r = r.Clone(r.Context())
	r.URL.Scheme, r.URL.Host, r.Host = c.base.Scheme, c.base.Host, c.base.Host
	return c.http.Transport.RoundTrip(r)
}

// Raw asks for a name of [Names] and returns the whole answer as the daemon
// wrote it.
func (c *Client) Raw(ctx context.Context, what, argument string) ([]byte, error) {
	path := "/v1/" + url.PathEscape(what)
	if argument != "" {
		path += "/" + url.PathEscape(argument)
	}
	return c.whole(ctx, http.MethodGet, path, nil)
}

// whole makes a request and returns the whole answer.
func (c *Client) whole(ctx context.Context, method, path string, body any) ([]byte, error) {
	response, err := c.request(ctx, method, path, body)
	if err != nil {
		return nil, err
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		return nil, fmt.Errorf("control: %w", err)
	}
	if response.StatusCode != http.StatusOK {
		return nil, failureOf(response, text)
	}
	return text, nil
}

// do makes a request and decodes the member of the answer with that name.
func (c *Client) do(ctx context.Context, method, path string, body any, name string, value any) error {
	text, err := c.whole(ctx, method, path, body)
	if err != nil {
		return err
	}
	return member(text, name, value)
}

// stream makes an order and copies the answer to w as it comes. That ctx ends
// is no error.
func (c *Client) stream(ctx context.Context, path string, body any, w io.Writer) error {
	response, err := c.request(ctx, http.MethodPost, path, body)
	if err != nil {
		if ctx.Err() != nil {
			return nil
		}
		return err
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		text, _ := io.ReadAll(response.Body)
		return failureOf(response, text)
	}
	if _, err := io.Copy(w, response.Body); err != nil && ctx.Err() == nil {
		return fmt.Errorf("control: %w", err)
	}
	return nil
}

// failureOf is the error that an answer tells.
func failureOf(response *http.Response, text []byte) error {
	var failure struct{ Error string }
	if json.Unmarshal(text, &failure) != nil || failure.Error == "" {
		failure.Error = response.Status
	}
	return errorOf(response.StatusCode, strings.TrimPrefix(failure.Error, statusText(response.StatusCode)))
}

// statusText is the error text that the status stands for, with its colon.
func statusText(status int) string {
	for _, row := range statuses {
		if row.status == status {
			return row.err.Error() + ": "
		}
	}
	return ""
}

// Show asks for a name and decodes the member of that name into value.
func (c *Client) Show(ctx context.Context, what, argument string, value any) error {
	text, err := c.Raw(ctx, what, argument)
	if err != nil {
		return err
	}
	return member(text, what, value)
}

// member decodes one member of an answer.
func member(text []byte, name string, value any) error {
	var members map[string]json.RawMessage
	if err := json.Unmarshal(text, &members); err != nil {
		return fmt.Errorf("control: answer: %w", err)
	}
	if err := json.Unmarshal(members[name], value); err != nil {
		return fmt.Errorf("control: answer: %w", err)
	}
	return nil
}

// Page asks for part of a long list and decodes its rows into list. The query
// is one of [Routes]: limit, offset, search, sort.
func (c *Client) Page(ctx context.Context, what, query string, list any) (Page, error) {
	text, err := c.whole(ctx, http.MethodGet, "/v1/"+url.PathEscape(what)+"?"+query, nil)
	if err != nil {
		return Page{}, err
	}
	var members map[string]json.RawMessage
	var page Page
	if err := json.Unmarshal(text, &members); err != nil {
		return Page{}, fmt.Errorf("control: answer: %w", err)
	}
	if err := errors.Join(json.Unmarshal(members["page"], &page), json.Unmarshal(members[what], list)); err != nil {
		return Page{}, fmt.Errorf("control: answer: %w", err)
	}
	return page, nil
}

// Monitor calls yield with each event, as JSON, until ctx ends, yield
// returns false or the daemon goes away.
func (c *Client) Monitor(ctx context.Context, yield func(text []byte) bool) error {
	follow, err := c.Listen(ctx)
	if err != nil {
		return err
	}
	return follow(yield)
}

// Listen is [Client.Monitor] in two steps: nothing that happens after it has
// returned is missed by follow, which has to be called.
func (c *Client) Listen(ctx context.Context) (follow func(yield func(text []byte) bool) error, err error) {
	response, err := c.request(ctx, http.MethodGet, "/v1/events", nil)
	if err != nil {
		return nil, err
	}
	if response.StatusCode != http.StatusOK {
		response.Body.Close()
		return nil, errorOf(response.StatusCode, response.Status)
	}
	return func(yield func(text []byte) bool) error {
		defer response.Body.Close()
		lines := bufio.NewScanner(response.Body)
		for lines.Scan() {
			if text, ok := strings.CutPrefix(lines.Text(), "data: "); ok && !yield([]byte(text)) {
				return nil
			}
		}
		if ctx.Err() != nil {
			return nil
		}
		return fmt.Errorf("%w: it closed the connection", ErrUnreachable)
	}, nil
}

func (c *Client) request(ctx context.Context, method, path string, body any) (*http.Response, error) {
	var sent io.Reader
	if body != nil {
		text, err := json.Marshal(body)
		if err != nil {
			return nil, fmt.Errorf("control: %w", err)
		}
		sent = bytes.NewReader(text)
	}
	request, err := http.NewRequestWithContext(ctx, method, c.base.Scheme+"://"+c.base.Host+path, sent)
	if err != nil {
		return nil, err
	}
	response, err := c.http.Do(request)
	switch {
	case err == nil:
		return response, nil
	case errors.Is(err, context.DeadlineExceeded):
		return nil, ErrTimeout
	case errors.Is(err, fs.ErrPermission), errors.Is(err, syscall.EPERM):
		return nil, fmt.Errorf("%w: %s is for root and the group that the configuration names (use sudo, or join the group: sudo usermod -a -G careof $USER)", ErrDenied, c.path)
	}
	if errors.Is(err, ErrUnauthenticated) {
		return nil, fmt.Errorf("%w: %w", ErrDenied, err)
	}
	return nil, fmt.Errorf("%w: nobody listens on %s (is `careof run` running, is --socket right?)", ErrUnreachable, c.path)
}
