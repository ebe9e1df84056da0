package daemon

import (
	"os"
	"runtime"
	"runtime/debug"
)

// startGC is the collector's percentage until the daemon is ready. At a start
// almost everything that is allocated stays, and looking through it again and
// again as it grows is for nothing.
const startGC = 300

// The collector lets the heap double before it looks through it again. Of a
// heap as large as that of some hundred thousand bindings it keeps less room:
// largeGC is its percentage from largeHeap octets on.
const (
	largeGC   = 50
	largeHeap = 256 << 20
)

// relaxed lets the collector run less often until the function that it returns
// is called, which may be more than once. Then what a start has needed goes
// back to the system. What the environment sets (GOGC) is left alone.
func relaxed() (usual func()) {
	if os.Getenv("GOGC") != "" {
		return func() {}
	}
	before := debug.SetGCPercent(startGC)
	done := false
	return func() {
		if done {
			return
		}
		done = true
		percent := before
		var m runtime.MemStats
		if runtime.ReadMemStats(&m); m.HeapAlloc > largeHeap && percent > largeGC {
			percent = largeGC
		}
		debug.SetGCPercent(percent)
		go debug.FreeOSMemory()
	}
}
