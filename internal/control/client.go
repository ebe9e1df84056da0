package control

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"net/url"
	"strings"
	"syscall"
)

// A Client asks a daemon.
type Client struct {
	path string
	http *http.Client
}

// NewClient makes a client of the daemon that listens on path. Nothing is
// sent yet.
func NewClient(path string) *Client {
	return &Client{path: path, http: &http.Client{Transport: &http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			var d net.Dialer
			return d.DialContext(ctx, "unix", path)
		},
	}}}
}

// Raw asks for a name of [Names] and returns the whole answer as the daemon
// wrote it.
func (c *Client) Raw(ctx context.Context, what, argument string) ([]byte, error) {
	path := "/v1/" + url.PathEscape(what)
	if argument != "" {
		path += "/" + url.PathEscape(argument)
	}
	response, err := c.get(ctx, path)
	if err != nil {
		return nil, err
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		return nil, fmt.Errorf("control: %w", err)
	}
	if response.StatusCode != http.StatusOK {
		var failure struct{ Error string }
		if json.Unmarshal(text, &failure) != nil || failure.Error == "" {
			failure.Error = response.Status
		}
		return nil, errorOf(response.StatusCode, strings.TrimPrefix(failure.Error, statusText(response.StatusCode)))
	}
	return text, nil
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
	var members map[string]json.RawMessage
	if err := json.Unmarshal(text, &members); err != nil {
		return fmt.Errorf("control: answer: %w", err)
	}
	if err := json.Unmarshal(members[what], value); err != nil {
		return fmt.Errorf("control: answer: %w", err)
	}
	return nil
}

// Monitor calls yield with each event, as JSON, until ctx ends, yield
// returns false or the daemon goes away.
func (c *Client) Monitor(ctx context.Context, yield func(text []byte) bool) error {
	response, err := c.get(ctx, "/v1/events")
	if err != nil {
		return err
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return errorOf(response.StatusCode, response.Status)
	}
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
}

func (c *Client) get(ctx context.Context, path string) (*http.Response, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://careof"+path, nil)
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
		return nil, fmt.Errorf("%w: %s is for root and the group that the configuration names", ErrDenied, c.path)
	}
	return nil, fmt.Errorf("%w: nobody listens on %s (is `careof run` running, is --socket right?)", ErrUnreachable, c.path)
}
