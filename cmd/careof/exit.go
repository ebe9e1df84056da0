package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"careof/internal/config"
	"careof/internal/control"
)

// Exit codes; scripts rely on them.
const (
	exitOK          = 0
	exitFailure     = 1
	exitUsage       = 2 // wrong arguments, or a wrong configuration
	exitUnreachable = 3 // no daemon at the control socket
	exitNotFound    = 4
	exitDenied      = 5
	exitTimeout     = 6
	exitRestart     = 7 // a reload that only a restart can do
)

// An exit is an error with the exit code that it deserves. One without an
// error has been reported already.
type exit struct {
	code int
	err  error
}

func (e *exit) Error() string {
	if e.err == nil {
		return ""
	}
	return e.err.Error()
}

func (e *exit) Unwrap() error { return e.err }

func usagef(format string, args ...any) error {
	return &exit{exitUsage, fmt.Errorf(format, args...)}
}

// usageArgs makes a wrong number of arguments a usage error.
func usageArgs(check cobra.PositionalArgs) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if check(cmd, args) == nil {
			return nil
		}
		needed := slices.DeleteFunc(strings.Fields(cmd.Use)[1:], func(word string) bool { return word == "--" || strings.HasPrefix(word, "[") })
		if len(args) < len(needed) {
			return usagef("%s: %s is missing\nusage: %s", cmd.CommandPath(), needed[len(args)], cmd.UseLine())
		}
		return usagef("%s: %q is an argument too many\nusage: %s", cmd.CommandPath(), args[len(args)-1], cmd.UseLine())
	}
}

// noArgs refuses every argument. Of a command with commands of its own it was
// meant for one.
func noArgs(cmd *cobra.Command, args []string) error {
	switch {
	case len(args) == 0:
		return nil
	case !cmd.HasSubCommands():
		return usagef("%s takes no arguments, but there is %q\nusage: %s", cmd.CommandPath(), args[0], cmd.UseLine())
	}
	hint := fmt.Sprintf("%s --help lists them", cmd.CommandPath())
	if near := cmd.SuggestionsFor(args[0]); len(near) > 0 {
		hint = fmt.Sprintf("did you mean %q?", near[0])
	}
	return usagef("%s has no command %q (%s)", cmd.CommandPath(), args[0], hint)
}

// codes ties the errors of packages to exit codes, the first that fits.
var codes = []struct {
	err  error
	code int
}{
	{control.ErrUnreachable, exitUnreachable},
	{control.ErrInvalid, exitUsage},
	{control.ErrNotFound, exitNotFound},
	{control.ErrDenied, exitDenied},
	{control.ErrTimeout, exitTimeout},
	{context.DeadlineExceeded, exitTimeout},
}

// exitCode is the exit code for what a command returned.
func exitCode(err error) int {
	if err == nil {
		return exitOK
	}
	var own *exit
	if errors.As(err, &own) {
		return own.code
	}
	var problems config.Problems
	if errors.As(err, &problems) {
		return exitUsage
	}
	for _, row := range codes {
		if errors.Is(err, row.err) {
			return row.code
		}
	}
	// cobra has no type for this one. Its text ends with what may be meant.
	if strings.HasPrefix(err.Error(), "unknown command") {
		return exitUsage
	}
	return exitFailure
}
