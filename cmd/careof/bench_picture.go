package main

import (
	"encoding/json"
	"fmt"
	"os"

	"github.com/spf13/cobra"

	"careof/internal/lab/bench"
)

func newBenchPicture(e *env) *cobra.Command {
	return &cobra.Command{
		Use:   "picture REPORT",
		Short: "Draw what a packet costs against the number of bindings",
		Long: `Picture draws, as SVG, what a packet costs against the number of bindings, from a report
that careof bench tunnel --bindings has written as JSON.`,
		Example: `  sudo careof bench tunnel --measures 64 --ways bpf-ipip --bindings 1,1000,100000,1000000 -o json > report.json
  careof bench picture report.json > docs/images/bindings.svg`,
		Args: usageArgs(cobra.ExactArgs(1)),
		RunE: func(_ *cobra.Command, args []string) error {
			text, err := os.ReadFile(args[0])
			if err != nil {
				return err
			}
			var r bench.Report
			if err := json.Unmarshal(text, &r); err != nil {
				return fmt.Errorf("%s: not a report of careof bench tunnel: %w", args[0], err)
			}
			return r.Picture(e.stdout)
		},
	}
}
