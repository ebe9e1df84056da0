package aaa_test

import (
	"context"
	"fmt"
	"sync/atomic"

	question "careof/internal/core/aaa"
	"careof/internal/core/forward"
	"careof/internal/core/ident"
)

type answerer func(context.Context, any) (question.Grant, error)

func (f answerer) Answer(ctx context.Context, q any) (question.Grant, error) { return f(ctx, q) }

func identNAI(i int) ident.NAI { return ident.NAI(fmt.Sprintf("x%d@fleet.example", i)) }

// counting is a data plane with one entry that counts what it is told.
type counting struct {
	forward.Plane
	now atomic.Pointer[forward.Counters]
}

func (c *counting) Apply(context.Context, []forward.Change) error { return nil }

func (c *counting) Counters(forward.Key) forward.Counters {
	if p := c.now.Load(); p != nil {
		return *p
	}
	return forward.Counters{}
}
