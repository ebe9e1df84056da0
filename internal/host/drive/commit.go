package drive

import (
	"context"
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
	for {
		c.mu.Lock()
		for len(c.queue) == 0 && !c.closed {
			c.wake.Wait()
		}
		group := c.queue
		c.queue = nil
		c.mu.Unlock()
		if len(group) == 0 {
			return
		}
		c.make(group)
	}
}

// make makes a group of commits true together; when that fails, each by
// itself, so that a commit fails only for a reason of its own.
func (c *committer) make(group []commit) {
	var records []engine.Record
	var changes []forward.Change
	for _, one := range group {
		records = append(records, one.Records...)
		changes = append(changes, one.Changes...)
	}
	err := c.apply(records, changes)
	for _, one := range group {
		result := err
		if err != nil && len(group) > 1 {
			result = c.apply(one.Records, one.Changes)
		}
		if result == nil {
			c.driver.act(context.Background(), one.from, one.Then)
		}
		if one.Ticket != 0 {
			one.from.box.put(engine.Answer{Ticket: one.Ticket, Err: result}, false)
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
