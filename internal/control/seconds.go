package control

import (
	"fmt"
	"strconv"
	"time"
)

func appendSeconds(b []byte, d time.Duration) []byte {
	return strconv.AppendFloat(b, d.Round(time.Millisecond).Seconds(), 'f', -1, 64)
}

func parseSeconds(s string) (time.Duration, error) {
	f, err := strconv.ParseFloat(s, 64)
	if err != nil {
		return 0, fmt.Errorf("control: %q is not a number of seconds", s)
	}
	return time.Duration(f * float64(time.Second)).Round(time.Millisecond), nil
}
