package live

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"net/netip"
	"os"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"careof/internal/lab/labtest"
	"careof/internal/lab/netns"
	"careof/internal/lab/topology"
)

// Close ends the daemons, their files go, and this process keeps nothing. It
// runs before the parallel tests, which would disturb the counting.
func TestNothingIsLeftBehind(t *testing.T) {
	once := func() {
		l := build(t, topology.HomeLink(), Options{})
		if len(l.Daemons()) != 2 {
			t.Fatalf("%d daemons, not home agent and mobile node", len(l.Daemons()))
		}
		for _, d := range l.Daemons() {
			if !d.Running() {
				t.Errorf("the daemon of %s does not run", d.Node)
			}
		}
		stage := NewStage(t.Context(), l, t.Logf)
		stage.Plug("mn", "wlan0", "home")
		stage.Flow("neighbour", "mn", 20*time.Millisecond)
		k, err := l.StartCapture(io.Discard, CaptureConfig{})
		if err != nil {
			t.Fatal(err)
		}
		stage.Until("the node is at home", 15*time.Second, func() bool { return stage.Binding("mn").AtHome })
		stage.Close()
		if err := errors.Join(k.Close(), l.Close()); err != nil {
			t.Fatal(err)
		}
		for _, d := range l.Daemons() {
			if d.Running() {
				t.Errorf("the daemon of %s runs after Close", d.Node)
			}
		}
		if _, err := os.Stat(l.Directory); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("%s is there after Close (%v)", l.Directory, err)
		}
	}
	once() // what the runtime opens once
	ignore, before := goleak.IgnoreCurrent(), descriptors(t)
	once()
	once()
	goleak.VerifyNone(t, ignore)
	if after := descriptors(t); after > before {
		t.Errorf("%d descriptors before, %d after", before, after)
	}
}

func descriptors(t *testing.T) int {
	t.Helper()
	list, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(list)
}

func TestDaemonThatCannotStartIsExplained(t *testing.T) {
	t.Parallel()
	top := topology.Default()
	n := top.Node("ha")
	n.Config = strings.Replace(n.Config, `address = "198.51.100.1"`, `address = "198.51.100.99"`, 1)
	ctx, cancel := context.WithTimeout(t.Context(), 8*time.Minute)
	defer cancel()
	l, err := Build(ctx, top, Options{Command: labtest.Command})
	if err == nil {
		l.Close()
		t.Fatal("a home agent runs without its address")
	}
	if os.Geteuid() != 0 && errors.Is(err, fs.ErrPermission) {
		t.Skip("no privilege for namespaces: ", err)
	}
	if !strings.Contains(err.Error(), "daemon of ha did not start") || !strings.Contains(err.Error(), "198.51.100.99") {
		t.Error(err)
	}
}

func TestMobileNodeKeepsItsConnectionFromNetworkToNetwork(t *testing.T) {
	t.Parallel()
	l := build(t, topology.Default(), Options{})
	arrive := func(iface, segment string) {
		t.Helper()
		ctx, cancel := context.WithTimeout(t.Context(), 15*time.Second)
		defer cancel()
		if err := l.Plug("mn", iface, segment); err != nil {
			t.Fatal(err)
		}
		err := l.Await(ctx, func() bool {
			b, err := l.Standing("mn")
			return err == nil && b.Registered && b.Link == iface
		})
		if err != nil {
			b, standing := l.Standing("mn")
			t.Fatalf("not registered over %s: %v, %+v, %v", iface, err, b, standing)
		}
	}
	arrive("wlan0", "access1")
	ctx, cancel := context.WithTimeout(t.Context(), 60*time.Second)
	defer cancel()
	transfer, err := netns.StartTransfer(ctx, netns.TransferConfig{
		Client: l.Network.Node("mn"), Server: l.Network.Node("cn"),
		Local:  netip.AddrPortFrom(l.HomeAddress("mn"), 0),
		Listen: netip.AddrPortFrom(l.Address("cn"), 5001),
		Up:     -1, Down: -1, Rate: 4e6,
	})
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		for _, to := range []struct{ leave, iface, segment string }{{"wlan0", "wwan0", "access2"}, {"wwan0", "wlan0", "access1"}} {
			if err := l.Unplug("mn", to.leave); err != nil {
				t.Fatal(err)
			}
			arrive(to.iface, to.segment)
			_, before := transfer.Received()
			if err := l.Await(ctx, func() bool { _, now := transfer.Received(); return now > before }); err != nil {
				t.Fatal("nothing arrives any more: ", err)
			}
		}
	}
	transfer.Stop()
	r := transfer.Wait(ctx)
	if r.Err != nil || r.Resets != 0 || !r.Up.Intact || !r.Down.Intact {
		t.Errorf("%+v", r)
	}
	t.Logf("%d octets up, %d down", r.Up.Received, r.Down.Received)
}
