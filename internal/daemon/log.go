package daemon

import (
	"bytes"
	"context"
	"io"
	"log/slog"
	"os"
	"sync"
)

// NewLogger writes one line a record to w: text for people; under journald
// with the priority in front (sd-daemon(3)) and without the time, which the
// journal has itself.
func NewLogger(w io.Writer) *slog.Logger {
	if os.Getenv("JOURNAL_STREAM") == "" {
		return slog.New(slog.NewTextHandler(w, &slog.HandlerOptions{Level: slog.LevelDebug}))
	}
	drop := func(groups []string, a slog.Attr) slog.Attr {
		if len(groups) == 0 && (a.Key == slog.TimeKey || a.Key == slog.LevelKey) {
			return slog.Attr{}
		}
		return a
	}
	var line bytes.Buffer
	return slog.New(&journal{
		inner: slog.NewTextHandler(&line, &slog.HandlerOptions{Level: slog.LevelDebug, ReplaceAttr: drop}),
		line:  &line, mu: new(sync.Mutex), w: w,
	})
}

// journal puts the priority in front of each line, and writes both at once.
type journal struct {
	inner slog.Handler // writes to line
	line  *bytes.Buffer
	mu    *sync.Mutex // guards line
	w     io.Writer
}

// priorities are syslog's: error 3, warning 4, information 6, debug 7.
func priority(level slog.Level) string {
	switch {
	case level >= slog.LevelError:
		return "<3>"
	case level >= slog.LevelWarn:
		return "<4>"
	case level >= slog.LevelInfo:
		return "<6>"
	}
	return "<7>"
}

// Enabled implements [slog.Handler].
func (j *journal) Enabled(ctx context.Context, level slog.Level) bool {
	return j.inner.Enabled(ctx, level)
}

// Handle implements [slog.Handler].
func (j *journal) Handle(ctx context.Context, r slog.Record) error {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.line.Reset()
	j.line.WriteString(priority(r.Level))
	if err := j.inner.Handle(ctx, r); err != nil {
		return err
	}
	_, err := j.w.Write(j.line.Bytes())
	return err
}

// WithAttrs implements [slog.Handler].
func (j *journal) WithAttrs(attrs []slog.Attr) slog.Handler {
	return &journal{j.inner.WithAttrs(attrs), j.line, j.mu, j.w}
}

// WithGroup implements [slog.Handler].
func (j *journal) WithGroup(name string) slog.Handler {
	return &journal{j.inner.WithGroup(name), j.line, j.mu, j.w}
}
