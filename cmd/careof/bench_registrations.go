package main

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"careof/internal/lab/load"
)

func newBenchRegistrations(e *env) *cobra.Command {
	o := load.Options{}
	cmd := &cobra.Command{
		Use:   "registrations",
		Short: "Measure how many registrations a second a home agent does",
		Long: `Registrations starts a home agent (careof run, with a store that is synced and a data
plane) in a network namespace of its own, and sends it signed Registration Requests
from as many mobile nodes as you like, on the same processors: first all nodes bind,
then they renew. Every answer says that the binding is on the disk and forwards;
of some nodes a packet is sent and looked for in their tunnel. In the same run a bare
echo, which checks one authenticator and computes another, shows what the sockets
allow. Then it ends the daemon, by SIGTERM and by kill -9, and measures how long the
next one takes until it is ready with all bindings.`,
		Example: `  careof bench registrations
  careof bench registrations --nodes 1000000 -o json`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			run := func(ctx context.Context) (*load.Report, error) { return load.Registrations(ctx, o) }
			_, err := underLoad(cmd.Context(), e, &o.Progress, run, e.benchRegistrations)
			return err
		},
	}
	flags := cmd.Flags()
	flags.IntVar(&o.Nodes, "nodes", 100000, "how many mobile nodes")
	flags.IntVar(&o.Round, "round", 100000, "requests of one round; the rates are medians of rounds")
	flags.IntVar(&o.Rounds, "rounds", 10, "rounds of the echo and of the refreshes")
	flags.IntVar(&o.Shards, "shards", 0, "among how many machines the home agent divides the nodes; 0: one for each processor")
	flags.StringVar(&o.Plane, "plane", "auto", "the data plane: auto, bpf or tun")
	flags.StringVar(&o.Keep, "dir", "", "a folder for configuration, log and store, which stay there; none: a temporary one")
	flags.StringVar(&o.Profile, "profile", "", "write a processor profile of the daemon, taken during the refreshes, to this file")
	return cmd
}

// underLoad runs a benchmark of package load in the laboratory's namespaces, tells
// of its progress to people, and shows what came of it to people or programs.
func underLoad[R any](ctx context.Context, e *env, progress *func(string), run func(context.Context) (*R, error), show func(*R) error) (*R, error) {
	if done, err := enter(); done {
		return nil, err
	}
	if e.output == outputTable {
		*progress = func(s string) { fmt.Fprintln(e.stderr, s) }
	}
	ctx, stop := careful(ctx)
	defer stop()
	r, err := run(ctx)
	if err != nil {
		return nil, err
	}
	if e.output == outputJSON {
		return r, e.printJSON(r)
	}
	return r, show(r)
}

// benchRegistrations prints a report for people.
func (e *env) benchRegistrations(r *load.Report) error {
	rows := [][]string{{"WHAT", "A SECOND", "LEAST", "MOST", "OF ECHO", "CPU US", "DAEMON US"}}
	for _, v := range r.Rates {
		rows = append(rows, []string{
			v.What, fmt.Sprintf("%.0f", v.Median), fmt.Sprintf("%.0f", v.Least), fmt.Sprintf("%.0f", v.Most),
			fmt.Sprintf("%.2f", v.Median/r.Rates[0].Median), fmt.Sprintf("%.1f", v.CPU), fmt.Sprintf("%.1f", v.Daemon),
		})
	}
	if err := e.table(rows); err != nil {
		return err
	}
	_, err := fmt.Fprintf(e.stdout, `
%d nodes, plane %s, %d processors, load %s
ready with no binding after %.2f s, with all after %.2f s (SIGTERM) and %.2f s (kill -9)
%.0f octets a binding: %d MiB resident, %d MiB in the kernel's maps; %d MiB on the disk
%d packets seen in the tunnels they belong in; %d requests repeated
`, r.Nodes, r.Plane, r.Processors, r.Load, r.FirstStart, r.Restart, r.Crash,
		r.PerBinding, r.Resident>>20, r.Kernel>>20, r.StoreSize>>20, r.Forwarding, r.Repeated)
	return err
}
