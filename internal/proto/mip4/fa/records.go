package fa

import (
	"bytes"
	"fmt"
	"iter"
	"maps"
	"slices"
	"strings"

	"careof/internal/core/engine"
	"careof/internal/core/forward"
)

// A recordOwner is a feature that keeps records of its own. The role keeps
// none: visits do not outlive the process.
type recordOwner struct {
	prefix  string
	restore func(engine.Now, engine.Record) error
}

// AddRecords gives a feature the records whose keys begin with prefix, which
// must begin with "fa/" and the feature's name. restore gets them back before
// the first step.
func (a *Agent) AddRecords(prefix string, restore func(engine.Now, engine.Record) error) {
	for _, r := range a.records {
		if strings.HasPrefix(prefix, r.prefix) || strings.HasPrefix(r.prefix, prefix) {
			a.Fail(fmt.Errorf("fa: records %q overlap %q", prefix, r.prefix))
			return
		}
	}
	a.records = append(a.records, recordOwner{prefix, restore})
}

// Restore implements [engine.Persistent].
func (a *Agent) Restore(now engine.Now, rec engine.Record) error {
	a.Begin(now)
	for _, r := range a.records {
		if bytes.HasPrefix(rec.Key, []byte(r.prefix)) {
			return r.restore(now, rec)
		}
	}
	return nil
}

// Entries implements [engine.Persistent]: what the visits ask of the data plane,
// nothing after a restart.
func (a *Agent) Entries() iter.Seq[forward.Entry] {
	return func(yield func(forward.Entry) bool) {
		for _, k := range slices.Sorted(maps.Keys(a.visitors.byEntry)) {
			if e, ok := a.visitors.byEntry[k].entry(); ok && !yield(e) {
				return
			}
		}
	}
}
