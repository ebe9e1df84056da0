package main

import (
	"context"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"careof/internal/control"
)

func newPortal(e *env) *cobra.Command {
	var order control.PortalOrder
	var good time.Duration
	cmd := &cobra.Command{
		Use:   "portal UPLINK",
		Short: "Let a browser here sign in to a network with a captive portal",
		Long: `Portal, on a mobile node, lets programs of this host reach the captive portal of an
uplink's network directly, and its name servers, for a while. Nothing else passes the
tunnel, nothing of hosts behind this node does, and it ends by itself: with the time,
when the network has opened, and as soon as a node that was registered over nothing
is registered. careof show uplinks tells which networks are captive.

A portal that loads parts of its pages from elsewhere may need --host for these.`,
		Example: `  careof portal wlan0
  careof portal wlan0 --host pay.hotel.example --for 20m
  careof portal wlan0 --close`,
		Args: usageArgs(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			order.Uplink, order.For = args[0], control.Seconds(good)
			ctx, cancel := context.WithTimeout(cmd.Context(), askLimit)
			defer cancel()
			done, err := control.NewClient(e.socket).Portal(ctx, order)
			if err != nil {
				return err
			}
			if e.output == outputJSON {
				return e.printJSON(map[string]any{"schema": 1, "portal": done})
			}
			if order.Close {
				fmt.Fprintf(e.stdout, "nothing passes the tunnel at %s any more\n", done.Uplink)
				return nil
			}
			fmt.Fprintf(e.stdout, "Until %s programs here reach %v over %s.\n", done.Until.Local().Format(time.TimeOnly), done.Addresses, done.Uplink)
			if done.Page != "" {
				fmt.Fprintf(e.stdout, "Sign in at %s\n", done.Page)
			}
			return nil
		},
	}
	flags := cmd.Flags()
	flags.DurationVar(&good, "for", 10*time.Minute, "how long, at most an hour")
	flags.StringArrayVar(&order.Hosts, "host", nil, "another `host` that the portal needs, by name or address; may be repeated")
	flags.BoolVar(&order.Close, "close", false, "end it now")
	return cmd
}
