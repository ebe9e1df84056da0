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
	var prefixes []string
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

With --prefix the node is a mobile router: the network behind it keeps its addresses
too. Each --prefix is one that this node alone may bring, or the word pool: the home
agent then assigns one of its prefix pools. It may be repeated.

Left to itself, enrol takes the lowest address of the home networks that nobody has
and nobody was invited to. One that you name with --home-address must be free too: no
node's, none of this host's or of its gateway, not in a pool, not blocked.

careof show enrolled lists who has joined; careof enrol remove forgets a node.`,
		Example: `  careof enrol
  careof enrol --nai van7@fleet.example --for 24h --qr
  careof enrol --prefix 10.20.0.0/24         # a router with a network behind it`,
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
			for _, text := range prefixes {
				p, err := netip.ParsePrefix(text)
				switch {
				case text == "pool" && !order.Assigned:
					order.Assigned = true
				case err != nil || !p.Addr().Is4():
					return usagef("--prefix takes an IPv4 prefix like 10.20.0.0/24, or once the word pool")
				default:
					order.Prefixes = append(order.Prefixes, p)
				}
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
	flags.StringArrayVar(&prefixes, "prefix", nil, "a `network` behind the node, such as 10.20.0.0/24, or pool")
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
	networks := made.Prefixes
	if made.Assigned {
		networks = append(networks, netip.Prefix{})
	}
	behind, lan := "", ""
	if len(networks) > 0 {
		behind, lan = ", with "+networkNames(networks)+" behind it", " --lan INTERFACE"
	}
	fmt.Fprintf(e.stderr, "On the node, as root, before %s:\n\n    careof join --start%s %s\n\nIt will be %v%s. The token is good once.\n",
		made.Until.Local().Format(time.DateTime), lan, made.Token, made.HomeAddress, behind)
	return nil
}

// networkNames are mobile networks in words; an invalid one is assigned later.
func networkNames(list []netip.Prefix) string {
	var names []string
	for _, p := range list {
		if p.IsValid() {
			names = append(names, p.String())
		} else {
			names = append(names, "a network of the pool")
		}
	}
	return strings.Join(names, " and ")
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
		Use:   "remove ADDRESS|NAI",
		Short: "Forget an enrolled node, or an invitation; its bindings end",
		Long: `Remove forgets a node that has joined, with its key, or a token that was not used:
its bindings end, and it can register no more. Its name and address are free again.

A node that careof revoke --block keeps out stays blocked, so that nobody is invited in
its place by mistake. careof unblock ends that.`,
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
			if gone.Blocked {
				fmt.Fprintf(e.stdout, "It is still blocked, so that nobody joins as %s: careof unblock %s ends that.\n", gone.Node, gone.Node)
			}
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
