package mn

import "time"

const (
	// standstill is how late a wake must be so that the host has stood still: its
	// process was stopped, or had no processor.
	standstill = 20 * time.Millisecond
	// catchUp is how long it takes then until what has arrived meanwhile is read.
	catchUp = 20 * time.Millisecond
	// catchUpMost is for how long wakes that are all late are taken for that: on a
	// host that never has the time, silence must tell something, too.
	catchUpMost = time.Second
)

// noteStandstill notes, at the beginning of a step, whether it comes much later than the node
// wanted to be woken.
func (n *Node) noteStandstill() {
	now, wanted := n.now.Mono, n.wakeAt
	n.wakeAt = time.Time{}
	switch late := now.Sub(wanted); {
	case wanted.IsZero() || late < 0:
	case late <= standstill:
		n.lateSince = time.Time{}
	default:
		if n.lateSince.IsZero() {
			n.lateSince = now
		}
		if now.Sub(n.lateSince) < catchUpMost {
			n.unread = now.Add(catchUp)
		}
	}
}

// Unread is until when there may be packets that have arrived and were not read, for the
// host has stood still; in the past when it has not. What did not come
// until now may have come, and when it came is not known.
func (n *Node) Unread() time.Time { return n.unread }
