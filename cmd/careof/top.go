package main

import (
	"context"

	tea "github.com/charmbracelet/bubbletea"
	"github.com/spf13/cobra"

	"careof/internal/control"
	"careof/internal/top"
)

func newTop(e *env) *cobra.Command {
	return &cobra.Command{
		Use:   "top",
		Short: "Watch a daemon live: bindings, visitors, uplinks, rates, events",
		Long: `Top shows who is bound to where, how much goes through each tunnel, which uplinks are
used, and what happens, and keeps it up to date. Its keys are on its last line; ? says
more. It needs a terminal of 80 by 24 or more.`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			client := control.NewClient(e.socket)
			// One question first: that there is no daemon is better said in the
			// terminal that stays.
			ctx, cancel := context.WithTimeout(cmd.Context(), askLimit)
			defer cancel()
			if _, err := client.Raw(ctx, "status", ""); err != nil {
				return err
			}
			if !terminal(e.stdout) {
				return usagef("top needs a terminal: use careof show, or careof monitor")
			}
			return top.Run(cmd.Context(), client, colour(e.stdout), tea.WithInput(e.stdin), tea.WithOutput(e.stdout))
		},
	}
}
