// Command careof is the whole suite in one binary: the daemon, the client
// that shows and changes what it does, the laboratory, and the tools.
//
// The commands hold no logic: each is a file with one constructor that parses
// arguments, calls a package, and prints. A new command is one such file and
// one line in [newRoot].
package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"
)

func main() { os.Exit(Main(os.Args[1:], os.Stdin, os.Stdout, os.Stderr)) }

// Main runs one command line and returns its exit code.
func Main(args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	// The first signal asks for an orderly end, the second one is the system's
	// to deal with.
	context.AfterFunc(ctx, stop)
	e := &env{stdin: stdin, stdout: stdout, stderr: stderr}
	root := newRoot(e)
	root.SetArgs(args)
	root.SetIn(stdin)
	root.SetOut(stdout)
	root.SetErr(stderr)
	err := root.ExecuteContext(ctx)
	if err != nil && err.Error() != "" {
		fmt.Fprintln(stderr, "careof:", err)
	}
	return exitCode(err)
}

// An env is what every command works with.
type env struct {
	stdin          io.Reader
	stdout, stderr io.Writer
	output         string // "table", "wide" or "json"
	socket         string // of the daemon's control API
}

const (
	outputTable = "table"
	outputJSON  = "json"
	outputWide  = "wide" // a table with every member; elsewhere than in show the same as table
)

const defaultSocket = "/run/careof/careof.sock"

func newRoot(e *env) *cobra.Command {
	root := &cobra.Command{
		Use:   "careof",
		Short: "Mobile IP: keep your address and your connections while your links change",
		Long: `careof keeps your address, your prefix and your connections while your links
change, on your own machines, by open standards (Mobile IP, RFC 5944).

A home agent holds your address. A mobile node (a laptop, a van's router) tells
it where it is and gets its packets through a tunnel, wherever it is.

Start here:
  careof lab demo              see it work on this machine, without root
  careof explain 133           what a reply code means, and what to do about it
  careof check --reference     every key of the configuration, explained`,
		SilenceErrors: true,
		SilenceUsage:  true,
		RunE:          func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
		PersistentPreRunE: func(*cobra.Command, []string) error {
			if e.output != outputTable && e.output != outputJSON && e.output != outputWide {
				return usagef("-o %s is not known: table, wide or json", e.output)
			}
			return nil
		},
	}
	socket := os.Getenv("CAREOF_SOCKET")
	if socket == "" {
		socket = defaultSocket
	}
	flags := root.PersistentFlags()
	flags.StringVarP(&e.output, "output", "o", outputTable, "how to print: `table`, wide (show with every column) or json")
	flags.StringVar(&e.socket, "socket", socket, "the daemon's control socket; also from CAREOF_SOCKET")
	root.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error {
		return usagef("%v (%s --help lists them)", err, cmd.CommandPath())
	})
	root.CompletionOptions.HiddenDefaultCmd = false
	must(root.RegisterFlagCompletionFunc("output", cobra.FixedCompletions([]string{outputTable, outputWide, outputJSON}, cobra.ShellCompDirectiveNoFileComp)))

	root.AddCommand(
		newAAA(e),
		newBench(e),
		newCapture(e),
		newCheck(e),
		newDebug(e),
		newDecode(e),
		newDoctor(e),
		newDrain(e),
		newEnrol(e),
		newExplain(e),
		newJoin(e),
		newKeygen(e),
		newLab(e),
		newLog(e),
		newManual(e),
		newMonitor(e),
		newNotify(e),
		newPortal(e),
		newRelease(e),
		newGuard(e),
		newReload(e),
		newRevoke(e),
		newRun(e),
		newSetup(e),
		newShow(e),
		newUnblock(e),
		newUndrain(e),
		newUI(e),
		newTop(e),
		newVersion(e),
	)
	return root
}

// must is for registrations that fail only by a programmer's mistake.
func must(err error) {
	if err != nil {
		panic(err)
	}
}
