package main

import (
	"context"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"careof/internal/control"
	"careof/internal/core/note"
)

// manyVans is a daemon with a thousand bindings, whose traffic grows.
type manyVans struct {
	asked  atomic.Uint64
	events chan control.Event
}

func (d *manyVans) Show(_ context.Context, what, _ string) (any, error) {
	switch what {
	case "status":
		return control.Status{Version: "1.2.3", Started: time.Now(), Plane: "bpf", Device: "careof0",
			Roles: []control.RoleStatus{{Role: "home-agent", State: "serving", Summary: "1000 mobile nodes known, 1000 bindings"}}}, nil
	case "bindings":
		n := d.asked.Add(1)
		var list []control.Binding
		for i := range 1000 {
			b := control.Binding{HomeAddress: netip.AddrFrom4([4]byte{10, 10, byte(i >> 8), byte(i)}), NAI: fmt.Sprintf("van%d@fleet.example", i),
				Endpoint: control.Endpoint(netip.MustParseAddrPort("203.0.113.1:434")), State: "active", Encapsulation: "udp", Remaining: control.Seconds(time.Minute)}
			b.Counters.SentBytes = n * uint64(i) * 1000
			list = append(list, b)
		}
		return list, nil
	}
	return nil, fmt.Errorf("%w: %s", control.ErrNotFound, what)
}

func (d *manyVans) Subscribe(*uint64) ([]control.Event, <-chan control.Event, func()) {
	return nil, d.events, func() {}
}

func (d *manyVans) Ready(context.Context) error { return nil }

// A screen is a terminal of 80 by 24 in tmux.
type screen struct {
	t      *testing.T
	socket string
}

func newScreen(t *testing.T, command ...string) *screen {
	t.Helper()
	return newScreenOf(t, 80, 24, command...)
}

func newScreenOf(t *testing.T, wide, tall int, command ...string) *screen {
	t.Helper()
	if _, err := exec.LookPath("tmux"); err != nil {
		t.Skip("tmux is missing: there is no terminal to look at")
	}
	s := &screen{t, filepath.Join(t.TempDir(), "tmux")}
	s.tmux(append([]string{"-f", "/dev/null", "new-session", "-d", "-x", strconv.Itoa(wide), "-y", strconv.Itoa(tall)}, command...)...)
	t.Cleanup(func() {
		// The server may have ended with its last program.
		_ = exec.Command("tmux", "-S", s.socket, "kill-server").Run()
	})
	return s
}

func (s *screen) tmux(args ...string) string {
	s.t.Helper()
	cmd := exec.Command("tmux", append([]string{"-S", s.socket}, args...)...)
	cmd.Env = append(os.Environ(), "TERM=xterm-256color", "LC_ALL=C.UTF-8")
	out, err := cmd.CombinedOutput()
	if err != nil {
		s.t.Fatalf("tmux %v: %v\n%s", args, err, out)
	}
	return string(out)
}

// shows waits until the screen has all the words.
func (s *screen) shows(words ...string) string {
	s.t.Helper()
	return s.until(fmt.Sprintf("%q", words), func(text string) bool {
		return !slices.ContainsFunc(words, func(w string) bool { return !strings.Contains(text, w) })
	})
}

// matches waits until the screen has what an expression says.
func (s *screen) matches(e *regexp.Regexp) string {
	s.t.Helper()
	return s.until(e.String(), e.MatchString)
}

func (s *screen) until(what string, is func(text string) bool) string {
	s.t.Helper()
	var text string
	for end := time.Now().Add(time.Minute); time.Now().Before(end); <-time.After(50 * time.Millisecond) {
		if text = s.tmux("capture-pane", "-p"); is(text) {
			return text
		}
	}
	s.t.Fatalf("%s never showed:\n%s", what, text)
	return ""
}

func TestTopInATerminal(t *testing.T) {
	dir := t.TempDir()
	binary := filepath.Join(dir, "careof")
	if out, err := exec.Command("go", "build", "-o", binary, ".").CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	daemon := &manyVans{events: make(chan control.Event, 10)}
	socket := filepath.Join(dir, "careof.sock")
	server, err := control.Listen(socket, "nobody-has-this-group", daemon)
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan error, 1)
	go func() { served <- server.Serve() }()
	t.Cleanup(func() {
		if err := server.Close(); err != nil {
			t.Error(err)
		}
		if err := <-served; err != nil {
			t.Error(err)
		}
	})
	s := newScreen(t, "/bin/sh", "-c", binary+" --socket "+socket+" top; echo ended with $?; exec cat")
	s.shows("careof 1.2.3", "home-agent serving: 1000 mobile nodes", "[1 Bindings]", "1000 of 1000", "van0@fleet.example", "q quit")
	s.shows("kB") // rates, once there were two readings
	s.tmux("send-keys", "/")
	s.tmux("send-keys", "-l", "van77@")
	s.tmux("send-keys", "Enter")
	s.shows("/van77@", "1 of 1000", "> van77@fleet.example")
	s.tmux("send-keys", "Enter")
	s.shows("10.10.0.77  van77@fleet.example", "care-of address")
	s.tmux("send-keys", "Escape")
	s.tmux("send-keys", "4")
	daemon.events <- control.Event{ID: 1, Time: time.Now(), Note: note.Note{Kind: note.Denied, Role: "home-agent", NAI: "van77@fleet.example", Code: 133}}
	s.shows("[4 Events]", "home-agent", "denied nai=van77@fleet.example code=133")
	s.tmux("resize-window", "-x", "60", "-y", "12")
	s.shows("denied nai=van77")
	s.tmux("send-keys", "?")
	s.shows("any key goes back")
	s.tmux("send-keys", "x")
	s.tmux("send-keys", "q")
	s.shows("ended with 0")
}

func TestTopWithoutADaemonSaysSo(t *testing.T) {
	var out, errs strings.Builder
	if code := Main([]string{"--socket", filepath.Join(t.TempDir(), "none.sock"), "top"}, strings.NewReader(""), &out, &errs); code != exitUnreachable {
		t.Errorf("exit code %d: %s", code, errs.String())
	}
}
