package plane_test

import (
	"errors"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"careof/internal/host/plane"
	"careof/internal/host/plane/bpf"
	"careof/internal/host/plane/nstest"
	"careof/wire/encap"
)

// kind and pins are what openHost opens.
var (
	kind plane.Kind
	pins string
)

// Everything that holds of a host holds of one with programs too.
func TestWithPrograms(t *testing.T) {
	if err := bpf.Supported(); err != nil {
		t.Skip(err)
	}
	kind, pins = plane.BPF, nstest.BPFFS(t)
	defer func() { kind, pins = plane.TUN, "" }()
	for _, test := range []struct {
		name string
		run  func(*testing.T)
	}{
		{"away from home", TestAwayFromHome},
		{"fail closed", TestFailClosed},
		{"identity behind NAT", TestIdentityBehindNAT},
		{"returning home", TestReturningHome},
		{"at home", TestAtHome},
		{"restart after a kill", TestRestartAfterAKill},
		{"what binds to an uplink", TestWhatBindsToAnUplinkDoesNotLeak},
		{"a network like a mobile network", TestACareOfAddressLikeAMobileNetworks},
	} {
		t.Run(test.name, test.run)
	}
}

// A daemon of the other kind does not leave the programs of the last one
// working, and without a BPF file system Auto does without pins.
func TestKinds(t *testing.T) {
	if err := bpf.Supported(); err != nil {
		t.Skip(err)
	}
	defer func() { kind, pins = plane.TUN, "" }()
	dir := filepath.Join(t.TempDir(), "bpf")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	kind, pins = plane.Auto, dir
	s := newScene(t)
	if got := s.agent.Status(); got.Kind != "bpf" || got.Fast == nil || got.Fast.Pinned != "" {
		t.Errorf("status without a BPF file system: %+v", got)
	}
	check(t, errors.Join(s.agent.Attend(true), s.mobile.Attend(true)))
	s.register(t, 0, encap.UDP)
	talk(t, s.mn, netip.Addr{}, s.cn, cnAddr)
	// The links are virtual ones: programs receive (but not the trains that
	// sockets send), user space sends while it serves.
	if c, slow := s.agent.Counters("mn"), s.agent.Tunnels().Counters("mn"); slow.ReceivedBytes == c.ReceivedBytes || c.ReceivedBytes == 0 || slow.SentBytes != c.SentBytes {
		t.Errorf("of %+v went through user space %+v", c, slow)
	}
	check(t, errors.Join(s.agent.Close(), s.mobile.Close()))

	nstest.MountBPF(t, dir)
	pinned := func() (n int) {
		files, err := os.ReadDir(dir)
		check(t, err)
		for _, f := range files {
			if f.IsDir() {
				n++
			}
		}
		return n
	}
	kind = plane.BPF
	agent, set := openHost(t, s.ha, agentConfig())
	if pinned() != 1 {
		t.Errorf("%d daemons' pins, want one's", pinned())
	}
	set.Close()
	check(t, agent.Close())
	kind = plane.TUN
	openHost(t, s.ha, agentConfig())
	if pinned() != 0 {
		t.Error("the programs of the last daemon go on")
	}
}

// A kernel without tunnel devices refuses to be what was asked for, and says
// why; one that has them is.
func TestKernelDevices(t *testing.T) {
	n := nstest.New(t, "ha")
	n.Do(func() {
		c := agentConfig()
		c.Kind, c.HomeNetworks, c.Transient = plane.Kernel, nil, true
		h, err := plane.Open(c)
		if err != nil {
			if !errors.Is(err, errors.ErrUnsupported) || !strings.Contains(err.Error(), "device") {
				t.Errorf("error %v", err)
			}
			return
		}
		if got := h.Status().Kind; got != "kernel" {
			t.Errorf("kind %q", got)
		}
		if err := errors.Join(h.Withdraw(), h.Close()); err != nil {
			t.Error(err)
		}
	})
}
