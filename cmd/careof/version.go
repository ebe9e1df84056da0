package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"careof/internal/buildinfo"
)

func newVersion(e *env) *cobra.Command {
	return &cobra.Command{
		Use:   "version",
		Short: "Print the version of this program",
		Args:  noArgs,
		RunE: func(*cobra.Command, []string) error {
			v := buildinfo.Read()
			if e.output == outputJSON {
				return e.printJSON(v)
			}
			fmt.Fprintf(e.stdout, "careof %s", v.Version)
			if v.Commit != "" {
				fmt.Fprintf(e.stdout, " (%s)", v.Commit)
			}
			fmt.Fprintf(e.stdout, " %s %s\n", v.Go, v.Platform)
			return nil
		},
	}
}
