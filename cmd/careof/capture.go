package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"
	"sync/atomic"
	"time"

	"github.com/spf13/cobra"

	"careof/internal/control"
)

func newCapture(e *env) *cobra.Command {
	var order control.CaptureOrder
	var file string
	var lasts time.Duration
	cmd := &cobra.Command{
		Use:   "capture -w FILE.pcapng",
		Short: "Write what the running daemon receives and sends to a file for Wireshark",
		Long: `Capture writes every registration message and agent advertisement that the daemon
receives or sends, as it happens, with what the daemon made of it as the packet's
comment: bound, moved, denied and why. With --data the tunnels' packets too, also those
that never reach user space. It ends with an interrupt.

Only root may capture. A daemon that nobody listens to does nothing for it; one that is
listened to too slowly loses packets from the file, which says so, and no time.`,
		Example: `  sudo careof capture -w careof.pcapng
  sudo careof capture --data --peer 10.10.0.5 -w van5.pcapng
  sudo careof capture -w - | wireshark -k -i -`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if file == "" {
				return usagef("where to? careof capture -w FILE.pcapng, or -w - for standard output")
			}
			ctx := cmd.Context()
			if lasts > 0 {
				var cancel context.CancelFunc
				ctx, cancel = context.WithTimeout(ctx, lasts)
				defer cancel()
			}
			return e.capture(ctx, order, file)
		},
	}
	flags := cmd.Flags()
	flags.StringVarP(&file, "write", "w", "", "the `file` to write, - for standard output")
	flags.BoolVar(&order.Data, "data", false, "the tunnels' packets too")
	flags.StringVar(&order.Peer, "peer", "", "only what has this `address` in its headers or in the message")
	flags.IntVar(&order.Snap, "snap", 0, "keep at most so many `octets` of a packet; 0 keeps all")
	flags.DurationVar(&lasts, "for", 0, "end after this `time`")
	must(cmd.MarkFlagFilename("write", "pcapng"))
	must(cmd.RegisterFlagCompletionFunc("peer", func(cmd *cobra.Command, _ []string, _ string) ([]string, cobra.ShellCompDirective) {
		return completeShow(cmd.Context(), e, []string{"binding"}), cobra.ShellCompDirectiveNoFileComp
	}))
	return cmd
}

func (e *env) capture(ctx context.Context, order control.CaptureOrder, file string) error {
	client := control.NewClient(e.socket)
	if file == "-" {
		return client.Capture(ctx, order, e.stdout)
	}
	// The file is made when the first octets come: a daemon that is not there
	// leaves none.
	late := &lateFile{name: file}
	err := client.Capture(ctx, order, late)
	if late.file == nil {
		return err
	}
	if closing := late.file.Close(); err == nil {
		err = closing
	}
	fmt.Fprintf(e.stderr, "%s: %d bytes\n", file, late.written.Load())
	return err
}

// A lateFile is made by the first write. What it shows is for its owner alone.
type lateFile struct {
	name    string // with fresh the next free one like it, once it is made
	fresh   bool   // a file that is there is kept
	file    *os.File
	written atomic.Int64
}

var _ io.Writer = (*lateFile)(nil)

func (l *lateFile) Write(b []byte) (int, error) {
	if l.file == nil {
		f, err := l.open()
		if err != nil {
			return 0, fmt.Errorf("%w (name a file in a folder that is there and that you may write to)", err)
		}
		l.file = f
	}
	n, err := l.file.Write(b)
	l.written.Add(int64(n))
	return n, err
}

func (l *lateFile) open() (*os.File, error) {
	if !l.fresh {
		return os.OpenFile(l.name, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	}
	base, kind, _ := strings.Cut(l.name, ".")
	for i := 2; ; i++ {
		f, err := os.OpenFile(l.name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
		if !errors.Is(err, fs.ErrExist) || i > 999 {
			return f, err
		}
		l.name = fmt.Sprintf("%s-%d.%s", base, i, kind)
	}
}
