package daemon

import (
	"context"
	"errors"
	"fmt"

	"careof/internal/control"
	"careof/internal/metrics"
	"careof/internal/proto/mip4/feature/assignment"
)

// States of a home agent of a pool.
const (
	poolServes  = "serves"
	poolDrained = "drained"
	poolSilent  = "silent"
)

// Drain implements [control.Drainer].
func (d *daemon) Drain(ctx context.Context, order control.DrainOrder) ([]control.PoolMember, error) {
	if d.home == nil {
		return nil, fmt.Errorf("%w: this daemon is no home agent", control.ErrNotFound)
	}
	if len(d.live.config().HomeAgent.PoolMembers) == 0 && !order.Undrain {
		return nil, fmt.Errorf("%w: this home agent has no pool: nobody could take its nodes (home-agent.pool-member)", control.ErrInvalid)
	}
	var err error
	if order.Undrain {
		_, err = d.home.Command(ctx, assignment.Undrain{})
	} else if _, err = d.home.Command(ctx, assignment.Drain{}); err != nil {
		// Some of its machines may have begun.
		_, undo := d.home.Command(ctx, assignment.Undrain{})
		if errors.Is(err, assignment.ErrNobody) {
			err = fmt.Errorf("%w: no other home agent of the pool is heard, serves and has room: the nodes could go nowhere (careof show pool)", control.ErrInvalid)
		}
		err = errors.Join(err, undo)
	}
	if err != nil {
		return nil, err
	}
	return d.pool(ctx)
}

// pool lists the home agents of the pool, this one first; none where there is
// no pool.
func (d *daemon) pool(ctx context.Context) ([]control.PoolMember, error) {
	out := []control.PoolMember{}
	if d.home == nil {
		return out, nil
	}
	c := d.live.config().HomeAgent
	if len(c.PoolMembers) == 0 && c.Capacity == 0 {
		return out, nil
	}
	machines, err := ask[assignment.Pool](ctx, d.home, assignment.ShowPool{})
	if err != nil {
		return nil, err
	}
	self := control.PoolMember{Address: c.Addresses[0], Self: true, State: poolServes}
	for _, m := range machines {
		self.Nodes += m.Nodes
		self.Moved += m.Moved
		self.Capacity = m.Capacity
		if m.Drained {
			self.State, self.Since = poolDrained, m.Since
		}
	}
	out = append(out, self)
	if len(machines) == 0 {
		return out, nil
	}
	// All machines hear the same of the others.
	for _, m := range machines[0].Members {
		state := poolServes
		switch {
		case !m.Alive:
			state = poolSilent
		case m.Drained:
			state = poolDrained
		}
		out = append(out, control.PoolMember{Address: m.Address, State: state, Nodes: m.Nodes, Capacity: m.Capacity, Heard: m.Heard})
	}
	return out, nil
}

// measurePool sums the pool up; nil where there is none.
func (d *daemon) measurePool(ctx context.Context) (*metrics.Pool, error) {
	list, err := d.pool(ctx)
	if err != nil || len(list) < 2 {
		return nil, err
	}
	p := &metrics.Pool{Members: len(list) - 1, Drained: list[0].State == poolDrained}
	for _, m := range list[1:] {
		if m.State == poolServes {
			p.Serving++
		}
	}
	return p, nil
}
