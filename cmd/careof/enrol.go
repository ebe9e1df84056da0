package main

import (
	"context"
	"fmt"
	"net/netip"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"rsc.io/qr"

	"careof/internal/control"
)

func newEnrol(e *env) *cobra.Command {
	var order control.EnrolOrder
	var address string
	var good time.Duration
	var picture bool
	cmd := &cobra.Command{
		Use:   "enrol",
		Short: "Invite a mobile node: print a one-time token",
		Long: `Enrol, on the home agent, makes a token with which one mobile node joins: careof
join there writes the node's configuration and its key. The configuration of the
home agent needs an [enrolment] section, and its port must be reachable.

The token is good once and until it expires. Hand it over as you would a password:
who uses it first is the node. It pins the home agent's certificate, so the node
cannot be lured elsewhere.

careof show enrolled lists who has joined; careof enrol remove forgets a node.`,
		Example: `  careof enrol
  careof enrol --nai van7@fleet.example --for 24h --qr`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			order.For = control.Seconds(good)
			if address != "" {
				a, err := netip.ParseAddr(address)
				if err != nil {
					return usagef("--home-address takes an IPv4 address like 10.10.0.7")
				}
				order.HomeAddress = a
			}
			ctx, cancel := context.WithTimeout(cmd.Context(), askLimit)
			defer cancel()
			made, err := control.NewClient(e.socket).Enrol(ctx, order)
			if err != nil {
				return err
			}
			return e.invited(made, picture)
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&order.NAI, "nai", "", "the node's name, such as van7@fleet.example")
	flags.StringVar(&address, "home-address", "", "the node's home address (default: a free one)")
	flags.DurationVar(&good, "for", time.Hour, "how long the token is good")
	flags.BoolVar(&picture, "qr", false, "print the token as a QR code too")
	cmd.AddCommand(newUnenrol(e), newEnrolExport(e))
	return cmd
}

// invitationOutput is the output of enrol.
type invitationOutput struct {
	Schema     int                `json:"schema"`
	Invitation control.Invitation `json:"invitation"`
}

func (e *env) invited(made control.Invitation, picture bool) error {
	if e.output == outputJSON {
		return e.printJSON(invitationOutput{1, made})
	}
	if picture {
		code, err := qr.Encode(made.Token, qr.L)
		if err != nil {
			return fmt.Errorf("qr: %w", err)
		}
		fmt.Fprintln(e.stdout, draw(code))
	}
	fmt.Fprintf(e.stdout, "%s\n", made.Token)
	fmt.Fprintf(e.stderr, "On the node, as root, before %s:\n\n    careof join %s\n\nIt will be %v. The token is good once.\n",
		made.Until.Local().Format(time.DateTime), made.Token, made.HomeAddress)
	return nil
}

// draw makes a picture of half blocks, dark on light also on a dark terminal,
// with the quiet zone of four modules that scanners want.
func draw(code *qr.Code) string {
	const quiet = 4
	light := func(x, y int) bool {
		return x < 0 || y < 0 || x >= code.Size || y >= code.Size || !code.Black(x, y)
	}
	blocks := map[[2]bool]string{{true, true}: "█", {true, false}: "▀", {false, true}: "▄", {false, false}: " "}
	var b strings.Builder
	for y := -quiet; y < code.Size+quiet; y += 2 {
		for x := -quiet; x < code.Size+quiet; x++ {
			b.WriteString(blocks[[2]bool{light(x, y), light(x, y+1)}])
		}
		b.WriteByte('\n')
	}
	return b.String()
}

func newUnenrol(e *env) *cobra.Command {
	return &cobra.Command{
		Use:     "remove ADDRESS|NAI",
		Short:   "Forget an enrolled node, or an invitation; its bindings end",
		Example: `  careof enrol remove van7@fleet.example`,
		Args:    usageArgs(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			ctx, cancel := context.WithTimeout(cmd.Context(), askLimit)
			defer cancel()
			gone, err := control.NewClient(e.socket).Unenrol(ctx, args[0])
			if err != nil {
				return err
			}
			if e.output == outputJSON {
				return e.printJSON(map[string]any{"schema": 1, "enrolled": gone})
			}
			fmt.Fprintf(e.stdout, "%s (%s) is forgotten\n", gone.Node, gone.State)
			return nil
		},
	}
}

func newEnrolExport(e *env) *cobra.Command {
	return &cobra.Command{
		Use:   "export",
		Short: "Print the enrolled nodes as configuration, with their keys",
		Long: `Export prints what careof.toml would have for the nodes that have joined, keys
included: to keep with other configuration, or to move to another home agent. A node
that is in the file is the file's from the next reload on.`,
		Example: `  (umask 077; careof enrol export > enrolled.toml)`,
		Args:    noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			ctx, cancel := context.WithTimeout(cmd.Context(), askLimit)
			defer cancel()
			all, err := control.NewClient(e.socket).ExportEnrolled(ctx)
			if err != nil {
				return err
			}
			if e.output == outputJSON {
				return e.printJSON(map[string]any{"schema": 1, "export": all})
			}
			_, err = fmt.Fprint(e.stdout, all.TOML)
			return err
		},
	}
}
