package world

import (
	"fmt"
	"hash"
	"hash/fnv"
	"strings"
	"time"
)

// A Trace is the text of what happened, one line each, and its running hash.
// Two runs with the same seed have the same hash; the lines are kept only when
// asked for.
type Trace struct {
	hash  hash.Hash64
	keep  bool
	lines []string
	count int
}

func newTrace() Trace { return Trace{hash: fnv.New64a()} }

// KeepTrace keeps the trace's lines from now on.
func (w *World) KeepTrace() { w.trace.keep = true }

// TraceHash is the hash of all lines so far.
func (w *World) TraceHash() uint64 { return w.trace.hash.Sum64() }

// TraceLines returns the lines kept so far.
func (w *World) TraceLines() []string { return w.trace.lines }

// TraceTail returns the last n lines kept, as one text.
func (w *World) TraceTail(n int) string {
	lines := w.trace.lines
	return strings.Join(lines[max(0, len(lines)-n):], "\n")
}

// Tracef writes one line: the time, who, and what.
func (w *World) Tracef(who, format string, args ...any) {
	line := fmt.Sprintf("%s %s ", stamp(w.now), who) + fmt.Sprintf(format, args...)
	w.trace.hash.Write([]byte(line))
	w.trace.hash.Write([]byte{'\n'})
	w.trace.count++
	if w.trace.keep {
		w.trace.lines = append(w.trace.lines, line)
	}
}

// stamp is a time with microseconds, of a fixed width for the first hours.
func stamp(d time.Duration) string {
	return fmt.Sprintf("%5d.%06d", d/time.Second, d%time.Second/time.Microsecond)
}

// digest names bytes in a line of the trace.
func digest(b []byte) string {
	h := fnv.New32a()
	h.Write(b)
	return fmt.Sprintf("%d#%08x", len(b), h.Sum32())
}
