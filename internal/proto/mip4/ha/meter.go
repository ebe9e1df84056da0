package ha

import "time"

// A meter limits how often something is done for one node. Its value is when
// the last permission will have been worked off, in nanoseconds.
type meter int64

// A rate is one permission every so often, after a number at once.
type rate struct {
	every time.Duration
	burst int
}

// How often an old Identification is refused with 133, and how often that is
// told. The first is more than a mobile node with a wrong clock and several
// uplinks sends, and too little to be of use as a reflector; the second is
// what a log can stand.
var (
	mismatchRate = rate{time.Second / 32, 64}
	warningRate  = rate{time.Second, 8}
	failureRate  = rate{10 * time.Second, 4} // of a machine: a full disk fails every request
)

// MayAnswer takes leave to send an exchange's node one answer of which nothing
// is remembered: there are as many as there are refusals with 133, so that what
// somebody has captured and sends again is of as little use.
func (a *Agent) MayAnswer(x *Exchange) bool {
	if x.Node.refused().mismatches.allow(a.Now().Mono, mismatchRate) {
		return true
	}
	a.counters.suppressed++
	return false
}

// allow takes a permission, if there is one.
func (m *meter) allow(now time.Time, r rate) bool {
	at := now.UnixNano()
	if int64(*m) < at {
		*m = meter(at)
	}
	if int64(*m)-at > int64(r.every)*int64(r.burst-1) {
		return false
	}
	*m += meter(r.every)
	return true
}
