package main

import (
	"context"
	"fmt"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"careof/internal/control"
)

func newAAA(e *env) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "aaa",
		Short: "What AAA says about mobile nodes",
		Args:  noArgs,
		RunE:  func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(newAAATest(e), newAAAEnd(e))
	return cmd
}

func newAAATest(e *env) *cobra.Command {
	var order control.AAATestOrder
	var file string
	cmd := &cobra.Command{
		Use:   "test NAI",
		Short: "Ask AAA about a mobile node, as agents would",
		Long: `Test has the running daemon ask its AAA servers, or its own list, about a mobile node.
It asks for what a home agent needs: key, address, how long they hold. With the node's
secret it also answers a challenge, as the node would at a foreign agent. Keys are
never printed: their fingerprints are those of careof show associations. Diameter
servers only verify the secret, used under --spi in HMAC-MD5, or as with CHAP.

On a home agent it also says what that would not do with the answer: an address outside
of its networks, in a pool or another node's, another home agent, no key.

It exits with 1 when AAA refuses, or when the home agent would.`,
		Example: `  careof aaa test van7@fleet.example
  careof aaa test van7@fleet.example --secret-file van7.secret`,
		Args: usageArgs(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			order.NAI = args[0]
			if file != "" {
				text, err := os.ReadFile(file)
				if err != nil {
					return err
				}
				order.Secret = strings.TrimRight(string(text), "\r\n")
			}
			ctx, cancel := context.WithTimeout(cmd.Context(), askLimit)
			defer cancel()
			done, err := control.NewClient(e.socket).TestAAA(ctx, order)
			if err != nil {
				return err
			}
			return e.tested(done)
		},
	}
	cmd.Flags().Uint32Var(&order.SPI, "spi", 256, "the SPI whose key is asked for")
	cmd.Flags().StringVar(&file, "secret-file", "", "answer a challenge with the secret in this file")
	return cmd
}

func newAAAEnd(e *env) *cobra.Command {
	return &cobra.Command{
		Use:   "end NAI",
		Short: "End a mobile node's sessions, as its AAA server",
		Long: `End has the AAA server that runs here ask the agents of a mobile node to end its sessions:
the home agent of a node of this realm, the foreign agent of a visitor (RFC 4004).`,
		Example: `  careof aaa end van7@fleet.example`,
		Args:    usageArgs(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			ctx, cancel := context.WithTimeout(cmd.Context(), askLimit)
			defer cancel()
			done, err := control.NewClient(e.socket).EndAAA(ctx, control.AAAEndOrder{NAI: args[0]})
			if err != nil {
				return err
			}
			if e.output == outputJSON {
				return e.printJSON(struct {
					Schema int              `json:"schema"`
					Ended  control.AAAEnded `json:"ended"`
				}{1, done})
			}
			fmt.Fprintf(e.stdout, "%d agents were asked to end the sessions of %s\n", done.Asked, args[0])
			return nil
		},
	}
}

// aaaTestOutput is the output of aaa test.
type aaaTestOutput struct {
	Schema int             `json:"schema"`
	Test   control.AAATest `json:"test"`
}

// tested prints what AAA has said.
func (e *env) tested(done control.AAATest) error {
	refused := !done.Key.Granted || done.Key.Unfit != "" || done.Challenge != nil && !done.Challenge.Granted
	if e.output == outputJSON {
		if err := e.printJSON(aaaTestOutput{1, done}); err != nil {
			return err
		}
	} else {
		if done.Challenge != nil {
			e.verdict("challenge", *done.Challenge)
		}
		e.verdict("key", done.Key)
	}
	if refused {
		if done.Key.Unfit != "" {
			return fmt.Errorf("%s cannot register here: what AAA grants is of no use to this home agent", done.NAI)
		}
		return fmt.Errorf("AAA does not grant %s everything", done.NAI)
	}
	return nil
}

func (e *env) verdict(what string, v control.AAAVerdict) {
	if !v.Granted {
		fmt.Fprintf(e.stdout, "%-10s refused after %v: %s\n", what, v.Took, v.Why)
		return
	}
	fmt.Fprintf(e.stdout, "%-10s granted after %v\n", what, v.Took)
	if v.Unfit != "" {
		fmt.Fprintf(e.stdout, "           but its requests are discarded here: %s\n", strings.TrimPrefix(v.Unfit, "ha: "))
	}
	if v.Fingerprint != "" {
		fmt.Fprintf(e.stdout, "           SPI %d, %s, %s\n", v.SPI, v.Algorithm, v.Fingerprint)
	}
	if v.HomeAddress.IsValid() {
		fmt.Fprintf(e.stdout, "           home address %v\n", v.HomeAddress)
	}
	if v.HomeAgent.IsValid() {
		fmt.Fprintf(e.stdout, "           home agent %v\n", v.HomeAgent)
	}
	for _, p := range v.Prefixes {
		fmt.Fprintf(e.stdout, "           mobile network %v\n", p)
	}
	if v.Lifetime > 0 {
		fmt.Fprintf(e.stdout, "           holds for %v\n", v.Lifetime)
	}
}
