package load

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/vishvananda/netlink"

	"careof/internal/control"
	"careof/internal/lab/labtest"
)

// TestTheWatchdogIsFedOnlyWhileTheCanarySings takes the canary's way away, by
// the device's state, and gives it back.
func TestTheWatchdogIsFedOnlyWhileTheCanarySings(t *testing.T) {
	labtest.Need(t)
	for _, plane := range []string{"tun", "auto"} {
		t.Run(plane, func(t *testing.T) {
			b := &bench{report: new(Report), Options: Options{Nodes: 1, Plane: plane, Keep: t.TempDir(), Progress: func(s string) { t.Log(s) }}}
			defer b.close()
			if err := b.prepare(); err != nil {
				t.Fatal(err)
			}
			file := filepath.Join(b.dir, "careof.toml")
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			text = []byte(strings.Replace(string(text), "[home-agent]\n", "[home-agent]\ncanary = \"1s\"\n", 1))
			if err := os.WriteFile(file, text, 0o600); err != nil {
				t.Fatal(err)
			}
			b.Command = func(config string) *exec.Cmd {
				cmd := labtest.Command(config)
				cmd.Env = append(cmd.Env, "WATCHDOG_USEC=600000")
				return cmd
			}
			if err := b.start(t.Context()); err != nil {
				t.Fatal(err)
			}
			client := control.NewClient(filepath.Join(b.dir, "careof.sock"))
			count := func(name string) (value uint64) {
				var all []control.Counter
				if err := client.Show(t.Context(), "counters", "", &all); err != nil {
					t.Fatal(err)
				}
				for _, c := range all {
					if c.Name == name {
						value = c.Value
					}
				}
				return value
			}
			wait := func(what string, until func() bool) {
				t.Helper()
				for range 600 {
					if until() {
						return
					}
					time.Sleep(50 * time.Millisecond) // asks again: nobody tells
				}
				t.Fatalf("%s: not within 30 s\n%s", what, b.tail())
			}
			wait("the watchdog is fed", func() bool { return b.daemon.fed.Load() >= 3 })
			// What the canary forwards is nobody's binding.
			var status control.Status
			if err := client.Show(t.Context(), "status", "", &status); err != nil {
				t.Fatal(err)
			}
			if got := status.Forwarded; got.Entries != 0 || got.SentPackets != 0 {
				t.Errorf("without a binding the status counts %+v", got)
			}

			device, err := netlink.LinkByName("careof0")
			if err != nil {
				t.Fatal(err)
			}
			if err := netlink.LinkSetDown(device); err != nil {
				t.Fatal(err)
			}
			wait("a miss is reported", func() bool { return count("host.canary-missed") >= 1 })
			fed := b.daemon.fed.Load()
			wait("it is missed again", func() bool { return count("host.canary-missed") >= 2 })
			if now := b.daemon.fed.Load(); now != fed {
				t.Errorf("the watchdog was fed %d times while no echo came back", now-fed)
			}
			if !strings.Contains(b.tail(), "canary echo") {
				t.Errorf("the log says nothing of the echo:\n%s", b.tail())
			}
			if err := netlink.LinkSetUp(device); err != nil {
				t.Fatal(err)
			}
			wait("the canary is back", func() bool { return count("host.canary-back") >= 1 })
			wait("the watchdog is fed again", func() bool { return b.daemon.fed.Load() > fed })
		})
	}
}
