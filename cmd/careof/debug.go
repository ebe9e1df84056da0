package main

import (
	"context"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"careof/internal/control"
)

// bundleLimit bounds how long a bundle may take.
const bundleLimit = time.Minute

func newDebug(e *env) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "debug",
		Short: "Gather what helps to find a fault",
		Args:  noArgs,
		RunE:  func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	var file string
	bundle := &cobra.Command{
		Use:   "bundle",
		Short: "Write everything that helps to find a fault to one file, without keys",
		Long: `Bundle writes a tar file with what careof show prints, the configuration in force with
fingerprints in place of keys, the latest events, what the doctor finds, what the program
is doing, and the kernel's links, routes and settings. It has addresses and names of
nodes, and no keys. Only root may have it.`,
		Example: `  sudo careof debug bundle
  sudo careof debug bundle -w - | ssh help@example.net 'cat > bundle.tar.gz'`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			ctx, cancel := context.WithTimeout(cmd.Context(), bundleLimit)
			defer cancel()
			client := control.NewClient(e.socket)
			if file == "-" {
				return client.Bundle(ctx, e.stdout)
			}
			late := &lateFile{name: file}
			if late.name == "" {
				late.fresh = true // there may be another one of this second
				late.name = "careof-bundle-" + time.Now().UTC().Format("20060102T150405Z") + ".tar.gz"
			}
			err := client.Bundle(ctx, late)
			if late.file == nil {
				return err
			}
			if closing := late.file.Close(); err == nil {
				err = closing
			}
			if err == nil && ctx.Err() != nil {
				err = control.ErrTimeout
			}
			if err != nil {
				return err
			}
			fmt.Fprintf(e.stdout, "%s\n", late.name)
			return nil
		},
	}
	bundle.Flags().StringVarP(&file, "write", "w", "", "the `file` to write, - for standard output")
	must(bundle.MarkFlagFilename("write", "gz"))
	cmd.AddCommand(bundle)
	return cmd
}
