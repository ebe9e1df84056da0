package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"careof/internal/config"
	"careof/internal/daemon"
)

func newGuard(e *env) *cobra.Command {
	var file string
	cmd := &cobra.Command{
		Use:   "guard",
		Short: "Keep this host's programs in until the daemon of its mobile node runs",
		Long: `Guard installs the rules by which a mobile node keeps what is for the tunnel (routes of
the configuration) from leaving beside it, and ends. The daemon takes them over when it
starts. Run before the network is up, as careof-guard.service does, nothing leaves with
a visited network's address between the boot and the first registration, nor while the
daemon cannot start.

Until the daemon runs, only the renewal of leases, answers to those who ask, and what
carries a mark leave by the uplinks: the networks that they are connected to are not
reached either. Where a daemon runs, or has left its rules, nothing is done. It needs a
privilege; careof release takes the rules away.`,
		Example: `  careof guard -c /etc/careof/careof.toml
  systemctl enable careof-guard`,
		Args: noArgs,
		RunE: func(*cobra.Command, []string) error {
			c, err := config.Load(file)
			if err != nil {
				return err
			}
			installed, err := daemon.Guard(c)
			if err != nil {
				return err
			}
			if e.output == outputJSON {
				return e.printJSON(map[string]any{"schema": 1, "device": c.Plane.Device, "installed": installed})
			}
			if !installed {
				fmt.Fprintf(e.stdout, "%s: its daemon runs, or has left its rules\n", c.Plane.Device)
				return nil
			}
			fmt.Fprintf(e.stdout, "%s: programs here are kept in until the daemon runs (careof release lets them out)\n", c.Plane.Device)
			return nil
		},
	}
	configFlag(cmd, &file)
	return cmd
}
