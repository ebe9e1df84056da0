package daemon

import (
	"os"
	"runtime/debug"
)

// startGC is the collector's percentage until the daemon is ready. At a start
// almost everything that is allocated stays, and looking through it again and
// again as it grows is for nothing.
const startGC = 300

// relaxed lets the collector run less often until the function that it returns
// is called, which may be more than once. What the environment sets
// (GOGC) is left alone.
func relaxed() (usual func()) {
	if os.Getenv("GOGC") != "" {
		return func() {}
	}
	before := debug.SetGCPercent(startGC)
	return func() { debug.SetGCPercent(before) }
}
