package bpf_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"

	"careof/internal/core/forward"
	"careof/internal/host/plane/bpf"
	"careof/internal/host/plane/nstest"
	"careof/internal/host/plane/planetest"
	"careof/internal/host/sock"
	"careof/wire/encap"
)

// pinsOf is a node's directory of pins in a base.
func pinsOf(t *testing.T, base string, n *nstest.Node) string {
	t.Helper()
	var ns unix.Stat_t
	if err := unix.Fstat(int(n.NS), &ns); err != nil {
		t.Fatal(err)
	}
	return filepath.Join(base, fmt.Sprintf("%s_%d", planetest.Device, ns.Ino))
}

// Whatever somebody removes of the pins while the daemon runs, all or some, is
// pinned again by the next repair: the next process finds everything, and
// between the two no packet is lost.
func TestPinsThatSomebodyRemovesArePinnedAgain(t *testing.T) {
	base := nstest.BPFFS(t)
	s := planetest.NewScene(t, pinned(base), 1420)
	s.Bind(t, forward.Tunnel{Encap: encap.IPIP})
	planetest.Put(t, s.Agent, bound(time.Hour))
	warm(t, s)
	if err := s.Agent.(end).Reconcile(); err != nil {
		t.Fatal(err)
	}
	names := func() (list []string) {
		files, err := os.ReadDir(pinsOf(t, base, s.HA))
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range files {
			if !strings.HasPrefix(f.Name(), "proven_") {
				list = append(list, f.Name())
			}
		}
		return list
	}
	all := names()
	dir := pinsOf(t, base, s.HA)
	x := startStream(t, s)
	for what, remove := range map[string]func() error{
		"the directory": func() error { return os.RemoveAll(dir) },
		"a map":         func() error { return os.Remove(filepath.Join(dir, "agents")) },
		"a link":        func() error { return os.Remove(filepath.Join(dir, "egress_"+planetest.Device)) },
		"a map, for a directory": func() error {
			return errors.Join(os.Remove(filepath.Join(dir, "slots")), os.Mkdir(filepath.Join(dir, "slots"), 0o700))
		},
	} {
		if err := remove(); err != nil {
			t.Fatal(err)
		}
		p := s.Agent.(end)
		if err := errors.Join(p.Reconcile(), p.Trouble()); err != nil {
			t.Errorf("%s: %v", what, err)
		}
		if got := names(); len(got) != len(all) {
			t.Errorf("%s: pinned are %q, want %q", what, got, all)
		}
		if err := s.Agent.Close(); err != nil {
			t.Fatal(err)
		}
		s.Agent, _ = s.NewEnd(t, s.HA, planetest.Config{MTU: 1420, Underlays: []string{"wan0"}})
		if got := s.Agent.(end).Status(); got.Left == 0 {
			t.Errorf("%s: the next process finds %+v", what, got)
		}
		planetest.Put(t, s.Agent, bound(time.Hour))
	}
	if sent, lost := x.stop(); lost != 0 || sent < 100 {
		t.Errorf("%d of %d packets were lost", lost, sent)
	}
}

// Where nothing can be pinned any more, packets flow on, and it is told until it
// is over.
func TestABPFFSThatGoesAwayIsToldAndComesBack(t *testing.T) {
	base := nstest.BPFFS(t)
	s := planetest.NewScene(t, pinned(base), 1420)
	s.Bind(t, forward.Tunnel{Encap: encap.IPIP})
	planetest.Put(t, s.Agent, bound(time.Hour))
	p := s.Agent.(end)
	dir := pinsOf(t, base, s.HA)
	if err := errors.Join(p.Reconcile(), p.Trouble()); err != nil {
		t.Fatal(err)
	}
	// Something that is not ours, where a pin was.
	in := filepath.Join(dir, "agents", "somebody's")
	if err := errors.Join(os.Remove(filepath.Join(dir, "agents")), os.MkdirAll(in, 0o700), p.Reconcile()); err != nil {
		t.Fatal(err)
	}
	if err := p.Trouble(); !errors.Is(err, bpf.ErrPins) || !strings.Contains(err.Error(), filepath.Join(dir, "agents")) {
		t.Errorf("the trouble is %v", err)
	}
	warm(t, s)
	if err := errors.Join(os.Remove(in), p.Reconcile(), p.Trouble()); err != nil {
		t.Errorf("with the thing gone: %v", err)
	}
}

// What is in the place of a pin: a directory or a link without anything in it is
// removed, what is not ours is named with its path, and never taken for missing
// privileges.
func TestWhatIsInTheWayOfAPin(t *testing.T) {
	if err := bpf.Supported(); err != nil {
		t.Skip(err)
	}
	program := func(path string) error {
		p, err := ebpf.NewMap(&ebpf.MapSpec{Type: ebpf.Array, KeySize: 4, ValueSize: 4, MaxEntries: 1})
		if err != nil {
			return err
		}
		defer p.Close()
		return p.Pin(path)
	}
	for _, test := range []struct {
		name, pin string
		put       func(path string) error
		named     bool
	}{
		{"an empty directory for a map", "agents", func(path string) error { return os.Mkdir(path, 0o700) }, false},
		{"an empty directory for a link", "egress_" + planetest.Device, func(path string) error { return os.Mkdir(path, 0o700) }, false},
		{"a symbolic link", "settings", func(path string) error { return os.Symlink("/nowhere", path) }, false},
		{"a directory with something in it", "slots", func(path string) error { return os.MkdirAll(filepath.Join(path, "x"), 0o700) }, true},
		{"the same for a link", "egress_" + planetest.Device, func(path string) error { return os.MkdirAll(filepath.Join(path, "x"), 0o700) }, true},
		{"a map for a link", "egress_" + planetest.Device, program, true},
	} {
		t.Run(test.name, func(t *testing.T) {
			base := nstest.BPFFS(t)
			n := nstest.New(t, "ha")
			open := func() (p planetest.Plane, err error) {
				n.Do(func() {
					p, err = pinned(base)(t, planetest.Config{MTU: 1420, Datagrams: sock.New(sock.Receiver{}, 0)})
				})
				return p, err
			}
			defer removeDevice(t, n)
			p, err := open()
			if err != nil {
				t.Fatal(err)
			}
			if err := p.Close(); err != nil {
				t.Fatal(err)
			}
			path := filepath.Join(pinsOf(t, base, n), test.pin)
			if err := errors.Join(os.Remove(path), test.put(path)); err != nil {
				t.Fatal(err)
			}
			p, err = open()
			if err == nil {
				p.Close()
			}
			if !test.named && err != nil {
				t.Errorf("it does not start: %v", err)
			}
			if test.named && (!errors.Is(err, bpf.ErrPins) || errors.Is(err, bpf.ErrUnsupported) || !strings.Contains(err.Error(), path)) {
				t.Errorf("the error is %v", err)
			}
		})
	}
}
