package drive

import (
	"context"
	"slices"
	"sync"

	"careof/internal/core/engine"
	"careof/internal/core/forward"
)

// A committer makes commits true, in the order in which they were handed
// over, one synchronous write for as many as have gathered. No socket and no
// machine waits for the disk meanwhile.
type committer struct {
	driver *Driver

	mu     sync.Mutex
	wake   *sync.Cond
	queue  []commit
	closed bool

	// What one group is gathered in; only run touches it.
	records []engine.Record
	changes []forward.Change
	out     outbox
}

type commit struct {
	engine.Commit
	from *shard
}

func newCommitter(d *Driver) *committer {
	c := &committer{driver: d}
	c.wake = sync.NewCond(&c.mu)
	return c
}

func (c *committer) put(one commit) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.queue = append(c.queue, one)
	c.wake.Signal()
}

func (c *committer) close() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.closed = true
	c.wake.Signal()
}

// run works until it is closed and the queue is empty.
func (c *committer) run() {
	var group, next []commit
	for {
		c.mu.Lock()
		for len(c.queue) == 0 && !c.closed {
			c.wake.Wait()
		}
		group, c.queue = c.queue, next
		c.mu.Unlock()
		if len(group) == 0 {
			return
		}
		// A handover must not wait for the disk because of what came after it.
		rest := group
		if n := slices.IndexFunc(group, func(one commit) bool { return len(one.Records) > 0 }); n > 0 {
			c.make(group[:n])
			rest = group[n:]
		}
		c.make(rest)
		clear(group)
		next = group[:0]
	}
}

// make makes a group of commits true together; when that fails, each by
// itself, so that a commit fails only for a reason of its own. What they say
// to peers leaves together, and then the machines hear.
func (c *committer) make(group []commit) {
	c.records, c.changes = c.records[:0], c.changes[:0]
	for i := range group {
		c.records = append(c.records, group[i].Records...)
		c.changes = append(c.changes, group[i].Changes...)
	}
	err := c.apply(c.records, c.changes)
	clear(c.records)
	clear(c.changes)
	if err != nil && len(group) > 1 {
		for i := range group {
			c.make(group[i : i+1])
		}
		return
	}
	if err == nil {
		for i := range group {
			for _, a := range group[i].Then {
				if m, ok := a.(engine.Send); ok {
					c.driver.admission.committed(m.Dst)
					if c.driver.world.Committed != nil {
						c.driver.world.Committed(m)
					}
				}
			}
			c.driver.act(context.Background(), group[i].from, group[i].Then, &c.out)
		}
		c.driver.flush(&c.out)
	}
	for i := range group {
		if one := &group[i]; one.Ticket != 0 {
			one.from.box.put(engine.Answer{Ticket: one.Ticket, Err: err}, false)
		}
	}
}

// apply makes records durable and then changes visible.
func (c *committer) apply(records []engine.Record, changes []forward.Change) error {
	if len(records) > 0 {
		if err := c.driver.world.Store.Apply(c.driver.role, records); err != nil {
			return err
		}
	}
	if len(changes) > 0 {
		return c.driver.world.Plane.Apply(context.Background(), changes)
	}
	return nil
}
