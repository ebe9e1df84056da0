package engine

import "iter"

// A Ring remembers the last few of many.
type Ring[T any] struct {
	Limit int // how many
	items []T
	next  int
}

// Add adds an item, in place of the oldest when there are enough.
func (r *Ring[T]) Add(v T) {
	if len(r.items) < r.Limit {
		r.items = append(r.items, v)
		return
	}
	if r.Limit > 0 {
		r.items[r.next] = v
		r.next = (r.next + 1) % r.Limit
	}
}

// Len is the number of items.
func (r *Ring[T]) Len() int { return len(r.items) }

// All yields the items, the latest first.
func (r *Ring[T]) All() iter.Seq[T] {
	return func(yield func(T) bool) {
		for i := range r.items {
			if !yield(r.items[(r.next+len(r.items)-1-i)%len(r.items)]) {
				return
			}
		}
	}
}
