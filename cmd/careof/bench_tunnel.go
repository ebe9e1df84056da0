package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"careof/internal/lab/bench"
)

func newBenchTunnel(e *env) *cobra.Command {
	o := bench.Options{}
	quiet := false
	cmd := &cobra.Command{
		Use:   "tunnel",
		Short: "Measure the data planes beside plain forwarding, VXLAN and wireguard-go",
		Long: `Tunnel measures how fast packets get from a correspondent node through a home
agent and a router to a mobile node, in network namespaces that it makes and
that vanish with it. A round measures each way once, in turn; ratios are taken
round by round, so other work on the machine spoils them least.

Ways, beside plain forwarding, which is always measured:
  ` + strings.Join(bench.Ways()[1:], ", ") + `
Measures:
  64            datagrams of 64 octets
  tcp1, tcp4    1 and 4 TCP connections; virtual links pass 64 KiB in one piece
  wire1, wire4  the same with every packet cut to what a wire carries
  gro1, gro4    and merged again on arrival, as drivers of network cards do

The programs of plane.kind = "bpf" need root (CAP_BPF); without it the report
leaves them out.`,
		Example: `  sudo careof bench tunnel
  sudo nice -n -15 careof bench tunnel --rounds 9 -o json
  sudo careof bench tunnel --measures tcp1 --ways tun-udp,wireguard-go
  sudo careof bench tunnel --measures 64 --ways bpf-ipip --bindings 1,1000,1000000`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if o.Rounds < 1 || o.Rounds > 1000 {
				return usagef("--rounds %d: 1 to 1000", o.Rounds)
			}
			if o.Time < 10*time.Millisecond || o.Time > time.Minute {
				return usagef("--time %v: 10ms to 1m", o.Time)
			}
			for _, list := range []struct {
				flag       string
				have, want []string
			}{{"--measures", o.Measures, bench.Measures()}, {"--ways", o.Ways, bench.Ways()}} {
				for _, name := range list.have {
					if !slices.Contains(list.want, name) {
						return usagef("%s %s: %s", list.flag, name, strings.Join(list.want, ", "))
					}
				}
			}
			for _, n := range o.Bindings {
				if n < 1 || n > bench.MostBindings {
					return usagef("--bindings %d: 1 to %d", n, bench.MostBindings)
				}
			}
			if done, err := enter(); done {
				return err
			}
			o.Tell = e.tell(quiet)
			return benchTunnel(cmd.Context(), e, o)
		},
	}
	flags := cmd.Flags()
	flags.IntVar(&o.Rounds, "rounds", 5, "how often each way is measured")
	flags.DurationVar(&o.Time, "time", 500*time.Millisecond, "how long one measurement takes")
	flags.StringSliceVar(&o.Measures, "measures", nil, "which measures, separated by commas (default all)")
	flags.StringSliceVar(&o.Ways, "ways", nil, "which ways beside plain forwarding (default all)")
	flags.IntSliceVar(&o.Bindings, "bindings", nil, "also measure a packet among so many bindings, such as 1,1000,1000000")
	flags.BoolVarP(&quiet, "quiet", "q", false, "do not tell what is being measured")
	return cmd
}

func benchTunnel(ctx context.Context, e *env, o bench.Options) error {
	ctx, stop := careful(ctx)
	defer stop()
	r, err := bench.Tunnel(ctx, o)
	if err != nil && ctx.Err() != nil {
		return &exit{exitInterrupted, errors.New("interrupted; nothing was left behind")}
	}
	if err != nil {
		return err
	}
	if e.output == outputJSON {
		return e.printJSON(r)
	}
	if err := r.Write(e.stdout); err != nil {
		return fmt.Errorf("bench: %w", err)
	}
	return nil
}
