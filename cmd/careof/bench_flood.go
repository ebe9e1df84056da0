package main

import (
	"github.com/spf13/cobra"

	"careof/internal/lab/flood"
)

func newBenchFlood(e *env) *cobra.Command {
	o := flood.Options{}
	var quiet bool
	var output string
	cmd := &cobra.Command{
		Use:   "flood",
		Short: "Measure how a good node registers amid forged requests",
		Long: `Flood sends forged Registration Requests to a foreign agent and then to a home agent,
on the agent's own link, as many as one processor can, of ever other stations and
nodes. Meanwhile a good node registers again and again. It prints how long that
takes, beside the same without a flood, how much memory the flooded daemon has
taken, and what it has kept of the forgeries: nothing but the good node's visit
and binding should be there.`,
		Example: `  careof bench flood
  careof bench flood --registrations 300 -o json`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if o.Registrations < 1 || o.Registrations > 10000 {
				return usagef("--registrations %d: 1 to 10000", o.Registrations)
			}
			if output != "table" && output != "json" {
				return usagef("-o %s: table or json", output)
			}
			if done, err := enter(); done {
				return err
			}
			o.Tell = e.tell(quiet)
			ctx, stop := careful(cmd.Context())
			defer stop()
			phases, err := flood.Run(ctx, o)
			if err != nil {
				return err
			}
			if output == "json" {
				return e.printJSON(phases)
			}
			return flood.Write(e.stdout, phases)
		},
	}
	flags := cmd.Flags()
	flags.IntVar(&o.Registrations, "registrations", 100, "how often the good node registers in each phase")
	flags.Uint64Var(&o.Seed, "seed", 1, "chooses what is forged")
	flags.StringVarP(&output, "output", "o", "table", "table or json")
	flags.BoolVarP(&quiet, "quiet", "q", false, "do not tell what is being measured")
	return cmd
}
