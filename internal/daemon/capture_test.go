package daemon

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"careof/internal/capture"
	"careof/internal/control"
	"careof/internal/core/note"
	"careof/wire/mip4"
)

// A file that can be read while it is written.
type growing struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (g *growing) Write(b []byte) (int, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.buf.Write(b)
}

func (g *growing) bytes() []byte {
	g.mu.Lock()
	defer g.mu.Unlock()
	return bytes.Clone(g.buf.Bytes())
}

// packets are those that are whole.
func (g *growing) packets(t *testing.T) (list []capture.Packet) {
	t.Helper()
	r, err := capture.NewReader(bytes.NewReader(g.bytes()))
	if err != nil {
		t.Fatal(err)
	}
	for {
		p, err := r.Next()
		if err != nil {
			return list
		}
		list = append(list, p)
	}
}

// capture begins one, and waits until it has.
func (n *pairNet) capture(c *control.Client, order control.CaptureOrder) (file *growing, stop func()) {
	n.t.Helper()
	file = &growing{}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- c.Capture(ctx, order, file) }()
	n.until("the capture begins", func() bool { return len(file.bytes()) > 0 })
	return file, sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			n.t.Error(err)
		}
	})
}

// reregister has the mobile node register again.
func (n *pairNet) reregister(minutes int) {
	n.t.Helper()
	n.write("mn", with(pairMobileText, "mobile-node", "lifetime = \"%dm\"", minutes))
	if done := n.reload(n.mobile, control.ReloadOrder{}); !done.Applied {
		n.t.Fatalf("it came to %+v", done)
	}
}

//rfc:5944#1.7-1
func TestACaptureTellsWhatTheDaemonMadeOfEachMessage(t *testing.T) {
	n := newPairNet(t)
	home, stopHome := n.capture(n.home, control.CaptureOrder{})
	mobile, stopMobile := n.capture(n.mobile, control.CaptureOrder{})
	defer stopHome()
	defer stopMobile()
	n.reregister(7)
	has := func(g *growing, words ...string) bool {
		for _, p := range g.packets(t) {
			all := true
			for _, w := range words {
				all = all && strings.Contains(p.Comment, w)
			}
			if all {
				return true
			}
		}
		return false
	}
	n.until("the home agent's capture has request and reply", func() bool {
		return has(home, "received", "home-agent refreshed home=10.10.0.5") && has(home, "sent", "home-agent refreshed")
	})
	n.until("the mobile node's has them too", func() bool {
		return has(mobile, "sent", "mobile-node requesting") && has(mobile, "received", "mobile-node registered")
	})
	stopHome()
	tshark, err := exec.LookPath("tshark")
	if err != nil {
		t.Skip("tshark is missing: nobody else reads the file")
	}
	name := filepath.Join(t.TempDir(), "home.pcapng")
	if err := os.WriteFile(name, home.bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	out, err := exec.Command(tshark, "-r", name, "-T", "fields", "-e", "frame.interface_name", "-e", "mip.type", "-e", "mip.life", "-e", "frame.comment").Output()
	if err != nil {
		t.Fatal(err)
	}
	if text := string(out); !strings.Contains(text, "wan0\t1\t420\treceived") || !strings.Contains(text, "\t3\t420\tsent") {
		t.Errorf("tshark says\n%s", text)
	}
}

// After a time in which the host stood still a message has waited for long enough, and
// what is said about it has come as well.
func TestACaptureThatStoodStillHasWhatIsSaid(t *testing.T) {
	for range 20 {
		ctx, cancel := context.WithCancel(t.Context())
		file := &growing{}
		c := &capturing{packets: make(chan shown, 1), links: make(map[string]int), order: control.CaptureOrder{Snap: captureSnap}}
		c.w = capture.NewWriter(io.MultiWriter(file, ending(cancel)), "test")
		c.hold(shown{kind: mip4.TypeRegistrationRequest, id: 7, data: make([]byte, 20)})
		c.held[0].held = time.Now().Add(-time.Minute)
		notes, tick := make(chan control.Event, 1), make(chan time.Time, 1)
		notes <- control.Event{Note: note.Note{Kind: note.Refreshed, Role: "home-agent", Identification: 7}}
		tick <- time.Now()
		if err := c.run(ctx, notes, tick); err != nil {
			t.Fatal(err)
		}
		if list := file.packets(t); len(list) != 1 || !strings.Contains(list[0].Comment, "home-agent refreshed") {
			t.Fatalf("the file has %+v", list)
		}
	}
}

// ending is a file that ends what it is called for once something is written.
type ending func()

func (e ending) Write(b []byte) (int, error) {
	e()
	return len(b), nil
}

func TestACaptureOfDataShowsTheTunnels(t *testing.T) {
	n := newPairNet(t)
	file, stop := n.capture(n.home, control.CaptureOrder{Data: true, Peer: "10.10.0.5", Snap: 64})
	defer stop()
	other, stopOther := n.capture(n.home, control.CaptureOrder{Data: true, Peer: "10.10.0.99"})
	defer stopOther()
	f := n.flow()
	n.until("both directions are there", func() bool {
		in, out := false, false
		for _, p := range file.packets(t) {
			if len(p.Data) > 40 && p.Data[9] == 4 {
				in = in || strings.HasPrefix(p.Comment, "received")
				out = out || strings.HasPrefix(p.Comment, "sent")
			}
			if len(p.Data) > 64 {
				t.Fatalf("%d octets are kept of a packet", len(p.Data))
			}
		}
		return in && out
	})
	f.whole("captured")
	stopOther()
	if list := other.packets(t); len(list) > 0 {
		t.Errorf("%d packets of somebody else", len(list))
	}
	if err := n.home.Capture(t.Context(), control.CaptureOrder{Peer: "van5"}, io.Discard); !errors.Is(err, control.ErrInvalid) {
		t.Errorf("a peer without an address: %v", err)
	}
}

func TestAReaderThatIsTooSlowLosesPacketsAndIsTold(t *testing.T) {
	var all taps
	one := netip.MustParseAddrPort("192.0.2.1:434")
	all.message(false, "eth0", one, one, 64, []byte{1}) // nobody listens: nothing happens
	c := &capturing{packets: make(chan shown, 2), links: make(map[string]int), order: control.CaptureOrder{Snap: captureSnap}}
	all.add(c)
	for range 5 {
		all.message(false, "eth0", one, one, 64, []byte{1})
	}
	all.remove(c)
	if all.list.Load() != nil || len(c.packets) != 2 || c.dropped.Load() != 3 {
		t.Fatalf("%d wait, %d were dropped", len(c.packets), c.dropped.Load())
	}
	var file growing
	c.w = capture.NewWriter(&file, "test")
	for range 2 {
		c.held = append(c.held, <-c.packets)
	}
	if err := c.flush(time.Time{}); err != nil {
		t.Fatal(err)
	}
	list := file.packets(t)
	if len(list) != 2 || !strings.Contains(list[0].Comment, "3 packets before this one are missing") || strings.Contains(list[1].Comment, "missing") {
		t.Errorf("the file has %+v", list)
	}
}
