package revoke

import (
	"net/netip"
	"time"
)

// maxGone bounds the memory of revoked bindings, goneFor its length.
const (
	maxGone = 4096
	goneFor = 2 * time.Minute
)

// gone names a binding that the peer has revoked: by home address, and by the
// address that tells its bindings or home agents apart.
type gone struct{ home, other netip.Addr }

// A memory keeps what was agreed about bindings that a peer has revoked: it
// may not have heard our acknowledgment, and says it again.
type memory[T any] map[gone]struct {
	agreed T
	until  time.Time // monotonic
}

func (m memory[T]) put(g gone, agreed T, mono time.Time) {
	if len(m) >= maxGone {
		for k, old := range m {
			if !mono.Before(old.until) {
				delete(m, k)
			}
		}
		if len(m) >= maxGone {
			return // a repeat then goes without an answer
		}
	}
	v := m[g]
	v.agreed, v.until = agreed, mono.Add(goneFor)
	m[g] = v
}

func (m memory[T]) get(g gone, mono time.Time) (agreed T, there bool) {
	v, there := m[g]
	return v.agreed, there && mono.Before(v.until)
}
