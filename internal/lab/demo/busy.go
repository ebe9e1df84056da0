package demo

import (
	"context"
	"sync/atomic"
	"time"
)

// A watch notices how late this machine runs what is due: on a busy one the
// figures are the machine's and not the network's.
type watch struct{ late atomic.Int64 }

const (
	// watchEvery is how often the watch looks.
	watchEvery = 5 * time.Millisecond
	// tooLate is when a machine is too busy for a handover to be judged:
	// longer than routers wait for a neighbour's answer.
	tooLate = 100 * time.Millisecond
)

// run watches until ctx ends.
func (w *watch) run(ctx context.Context) {
	timer := time.NewTimer(watchEvery)
	defer timer.Stop()
	for {
		due := time.Now().Add(watchEvery)
		timer.Reset(watchEvery)
		select {
		case <-timer.C:
		case <-ctx.Done():
			return
		}
		late := int64(time.Since(due))
		for worst := w.late.Load(); late > worst && !w.late.CompareAndSwap(worst, late); worst = w.late.Load() {
		}
	}
}

// worst is the longest delay since the last call.
func (w *watch) worst() time.Duration { return time.Duration(w.late.Swap(0)) }
