package control

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"careof/internal/core/note"
)

// Event is one note and when it happened.
type Event struct {
	ID   uint64    `json:"id"` // grows from event to event, also over restarts
	Time time.Time `json:"time"`
	note.Note
}

// Gap stands in the stream where events are missing: they came faster than
// the reader read, or it resumed after they were forgotten.
const Gap note.Kind = "gap"

var eventRoutes = []Route{
	{
		Method: http.MethodGet, Path: "/v1/events", Type: "text/event-stream", Shape: Event{},
		Doc: "Events as they happen, as server-sent events: the id is the event's, the event its kind, the data its JSON. A Last-Event-ID resumes after that event.",
		Query: []Parameter{
			{"after", "Resume after the event with this id, as Last-Event-ID does; 0 begins with the oldest one remembered.", "integer"},
			{"kinds", "Only these kinds of events, separated by commas.", "string"},
			{"node", "Only events about this node: a home address or a NAI.", "string"},
		},
		serve: stream,
	},
}

// keepAlive is how long a stream may be silent. Proxies and browsers notice a
// dead connection only when something is written.
const keepAlive = 15 * time.Second

// stream writes events as server-sent events.
func stream(a *api, w http.ResponseWriter, r *http.Request) {
	query := r.URL.Query()
	resume, from := query.Get("after"), r.Header.Get("Last-Event-ID")
	if from != "" {
		resume = from // the browser's, after a broken connection
	}
	var after *uint64
	if resume != "" {
		id, err := strconv.ParseUint(resume, 10, 64)
		if err != nil {
			fail(w, fmt.Errorf("%w: after: %q is not the id of an event", ErrInvalid, resume))
			return
		}
		after = &id
	}
	var kinds []string
	if query.Get("kinds") != "" {
		kinds = append(strings.Split(query.Get("kinds"), ","), string(Gap))
	}
	node := query.Get("node")
	wanted := func(e *Event) bool {
		return (kinds == nil || slices.Contains(kinds, string(e.Kind))) &&
			(node == "" || e.Kind == Gap || e.NAI == node || e.HomeAddress.IsValid() && e.HomeAddress.String() == node)
	}

	past, events, cancel := a.backend.Subscribe(after)
	defer cancel()
	w.Header().Set("Content-Type", "text/event-stream")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(http.StatusOK)
	out := http.NewResponseController(w)
	write := func(e *Event) error {
		text, err := json.Marshal(e)
		if err != nil {
			return err
		}
		// Whoever does not read for so long has gone.
		_ = out.SetWriteDeadline(time.Now().Add(2 * keepAlive))
		_, err = fmt.Fprintf(w, "id: %d\nevent: %s\ndata: %s\n\n", e.ID, e.Kind, text)
		return err
	}
	for i := range past {
		if wanted(&past[i]) && write(&past[i]) != nil {
			return
		}
	}
	if out.Flush() != nil {
		return
	}
	silence := time.NewTicker(keepAlive)
	defer silence.Stop()
	for {
		select {
		case <-r.Context().Done():
			return
		case <-silence.C:
			_ = out.SetWriteDeadline(time.Now().Add(2 * keepAlive))
			if _, err := fmt.Fprint(w, ": still here\n\n"); err != nil || out.Flush() != nil {
				return
			}
		case e, open := <-events:
			if !open {
				return
			}
			if !wanted(&e) {
				continue
			}
			// A burst goes out in one piece.
			err := write(&e)
			for more := len(events); err == nil && more > 0; more-- {
				if e, open = <-events; open && wanted(&e) {
					err = write(&e)
				}
			}
			if err != nil || out.Flush() != nil {
				return
			}
		}
	}
}
