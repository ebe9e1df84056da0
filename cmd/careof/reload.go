package main

import (
	"context"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"careof/internal/config"
	"careof/internal/control"
)

func newReload(e *env) *cobra.Command {
	var order control.ReloadOrder
	var confirm time.Duration
	var file string
	cmd := &cobra.Command{
		Use:   "reload",
		Short: "Check the configuration, show what is different, and apply it without dropping a binding",
		Long: `Reload has the daemon read its configuration file anew. With a mistake in the file
nothing changes, and every mistake is printed with its line. Else the difference is
printed and applied: bindings and tunnels of nodes that stay go on, those of nodes
that are gone end at once.

Some keys cannot change while the daemon runs, such as its addresses and its device;
they are marked, and then nothing is applied: restart the daemon instead.

With --confirm 60s the change undoes itself after 60 seconds, unless careof reload
--keep comes before: for changes that may cut off the one who makes them. A node that
such a change removed has to register again when it is back.

It exits with 0 when the change is applied, 2 with mistakes, 7 when a restart is
needed.`,
		Example: `  careof reload --dry-run
  careof reload
  careof reload --confirm 60s && ping -c 3 10.10.0.5 && careof reload --keep`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if cmd.Flags().Changed("confirm") {
				if confirm <= 0 {
					return usagef("--confirm takes a time like 60s")
				}
				order.Confirm = control.Seconds(confirm)
			}
			if file != "" && !cmd.Flags().Changed("socket") {
				c, err := config.Load(file)
				if err != nil {
					return err
				}
				e.socket = c.Control.Socket
			}
			ctx, cancel := context.WithTimeout(cmd.Context(), reloadLimit)
			defer cancel()
			done, err := control.NewClient(e.socket).Reload(ctx, order)
			if err != nil {
				return err
			}
			return e.reloaded(done, order)
		},
	}
	flags := cmd.Flags()
	flags.BoolVar(&order.DryRun, "dry-run", false, "only say what would change")
	flags.DurationVar(&confirm, "confirm", 0, "undo the change after this `time`, unless it is kept")
	flags.BoolVar(&order.Keep, "keep", false, "keep a change that waits for it")
	flags.BoolVar(&order.Undo, "undo", false, "undo a change that waits to be kept, now")
	flags.StringVarP(&file, "config", "c", "", "find the daemon by its configuration `file`, in place of --socket")
	must(cmd.MarkFlagFilename("config", "toml"))
	cmd.MarkFlagsMutuallyExclusive("dry-run", "confirm", "keep", "undo")
	return cmd
}

// reloadLimit bounds how long a reload may take.
const reloadLimit = time.Minute

// reloadOutput is the output of reload.
type reloadOutput struct {
	Schema int            `json:"schema"`
	Reload control.Reload `json:"reload"`
}

// reloaded prints what a reload came to.
func (e *env) reloaded(done control.Reload, order control.ReloadOrder) error {
	var result error
	switch {
	case len(done.Problems) > 0:
		result = &exit{code: exitUsage}
	case done.Restart != "":
		result = &exit{exitRestart, fmt.Errorf("nothing is applied: %s (restart the daemon: bindings and tunnels are kept)", done.Restart)}
	}
	if e.output == outputJSON {
		if err := e.printJSON(reloadOutput{1, done}); err != nil {
			return err
		}
		return result
	}
	for _, p := range done.Problems {
		fmt.Fprintln(e.stdout, p)
	}
	for _, w := range done.Warnings {
		fmt.Fprintf(e.stdout, "%s [warning]\n", w)
	}
	for _, c := range done.Changes {
		if c.Live {
			fmt.Fprintln(e.stdout, c.Change)
		} else {
			fmt.Fprintf(e.stdout, "%s [needs a restart]\n", c.Change)
		}
	}
	switch {
	case done.Kept:
		fmt.Fprintln(e.stdout, "kept")
	case done.Undone:
		fmt.Fprintln(e.stdout, "undone: the configuration in force is the one before, and not the file's")
	case len(done.Problems) > 0:
		fmt.Fprintln(e.stdout, "nothing is changed")
	case result != nil:
	case len(done.Changes) == 0 && !done.Until.IsZero():
		fmt.Fprintf(e.stdout, "nothing is different; the reload before undoes itself at %s: careof reload --keep\n", done.Until.Local().Format(time.TimeOnly))
	case len(done.Changes) == 0:
		fmt.Fprintln(e.stdout, "nothing is different")
	case order.DryRun:
		fmt.Fprintln(e.stdout, "all of it can be applied to the running daemon; nothing is changed")
	default:
		fmt.Fprintf(e.stdout, "applied: %s, %s added, %d removed, %s ended\n", many(len(done.Changes), "change"), many(done.Added, "node"), done.Removed, many(done.Ended, "binding"))
		if !done.Until.IsZero() {
			fmt.Fprintf(e.stdout, "it undoes itself at %s: careof reload --keep\n", done.Until.Local().Format(time.TimeOnly))
		}
	}
	return result
}
