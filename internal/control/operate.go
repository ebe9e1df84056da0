package control

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"

	"careof/internal/config"
)

// What a [Backend] may be able to do besides showing. A daemon can do all of it.
type (
	// A Reloader reads its configuration anew and does what the order says.
	Reloader interface {
		Reload(ctx context.Context, order ReloadOrder) (Reload, error)
	}
	// A Leveller sets log levels, those that the order names, and returns all.
	Leveller interface {
		LogLevels(order LogLevels) (LogLevels, error)
	}
	// An Examiner examines its host.
	Examiner interface {
		Doctor(ctx context.Context) []Finding
	}
	// A Capturer writes a pcapng file of what happens until ctx ends.
	Capturer interface {
		Capture(ctx context.Context, order CaptureOrder, w io.Writer) error
	}
	// A Bundler writes a tar.gz of everything that helps to find a fault.
	Bundler interface {
		Bundle(ctx context.Context, w io.Writer) error
	}
)

// A ReloadOrder is the body of POST /v1/reload.
type ReloadOrder struct {
	DryRun  bool    `json:"dry_run,omitempty"` // only say what would change
	Confirm Seconds `json:"confirm,omitempty"` // undo it after so long, unless an order to keep it comes
	Keep    bool    `json:"keep,omitempty"`    // keep what waits for that, and read nothing
	Undo    bool    `json:"undo,omitempty"`    // undo what waits for that now, and read nothing
}

// Reload is the answer to POST /v1/reload.
type Reload struct {
	File     string           `json:"file"`
	Problems []config.Problem `json:"problems"` // with any, nothing was changed
	Warnings []config.Problem `json:"warnings"`
	Changes  []ReloadChange   `json:"changes"`
	Applied  bool             `json:"applied"`
	// Restart says why the changes need a restart; then none was applied.
	Restart string    `json:"restart,omitempty"`
	Until   time.Time `json:"until,omitzero"` // when it undoes itself
	Undone  bool      `json:"undone,omitempty"`
	Kept    bool      `json:"kept,omitempty"`
	// Of a home agent's mobile nodes.
	Added   int `json:"nodes_added"`
	Removed int `json:"nodes_removed"`
	Ended   int `json:"bindings_ended"`
}

// ReloadChange is one value that differs.
type ReloadChange struct {
	config.Change
	Live bool `json:"live"` // false: it needs a restart
}

// LogLevels are log levels by subsystem, "" (in JSON "level") for what has
// none of its own.
type LogLevels struct {
	Level  string            `json:"level,omitempty"`
	Levels map[string]string `json:"levels,omitempty"` // "default" takes a subsystem's own level away
}

// A Finding is one thing that the doctor looked at.
type Finding struct {
	Check  string `json:"check"`  // a stable word
	Result string `json:"result"` // "ok", "warn", "fail", "skip"
	Text   string `json:"text"`
	Fix    string `json:"fix,omitempty"` // a command, or a sentence
}

// A CaptureOrder says what to capture.
type CaptureOrder struct {
	Data bool   // tunnelled packets too
	Peer string // only with this address; "" for everything
	Snap int    // octets kept of a packet; 0: all
}

