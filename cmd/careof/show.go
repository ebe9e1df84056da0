package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"careof/internal/control"
)

// askLimit bounds how long the daemon may take to answer.
const askLimit = 15 * time.Second

// shown says what each name of control.Names is, for help.
var shown = map[string]string{
	"status":         "the daemon at a glance",
	"bindings":       "who is bound to where (home agent)",
	"binding":        "one mobile node's bindings in full; needs its home address or NAI",
	"registrations":  "the latest registrations: asked for (mobile node), answered (home agent)",
	"visitors":       "the mobile nodes at a foreign agent",
	"advertisements": "what the agents on this host say of themselves, link by link",
	"agents":         "the mobility agents that a mobile node hears",
	"uplinks":        "the interfaces of a mobile node, and why each is used or not",
	"networks":       "the mobile networks: those bound, and a mobile router's own",
	"host":           "what a mobile node was told about its home network, and what became of it",
	"associations":   "security associations, without their keys",
	"enrolled":       "the mobile nodes that have joined with a token (careof enrol), and the invited ones",
	"blocked":        "the mobile nodes that the home agent keeps out (careof revoke --block)",
	"pool":           "the home agents of the pool, their nodes, and who is drained",
	"aaa":            "who is asked about mobile nodes, how the servers do, and their sessions",
	"stages":         "how a message is processed, stage by stage, with the RFC's sections",
	"counters":       "everything that is counted",
	"plane":          "the data plane's entries and tunnels",
	"config":         "the configuration in force, defaults filled in",
}

func newShow(e *env) *cobra.Command {
	var long strings.Builder
	long.WriteString("Show asks the running daemon and prints the answer as a table, or with -o json as\na stable document.\n\n")
	for _, name := range control.Names {
		fmt.Fprintf(&long, "  %-14s %s\n", name, shown[name])
	}
	return &cobra.Command{
		Use:   "show WHAT [ADDRESS]",
		Short: "Show what the daemon is doing",
		Long:  strings.TrimRight(long.String(), "\n"),
		Example: `  careof show bindings
  careof show binding 10.10.0.5
  careof show bindings -o wide
  careof show status -o json`,
		Args: usageArgs(cobra.RangeArgs(1, 2)),
		ValidArgsFunction: func(cmd *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
			return completeShow(cmd.Context(), e, args), cobra.ShellCompDirectiveNoFileComp
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			what, argument := args[0], ""
			if !slices.Contains(control.Names, what) {
				return usagef("there is no %q to show: %s", what, strings.Join(control.Names, ", "))
			}
			if len(args) == 2 {
				argument = args[1]
			}
			if (what == "binding") != (argument != "") {
				return usagef("usage: careof show binding ADDRESS-OR-NAI; nothing else takes an argument")
			}
			ctx, cancel := context.WithTimeout(cmd.Context(), askLimit)
			defer cancel()
			answer, err := control.NewClient(e.socket).Raw(ctx, what, argument)
			if err != nil {
				return err
			}
			if e.output == outputJSON {
				_, err = e.stdout.Write(answer)
				return err
			}
			if e.output == outputWide {
				return control.Wide(e.stdout, what, answer)
			}
			return control.Table(e.stdout, what, answer)
		},
	}
}

// completeShow offers names, and after "binding" the addresses that are bound now.
func completeShow(ctx context.Context, e *env, args []string) []string {
	if len(args) == 0 {
		return control.Names
	}
	if len(args) > 1 || args[0] != "binding" {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	var bindings []struct {
		HomeAddress netip.Addr `json:"home_address"`
	}
	if control.NewClient(e.socket).Show(ctx, "bindings", "", &bindings) != nil {
		return nil
	}
	var addresses []string
	for _, b := range bindings {
		addresses = append(addresses, b.HomeAddress.String())
	}
	return slices.Compact(addresses)
}

func newMonitor(e *env) *cobra.Command {
	return &cobra.Command{
		Use:   "monitor",
		Short: "Print events as they happen",
		Long: `Monitor prints what the daemon does, a line an event, until it is interrupted:
bindings, moves, denials, links. With -o json each line is a JSON object.`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			var failed error
			err := control.NewClient(e.socket).Monitor(cmd.Context(), func(text []byte) bool {
				failed = e.printEvent(text)
				return failed == nil
			})
			if failed != nil {
				return failed
			}
			return err
		},
	}
}

func (e *env) printEvent(text []byte) error {
	if e.output == outputJSON {
		_, err := fmt.Fprintf(e.stdout, "%s\n", text)
		return err
	}
	var event control.Event
	if err := json.Unmarshal(text, &event); err != nil {
		return fmt.Errorf("event: %w", err)
	}
	_, err := fmt.Fprintf(e.stdout, "%s %s %v\n", event.Time.Local().Format("15:04:05.000"), event.Role, event.Note)
	return err
}
