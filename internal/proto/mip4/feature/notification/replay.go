package notification

import (
	"net/netip"
	"time"

	"careof/internal/core/assoc"
	"careof/internal/core/engine"
)

// A sender names whose Identifications a mark is of: about whom, and who says it.
type sender struct {
	home, peer netip.Addr
	visitor    bool // the node itself, at the foreign agent that it visits
}

// marks are the greatest Identifications that were accepted, by sender: "the
// timestamp MUST be greater than all previously accepted timestamps for the
// requesting sender" (RFC 6098 section 7.1.1).
type marks struct {
	window time.Duration
	floor  uint64 // nothing older is accepted of anybody
	of     map[sender]*mark
}

type mark struct {
	assoc.Mark
	text string    // the last, with when it came: a retransmission is no news
	at   time.Time // monotonic
}

// maxMarks is how many marks are kept before those are looked for that forbid
// nothing any more, since the window has left them behind.
const maxMarks = 4096

func newMarks(window time.Duration) marks { return marks{window: window, of: make(map[sender]*mark)} }

func (k *marks) mark(who sender, now engine.Now) *mark {
	v := k.of[who]
	if v == nil {
		if len(k.of) >= maxMarks {
			for s, old := range k.of {
				if old.Highest < assoc.Timestamp(now.Wall.Add(-k.window)) {
					k.floor = max(k.floor, old.Highest) // and so no mark goes back, whatever the clock does
					delete(k.of, s)
				}
			}
		}
		v = new(mark)
		k.of[who] = v
	}
	return v
}

// take judges an Identification, and gives that of the answer: "If the timestamp
// is valid, the receiver copies the entire Identification field into the GNAM";
// "If ... not valid, the receiver copies only the low-order 32 bits into the GNAM,
// and supplies the high-order 32 bits from its own time of day" (RFC 6098 section
// 7.1.1).
//
//rfc:6098#7.1
//rfc:6098#7.1.1
func (k *marks) take(who sender, id uint64, now engine.Now) (reply uint64, why string) {
	v := k.mark(who, now)
	judged := v.Mark
	judged.Highest = max(judged.Highest, k.floor)
	fresh, why := judged.Fresh(assoc.Timestamps, id, now.Wall, k.window)
	if fresh {
		v.Mark = v.Accept(assoc.Timestamps, id)
		why = ""
	}
	reply, _ = judged.ReplyIdentification(assoc.Timestamps, id, fresh, now.Wall, nil)
	return reply, why
}

// again says whether the sender has just said the same: its retransmissions
// count as new notifications, but people have read them.
func (k *marks) again(who sender, text string, now engine.Now) bool {
	v := k.mark(who, now)
	same := v.text == text && !v.at.IsZero() && now.Mono.Sub(v.at) < time.Minute
	v.text, v.at = text, now.Mono
	return same
}