// operateRoutes are for what changes a daemon, or looks into it.
var operateRoutes = []Route{
	{
		Method: http.MethodPost, Path: "/v1/reload", Name: "reload", Body: ReloadOrder{}, Shape: Reload{},
		Doc: "Read the configuration anew: check it, tell the difference, apply it.",
		serve: with(func(o Reloader, w http.ResponseWriter, r *http.Request) {
			var body ReloadOrder
			if readBody(w, r, &body) {
				done, err := o.Reload(r.Context(), body)
				reply(w, "reload", done, err)
			}
		}),
	},
	{
		Method: http.MethodGet, Path: "/v1/log", Name: "log", Shape: LogLevels{}, Doc: "The log levels in force.",
		serve: with(func(o Leveller, w http.ResponseWriter, r *http.Request) {
			levels, err := o.LogLevels(LogLevels{})
			reply(w, "log", levels, err)
		}),
	},
	{
		Method: http.MethodPut, Path: "/v1/log", Name: "log", Body: LogLevels{}, Shape: LogLevels{},
		Doc: "Set log levels, those that are named, until the next start.",
		serve: with(func(o Leveller, w http.ResponseWriter, r *http.Request) {
			var body LogLevels
			if readBody(w, r, &body) {
				levels, err := o.LogLevels(body)
				reply(w, "log", levels, err)
			}
		}),
	},
	{
		Method: http.MethodGet, Path: "/v1/doctor", Name: "doctor", Shape: []Finding{},
		Doc: "What the daemon finds right and wrong with its host.",
		serve: with(func(o Examiner, w http.ResponseWriter, r *http.Request) {
			ctx, cancel := context.WithTimeout(r.Context(), requestLimit)
			defer cancel()
			reply(w, "doctor", o.Doctor(ctx), nil)
		}),
	},
	{
		// Not GET: a capture shows what members of the group may not see.
		Method: http.MethodPost, Path: "/v1/capture", Body: CaptureOrder{}, Type: "application/x-pcapng",
		Doc: "Signalling, and data on request, as it happens, until the connection is closed.",
		serve: with(func(o Capturer, w http.ResponseWriter, r *http.Request) {
			var body CaptureOrder
			if !readBody(w, r, &body) {
				return
			}
			out := &streaming{w: w, kind: "application/x-pcapng"}
			if err := o.Capture(r.Context(), body, out); err != nil && !out.begun {
				fail(w, err)
			}
		}),
	},
	{
		Method: http.MethodPost, Path: "/v1/bundle", Type: "application/gzip",
		Doc: "Everything that helps to find a fault, without secrets, as a tar file.",
		serve: with(func(o Bundler, w http.ResponseWriter, r *http.Request) {
			out := &streaming{w: w, kind: "application/gzip"}
			if err := o.Bundle(r.Context(), out); err != nil && !out.begun {
				fail(w, err)
			}
		}),
	},
}

// with serves a request by a backend that can do it.
func with[T any](serve func(T, http.ResponseWriter, *http.Request)) func(*api, http.ResponseWriter, *http.Request) {
	return func(a *api, w http.ResponseWriter, r *http.Request) {
		able, ok := a.backend.(T)
		if !ok {
			fail(w, fmt.Errorf("%w: this daemon cannot do that", ErrNotFound))
			return
		}
		serve(able, w, r)
	}
}

// bodyLimit bounds what is sent with an order, in octets.
const bodyLimit = 64 << 10

func readBody(w http.ResponseWriter, r *http.Request, into any) bool {
	d := json.NewDecoder(http.MaxBytesReader(w, r.Body, bodyLimit))
	d.DisallowUnknownFields()
	if err := d.Decode(into); err != nil && !errors.Is(err, io.EOF) {
		fail(w, fmt.Errorf("%w: the request's body: %w", ErrInvalid, err))
		return false
	}
	return true
}

func reply(w http.ResponseWriter, name string, value any, err error) {
	if err != nil {
		fail(w, err)
		return
	}
	answer(w, http.StatusOK, map[string]any{"schema": Schema, name: value})
}

// streaming is an answer that goes out as it is written.
type streaming struct {
	w     http.ResponseWriter
	kind  string
	begun bool
}

func (s *streaming) Write(b []byte) (int, error) {
	if !s.begun {
		s.begun = true
		s.w.Header().Set("Content-Type", s.kind)
		s.w.WriteHeader(http.StatusOK)
	}
	n, err := s.w.Write(b)
	if err == nil {
		err = http.NewResponseController(s.w).Flush()
	}
	return n, err
}

// Reload has the daemon read its configuration anew.
func (c *Client) Reload(ctx context.Context, order ReloadOrder) (Reload, error) {
	var done Reload
	return done, c.do(ctx, http.MethodPost, "/v1/reload", order, "reload", &done)
}

// LogLevels sets log levels, those that are named, and returns all.
func (c *Client) LogLevels(ctx context.Context, levels LogLevels) (LogLevels, error) {
	method := http.MethodPut
	if levels.Level == "" && len(levels.Levels) == 0 {
		method = http.MethodGet
	}
	var all LogLevels
	return all, c.do(ctx, method, "/v1/log", levels, "log", &all)
}

// Doctor asks the daemon to examine its host.
func (c *Client) Doctor(ctx context.Context) ([]Finding, error) {
	var list []Finding
	return list, c.do(ctx, http.MethodGet, "/v1/doctor", nil, "doctor", &list)
}

// Capture copies a capture to w until ctx ends.
func (c *Client) Capture(ctx context.Context, order CaptureOrder, w io.Writer) error {
	return c.stream(ctx, "/v1/capture", order, w)
}

// Bundle copies a bundle to w.
func (c *Client) Bundle(ctx context.Context, w io.Writer) error {
	return c.stream(ctx, "/v1/bundle", nil, w)
}
