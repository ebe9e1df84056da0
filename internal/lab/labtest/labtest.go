// Package labtest is for tests that start daemons: the test program is also the
// daemon, and runs its tests where they may change the network.
package labtest

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"os/signal"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"careof/internal/config"
	"careof/internal/daemon"
	"careof/internal/lab/netns"
)

// daemonVariable tells a test program that it is the daemon of this
// configuration.
const daemonVariable = "CAREOF_TEST_DAEMON"

// Command is the daemon's command for a configuration file.
func Command(config string) *exec.Cmd {
	cmd := netns.Self()
	cmd.Env = append(os.Environ(), daemonVariable+"="+config)
	return cmd
}

// Daemon is, in a process that [Command] made, the whole daemon; in others it
// returns at once. TestMain begins with it.
func Daemon() {
	file := os.Getenv(daemonVariable)
	if file == "" {
		return
	}
	if err := Serve(file); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(0)
}

// Serve runs the daemon of a configuration file until it is told to end.
func Serve(file string) error {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, os.Interrupt)
	defer stop()
	c, err := config.Load(file)
	if err != nil {
		return err
	}
	return daemon.Run(ctx, c, daemon.NewLogger(os.Stderr))
}

// without says why there are no namespaces; nil when there are.
var without error

// Enter continues in namespaces that are the tests' own. Where it must not,
// tests that [Need] them are skipped.
func Enter() {
	code, inside, err := netns.Enter()
	if err == nil && !inside {
		os.Exit(code)
	}
	if without = err; err != nil {
		fmt.Fprintln(os.Stderr, "tests that need namespaces are skipped:", err)
	}
}

// EnterUnlessRoot is [Enter] for tests that make namespaces and leave the ones
// alone that they are in: root needs no others for that.
func EnterUnlessRoot() {
	if os.Geteuid() != 0 || os.Getenv("CAREOF_LAB_OUTSIDE") != "" {
		Enter()
	}
}

// Need skips a test where [Enter] was forbidden; root is never forbidden.
func Need(t testing.TB) {
	t.Helper()
	if without != nil && os.Geteuid() == 0 {
		t.Fatal(without)
	}
	if without != nil {
		t.Skip("no privilege for namespaces: ", without)
	}
}

// Allowed skips a test after an error that says that the privilege for
// namespaces is missing; root has it.
func Allowed(t testing.TB, err error) {
	t.Helper()
	if os.Geteuid() != 0 && (errors.Is(err, fs.ErrPermission) || errors.Is(err, unix.EPERM)) {
		t.Skip("no privilege for namespaces: ", err)
	}
}
