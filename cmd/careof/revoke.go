package main

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"careof/internal/control"
)

func newRevoke(e *env) *cobra.Command {
	var order control.RevokeOrder
	cmd := &cobra.Command{
		Use:   "revoke ADDRESS|NAI",
		Short: "End a mobile node's bindings at both ends, now",
		Long: `Revoke ends all bindings of a mobile node at this home agent, or its visits at this
foreign agent. The other end is told at once and acknowledges it (RFC 3543), when
that was agreed at the registration; else it finds out when the registration ends.

The node may register again, unless --block keeps it out: its requests are then
refused with code 129, also after a restart, until careof unblock. careof show
blocked lists who is kept out.`,
		Example: `  careof revoke 10.10.0.5
  careof revoke --block van7@fleet.example`,
		Args: usageArgs(cobra.ExactArgs(1)),
		ValidArgsFunction: func(cmd *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
			if len(args) > 0 {
				return nil, cobra.ShellCompDirectiveNoFileComp
			}
			return completeShow(cmd.Context(), e, []string{"binding"}), cobra.ShellCompDirectiveNoFileComp
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			order.Node = args[0]
			ctx, cancel := context.WithTimeout(cmd.Context(), askLimit)
			defer cancel()
			done, err := control.NewClient(e.socket).Revoke(ctx, order)
			if err != nil {
				return err
			}
			return e.revoked(done)
		},
	}
	cmd.Flags().BoolVar(&order.Block, "block", false, "keep the node out until careof unblock")
	return cmd
}

func newUnblock(e *env) *cobra.Command {
	return &cobra.Command{
		Use:     "unblock ADDRESS|NAI",
		Short:   "Let a mobile node in again that careof revoke --block keeps out",
		Example: `  careof unblock 10.10.0.5`,
		Args:    usageArgs(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			ctx, cancel := context.WithTimeout(cmd.Context(), askLimit)
			defer cancel()
			done, err := control.NewClient(e.socket).Unblock(ctx, args[0])
			if err != nil {
				return err
			}
			if e.output == outputJSON {
				return e.printJSON(revocationOutput{1, done})
			}
			fmt.Fprintf(e.stdout, "%s is kept out no more\n", done.Node)
			return nil
		},
	}
}

// revocationOutput is the output of revoke and unblock.
type revocationOutput struct {
	Schema     int                `json:"schema"`
	Revocation control.Revocation `json:"revocation"`
}

// revoked prints what came of a revocation.
func (e *env) revoked(done control.Revocation) error {
	if e.output == outputJSON {
		return e.printJSON(revocationOutput{1, done})
	}
	if done.Visits > 0 {
		fmt.Fprintf(e.stdout, "%s of %s ended; the home agent is told where that was agreed\n", many(done.Visits, "visit"), done.Node)
		return nil
	}
	fmt.Fprintf(e.stdout, "%s of %s ended\n", many(done.Bindings, "binding"), done.Node)
	for _, p := range done.Peers {
		switch {
		case p.Acknowledged && p.Informed:
			fmt.Fprintf(e.stdout, "  %v has acknowledged it, and told the node\n", p.CareOfAddress)
		case p.Acknowledged:
			fmt.Fprintf(e.stdout, "  %v has acknowledged it\n", p.CareOfAddress)
		default:
			fmt.Fprintf(e.stdout, "  %v has not answered\n", p.CareOfAddress)
		}
	}
	if untold := done.Bindings - len(done.Peers); untold > 0 {
		fmt.Fprintf(e.stdout, "  not told, or not yet: %s; revocation was not agreed there, or the message is still to go\n", many(untold, "other end"))
	}
	if done.Blocked {
		fmt.Fprintf(e.stdout, "%s is kept out until careof unblock\n", done.Node)
	}
	return nil
}
