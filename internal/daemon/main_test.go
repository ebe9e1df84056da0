package daemon

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"syscall"
	"testing"

	"careof/internal/config"
)

// The test program is also the daemon that the tests start.
const daemonVariable = "CAREOF_DAEMON_TEST_CONFIG"

func TestMain(m *testing.M) {
	if file := os.Getenv(daemonVariable); file != "" {
		os.Exit(runDaemon(file))
	}
	os.Exit(m.Run())
}

func runDaemon(file string) int {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	c, err := config.Load(file)
	if err == nil {
		err = Run(ctx, c, NewLogger(os.Stderr))
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}
