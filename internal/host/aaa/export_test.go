package aaa

import "time"

// SetNow has a client take the time from now. It is called between questions.
func (r *RADIUS) SetNow(now func() time.Time) { r.now = now }
