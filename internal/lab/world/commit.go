package world

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"time"

	"careof/internal/core/engine"
	"careof/internal/core/forward"
)

// A commit waits for its turn, or is becoming true.
type commit struct {
	shard int
	engine.Commit
}

// What a commit is answered with when it fails.
var (
	ErrDiskFull = errors.New("world: no space left on device")
	ErrRefused  = errors.New("world: the data plane refuses")
)

// planeDelay is how long the plane takes.
const planeDelay = 50 * time.Microsecond

// work takes the next commit: it becomes durable, then it is applied, then its
// Then is executed, and only then does the next one begin. The daemon may die
// between any two of these.
func (d *Daemon) work() {
	if d.busy || len(d.commits) == 0 {
		return
	}
	d.busy = true
	c := d.commits[0]
	luck := d.luckOf(c)
	wait := 200*time.Microsecond + time.Duration(luck.Int64N(int64(2*time.Millisecond)))
	if chance(luck, d.Faults.SlowDisk) {
		wait = 20*time.Millisecond + time.Duration(luck.Int64N(int64(180*time.Millisecond)))
	}
	full := c.Ticket != 0 && chance(luck, d.Faults.DiskFull)
	refused := c.Ticket != 0 && len(c.Changes) > 0 && chance(luck, d.Faults.Refused)
	d.later(wait, func() {
		if full {
			d.finish(c, ErrDiskFull)
			return
		}
		for _, r := range c.Records {
			if r.Value == nil {
				delete(d.stores[c.shard], string(r.Key))
			} else {
				d.stores[c.shard][string(r.Key)] = slices.Clone(r.Value)
			}
		}
		d.Node.world.tell(Durable{Daemon: d, Shard: c.shard, Records: c.Records})
		d.later(planeDelay, func() { d.apply(c, refused) })
	})
}

// luckOf is the luck of a commit. Commits about different things have luck of
// their own: which shard's came first must not decide whose fails.
func (d *Daemon) luckOf(c commit) *rand.Rand {
	var about string
	if len(c.Records) > 0 {
		about = string(c.Records[0].Key)
	}
	luck := d.luck[about]
	if luck == nil {
		luck = d.Node.world.Luck("commits of " + d.Node.Name + " about " + about)
		d.luck[about] = luck
	}
	return luck
}

// apply hands a durable commit's changes to the plane.
func (d *Daemon) apply(c commit, refused bool) {
	changes := c.Changes
	if refused {
		changes = changes[:d.luckOf(c).IntN(len(changes))]
	}
	for _, change := range changes {
		switch change.Op {
		case forward.Delete:
			delete(d.owners, change.Entry.Key)
		case forward.Put:
			d.owners[change.Entry.Key] = c.shard
		}
	}
	d.Node.world.tell(Applying{Daemon: d, Shard: c.shard, Changes: changes})
	err := d.Node.plane.Apply(context.Background(), changes)
	if err == nil && refused {
		err = ErrRefused
	}
	d.finish(c, err)
}

// finish ends a commit: its Then when it is true, and the answer.
func (d *Daemon) finish(c commit, err error) {
	d.commits = d.commits[1:]
	d.busy = false
	s := d.shards[c.shard]
	who := fmt.Sprintf("%s/%d", d.Node.Name, c.shard)
	if err != nil {
		d.Node.world.Tracef(who, "commit %d fails: %v", c.Ticket, err)
		d.Node.world.tell(CommitFailed{Daemon: d, Shard: c.shard, Err: err})
	} else {
		d.Node.world.tell(Committed{Daemon: d, Shard: c.shard, Commit: c.Commit})
		s.execute(c.Then)
	}
	if c.Ticket != 0 {
		s.step(engine.Answer{Ticket: c.Ticket, Err: err})
	}
	d.work()
	if d.Settled() {
		d.Node.world.tell(Settled{Daemon: d})
	}
}
