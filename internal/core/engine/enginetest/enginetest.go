// Package enginetest is what the tests of every machine need of a driver:
// buffers that are reused, virtual time, and a data plane that only remembers.
package enginetest

import (
	"bytes"
	"maps"
	"slices"
	"time"

	"careof/internal/core/engine"
	"careof/internal/core/forward"
)

// A T is a *testing.T or its like.
type T interface {
	Helper()
	Fatalf(format string, args ...any)
}

// Step tells the machine an event and then spoils the event's buffer, which is
// the driver's to reuse.
func Step(m engine.Machine, now engine.Now, ev engine.Event) []engine.Action {
	var data []byte
	switch p := ev.(type) {
	case engine.Packet:
		data = bytes.Clone(p.Data)
		p.Data = data
		ev = p
	case engine.Bounced:
		data = bytes.Clone(p.Data)
		p.Data = data
		ev = p
	case engine.Discovery:
		data = bytes.Clone(p.Data)
		p.Data = data
		ev = p
	}
	actions := m.Step(now, ev)
	for i := range data {
		data[i] = 0xee
	}
	return actions
}

// Advance lets time pass on both clocks, and has wake called whenever the
// machine wants a Wake.
func Advance(t T, m engine.Machine, now *engine.Now, by time.Duration, wake func()) {
	t.Helper()
	pass := func(to time.Time) {
		if d := to.Sub(now.Mono); d > 0 {
			now.Mono, now.Wall = to, now.Wall.Add(d)
		}
	}
	end := now.Mono.Add(by)
	for {
		at := m.Deadline()
		if at.IsZero() || at.After(end) {
			break
		}
		pass(at)
		wake()
		if next := m.Deadline(); !next.IsZero() && !next.After(now.Mono) {
			t.Fatalf("after Wake the deadline %v is still not in the future", next)
		}
	}
	pass(end)
}

// A Plane is a data plane that remembers its entries.
type Plane map[forward.Key]forward.Entry

// Apply carries out a change.
func (p Plane) Apply(t T, c forward.Change) {
	t.Helper()
	switch c.Op {
	case forward.Put:
		p[c.Entry.Key] = c.Entry
	case forward.Delete:
		delete(p, c.Entry.Key)
	case forward.Extend:
		e, ok := p[c.Entry.Key]
		if !ok {
			t.Fatalf("extended entry %q is not there", c.Entry.Key)
		}
		e.Tunnels = slices.Clone(e.Tunnels)
		for i := range e.Tunnels {
			if e.Tunnels[i].Mode != forward.Receive {
				e.Tunnels[i].Until = c.Until
			}
		}
		p[c.Entry.Key] = e
	}
}

// A Store remembers records, by their keys.
type Store map[string][]byte

// Keep carries out a commit's records.
func (s Store) Keep(records []engine.Record) {
	for _, r := range records {
		if r.Value == nil {
			delete(s, string(r.Key))
		} else {
			s[string(r.Key)] = bytes.Clone(r.Value)
		}
	}
}

// Restore gives a machine what is stored, in key order, and then spoils each
// record, which is the store's to reuse.
func (s Store) Restore(t T, m engine.Persistent, now engine.Now) {
	t.Helper()
	for _, k := range slices.Sorted(maps.Keys(s)) {
		r := engine.Record{Key: []byte(k), Value: bytes.Clone(s[k])}
		if err := m.Restore(now, r); err != nil {
			t.Fatalf("restore %q: %v", k, err)
		}
		for _, b := range [][]byte{r.Key, r.Value} {
			for i := range b {
				b[i] = 0xee
			}
		}
	}
}
