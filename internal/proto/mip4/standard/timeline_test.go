package standard_test

import (
	"cmp"
	"slices"
	"testing"
	"time"

	"careof/internal/core/engine"
)

// A timeline is virtual time, in which what is on its way arrives in order, and
// machines are woken when they want to be.
type timeline[T any] struct {
	now   engine.Now
	queue []arrival[T]
	seq   int
}

type arrival[T any] struct {
	at   time.Time
	seq  int
	what T
}

func newTimeline[T any]() timeline[T] {
	return timeline[T]{now: engine.Now{Mono: time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC), Wall: time.Date(2026, 3, 4, 5, 6, 7, 0, time.UTC)}}
}

// after has something arrive after d.
func (l *timeline[T]) after(d time.Duration, what T) {
	l.seq++
	l.queue = append(l.queue, arrival[T]{l.now.Mono.Add(d), l.seq, what})
}

// recall takes back what is on its way.
func (l *timeline[T]) recall(is func(T) bool) {
	l.queue = slices.DeleteFunc(l.queue, func(a arrival[T]) bool { return is(a.what) })
}

// sooner is the first of two wishes to be woken, of which the second may be none.
func sooner(at time.Time, wake func(), other time.Time, otherwise func()) (time.Time, func()) {
	if !other.IsZero() && (wake == nil || other.Before(at)) {
		return other, otherwise
	}
	return at, wake
}

// pass lets d pass: take has what arrives, and due says when a machine wants to be
// woken first, and wakes it; nil when none does.
func (l *timeline[T]) pass(t testing.TB, d time.Duration, take func(T), due func() (time.Time, func())) {
	t.Helper()
	end := l.now.Mono.Add(d)
	for range 1_000_000 {
		slices.SortFunc(l.queue, func(a, b arrival[T]) int { return cmp.Or(a.at.Compare(b.at), a.seq-b.seq) })
		at := end.Add(1)
		var do func()
		if len(l.queue) > 0 && l.queue[0].at.Before(at) {
			first := l.queue[0]
			at, do = first.at, func() { l.queue = l.queue[1:]; take(first.what) }
		}
		if wanted, wake := due(); wake != nil && wanted.Before(at) {
			at, do = wanted, wake
		}
		if do == nil {
			at = end
		}
		if d := at.Sub(l.now.Mono); d > 0 {
			l.now.Mono, l.now.Wall = l.now.Mono.Add(d), l.now.Wall.Add(d)
		}
		if do == nil {
			return
		}
		do()
	}
	t.Fatal("they do not come to rest")
}
