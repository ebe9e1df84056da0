package main

import (
	"context"
	"fmt"
	"slices"

	"github.com/spf13/cobra"

	"careof/internal/control"
)

func newDrain(e *env) *cobra.Command {
	return &cobra.Command{
		Use:   "drain",
		Short: "Have a home agent's nodes go to others of its pool",
		Long: `Drain takes a home agent out of service without a break: it sends each of its nodes
to another home agent of the pool (RFC 4433, code 143), which a node registers with
before it leaves this one. New nodes are sent on too. It stays so, also over a
restart, until careof undrain.

Nodes of this suite with an address of their own are asked to go at once; others go
when they renew. Nodes without assignment in their configuration cannot be sent on,
and are served until the daemon stops. careof show pool says how many are left.`,
		Example: `  careof drain
  careof show pool`,
		Args: usageArgs(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error { return e.drain(cmd.Context(), control.DrainOrder{}) },
	}
}

func newUndrain(e *env) *cobra.Command {
	return &cobra.Command{
		Use:     "undrain",
		Short:   "Have a drained home agent take nodes again",
		Example: `  careof undrain`,
		Args:    usageArgs(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			return e.drain(cmd.Context(), control.DrainOrder{Undrain: true})
		},
	}
}

// poolOutput is the output of drain and undrain.
type poolOutput struct {
	Schema int                  `json:"schema"`
	Pool   []control.PoolMember `json:"pool"`
}

func (e *env) drain(ctx context.Context, order control.DrainOrder) error {
	ctx, cancel := context.WithTimeout(ctx, askLimit)
	defer cancel()
	pool, err := control.NewClient(e.socket).Drain(ctx, order)
	if err != nil {
		return err
	}
	if e.output == outputJSON {
		return e.printJSON(poolOutput{1, pool})
	}
	i := slices.IndexFunc(pool, func(m control.PoolMember) bool { return m.Self })
	switch {
	case order.Undrain:
		fmt.Fprintln(e.stdout, "this home agent takes nodes again")
	case i >= 0:
		fmt.Fprintf(e.stdout, "drained: %s to go (careof show pool says how many are left)\n", many(pool[i].Nodes, "node"))
	}
	return nil
}
