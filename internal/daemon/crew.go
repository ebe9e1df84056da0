package daemon

import (
	"context"
	"errors"
	"fmt"
	"sync"
)

// A crew is what runs while the daemon serves. When one of it fails, all end.
type crew struct {
	ctx  context.Context // of all but the machines
	stop context.CancelCauseFunc

	// Machines have a last word when everything else has been told to end.
	machines context.Context
	silence  context.CancelFunc

	running sync.WaitGroup
}

// muster makes a crew that runs until ctx ends.
func muster(ctx context.Context) *crew {
	c := &crew{}
	c.ctx, c.stop = context.WithCancelCause(ctx)
	c.machines, c.silence = context.WithCancel(context.WithoutCancel(ctx))
	return c
}

// spawn lets run be one of the crew, until c.ctx ends or it fails.
func (c *crew) spawn(what string, run func(context.Context) error) {
	c.running.Go(func() {
		if err := run(c.ctx); err != nil {
			c.stop(fmt.Errorf("%s: %w", what, err))
		}
	})
}

// dismiss ends all, and waits until they have.
func (c *crew) dismiss() {
	c.stop(nil)
	c.silence()
	c.running.Wait()
}

// failed is what ended the crew; nil when it was to end.
func (c *crew) failed() error {
	if cause := context.Cause(c.ctx); !errors.Is(cause, context.Canceled) {
		return cause
	}
	return nil
}
