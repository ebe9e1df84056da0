package top

import (
	"context"
	"encoding/json"
	"net/url"
	"strconv"
	"time"

	"careof/internal/control"
)

// rowLimit is how many rows of a list are read: the daemon sorts and searches,
// so that a hundred thousand bindings cost no more than these.
const rowLimit = 200

// A question is what to read.
type question struct {
	view   view
	search string
	sort   string
}

// An answer is what was read.
type answer struct {
	question
	at       time.Time
	status   control.Status
	bindings []control.Binding
	visitors []control.Visitor
	uplinks  []control.Uplink
	page     control.Page
	err      error
}

// happened is an event as it came.
type happened control.Event

func ask(ctx context.Context, s Source, q question) answer {
	a := answer{question: q, at: time.Now()}
	if a.err = s.Show(ctx, "status", "", &a.status); a.err != nil {
		return a
	}
	query := url.Values{"limit": {strconv.Itoa(rowLimit)}}
	if q.search != "" {
		query.Set("search", q.search)
	}
	if q.sort != "" {
		query.Set("sort", q.sort)
	}
	switch q.view {
	case viewBindings:
		a.page, a.err = s.Page(ctx, "bindings", query.Encode(), &a.bindings)
	case viewVisitors:
		a.page, a.err = s.Page(ctx, "visitors", query.Encode(), &a.visitors)
	case viewUplinks:
		a.err = s.Show(ctx, "uplinks", "", &a.uplinks)
	}
	return a
}

// follow gives every event to send, also after the daemon was started anew.
func follow(ctx context.Context, s Source, send func(msg any)) {
	for ctx.Err() == nil {
		// Whether it can be reached shows by the other questions.
		_ = s.Monitor(ctx, func(text []byte) bool {
			var e control.Event
			if json.Unmarshal(text, &e) == nil {
				send(happened(e))
			}
			return ctx.Err() == nil
		})
		select {
		case <-ctx.Done():
		case <-time.After(Interval):
		}
	}
}
