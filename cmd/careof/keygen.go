package main

import (
	"crypto/rand"
	"fmt"

	"github.com/spf13/cobra"

	"careof/internal/config"
)

func newKeygen(e *env) *cobra.Command {
	var request config.KeygenRequest
	var dir string
	cmd := &cobra.Command{
		Use:   "keygen NODE",
		Short: "Make a security association for both ends",
		Long: `Keygen makes a key for a mobile node and its home agent, and prints what both
ends put into their careof.toml. NODE is the mobile node's home address, or its
name (an NAI such as van7@fleet.example).

The key itself goes to keys.d/ below --dir, in a file that only its owner can
read. Copy that file to the other machine over a channel that you trust, into
keys.d/ beside its careof.toml, with mode 0600.`,
		Example: `  careof keygen 10.10.0.5 --home-agent 198.51.100.1
  careof keygen van7@fleet.example --dir /etc/careof
  careof keygen 10.10.0.5 --inline           # for a laboratory: no file`,
		Args: usageArgs(cobra.ExactArgs(1)),
		RunE: func(_ *cobra.Command, args []string) error {
			request.Node = args[0]
			return runKeygen(e, request, dir)
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&request.HomeAgent, "home-agent", "", "the home agent's address or name, for the mobile node's end")
	flags.StringVar(&request.Algorithm, "algorithm", "hmac-sha256", "hmac-sha256, hmac-sha1, hmac-md5 or keyed-md5")
	flags.Uint32Var(&request.SPI, "spi", 0, "the security parameter index, from 256 on (default random)")
	flags.BoolVar(&request.Inline, "inline", false, "print the key instead of writing a file")
	flags.StringVar(&dir, "dir", ".", "the `folder` of careof.toml, in which keys.d/ is made")
	must(cmd.MarkFlagDirname("dir"))
	must(cmd.RegisterFlagCompletionFunc("algorithm", cobra.FixedCompletions([]string{"hmac-sha256", "hmac-sha1", "hmac-md5", "keyed-md5"}, cobra.ShellCompDirectiveNoFileComp)))
	return cmd
}

// generated is the output of keygen.
type generated struct {
	Schema      int    `json:"schema"`
	SPI         uint32 `json:"spi"`
	Algorithm   string `json:"algorithm"`
	Fingerprint string `json:"fingerprint"`
	KeyFile     string `json:"key_file,omitempty"`
	HomeAgent   string `json:"home_agent_toml"`
	MobileNode  string `json:"mobile_node_toml"`
}

func runKeygen(e *env, request config.KeygenRequest, dir string) error {
	pair, err := config.NewPair(rand.Reader, request)
	if err != nil {
		return &exit{exitUsage, err}
	}
	path, err := pair.WriteKey(dir)
	if err != nil {
		return err
	}
	if e.output == outputJSON {
		return e.printJSON(generated{1, pair.SPI, pair.Algorithm.String(), pair.Key.String(), path, pair.HomeAgent, pair.MobileNode})
	}
	fmt.Fprintf(e.stdout, "# On the home agent:\n%s\n# On the mobile node:\n%s", pair.HomeAgent, pair.MobileNode)
	if path != "" {
		fmt.Fprintf(e.stderr, "The key %s is in %s; copy it to the other machine, with mode 0600.\n", pair.Key, path)
	}
	return nil
}
