package main

import (
	"github.com/spf13/cobra"

	"careof/internal/config"
	"careof/internal/daemon"
)

func newRun(e *env) *cobra.Command {
	var file string
	cmd := &cobra.Command{
		Use:   "run",
		Short: "Run the daemon: home agent, foreign agent, mobile node",
		Long: `Run reads the configuration and does what its sections say: a [home-agent] section
makes it a home agent, and likewise [foreign-agent] and [mobile-node]. It stays in the
foreground and logs to standard error; a service manager is told when it is ready.
SIGTERM or an interrupt ends it. Bindings and tunnels are kept for the next start.`,
		Example: `  careof run -c /etc/careof/careof.toml`,
		Args:    noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := config.Load(file)
			if err != nil {
				return err
			}
			return daemon.Run(cmd.Context(), c, daemon.NewLogger(e.stderr))
		},
	}
	configFlag(cmd, &file)
	return cmd
}
