package engine

// Slots are the private facts of features about one exchange, pending request
// or the like, which embeds them. A copy shares what was there when it was
// made.
type Slots struct {
	first [4]fact // most have no more
	more  map[any]any
}

type fact struct{ slot, value any }

func (s *Slots) slots() *Slots { return s }

// A Slot is one feature's private fact about what has [Slots]. Declare it as a
// package variable's pointer: it holds no state itself.
type Slot[T any] struct{ _ byte }

// Of is the slot's value in x, the zero T at first.
func (s *Slot[T]) Of(x interface{ slots() *Slots }) *T {
	in := x.slots()
	for i := range in.first {
		switch f := &in.first[i]; f.slot {
		case s:
			return f.value.(*T)
		case nil:
			v := new(T)
			*f = fact{s, v}
			return v
		}
	}
	if v, ok := in.more[s]; ok {
		return v.(*T)
	}
	if in.more == nil {
		in.more = make(map[any]any)
	}
	v := new(T)
	in.more[s] = v
	return v
}
