package flood

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"os/signal"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"careof/internal/config"
	"careof/internal/daemon"
	"careof/internal/lab/netns"
)

// The test program is also the daemon that the test starts.
const daemonVariable = "CAREOF_FLOOD_TEST_DAEMON"

func TestMain(m *testing.M) {
	if file := os.Getenv(daemonVariable); file != "" {
		if err := runDaemon(file); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	if os.Geteuid() != 0 || os.Getenv("CAREOF_LAB_OUTSIDE") != "" {
		code, inside, err := netns.Enter()
		if err != nil {
			fmt.Fprintln(os.Stderr, "tests that need namespaces are skipped:", err)
		} else if !inside {
			os.Exit(code)
		}
	}
	os.Exit(m.Run())
}

func runDaemon(file string) error {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, os.Interrupt)
	defer stop()
	c, err := config.Load(file)
	if err != nil {
		return err
	}
	return daemon.Run(ctx, c, daemon.NewLogger(os.Stderr))
}

// Amid forged requests a good node registers, every time; what is forged leaves
// no visitor and no binding behind, and costs no memory to speak of. How long
// the good node takes is printed: see `careof bench flood`.
//
//rfc:5944#5.4
func TestForgeriesLeaveNothingBehind(t *testing.T) {
	phases, err := Run(t.Context(), Options{Registrations: 3, Seed: 1, Tell: t.Output(), Command: func(config string) *exec.Cmd {
		cmd := netns.Self()
		cmd.Env = append(os.Environ(), daemonVariable+"="+config)
		return cmd
	}})
	if os.Geteuid() != 0 && (errors.Is(err, fs.ErrPermission) || errors.Is(err, unix.EPERM)) {
		t.Skip("no privilege for namespaces: ", err)
	}
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range phases {
		if p.Visitors != 1 || p.Bindings != 1 {
			t.Errorf("flooding %s: %d visitors and %d bindings, not those of the good node", p.Flooded, p.Visitors, p.Bindings)
		}
		if p.Flooded != "nobody" && p.Rate < 100 {
			t.Errorf("flooding %s: %.0f forged requests a second are no flood", p.Flooded, p.Rate)
		}
		if p.Grown > 256<<20 {
			t.Errorf("flooding %s: the daemon has grown by %d MiB", p.Flooded, p.Grown>>20)
		}
	}
	var table strings.Builder
	if err := Write(&table, phases); err != nil {
		t.Fatal(err)
	}
	t.Logf("\n%s", table.String())
}
