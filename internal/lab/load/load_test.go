package load

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"syscall"
	"testing"

	"careof/internal/config"
	"careof/internal/daemon"
	"careof/internal/lab/netns"
)

// The test program is also the daemon that the tests start.
const daemonVariable = "CAREOF_LOAD_TEST_DAEMON"

// inside says that the tests run in namespaces of their own.
var inside bool

func TestMain(m *testing.M) {
	if file := os.Getenv(daemonVariable); file != "" {
		os.Exit(runDaemon(file))
	}
	code, in, err := netns.Enter()
	if err != nil {
		fmt.Fprintln(os.Stderr, "tests that need namespaces are skipped:", err)
	} else if !in {
		os.Exit(code)
	}
	inside = in
	os.Exit(m.Run())
}

func runDaemon(file string) int {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, os.Interrupt)
	defer stop()
	c, err := config.Load(file)
	if err == nil {
		err = daemon.Run(ctx, c, daemon.NewLogger(os.Stderr))
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}

func command(config string) *exec.Cmd {
	cmd := netns.Self()
	cmd.Env = append(os.Environ(), daemonVariable+"="+config)
	return cmd
}

func needNamespaces(t *testing.T) {
	t.Helper()
	if !inside {
		t.Skip("no privilege for namespaces")
	}
}

// TestEveryAnsweredBindingForwardsAndSurvives is the benchmark in small: it
// fails by itself when an answered binding does not forward, also after
// SIGTERM and kill -9, and when a refresh is refused.
func TestEveryAnsweredBindingForwardsAndSurvives(t *testing.T) {
	needNamespaces(t)
	r, err := Registrations(t.Context(), Options{Nodes: 300, Round: 100, Rounds: 2, Plane: "tun", Command: command, Progress: func(s string) { t.Log(s) }})
	if err != nil {
		t.Fatal(err)
	}
	if r.Forwarding != 600 {
		t.Errorf("%d packets were seen in their tunnels, want 200 before and after each restart", r.Forwarding)
	}
	if len(r.Rates) != 4 || r.Rates[1].Count != 300 || r.Rates[0].Median <= 0 {
		t.Errorf("the rates are %+v", r.Rates)
	}
}
