package daemon

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"careof/internal/control"
)

// readiness is what /readyz answers to the daemon of that name.
func (n *pairNet) readiness(name string) (status int, text string) {
	n.t.Helper()
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", filepath.Join(n.dir, name+".sock"))
	}}}
	response, err := client.Get("http://careof/readyz")
	if err != nil {
		n.t.Fatal(err)
	}
	defer response.Body.Close()
	b, err := io.ReadAll(response.Body)
	if err != nil {
		n.t.Fatal(err)
	}
	return response.StatusCode, string(b)
}

// While the disk is full the daemon is not ready and says why, with packets
// flowing all the time; with room it is well again by itself.
func TestAFullDiskIsToldAndGoesAwayByItself(t *testing.T) {
	n := newPairNet(t)
	n.end("ha", unix.SIGTERM)
	state := filepath.Join(n.dir, "ha-state")
	if err := unix.Mount("tmpfs", state, "tmpfs", 0, "size=64m"); err != nil {
		if errors.Is(err, unix.EPERM) {
			n.start(n.ha, "ha", "/proc/self/exe") // which the end of the test ends
			t.Skipf("no privilege to make a disk: %v", err)
		}
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Unmount(state, unix.MNT_DETACH) })
	n.start(n.ha, "ha", "/proc/self/exe")
	n.answers("ha")
	n.until("it is ready", func() bool { status, _ := n.readiness("ha"); return status == http.StatusOK })
	n.reregister(27)
	n.until("the mobile node is bound", func() bool { return len(n.bindings()) == 1 })
	filler := filepath.Join(state, "filler")
	if err := os.WriteFile(filler, make([]byte, 52<<20), 0o600); err != nil {
		t.Fatal(err)
	}
	warned := func() bool {
		var s control.Status
		if err := n.home.Show(t.Context(), "status", "", &s); err != nil {
			t.Fatal(err)
		}
		for _, w := range s.Warnings {
			if strings.Contains(w, "the disk is full") && strings.Contains(w, "code 130") {
				return true
			}
		}
		return false
	}
	n.until("it is not ready and says why", func() bool {
		status, text := n.readiness("ha")
		return status == http.StatusServiceUnavailable && strings.Contains(text, "the disk is full")
	})
	if !warned() {
		t.Error("the status does not tell of it")
	}
	// Killed and started on the full disk it goes on with what is bound, and a
	// registration is denied.
	n.end("ha", unix.SIGKILL)
	n.start(n.ha, "ha", "/proc/self/exe")
	n.answers("ha")
	if len(n.bindings()) != 1 {
		t.Errorf("after a start on the full disk: %d bindings", len(n.bindings()))
	}
	n.until("the status tells of the full disk again", warned)
	n.flow().whole("on the full disk")
	n.reregister(28)
	n.until("the registration is denied with 130", func() bool {
		var counters []control.Counter
		if err := n.home.Show(t.Context(), "counters", "", &counters); err != nil {
			t.Fatal(err)
		}
		return slices.ContainsFunc(counters, func(c control.Counter) bool { return strings.HasSuffix(c.Name, "denied_130") && c.Value > 0 })
	})
	if err := os.Remove(filler); err != nil {
		t.Fatal(err)
	}
	n.until("it is ready again", func() bool { status, _ := n.readiness("ha"); return status == http.StatusOK })
	if warned() {
		t.Error("the status tells of what is over")
	}
	n.reregister(29)
	n.until("a registration is accepted", func() bool {
		for _, b := range n.bindings() {
			if b.Granted > 28*60 {
				return true
			}
		}
		return false
	})
}
