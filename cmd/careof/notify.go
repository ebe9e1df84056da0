package main

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"careof/internal/control"
)

func newNotify(e *env) *cobra.Command {
	var order control.NotifyOrder
	cmd := &cobra.Command{
		Use:   "notify [ADDRESS|NAI] --text TEXT",
		Short: "Send a text to a mobile node or an agent, for people to read",
		Long: `Notify sends a text in a Generic Notification (RFC 6098) and waits a few seconds for
the acknowledgement; without one the text is sent again, ever more rarely, until the
registration ends, and to where the node has moved. It shows as the event "notified" at the other end: in careof
monitor, and in the log. It changes nothing there.

A home agent tells a node that is registered with it, through the foreign agent where
there is one; a foreign agent tells a visitor. With --agent the text is for the other
agent that serves the node. At a mobile node no address is given: the text goes to its
home agent, with --agent to the foreign agent that it uses.

Both ends must share a key, and so must a foreign agent that is told, or that tells
something itself.`,
		Example: `  careof notify 10.10.0.5 --text "Maintenance at 22:00, ten minutes"
  careof notify van7@fleet.example --agent --text "Who is on call tonight?"`,
		Args: usageArgs(cobra.MaximumNArgs(1)),
		ValidArgsFunction: func(cmd *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
			if len(args) > 0 {
				return nil, cobra.ShellCompDirectiveNoFileComp
			}
			return completeShow(cmd.Context(), e, []string{"binding"}), cobra.ShellCompDirectiveNoFileComp
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) > 0 {
				order.Node = args[0]
			}
			ctx, cancel := context.WithTimeout(cmd.Context(), askLimit)
			defer cancel()
			done, err := control.NewClient(e.socket).Notify(ctx, order)
			if err != nil {
				return err
			}
			return e.notified(done)
		},
	}
	cmd.Flags().StringVar(&order.Text, "text", "", "what to say: 1 to 254 octets of UTF-8")
	cmd.Flags().BoolVar(&order.Agent, "agent", false, "tell the agent at the other end, and not the node")
	must(cmd.MarkFlagRequired("text"))
	return cmd
}

// notifyOutput is the output of notify.
type notifyOutput struct {
	Schema       int                  `json:"schema"`
	Notification control.Notification `json:"notification"`
}

func (e *env) notified(done control.Notification) error {
	if e.output == outputJSON {
		return e.printJSON(notifyOutput{1, done})
	}
	switch {
	case done.Taken:
		fmt.Fprintf(e.stdout, "%s: acknowledged\n", done.Direction)
	case done.Over && done.Answered:
		fmt.Fprintf(e.stdout, "%s: refused: %s\n", done.Direction, done.Answer)
	default:
		fmt.Fprintf(e.stdout, "%s: sent %s, no acknowledgement yet; it is sent again (careof monitor tells how it ends)\n", done.Direction, many(done.Sent, "time"))
	}
	return nil
}
