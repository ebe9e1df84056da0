package realm

import (
	"maps"
	"slices"

	"careof/internal/core/engine"
)

// A Reconfigure is a command: serve by another configuration from here on. Sessions
// stay as they were authorised, and are judged anew when they are prolonged; but those
// of nodes that are no subscribers any more are ended. Its result is how many of
// these there are, an int.
type Reconfigure struct{ Config Config }

// reconfigure takes another configuration, and has the home agents end what is not
// wanted any more: "the AAAH SHOULD send its message to the Home Agent" (RFC 4004
// section 4.1.3).
//
//rfc:4004#4.1.3
func (s *Server) reconfigure(c engine.Command) bool {
	v, mine := c.Value.(Reconfigure)
	if !mine {
		return false
	}
	next := v.Config.withDefaults()
	if err := next.check(); err != nil {
		s.Do(engine.Result{Ticket: c.Ticket, Err: err})
		return true
	}
	s.cfg = next
	n := 0
	for _, user := range slices.Sorted(maps.Keys(s.sessions)) {
		if _, known := next.Subscribers[user]; !known {
			s.abort(s.sessions[user], "is no subscriber any more")
			n++
		}
	}
	s.Do(engine.Result{Ticket: c.Ticket, Value: n})
	return true
}
