package main

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"careof/internal/control"
	"careof/wire/mip4"
)

func newExplain(e *env) *cobra.Command {
	return &cobra.Command{
		Use:   "explain [CODE|TERM]",
		Short: "Say what a reply code, message, extension, counter or event means, and what to do",
		Long: `Explain looks a number or a name up among the reply codes, messages and
extensions of Mobile IPv4, and among the daemon's counters and events, and says
what it means, what to do about it, and where it is defined. Without one it
lists the reply codes.`,
		Example: `  careof explain 133
  careof explain "identification mismatch"
  careof explain 36/1                        # extension 36, subtype 1
  careof explain nai
  careof explain home-agent.denied_133       # a counter
  careof explain nat-mapping-lost            # an event`,
		Args: cobra.ArbitraryArgs,
		ValidArgsFunction: func(cmd *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
			if len(args) > 0 {
				return nil, cobra.ShellCompDirectiveNoFileComp
			}
			return completeExplain(cmd.Context(), e), cobra.ShellCompDirectiveNoFileComp
		},
		RunE: func(_ *cobra.Command, args []string) error {
			if len(args) == 0 {
				return listCodes(e)
			}
			return runExplain(e, strings.Join(args, " "))
		},
	}
}

// explained is the output of explain.
type explained struct {
	Schema  int          `json:"schema"`
	Entries []mip4.Entry `json:"entries"`
}

func runExplain(e *env, term string) error {
	entries := control.ExplainName(term)
	if len(entries) == 0 {
		entries = mip4.Explain(term)
	}
	if len(entries) == 0 {
		return &exit{exitNotFound, fmt.Errorf("%q is no reply code, message, extension, counter or event: give a number or a word of its name", term)}
	}
	if e.output == outputJSON {
		return e.printJSON(explained{1, entries})
	}
	for i, entry := range entries {
		if i > 0 {
			fmt.Fprintln(e.stdout)
		}
		fmt.Fprintln(e.stdout, e.bold(strings.TrimSuffix(string(entry.Kind)+" "+entry.Number, " ")+": "+entry.Name))
		for _, line := range []struct{ label, text string }{
			{"", entry.Text}, {"Means: ", entry.Means}, {"Do:    ", entry.Do}, {"See:   ", entry.RFC},
		} {
			if line.text != "" {
				fmt.Fprintf(e.stdout, "  %s%s\n", line.label, line.text)
			}
		}
	}
	return nil
}

// listed is the output of explain without a term.
type listed struct {
	Schema int       `json:"schema"`
	Codes  []codeRow `json:"codes"`
}

type codeRow struct {
	Code int    `json:"code"`
	Name string `json:"name"`
	RFC  string `json:"rfc"`
}

func listCodes(e *env) error {
	out := listed{Schema: 1}
	rows := [][]string{{"CODE", "NAME", "DEFINED IN"}}
	for _, c := range mip4.Codes() {
		out.Codes = append(out.Codes, codeRow{int(c.Code), c.Name, c.RFC})
		rows = append(rows, []string{strconv.Itoa(int(c.Code)), c.Name, c.RFC})
	}
	if e.output == outputJSON {
		return e.printJSON(out)
	}
	return e.table(rows)
}

// completeExplain offers the codes, the events, and the counters that the
// daemon counts now.
func completeExplain(ctx context.Context, e *env) []string {
	var words []string
	for _, c := range mip4.Codes() {
		words = append(words, strconv.Itoa(int(c.Code))+"\t"+c.Text)
	}
	words = append(words, control.Explained()...)
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	var counters []control.Counter
	if control.NewClient(e.socket).Show(ctx, "counters", "", &counters) == nil {
		for _, c := range counters {
			words = append(words, c.Name)
		}
	}
	slices.Sort(words)
	return slices.Compact(words)
}
