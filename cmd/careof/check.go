package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"careof/internal/config"
)

// defaultConfig is where packages install the configuration.
const defaultConfig = "/etc/careof/careof.toml"

func newCheck(e *env) *cobra.Command {
	var file string
	var reference bool
	cmd := &cobra.Command{
		Use:   "check",
		Short: "Find all mistakes in a configuration at once",
		Long: `Check reads a configuration, with the key files that it names, and prints every
mistake in it as

  file:line: key: problem (hint)

It exits with 0 when the daemon would start with it, and with 2 when not.
Warnings do not matter for that. Nothing is changed and no daemon is needed.`,
		Example: `  careof check -c careof.toml
  careof check --reference > careof.toml     # every key, explained, to start from`,
		Args: noArgs,
		RunE: func(*cobra.Command, []string) error {
			if reference {
				_, err := fmt.Fprint(e.stdout, config.Reference())
				return err
			}
			return runCheck(e, file)
		},
	}
	configFlag(cmd, &file)
	cmd.Flags().BoolVar(&reference, "reference", false, "print a commented configuration with every key instead")
	return cmd
}

// configFlag adds the flag that names the configuration.
func configFlag(cmd *cobra.Command, file *string) {
	cmd.Flags().StringVarP(file, "config", "c", defaultConfig, "the configuration `file`")
	must(cmd.MarkFlagFilename("config", "toml"))
}

// checked is the output of check.
type checked struct {
	Schema   int             `json:"schema"`
	File     string          `json:"file"`
	OK       bool            `json:"ok"`
	Problems config.Problems `json:"problems"`
	Warnings config.Problems `json:"warnings"`
}

func runCheck(e *env, file string) error {
	result := checked{Schema: 1, File: file, Problems: config.Problems{}, Warnings: config.Problems{}}
	c, err := config.Load(file)
	switch problems := err.(type) {
	case nil:
		result.OK = true
		result.Warnings = append(result.Warnings, c.Warnings...)
	case config.Problems:
		result.Problems = problems
	default:
		return err
	}
	if e.output == outputJSON {
		if err := e.printJSON(result); err != nil {
			return err
		}
	} else {
		// Problems are what the command is asked for, so they go where
		// its output goes.
		for _, p := range result.Problems {
			fmt.Fprintln(e.stdout, p)
		}
		for _, w := range result.Warnings {
			fmt.Fprintf(e.stdout, "%s [warning]\n", w)
		}
	}
	if !result.OK {
		return &exit{code: exitUsage}
	}
	if e.output != outputJSON {
		fmt.Fprintf(e.stdout, "%s: ok\n", file)
	}
	return nil
}
