package engine

import (
	"fmt"
	"time"

	"careof/internal/core/note"
)

// A Desk is what every role keeps around its stages: the present step's time
// and actions, the tickets that wait for an answer, and the tables of
// deadlines and commands that features add rows to. A role embeds one.
//
// Begin, Answered, Command, Due, Next and End are for the role's own Step and
// Deadline; the rest is for hooks.
type Desk struct {
	Role string // in notes and errors

	now     Now
	out     []Action
	ticket  Ticket
	waiting map[Ticket]func(Answer)
	timers  []timer
	orders  []func(Command) bool
	err     error
}

type timer struct {
	next func() time.Time
	due  func()
}

// Now is the present step's time.
func (d *Desk) Now() Now { return d.now }

// Do adds actions to what the present step returns.
func (d *Desk) Do(acts ...Action) { d.out = append(d.out, acts...) }

// Tell tells the world something.
func (d *Desk) Tell(n note.Note) { d.Do(d.Telling(n)) }

// Telling is the action that tells it, for the Then of a [Commit].
func (d *Desk) Telling(n note.Note) Action {
	n.Role = d.Role
	return Tell{Note: n}
}

// Ask asks the world outside; then is called with the answer, in its own step.
func (d *Desk) Ask(question any, then func(Answer)) {
	d.Do(Ask{Ticket: d.Expect(then), Question: question})
}

// Commit makes something true; then is called with what came of it.
func (d *Desk) Commit(c Commit, then func(error)) {
	c.Ticket = d.Expect(func(ans Answer) { then(ans.Err) })
	d.Do(c)
}

// Expect gives a new ticket; then is called with its answer. With nil the
// answer is the role's own to notice.
func (d *Desk) Expect(then func(Answer)) Ticket {
	d.ticket++
	if then != nil {
		if d.waiting == nil {
			d.waiting = make(map[Ticket]func(Answer))
		}
		d.waiting[d.ticket] = then
	}
	return d.ticket
}

// AddTimer gives a feature a deadline of its own: next says when (zero:
// never), due is called at or after it.
func (d *Desk) AddTimer(next func() time.Time, due func()) {
	d.timers = append(d.timers, timer{next, due})
}

// AddOrder adds a handler of commands, which returns false when the command is
// not its, and else answers it, at once or later.
func (d *Desk) AddOrder(run func(Command) bool) { d.orders = append(d.orders, run) }

// AddCommand makes run the handler of commands whose Value is a T. Its result
// and error answer the command.
func AddCommand[T any](d *Desk, run func(T) (any, error)) {
	d.AddOrder(func(c Command) bool {
		v, mine := c.Value.(T)
		if !mine {
			return false
		}
		value, err := run(v)
		d.Do(Result{Ticket: c.Ticket, Value: value, Err: err})
		return true
	})
}

// Fail remembers the first mistake in how the role was put together.
func (d *Desk) Fail(err error) {
	if d.err == nil {
		d.err = err
	}
}

// Err is the first mistake in how the role was put together.
func (d *Desk) Err() error { return d.err }

// Begin begins a step.
func (d *Desk) Begin(now Now) { d.now, d.out = now, nil }

// End ends the step and gives its actions.
func (d *Desk) End() []Action {
	out := d.out
	d.out = nil
	return out
}

// Answered hands an answer to whoever waits for it.
func (d *Desk) Answered(ans Answer) {
	if then, ok := d.waiting[ans.Ticket]; ok {
		delete(d.waiting, ans.Ticket)
		then(ans)
	}
}

// Command hands a command to its handler.
func (d *Desk) Command(c Command) {
	for _, run := range d.orders {
		if run(c) {
			return
		}
	}
	d.Do(Result{Ticket: c.Ticket, Err: fmt.Errorf("%s: unknown command %T", d.Role, c.Value)})
}

// Due calls the timers whose deadline has come.
func (d *Desk) Due() {
	for _, t := range d.timers {
		if at := t.next(); !at.IsZero() && !at.After(d.now.Mono) {
			t.due()
		}
	}
}

// Next is the earliest deadline of the timers, zero when there is none.
func (d *Desk) Next() time.Time {
	var first time.Time
	for _, t := range d.timers {
		first = Earliest(first, t.next())
	}
	return first
}
