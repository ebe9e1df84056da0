package path

import (
	"fmt"
	"time"
)

// A Profile says how eagerly paths are probed.
type Profile uint8

// The profiles.
const (
	Default Profile = iota // a dead path in use is noticed within a second
	Fast                   // within 250 ms
	Battery                // within 10 s of use, and what rests is left alone
	Off                    // nothing is probed
	profiles
)

var profileNames = [profiles]string{"default", "fast", "battery", "off"}

func (p Profile) String() string {
	if p < profiles {
		return profileNames[p]
	}
	return fmt.Sprintf("Profile(%d)", uint8(p))
}

// A pace is what a profile means.
type pace struct {
	interval time.Duration // between echoes over the path in use
	idle     time.Duration // between them while no packets go
	burst    time.Duration // between them when one is overdue
	limit    time.Duration // of silence
	standby  time.Duration // between questions over another path
	patience time.Duration // the least that a round trip may take longer than usual
	doubtful bool          // in doubt packets are to go over another path, too
}

// The paces. Detection takes the limit, counted from the first probe that gets
// no answer, which leaves at most an interval after the death; packets come
// again a round trip later. All that keeps below the second and the quarter of
// one that are promised, at a round trip of 50 ms.
//
// An uplink that is metered is left alone while it rests, and asked rarely
// while another is used: [metered].
var paces = [profiles]pace{
	Default: {interval: 150 * time.Millisecond, idle: 150 * time.Millisecond, burst: 50 * time.Millisecond, limit: 700 * time.Millisecond, standby: 5 * time.Second, patience: patience},
	Fast:    {interval: 40 * time.Millisecond, idle: 40 * time.Millisecond, burst: 10 * time.Millisecond, limit: 150 * time.Millisecond, standby: time.Second, patience: patience / 2, doubtful: true},
	Battery: {interval: 5 * time.Second, idle: 2 * time.Minute, burst: 250 * time.Millisecond, limit: 7 * time.Second, standby: 2 * time.Minute, patience: patience},
}

// metered is the pace over an uplink where every octet is paid for.
func metered(p pace) pace {
	p.idle = max(p.idle, 5*time.Second)
	p.standby *= 6
	return p
}

// DefaultFailBack is how long a path that failed must answer again before it is
// preferred again.
const DefaultFailBack = 30 * time.Second

// Config configures the feature at a mobile node; a home agent needs none. What
// differs from uplink to uplink is in [mn.UplinkConfig].
type Config struct {
	Profile Profile
	// FailBack is how long a path that has failed must have answered without
	// a gap before it is preferred again. It doubles, up to eight times, with
	// each failure within ten minutes of the one before. Zero means
	// [DefaultFailBack].
	FailBack time.Duration
}
