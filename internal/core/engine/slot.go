package engine

// Slots are the private facts of features about one exchange, pending request
// or the like, which embeds them. A copy shares what was there when it was
// made.
type Slots struct{ facts map[any]any }

func (s *Slots) slots() *Slots { return s }

// A Slot is one feature's private fact about what has [Slots]. Declare it as a
// package variable's pointer: it holds no state itself.
type Slot[T any] struct{ _ byte }

// Of is the slot's value in x, the zero T at first.
func (s *Slot[T]) Of(x interface{ slots() *Slots }) *T {
	in := x.slots()
	if v, ok := in.facts[s]; ok {
		return v.(*T)
	}
	if in.facts == nil {
		in.facts = make(map[any]any)
	}
	v := new(T)
	in.facts[s] = v
	return v
}
