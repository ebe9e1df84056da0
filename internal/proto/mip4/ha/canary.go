package ha

import (
	"careof/internal/core/engine"
	"careof/internal/core/note"
)

// Canary is a command that goes the way of every accepted registration and
// binds nothing: a record becomes durable, then Reply is sent, and then the
// command is answered. What of that fails or takes too long does so for
// registrations too.
type Canary struct{ Reply engine.Send }

// canaryRecord is written over each time; nobody reads it.
const canaryRecord = "ha/canary"

func (a *Agent) canary(c engine.Command) bool {
	order, mine := c.Value.(Canary)
	if !mine {
		return false
	}
	commit := engine.Commit{
		Records: []engine.Record{{Key: []byte(canaryRecord), Value: a.appendTime(nil, a.Now().Mono)}},
		Then:    []engine.Action{order.Reply, engine.Result{Ticket: c.Ticket}},
	}
	a.Commit(commit, func(err error) {
		if err != nil {
			a.counters.failed++
			a.Tell(note.Note{Kind: note.Failed, Level: note.Error, Why: err.Error()})
			a.Do(engine.Result{Ticket: c.Ticket, Err: err})
		}
	})
	return true
}
