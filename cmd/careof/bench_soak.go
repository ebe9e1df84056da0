package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"careof/internal/lab/load"
)

func newBenchSoak(e *env) *cobra.Command {
	o := load.SoakOptions{}
	cmd := &cobra.Command{
		Use:   "soak",
		Short: "Let a home agent live among real and forged traffic",
		Long: `Soak starts a home agent (careof run, with a store that is synced and a data plane) in a
network namespace of its own, binds mobile nodes, and then lets real traffic at a fixed
load (renewals, packets to nodes and from them) go beside malformed and forged traffic
at a fixed load: messages with authenticators that are made up, replays, cut and bent
messages, and tunnel packets of every encapsulation that no binding allows. It prints
what came of both, how the canary fared, and the daemon's memory over the time.

It fails when anything forged is accepted or forwarded, when the canary misses twice in
a row, when more than one in a hundred of what is real is lost, or when memory grows.`,
		Example: `  careof bench soak --for 10m
  careof bench soak --for 1m --forged 20000 -o json`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			run := func(ctx context.Context) (*load.SoakReport, error) { return load.Soak(ctx, o) }
			r, err := underLoad(cmd.Context(), e, &o.Progress, run, e.benchSoak)
			if err != nil || r == nil {
				return err
			}
			if wrong := r.Verdict(); len(wrong) > 0 {
				return errors.New(strings.Join(wrong, "; "))
			}
			return nil
		},
	}
	flags := cmd.Flags()
	flags.DurationVar(&o.For, "for", time.Minute, "how long")
	flags.IntVar(&o.Nodes, "nodes", 10000, "how many mobile nodes are bound")
	flags.IntVar(&o.Registrations, "registrations", 2000, "renewals a second")
	flags.IntVar(&o.Packets, "packets", 2000, "packets a second to the nodes, and as many from them")
	flags.IntVar(&o.Forged, "forged", 4000, "forged and malformed messages a second, and as many forged tunnel packets")
	flags.IntVar(&o.Shards, "shards", 0, "among how many machines the home agent divides the nodes; 0: one for each processor")
	flags.StringVar(&o.Plane, "plane", "auto", "the data plane: auto, bpf or tun")
	return cmd
}

// benchSoak prints a report for people.
func (e *env) benchSoak(r *load.SoakReport) error {
	rate := func(n int) string { return fmt.Sprintf("%.0f", float64(n)/r.Seconds) }
	row := func(what string, t load.Traffic, arrived string) []string {
		return []string{what, fmt.Sprint(t.Sent), rate(t.Sent), fmt.Sprint(t.Sent - t.Arrived), arrived}
	}
	rows := [][]string{
		{"REAL", "SENT", "A SECOND", "LOST", ""},
		row("registrations", r.Registrations, fmt.Sprintf("median %.1f ms, p99 %.1f ms, longest %.0f ms", r.P50, r.P99, r.Slowest)),
		row("packets to nodes", r.ToNodes, ""),
		row("packets from nodes", r.FromNodes, ""),
	}
	if err := e.table(rows); err != nil {
		return err
	}
	fmt.Fprintln(e.stdout)
	rows = [][]string{
		{"FORGED", "SENT", "A SECOND", "LET IN", ""},
		{"messages", fmt.Sprint(r.ForgedMessages), rate(r.ForgedMessages), fmt.Sprint(r.ForgedAccepted), fmt.Sprintf("%d refused with an answer", r.ForgedAnswered)},
		{"tunnel packets", fmt.Sprint(r.ForgedPackets), rate(r.ForgedPackets), fmt.Sprint(r.ForgedPassed), ""},
	}
	if err := e.table(rows); err != nil {
		return err
	}
	var memory []string
	for _, m := range r.Memory {
		memory = append(memory, fmt.Sprint(m>>20))
	}
	_, err := fmt.Fprintf(e.stdout, `
%.0f s, load %s; the daemon took %.2f of a processor
canary: well %d times, missed %d times, twice in a row %d times
memory, MiB in each tenth of the time: %s
%d bindings afterwards
`, r.Seconds, r.Load, r.CPU, r.Sung, r.Missed, r.MissedTwice, strings.Join(memory, " "), r.Bindings)
	return err
}
