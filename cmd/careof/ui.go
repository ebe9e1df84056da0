package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"careof/internal/control"
	"careof/internal/ui"
)

func newUI(e *env) *cobra.Command {
	listen := "127.0.0.1:8435"
	cmd := &cobra.Command{
		Use:   "ui",
		Short: "Show what the daemon does in a browser",
		Long: `Ui serves a dashboard on this host, until it is interrupted: who is where, drawn
as it changes; bindings and visitors, however many; what happened to each node;
rates; denials, explained. It only reads. Open the address that it prints: the
key in it is what lets a browser in.

From another host, forward the port: ssh -L 8435:127.0.0.1:8435 HOST, or let it
ask a daemon that listens on TCP: --socket https://ha.example:8434, with the name
of the file with the token in CAREOF_TOKEN_FILE.`,
		Example: `  careof ui
  careof ui --listen 127.0.0.1:9000`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			client := control.NewClient(e.socket)
			// A mistake about the socket should show here, not in the browser.
			var status control.Status
			if err := client.Show(cmd.Context(), "status", "", &status); err != nil {
				return err
			}
			server, err := ui.Listen(listen, client)
			if err != nil {
				return err
			}
			fmt.Fprintf(e.stdout, "The dashboard is at %s\n", server.URL())
			return server.Serve(cmd.Context())
		},
	}
	cmd.Flags().StringVar(&listen, "listen", listen, "`address` and port of the dashboard, on this host")
	return cmd
}
