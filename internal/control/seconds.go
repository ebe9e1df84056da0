package control

import (
	"fmt"
	"math"
	"strconv"
	"time"
)

// Seconds is a duration that shows in JSON as seconds with a fraction, to the
// millisecond. One without end is the greatest Duration, and null in JSON.
type Seconds time.Duration

const endless Seconds = math.MaxInt64

// MarshalJSON implements json.Marshaler.
func (s Seconds) MarshalJSON() ([]byte, error) {
	if s == endless {
		return []byte("null"), nil
	}
	return strconv.AppendFloat(nil, time.Duration(s).Round(time.Millisecond).Seconds(), 'f', -1, 64), nil
}

// UnmarshalJSON implements json.Unmarshaler.
func (s *Seconds) UnmarshalJSON(b []byte) error {
	if string(b) == "null" {
		*s = endless
		return nil
	}
	f, err := strconv.ParseFloat(string(b), 64)
	if err != nil {
		return fmt.Errorf("control: %q is not a number of seconds", b)
	}
	*s = Seconds(time.Duration(f * float64(time.Second)).Round(time.Millisecond))
	return nil
}

// String writes whole seconds, and milliseconds when there are less than ten.
func (s Seconds) String() string {
	switch d := time.Duration(s); {
	case s == endless:
		return "infinite"
	case d < 10*time.Second:
		return d.Round(time.Millisecond).String()
	default:
		return d.Round(time.Second).String()
	}
}
