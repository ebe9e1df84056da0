package main

import (
	"github.com/spf13/cobra"

	"careof/internal/manual"
)

func newManual(*env) *cobra.Command {
	return &cobra.Command{
		Use:    "manual FOLDER",
		Short:  "Write the man pages and the reference",
		Hidden: true, // for make gen and for packagers
		Args:   usageArgs(cobra.ExactArgs(1)),
		RunE:   func(cmd *cobra.Command, args []string) error { return manual.Write(cmd.Root(), args[0]) },
	}
}
