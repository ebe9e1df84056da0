package main

import (
	"io"

	"github.com/spf13/cobra"
)

func newBench(e *env) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "bench",
		Short: "Measure what this machine can do",
		Long: `Bench measures in networks of its own, without touching this machine's, and prints
figures together with a reference taken in the same run: figures alone say little on
a machine that does other things too.`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(newBenchFlood(e), newBenchHandover(e), newBenchPicture(e), newBenchRegistrations(e), newBenchSoak(e), newBenchTunnel(e))
	return cmd
}

// tell is where a benchmark says what it is measuring.
func (e *env) tell(quiet bool) io.Writer {
	if quiet {
		return io.Discard
	}
	return e.stderr
}
