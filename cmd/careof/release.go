package main

import (
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"careof/internal/daemon"
)

func newRelease(e *env) *cobra.Command {
	var device string
	cmd := &cobra.Command{
		Use:   "release",
		Short: "Let this host's programs out again after the daemon of its mobile node was stopped",
		Long: `While the daemon of a mobile node is stopped or dead, the rules that it has left keep
what is for the tunnel from leaving beside it. Release takes them away, with the
home address, for whoever will not start it again: programs then use the uplinks
as on any host. It needs a privilege, and refuses while a daemon serves.

What is behind a mobile router stays in: remove the package, or see "Take it away" in
the operations guide. The next start of the daemon puts everything back.`,
		Example: `  systemctl stop careof
  careof release
  careof release --device careof1`,
		Args: usageArgs(cobra.NoArgs),
		RunE: func(*cobra.Command, []string) error {
			devices := []string{device}
			if device == "" {
				var err error
				if devices, err = daemon.KeptIn(); err != nil {
					return err
				}
			}
			for _, d := range devices {
				if err := daemon.Release(d); err != nil {
					return err
				}
			}
			if e.output == outputJSON {
				return e.printJSON(map[string]any{"schema": 1, "released": append([]string{}, devices...)})
			}
			if len(devices) == 0 {
				fmt.Fprintln(e.stdout, "no stopped daemon keeps anything in here")
				return nil
			}
			fmt.Fprintf(e.stdout, "the rules of %s are taken away: programs here send by the uplinks, beside any tunnel\n", strings.Join(devices, ", "))
			return nil
		},
	}
	cmd.Flags().StringVar(&device, "device", "", "the tunnel `device` of the daemon; left out, of all that do not run")
	return cmd
}

// warnKeptIn says before somebody is asked that the rules of a stopped daemon may be
// why no answer will come: that takes long to show.
func (e *env) warnKeptIn(devices func() ([]string, error)) {
	if list, _ := devices(); len(list) > 0 {
		fmt.Fprintf(e.stderr, "The rules of a stopped careof (%s) keep what this host sends in. If nobody answers now, start it again, or take them away with careof release.\n", strings.Join(list, ", "))
	}
}

// keptIn adds to why nobody could be reached that the rules of a stopped daemon may
// be the reason.
func keptIn(err error, devices func() ([]string, error)) error {
	if list, _ := devices(); len(list) > 0 {
		return fmt.Errorf("%w; the rules of a stopped careof (%s) keep what this host sends in: start it again, or take them away with careof release",
			err, strings.Join(list, ", "))
	}
	return err
}
