package main

import (
	"context"
	"fmt"
	"os/exec"
	"path/filepath"

	"github.com/spf13/cobra"

	"careof/internal/config"
	"careof/internal/daemon"
)

// A beginning is how the daemon starts after its configuration was written.
type beginning struct {
	start bool // by the service manager
	run   bool // as this very process
}

// unitFolder is that of the unit's configuration.
const unitFolder = "/etc/careof"

func (b *beginning) flags(cmd *cobra.Command) {
	flags := cmd.Flags()
	flags.BoolVar(&b.start, "start", false, "enable the service and start it (systemctl)")
	flags.BoolVar(&b.run, "run", false, "become the daemon, in the foreground")
	cmd.MarkFlagsMutuallyExclusive("start", "run")
}

// possible says why the daemon cannot be started, before anything is written.
func (b beginning) possible(dir string) error {
	if !b.start {
		return nil
	}
	if _, err := exec.LookPath("systemctl"); err != nil {
		return usagef("--start: there is no systemd on this host (systemctl): --run starts the daemon here and now")
	}
	if at, err := filepath.Abs(dir); err != nil || at != unitFolder {
		return usagef("--start is for the configuration in %s, which the service reads: leave --dir out, or use --run", unitFolder)
	}
	return nil
}

// hint says how to start it, when nobody does.
func (b beginning) hint(e *env, file string) {
	switch at, err := filepath.Abs(filepath.Dir(file)); {
	case b.start, b.run:
	case err != nil || at != unitFolder:
		fmt.Fprintf(e.stdout, "Start it:\n\n    careof run -c %s      # the service reads %s\n", file, unitFolder)
	default:
		fmt.Fprintf(e.stdout, "Start it:\n\n    systemctl enable --now careof      # or: careof run -c %s\n", file)
	}
}

// begin starts the daemon; with run it returns when that ends.
func (e *env) begin(ctx context.Context, b beginning, file string) error {
	switch {
	case b.start:
		systemctl := exec.CommandContext(ctx, "systemctl", "enable", "--now", "careof")
		systemctl.Stdout, systemctl.Stderr = e.stderr, e.stderr
		if err := systemctl.Run(); err != nil {
			return fmt.Errorf("%s is written, but systemctl enable --now careof failed: %w (journalctl -u careof says more)", file, err)
		}
	case b.run:
		c, err := config.Load(file)
		if err != nil {
			return err
		}
		return daemon.Run(ctx, c, daemon.NewLogger(e.stderr))
	}
	return nil
}
