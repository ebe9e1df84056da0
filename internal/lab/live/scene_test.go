package live

import (
	"context"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"careof/internal/lab/check"
	"careof/internal/lab/labtest"
	"careof/internal/lab/scene"
	"careof/internal/lab/topology"
	"careof/wire/encap"
)

// play plays a scene in namespaces. It skips only where the privilege is
// missing; never as root.
func play(t *testing.T, s *scene.Scene, o Options) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 8*time.Minute)
	defer cancel()
	o.Command, o.Seed = labtest.Command, 1
	file := filepath.Join(t.TempDir(), s.Name+".pcapng")
	f, err := os.Create(file)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	o.Capture = f
	err = Play(ctx, s, o, t.Logf)
	labtest.Allowed(t, err)
	if err != nil {
		t.Fatal(err)
	}
	tsharkReads(t, s.Name, file)
}

// longScenes take a minute and more, the longest first.
var longScenes = []string{"ha-stays", "nat-swallowing", "van", "twin-modems"}

// long skips, of a run with -short, what takes a minute and more.
func long(t *testing.T) {
	t.Helper()
	if testing.Short() {
		t.Skip("takes a minute and more: make full plays it")
	}
}

// The same scenes as in the simulated world, with kernels, processes and disks.
func TestScenes(t *testing.T) {
	t.Parallel()
	var list []*scene.Scene
	for _, name := range longScenes {
		list = append(list, scene.Find(name)) // first, so that nobody waits for them at the end
	}
	for _, s := range scene.All() {
		if !slices.Contains(list, s) && Playable(s) { // others need clocks or disks that only the simulated world has
			list = append(list, s)
		}
	}
	for i, s := range list {
		t.Run(s.Name, func(t *testing.T) {
			t.Parallel()
			if i < len(longScenes) {
				long(t)
			}
			play(t, s, Options{})
		})
	}
}

// One scene goes through the kernel's masquerading, which no model of ours has
// shaped.
func TestSceneThroughTheKernelsMasquerading(t *testing.T) {
	t.Parallel()
	play(t, scene.Find("nat-and-back"), Options{Kernel: true})
}

// What the simulated world's crash of the mobile node shows with clocks that
// jump, without them: killed amid traffic and started again, it registers anew,
// and its connection goes on.
func TestMobileNodeIsKilledAmidTraffic(t *testing.T) {
	t.Parallel()
	play(t, &scene.Scene{Name: "mobile-node-killed", Play: func(l scene.Lab) {
		l.Plug("mn", "wlan0", "access2")
		registered := func() {
			l.Until("the mobile node is registered", 10*time.Second, func() bool { return l.Binding("mn").Registered })
		}
		registered()
		stream := l.Stream("mn", "cn", 100_000)
		for range 2 {
			before := stream.Progress()
			l.Until("the stream flows", 10*time.Second, func() bool { return stream.Progress() > before })
			l.Kill("mn")
			l.Start("mn")
			registered()
		}
		l.Until("the stream has arrived whole, or is broken", 30*time.Second, func() bool { return stream.Done() || stream.Broken() != "" })
		if stream.Broken() != "" {
			l.Fatalf("the stream is dead: %s", stream.Broken())
		}
	}}, Options{})
}

// The stage's own guard is worth something: a packet that is forwarded ends in
// its complaint.
func TestGuardFindsWhatIsForwarded(t *testing.T) {
	t.Parallel()
	l := build(t, topology.Default(), Options{})
	s := NewStage(t.Context(), l, t.Logf)
	defer s.Close()
	s.Intruder("site")
	if err := s.Finish(); err != nil {
		t.Fatal(err)
	}
	from, to := netip.MustParseAddrPort("10.10.0.5:4242"), netip.AddrPortFrom(l.Address("cn"), 4242)
	p, err := encap.AppendUDP(nil, encap.IPv4{}, from, to, []byte(check.Marker))
	if err != nil {
		t.Fatal(err)
	}
	s.Inject("site", p) // as if it had left the tunnel there
	s.Until("the guard sees it", 5*time.Second, func() bool { return s.Finish() != nil })
}
