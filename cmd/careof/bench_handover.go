package main

import (
	"errors"

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
says nothing, and the old agent is not heard any more.

Then a node with two uplinks and no foreign agents, 25 and 100 ms from its home
agent: it gets a better uplink while the other one lives (make before break); the
link in use goes, and the other uplink stands by, or is new and behind a NAT, or the
node only receives; and the network in use swallows everything while its link stays
up (profiles default and fast, and with datagrams that go over both uplinks). On namespaces wireguard-go and, where it is installed,
strongSwan (IKEv2 with MOBIKE, ESP in user space by its plugin kernel-libipsec) make
the same moves on the same network, at the same instants: they take the uplink that
the default routes name, as a network manager sets them, and keep nothing alive by
themselves. In Debian that is strongswan-charon, strongswan-swanctl,
libcharon-extra-plugins and libstrongswan-standard-plugins.

Each is measured in virtual time, where the figures are exact, and in network
namespaces with real daemons. Interrupted, it prints what it has measured.`,
		Example: `  careof bench handover
  careof bench handover --virtual --moves 100 -o json
  careof bench handover --only "break before make"`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if o.Moves < 1 || o.Moves > 1000 {
				return usagef("--moves %d: 1 to 1000", o.Moves)
			}
			if output != "table" && output != "json" {
				return usagef("-o %s: table or json", output)
			}
			if !handover.Measures(o.Only) {
				return usagef("--only %q: nothing that is measured has that in its name", o.Only)
			}
			if o.OneWay != 0 && !handover.Distant(o.OneWay) {
				return usagef("--one-way %v: 25ms or 100ms", o.OneWay)
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
			if ctx.Err() != nil {
				err = &exit{exitInterrupted, errors.New("interrupted: this is what was measured until then; nothing was left behind")}
			}
			if output == "json" {
				return errors.Join(err, e.printJSON(report))
			}
			return errors.Join(err, report.Write(e.stdout))
		},
	}
	flags := cmd.Flags()
	flags.IntVar(&o.Moves, "moves", 10, "how many moves of each kind; a hundred take about half an hour a row on namespaces")
	flags.BoolVar(&o.Virtual, "virtual", false, "only in virtual time: needs no privilege and takes a second")
	flags.StringVar(&o.Only, "only", "", "measure only what has this `text` in its name")
	flags.DurationVar(&o.OneWay, "one-way", 0, "of the node with two uplinks, measure only at this `distance`: 25ms or 100ms (default both)")
	flags.Uint64Var(&o.Seed, "seed", 1, "chooses the luck of the links")
	flags.StringVarP(&output, "output", "o", "table", "table or json")
	flags.BoolVarP(&quiet, "quiet", "q", false, "do not tell what is being measured")
	return cmd
}
