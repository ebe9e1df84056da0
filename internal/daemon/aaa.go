package daemon

import (
	"context"

	question "careof/internal/core/aaa"
	"careof/internal/host/aaa"
	"careof/internal/roles"
)

// openAAA makes what answers the roles' questions about nodes.
func (d *daemon) openAAA() {
	c := d.cfg.AAA
	if c == nil {
		return
	}
	d.aaa = aaa.New(aaa.Book{Book: roles.Book(c)}, aaa.Limits{Questions: c.Questions, PerSource: c.PerSource})
}

// askAAA answers a question about a node.
func (d *daemon) askAAA(ctx context.Context, q any, answer func(any, error)) {
	if d.aaa == nil {
		answer(nil, question.ErrUnavailable)
		return
	}
	d.aaa.Ask(ctx, q, answer)
}
