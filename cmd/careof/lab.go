package main

import (
	"context"
	"errors"
	"fmt"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/spf13/cobra"

	"careof/internal/lab/demo"
	"careof/internal/lab/netns"
)

func newLab(e *env) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "lab",
		Short: "A network on this machine to try everything in",
		Long: `Lab builds networks of real kernels on this machine, without root and without
touching its own network: hosts and routers, links that delay and lose packets,
translators (NAT), home agents and mobile nodes. All of it is gone when it ends.`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(
		newLabCapture(e),
		newLabCut(e),
		newLabDemo(e),
		newLabDown(e),
		newLabExec(e),
		newLabGraph(e),
		newLabKill(e),
		newLabMove(e),
		newLabScene(e),
		newLabStart(e),
		newLabStatus(e),
		newLabUp(e),
	)
	return cmd
}

// enter goes into namespaces of its own. done says that the inner program has
// run already, and how it ended.
func enter() (done bool, err error) {
	code, inside, err := netns.Enter()
	if err != nil {
		return true, err
	}
	if inside {
		return false, nil
	}
	if code != 0 {
		return true, &exit{code: code}
	}
	return true, nil
}

// careful ends the context also when the terminal or the reader of the output
// goes away, which would end the program before it has cleared away.
func careful(ctx context.Context) (context.Context, context.CancelFunc) {
	return signal.NotifyContext(ctx, syscall.SIGHUP, syscall.SIGPIPE)
}

// exitInterrupted is what shells give a program that an interrupt ended.
const exitInterrupted = 130

func newLabDemo(e *env) *cobra.Command {
	o := demo.Options{}
	cmd := &cobra.Command{
		Use:   "demo",
		Short: "See a connection survive while its computer moves between networks",
		Long: `Demo shows in half a minute what Mobile IP does. It needs no root, no other
program and no configuration, and leaves nothing behind but two files.

It builds a small internet on this machine. A laptop moves between two networks
with different addresses, one of them behind a translator (NAT) as at home. While
it moves, a TCP connection and a telephone call (a datagram every 5 ms each way)
go on. In some handovers the old link is gone before the new one is there; in
others the new one comes first. For each you see how long nothing arrived, and
how many datagrams were lost, in either direction.

It ends with a table, and with:
  demo.pcapng    every packet on the three interesting links, with comments that
                 say what the programs thought; for Wireshark, or careof decode
  topology.svg   a drawing of the network

It exits with 1 when a byte of the connection was lost, when it was reset, or when
a handover that makes before it breaks lost a packet or delivered one twice.`,
		Example: `  careof lab demo
  careof lab demo --quiet --moves 6 --dir /tmp`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if o.Moves < 1 || o.Moves > 1000 {
				return usagef("--moves %d: 1 to 1000", o.Moves)
			}
			if done, err := enter(); done {
				return err
			}
			o.Out = e.stdout
			return runDemo(cmd.Context(), e, o)
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&o.Directory, "dir", ".", "where the two files go")
	flags.Uint64Var(&o.Seed, "seed", 1, "chooses the content of the transfer and the luck of the links")
	flags.IntVar(&o.Moves, "moves", demo.DefaultMoves, "how many handovers")
	flags.BoolVar(&o.Keep, "keep", false, "keep the daemons' configurations, records and logs")
	flags.BoolVarP(&o.Quiet, "quiet", "q", false, "only a line for each handover, and the table")
	return cmd
}

func runDemo(ctx context.Context, e *env, o demo.Options) error {
	ctx, stop := careful(ctx)
	defer stop()
	report, err := demo.Run(ctx, o)
	if errors.Is(err, context.Canceled) && ctx.Err() != nil {
		return &exit{exitInterrupted, errors.New("interrupted; nothing was left behind")}
	}
	if err != nil && report == nil {
		return err
	}
	if shown := report.Write(e.stdout); shown != nil {
		return shown
	}
	if err = errors.Join(err, report.Unwritten); err != nil {
		return err
	}
	for _, f := range []string{"demo.pcapng", "topology.svg"} {
		fmt.Fprintln(e.stdout, "written:", filepath.Join(o.Directory, f))
	}
	if broken := report.Broken(); len(broken) > 0 {
		return errors.New("a promise was broken: " + strings.Join(broken, "; "))
	}
	return nil
}
