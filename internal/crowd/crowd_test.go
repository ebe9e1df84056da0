package crowd

import (
	"net"
	"testing"
)

// The connection that goes for a new one is the oldest without a token of the
// source with most of them, and never one with a token.
func TestTheLongestStrangerGoes(t *testing.T) {
	c := New(nil, 4, 2)
	visit := func(source string) *visitor {
		a, _ := net.ResolveTCPAddr("tcp", source+":1")
		return &visitor{crowd: c, source: sourceOf(a)}
	}
	enter := func(v *visitor, want *visitor, in bool) {
		t.Helper()
		if gone, entered := c.enter(v); gone != want || entered != in {
			t.Errorf("for %v goes %v (let in: %v), want %v (%v)", v.source, gone, entered, want, in)
		}
	}
	a1, a2, a3 := visit("192.0.2.1"), visit("192.0.2.1"), visit("192.0.2.1")
	b1, b2 := visit("192.0.2.2"), visit("192.0.2.2")
	enter(a1, nil, true)
	enter(a2, nil, true)
	enter(a3, a1, true) // its source has too many
	enter(b1, nil, true)
	c.known(b1)
	enter(b2, nil, true)
	d1, d2 := visit("[2001:db8::1]"), visit("[2001:db8::2]") // one network
	enter(d1, a2, true)                                      // full: of the source with most
	c.known(a3)
	c.known(b2)
	enter(d2, d1, true)
	c.known(d2)
	enter(visit("192.0.2.3"), nil, false) // nobody can go for it
	c.remove(b1)
	c.remove(b1) // leaves only once
	enter(visit("192.0.2.3"), nil, true)
}
