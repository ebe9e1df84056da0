package ha

import (
	"time"

	"careof/internal/core/engine"
	"careof/internal/core/forward"
)

// The pause before a repair is tried; it doubles up to the longest.
const (
	firstRepair   = time.Second
	longestRepair = time.Minute
)

// repairLater remembers that a node's records or its forwarding entry may not
// be as its bindings say: a commit that nobody can be told of has failed, such
// as the end of a binding. What is left in the data plane would intercept the
// packets of a node that is not bound ("MUST NOT", RFC 5944 section 4.2.3).
func (a *Agent) repairLater(n *Node) {
	n.repair = min(max(firstRepair, 2*n.repair), longestRepair)
	a.repairs.Set(n.index, a.Now().Mono.Add(n.repair))
}

// repair says once more how the nodes stand whose time has come.
func (a *Agent) repair() {
	for {
		i, due := a.repairs.Due(a.Now().Mono)
		if !due {
			return
		}
		n := a.nodes[i]
		e, live := a.entry(n)
		var changes []forward.Change
		switch {
		case live:
			changes = n.puts(e)
		case n.home.IsValid():
			changes = append(n.withdrawals(), forward.Change{Op: forward.Delete, Entry: a.head(n)})
		}
		a.commit(n, engine.Commit{Records: []engine.Record{a.record(n)}, Changes: changes}, func(err error) {
			if err != nil {
				a.failed(n, err)
				a.repairLater(n)
				return
			}
			n.repair = 0
		})
	}
}
