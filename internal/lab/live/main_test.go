package live

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"os/signal"
	"runtime"
	"strconv"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"careof/internal/config"
	"careof/internal/control"
	"careof/internal/daemon"
	"careof/internal/lab/netns"
	"careof/internal/lab/topology"
)

// The test program is also the daemon that the tests start.
const daemonVariable = "CAREOF_LIVE_TEST_DAEMON"

func TestMain(m *testing.M) {
	if file := os.Getenv(daemonVariable); file != "" {
		os.Exit(runDaemon(file))
	}
	if os.Geteuid() != 0 || os.Getenv("CAREOF_LAB_OUTSIDE") != "" {
		code, inside, err := netns.Enter()
		if err != nil {
			fmt.Fprintln(os.Stderr, "tests that need namespaces are skipped:", err)
		} else if !inside {
			os.Exit(code)
		}
	}
	// Scenes mostly wait, so more of them play at a time than there are
	// processors; not so many that they wait for each other.
	flag.Parse()
	if err := flag.Set("test.parallel", strconv.Itoa(10*runtime.NumCPU())); err != nil {
		panic(err)
	}
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

// build makes a laboratory that the test takes down. It skips only where the
// privilege is missing; never as root.
func build(t *testing.T, top *topology.Topology, o Options) *Lab {
	t.Helper()
	if o.Command == nil {
		o.Command = command
	}
	o.Heard = func(node string, e control.Event) { t.Logf("%s: %v", node, e.Note) }
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	l, err := Build(ctx, top, o)
	if os.Geteuid() != 0 && (errors.Is(err, fs.ErrPermission) || errors.Is(err, unix.EPERM)) {
		t.Skip("no privilege for namespaces: ", err)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if t.Failed() {
			for _, d := range l.Daemons() {
				t.Logf("log of %s:\n%s", d.Node, d.LogTail(60))
			}
		}
		if err := l.Close(); err != nil {
			t.Error("close the laboratory: ", err)
		}
	})
	return l
}
