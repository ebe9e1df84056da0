package tun

import (
	"sync/atomic"

	"careof/internal/core/forward"
)

// amplification is how many octets a tunnel's other end is sent for each that
// came from there while it has not answered a challenge.
const amplification = 3

// A purse is what has been spent of a tunnel's budget: octets of outer packets,
// less what came in through the tunnel since. It outlives changes of the entry, as
// long as the other end is the same and not validated.
type purse struct {
	spent atomic.Int64
}

// purse is that of a tunnel of an entry that replaces old, nil for one without
// a budget.
func purseOf(old *binding, t *forward.Tunnel) *purse {
	if t.Budget == 0 {
		return nil
	}
	if old != nil {
		for _, o := range old.tunnels {
			if o.purse != nil && o.t.Peer == t.Peer {
				return o.purse
			}
		}
	}
	return new(purse)
}

// affords says whether a packet of n octets, as it will leave, may go to the
// tunnel's other end.
func (t *tunnel) affords(n int) bool {
	return t.purse == nil || t.purse.spent.Load()+int64(n) <= int64(t.t.Budget)
}

// pay does the same, and counts the packet.
func (t *tunnel) pay(n int) bool {
	if t.purse == nil {
		return true
	}
	if t.purse.spent.Add(int64(n)) <= int64(t.t.Budget) {
		return true
	}
	t.purse.spent.Add(-int64(n))
	return false
}

// earn counts a packet of n octets, as it came.
func (t *tunnel) earn(n int) {
	if t.purse != nil {
		t.purse.spent.Add(-amplification * int64(n))
	}
}

// spare is the tunnel that takes what those may not that have a budget: the
// one to where the node was known to be until now; nil without one.
func (b *binding) spare(now int64) *tunnel {
	for _, t := range b.tunnels {
		if t.t.Spare && !t.t.AnyPort && now < t.until.Load() {
			return t
		}
	}
	return nil
}
