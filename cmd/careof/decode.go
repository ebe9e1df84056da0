package main

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"careof/internal/decode"
)

func newDecode(e *env) *cobra.Command {
	return &cobra.Command{
		Use:   "decode HEX...|FILE|-",
		Short: "Print a Mobile IP message or capture field by field",
		Long: `Decode prints every field of a Mobile IP message with its offset, its value and
the section of the RFC that defines it. It reads hexadecimal digits (spaces,
colons and 0x do not matter), a file of them, a pcap or pcapng capture, or
standard input for "-". Octets may begin with an Ethernet frame, an IP packet or
the payload of UDP port 434; it says which it takes them for. Tunnels are
followed inwards.

It exits with 1 when a field has an error.`,
		Example: `  careof decode 01000e100a0a0005c6336401c0000207eb8f6a2b00000000
  careof decode demo.pcapng
  tcpdump -w - udp port 434 | careof decode -`,
		Args: usageArgs(cobra.MinimumNArgs(1)),
		RunE: func(_ *cobra.Command, args []string) error { return runDecode(e, args) },
	}
}

// decoded is the output of decode.
type decoded struct {
	Schema int `json:"schema"`
	*decode.Report
}

func runDecode(e *env, args []string) error {
	input, err := decodeInput(e, args)
	if err != nil {
		return err
	}
	report, failure := decode.Decode(input)
	if report == nil {
		return failure
	}
	// What came before the damage is worth seeing.
	if e.output == outputJSON {
		err = e.printJSON(decoded{1, report})
	} else {
		err = report.WriteText(e.stdout)
	}
	if err != nil || failure != nil {
		return errors.Join(err, failure)
	}
	if problems := report.Problems(); len(problems) > 0 {
		return fmt.Errorf("fields with errors: %d, the first: %v", len(problems), problems[0])
	}
	return nil
}

// decodeInput returns what the arguments name, or are.
func decodeInput(e *env, args []string) ([]byte, error) {
	if len(args) == 1 {
		if args[0] == "-" {
			return io.ReadAll(e.stdin)
		}
		content, err := os.ReadFile(args[0])
		if err == nil {
			return content, nil
		}
		if !errors.Is(err, fs.ErrNotExist) && len(args[0]) < 256 {
			return nil, err
		}
	}
	text := strings.Join(args, " ")
	if _, err := decode.Hex(text); err != nil {
		return nil, usagef("%q is neither a file nor hexadecimal digits: %w", text, err)
	}
	return []byte(text), nil
}
