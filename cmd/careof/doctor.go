package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"careof/internal/control"
	"careof/internal/daemon"
	"careof/internal/daemon/doctor"
)

func newDoctor(e *env) *cobra.Command {
	var file string
	cmd := &cobra.Command{
		Use:   "doctor",
		Short: "Find what this host lacks, and say how to mend it",
		Long: `Doctor looks at everything that a daemon needs of its host, and prints a line for
each: ok, warn, fail, or skip where it may not look. What is wrong comes with what to
do about it. Nothing is changed.

It asks the daemon, when one runs, with -c the one that runs with this file; else it
looks by itself. Run it as root to let it see everything.

It exits with 1 when something does not work.`,
		Example: `  sudo careof doctor
  sudo careof doctor -c /etc/careof/careof.toml -o json`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			ctx, cancel := context.WithTimeout(cmd.Context(), askLimit)
			defer cancel()
			var list []control.Finding
			err := control.ErrUnreachable
			if !cmd.Flags().Changed("config") {
				list, err = control.NewClient(e.socket).Doctor(ctx)
			}
			if errors.Is(err, control.ErrUnreachable) {
				list, err = daemon.Doctor(ctx, file, e.socket), nil
			}
			if err != nil {
				return err
			}
			return e.diagnosis(list)
		},
	}
	configFlag(cmd, &file)
	return cmd
}

// diagnosed is the output of doctor.
type diagnosed struct {
	Schema int               `json:"schema"`
	Result string            `json:"result"`
	Doctor []control.Finding `json:"doctor"`
}

func (e *env) diagnosis(list []control.Finding) error {
	worst := doctor.Worst(list)
	if e.output == outputJSON {
		if err := e.printJSON(diagnosed{1, worst, list}); err != nil {
			return err
		}
	} else {
		for _, f := range list {
			mark := fmt.Sprintf("%-4s", f.Result)
			if f.Result == doctor.Fail || f.Result == doctor.Warn {
				mark = e.bold(mark)
			}
			fmt.Fprintf(e.stdout, "%s  %-19s  %s\n", mark, f.Check, f.Text)
			if f.Fix != "" && f.Result != doctor.OK {
				fmt.Fprintf(e.stdout, "%27s→ %s\n", "", f.Fix)
			}
		}
	}
	if worst == doctor.Fail {
		return &exit{code: exitFailure}
	}
	return nil
}
