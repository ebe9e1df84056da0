package plane_test

import (
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"testing"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
	"github.com/vishvananda/netlink"

	"careof/internal/core/engine"
	"careof/internal/host/plane"
	"careof/internal/host/plane/bpf"
	"careof/internal/host/plane/nstest"
)

// A daemon that does not take over the programs of an earlier one ends them:
// they would go on with bindings that have moved. Another daemon's, which has a
// device of its own, stay.
func TestStrayPrograms(t *testing.T) {
	if err := bpf.Supported(); err != nil {
		t.Skip(err)
	}
	defer func() { kind, pins = plane.TUN, "" }()
	for _, test := range []struct {
		name     string
		next     plane.Kind
		prepare  func(t *testing.T, dir string) string // returns the next daemon's pins
		programs int                                   // of the next daemon, on device and uplink
	}{
		{"pinned elsewhere", plane.BPF, func(t *testing.T, _ string) string { return nstest.BPFFS(t) }, 2},
		{"on a file system that is not seen", plane.Auto, func(t *testing.T, _ string) string { return t.TempDir() }, 2},
		{"no programs, and no file system", plane.TUN, func(*testing.T, string) string { return "" }, 0},
		{"pins that cannot be taken over", plane.Auto, func(t *testing.T, dir string) string {
			pins, err := filepath.Glob(filepath.Join(dir, "*", "settings"))
			check(t, err)
			for _, pin := range pins {
				check(t, os.Remove(pin))
				check(t, os.MkdirAll(filepath.Join(pin, "not ours"), 0o700))
			}
			return dir
		}, 0},
	} {
		t.Run(test.name, func(t *testing.T) {
			n := nstest.New(t, "ha")
			other := nstest.New(t, "other")
			nstest.Join(t, n, "wan0", other, "eth0", 1500)
			open := func(device string) *plane.Host {
				c := agentConfigWithoutLink()
				c.Device = device
				h, _ := openHost(t, n, c)
				check(t, h.LinkChanged(engine.Link{Name: "wan0", Up: true, MTU: 1500}))
				check(t, h.Reconcile())
				return h
			}
			count := func(device string, kind ebpf.AttachType) (programs int) {
				n.Do(func() {
					r, err := link.QueryPrograms(link.QueryOptions{Target: n.Link(device).Attrs().Index, Attach: kind})
					check(t, err)
					if err == nil {
						programs = len(r.Programs)
					}
				})
				return programs
			}
			kind, pins = plane.BPF, nstest.BPFFS(t)
			open("careof7")
			first := open("careof0")
			if got := count("wan0", ebpf.AttachTCXIngress); got != 2 {
				t.Fatalf("%d programs of two daemons decapsulate", got)
			}
			check(t, first.Close())
			kind, pins = test.next, test.prepare(t, pins)
			open("careof0")
			// The kernel takes a link without a pin off in its own time.
			got := -1
			for end := time.Now().Add(10 * time.Second); got != test.programs+1 && time.Now().Before(end); runtime.Gosched() {
				got = count("careof0", ebpf.AttachTCXEgress) + count("wan0", ebpf.AttachTCXIngress)
			}
			if got != test.programs+1 {
				t.Errorf("%d programs, want %d and another daemon's", got, test.programs)
			}
			if got := count("careof7", ebpf.AttachTCXEgress); got != 1 {
				t.Errorf("%d programs on the other daemon's device", got)
			}
		})
	}
}

// A link that gets another name while the daemon runs keeps its program, in
// whichever order the two names are told.
func TestRenamedLink(t *testing.T) {
	if err := bpf.Supported(); err != nil {
		t.Skip(err)
	}
	defer func() { kind, pins = plane.TUN, "" }()
	kind, pins = plane.BPF, nstest.BPFFS(t)
	n, other := nstest.New(t, "ha"), nstest.New(t, "other")
	nstest.Join(t, n, "wan0", other, "eth0", 1500)
	h, _ := openHost(t, n, agentConfigWithoutLink())
	check(t, h.LinkChanged(engine.Link{Name: "wan0", Up: true, MTU: 1500}))
	names := []string{"wan0", "wan1", "wan0"}
	for i, newFirst := range []bool{true, false} {
		before, after := names[i], names[i+1]
		n.Do(func() { check(t, netlink.LinkSetName(n.Link(before), after)) })
		told := []engine.Link{{Name: before, Gone: true}, {Name: after, Up: true, MTU: 1500}}
		if newFirst {
			slices.Reverse(told)
		}
		for _, l := range told {
			check(t, h.LinkChanged(l))
		}
		n.Do(func() {
			r, err := link.QueryPrograms(link.QueryOptions{Target: n.Link(after).Attrs().Index, Attach: ebpf.AttachTCXIngress})
			if err != nil || len(r.Programs) != 1 {
				t.Errorf("after %s became %s: %+v, %v", before, after, r, err)
			}
		})
	}
}
