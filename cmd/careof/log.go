package main

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"careof/internal/config"
	"careof/internal/control"
)

func newLog(e *env) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "log",
		Short: "Show and set the running daemon's log levels",
		Args:  noArgs,
		RunE:  func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(&cobra.Command{
		Use:   "level [LEVEL] [SUBSYSTEM=LEVEL]...",
		Short: "Show or set log levels: debug, info, warn, error",
		Long: `Level sets the log level of everything, or of single subsystems, until the daemon's
next start; the [log] section of the configuration makes it permanent. Without an
argument it shows them. The level default takes a subsystem's own level away.

Subsystems: ` + strings.Join(config.Subsystems(), ", ") + `.`,
		Example: `  careof log level registration=debug nat=debug
  careof log level registration=default
  careof log level warn`,
		ValidArgsFunction: func(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
			var words []string
			for _, s := range config.Subsystems() {
				for _, l := range []string{"debug", "info", "warn", "error", "default"} {
					words = append(words, s+"="+l)
				}
			}
			return words, cobra.ShellCompDirectiveNoFileComp
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			order := control.LogLevels{Levels: make(map[string]string)}
			for _, a := range args {
				name, level, of := strings.Cut(a, "=")
				switch {
				case of:
					order.Levels[name] = level
				case order.Level != "":
					return usagef("%q and %q cannot both be the level of everything: write one of debug, info, warn or error, and SUBSYSTEM=LEVEL for one subsystem (%s)\nusage: %s",
						order.Level, a, strings.Join(config.Subsystems(), ", "), cmd.UseLine())
				default:
					order.Level = a
				}
			}
			ctx, cancel := context.WithTimeout(cmd.Context(), askLimit)
			defer cancel()
			levels, err := control.NewClient(e.socket).LogLevels(ctx, order)
			if err != nil {
				return err
			}
			return e.logLevels(levels)
		},
	})
	return cmd
}

// leveled is the output of log level.
type leveled struct {
	Schema int               `json:"schema"`
	Log    control.LogLevels `json:"log"`
}

func (e *env) logLevels(levels control.LogLevels) error {
	if e.output == outputJSON {
		return e.printJSON(leveled{1, levels})
	}
	fmt.Fprintln(e.stdout, levels.Level)
	for _, name := range slices.Sorted(maps.Keys(levels.Levels)) {
		fmt.Fprintf(e.stdout, "%s=%s\n", name, levels.Levels[name])
	}
	return nil
}
