package main

import (
	"github.com/spf13/cobra"

	"careof/internal/lab/handover"
)

func newBenchHandover(e *env) *cobra.Command {
	o := handover.Options{}
	var quiet bool
	var output string
	cmd := &cobra.Command{
		Use:   "handover",
		Short: "Measure how long nothing arrives when a node moves, or its network is a black hole",
		Long: `Handover moves a mobile node between two foreign agents, 50 ms from its home agent,
while a datagram every 5 ms goes in either direction, and prints for how long none
arrived. The node learns of its move in three ways: its link goes down and up; the
link says nothing, and the new agent's advertisements tell another prefix; or it
says nothing, and the old agent is not heard any more. Then a node with two uplinks
and no foreign agents: the network of the one in use swallows everything, its link
stays up, and the node's probes tell (profiles default and fast).

Each is measured in virtual time, where the figures are exact, and in network
namespaces with real daemons.`,
		Example: `  careof bench handover
  careof bench handover --virtual --moves 100 -o json`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if o.Moves < 1 || o.Moves > 1000 {
				return usagef("--moves %d: 1 to 1000", o.Moves)
			}
			if output != "table" && output != "json" {
				return usagef("-o %s: table or json", output)
			}
			if !o.Virtual {
				if done, err := enter(); done {
					return err
				}
			}
			o.Tell = e.tell(quiet)
			ctx, stop := careful(cmd.Context())
			defer stop()
			report, err := handover.Run(ctx, o)
			if err != nil {
				return err
			}
			if output == "json" {
				return e.printJSON(report)
			}
			return report.Write(e.stdout)
		},
	}
	flags := cmd.Flags()
	flags.IntVar(&o.Moves, "moves", 10, "how many moves of each kind")
	flags.BoolVar(&o.Virtual, "virtual", false, "only in virtual time: needs no privilege and takes a second")
	flags.Uint64Var(&o.Seed, "seed", 1, "chooses the luck of the links")
	flags.StringVarP(&output, "output", "o", "table", "table or json")
	flags.BoolVarP(&quiet, "quiet", "q", false, "do not tell what is being measured")
	return cmd
}
