package demo

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	"careof/internal/control"
	"careof/internal/core/note"
	"careof/internal/lab/live"
	"careof/internal/lab/netns"
	"careof/internal/lab/scene"
	"careof/internal/lab/topology"
	"careof/internal/proto/mip4/feature/path"
)

// Options of a demonstration.
type Options struct {
	Directory string    // where demo.pcapng and topology.svg are written; empty is the current one
	Seed      uint64    // of the network's luck
	Moves     int       // handovers; zero is DefaultMoves
	Keep      bool      // keep configurations and logs of the daemons
	Quiet     bool      // only the results, not every event
	Out       io.Writer // where it is told
	// Command starts a daemon: see [live.Options].
	Command func(config string) *exec.Cmd
}

// DefaultMoves are twenty handovers that break before they make, and ten that
// make before they break, after a first one over a path that nobody has used.
const DefaultMoves = 31

// Names in the default topology.
const (
	mobile  = "mn"
	peer    = "cn"
	agent   = "ha"
	wlan    = "wlan0"
	wwan    = "wwan0"
	access1 = "access1"
	access2 = "access2"
)

const (
	// settle is the time from one handover to the next: longer than the gap,
	// the round trip and the retransmissions of TCP after it.
	settle = 760 * time.Millisecond
	// overlap is how long both links are up at least when the new one is made
	// first, and drain how long at most: until nothing is on its way over the
	// old one. That takes half a round trip, and longer on a busy machine.
	overlap = 150 * time.Millisecond
	drain   = 1500 * time.Millisecond
	// patience bounds one registration.
	patience = 30 * time.Second
	// interval of the datagrams, in both directions.
	interval = 5 * time.Millisecond
	// underway is longer than a datagram takes, on a busy machine too: what is
	// younger counts for the next handover.
	underway = 150 * time.Millisecond
	// rate of the TCP transfer, in bit/s, in both directions.
	rate = 2_000_000
)

// Run shows the demonstration. It must be called inside [netns.Enter]. The
// error says why it could not be shown; broken promises are in the report.
func Run(ctx context.Context, o Options) (report *Report, err error) {
	if o.Moves == 0 {
		o.Moves = DefaultMoves
	}
	d := &demo{Options: o, began: time.Now(), registered: make(chan string, 64)}
	top := topology.Default()
	// A link that goes down five times within a minute is not preferred any
	// more, and these do so for show.
	scene.Profile(top, "off", path.DefaultFailBack)
	d.introduce()
	d.lab, err = live.Build(ctx, top, live.Options{Seed: o.Seed, Keep: o.Keep, Command: o.Command, Heard: d.heard})
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, d.lab.Close()) }()
	d.say("a home agent and a mobile node run; nothing of this touches your own network")
	if o.Keep {
		d.say("what the daemons write is kept in %s", d.lab.Directory)
	}
	if report, err = d.play(ctx); err != nil {
		return nil, err
	}
	return report, writeFile(o.Directory, "topology.svg", func(w io.Writer) error {
		_, err := w.Write(top.SVG())
		return err
	})
}

// A demo is one that runs.
type demo struct {
	Options
	lab     *live.Lab
	began   time.Time
	capture *live.Capture
	stream  *netns.Stream
	watch   watch

	registered chan string // interfaces over which a registration was accepted
}

// heard tells an event, and wakes who waits for a registration.
func (d *demo) heard(node string, e control.Event) {
	if node == mobile && e.Kind == note.Registered {
		select {
		case d.registered <- e.Link:
		default:
		}
	}
	if text := live.Say(node, e); text != "" && !d.Quiet {
		d.tell(e.Time, "    %s", text)
	}
}

// play captures while it moves. What was measured is worth telling also when
// the capture could not be written.
func (d *demo) play(ctx context.Context) (*Report, error) {
	var report *Report
	var stopped error
	unwritten := writeFile(d.Directory, "demo.pcapng", func(w io.Writer) error {
		d.capture, stopped = d.lab.StartCapture(w, live.CaptureConfig{Segments: []string{access1, access2, "edge"}, Snap: 128})
		if stopped != nil {
			return stopped
		}
		report, stopped = d.moves(ctx)
		return errors.Join(stopped, d.capture.Close())
	})
	if stopped != nil || report == nil {
		return nil, cmp.Or(stopped, unwritten)
	}
	report.Unwritten = unwritten
	return report, nil
}

// writeFile writes a file whole or not at all: under a name of its own until
// it is complete, so that neither an interrupt nor another demonstration in
// the same directory leaves half of one.
func writeFile(dir, name string, write func(io.Writer) error) error {
	file, err := os.CreateTemp(dir, "."+name+"-")
	if err != nil {
		return fmt.Errorf("demo: cannot write %s: %w (--dir names another directory)", name, err)
	}
	err = write(file)
	err = errors.Join(err, file.Chmod(0o644), file.Close())
	if err == nil {
		err = os.Rename(file.Name(), filepath.Join(dir, name))
	}
	if err != nil {
		return errors.Join(fmt.Errorf("demo: %s was not written: %w", name, err), os.Remove(file.Name()))
	}
	return nil
}

// moves attaches the node, starts the traffic, and moves while it runs.
func (d *demo) moves(ctx context.Context) (*Report, error) {
	r := &Report{RoundTrip: d.roundTrip()}
	d.remark("%s gets its first link, to %s", wlan, access1)
	if err := d.arrive(ctx, wlan, access1); err != nil {
		return nil, err
	}
	home := d.lab.HomeAddress(mobile)
	started, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	transfer, err := netns.StartTransfer(started, netns.TransferConfig{
		Client: d.lab.Network.Node(mobile), Server: d.lab.Network.Node(peer), Local: netip.AddrPortFrom(home, 0),
		Listen: netip.AddrPortFrom(d.lab.Address(peer), 5001), Up: -1, Down: -1, Rate: rate, Seed: d.Seed,
	})
	if err != nil {
		return nil, err
	}
	defer transfer.Abort()
	d.stream, err = netns.StartStream(netns.StreamConfig{
		Client: d.lab.Network.Node(mobile), Server: d.lab.Network.Node(peer), Local: netip.AddrPortFrom(home, 5002),
		Listen: netip.AddrPortFrom(d.lab.Address(peer), 5002), Interval: interval,
	})
	if err != nil {
		return nil, err
	}
	stopped := false
	defer func() {
		if !stopped {
			d.stream.Stop(0)
		}
	}()
	d.say("a TCP transfer and a datagram every %v run in both directions between %v and %v", interval, home, d.lab.Address(peer))
	if err := pause(ctx, settle/2); err != nil {
		return nil, err
	}
	watched, stop := context.WithCancel(ctx)
	defer stop()
	go d.watch.run(watched)
	end := time.Now().Add(-underway)
	for i := range d.Moves {
		h := route[i%len(route)]
		h.Number, h.Cold, h.begin = i+1, i == 0, end
		if err := d.move(ctx, &h); err != nil {
			return nil, err
		}
		end = h.end
		r.Handovers = append(r.Handovers, h)
	}
	stopped = true
	d.stream.Stop(4 * r.RoundTrip)
	transfer.Stop()
	ended, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	r.Transfer = transfer.Wait(ended)
	for i := range r.Handovers {
		r.Handovers[i].recount(d.stream)
	}
	return r, ctx.Err()
}

// route is the order of handovers: networks and kinds in every combination.
// The first leads over a path that nobody has used yet.
// The interface with the better priority, wlan0, is what a node comes back to
// before it leaves the other.
var route = []Handover{
	{Iface: wwan, Segment: access2, Leave: wlan},
	{Iface: wlan, Segment: access1, Leave: wwan, Make: true},
	{Iface: wlan, Segment: access2, Leave: wlan},
	{Iface: wwan, Segment: access1, Leave: wlan},
	{Iface: wlan, Segment: access2, Leave: wwan, Make: true},
	{Iface: wlan, Segment: access1, Leave: wlan},
}

// move makes one handover and measures it.
func (d *demo) move(ctx context.Context, h *Handover) error {
	from := d.lab.Attached(mobile, h.Leave)
	d.remark("handover %d, %v: from %s on %s to %s on %s", h.Number, h.kind(), h.Leave, from, h.Iface, h.Segment)
	if !d.Quiet {
		d.say("handover %d, %v: %s", h.Number, h.kind(), h.story(from))
	}
	h.At = time.Now()
	if !h.Make {
		if err := d.lab.Unplug(mobile, h.Leave); err != nil {
			return err
		}
	}
	if err := d.arrive(ctx, h.Iface, h.Segment); err != nil {
		return err
	}
	if h.Make {
		if err := d.drained(ctx, h.begin); err != nil {
			return err
		}
		if err := d.lab.Unplug(mobile, h.Leave); err != nil {
			return err
		}
	}
	// A silence that begins later than this is not the handover's.
	horizon := time.Since(h.At) + d.roundTrip()
	if err := pause(ctx, time.Until(h.At.Add(settle))); err != nil {
		return err
	}
	h.end, h.Late = time.Now().Add(-underway), d.watch.worst()
	h.Down, h.Up = d.stream.Down().Window(h.begin, h.end), d.stream.Up().Window(h.begin, h.end)
	h.Down.LargestGap, h.Down.GapAt = d.stream.Down().GapAround(h.At, horizon)
	h.Up.LargestGap, h.Up.GapAt = d.stream.Up().GapAround(h.At, horizon)
	d.tell(time.Now(), "  %s", h.result())
	return nil
}

// drained waits until what was sent before the registration has arrived. What
// is lost never does, and will be counted.
func (d *demo) drained(ctx context.Context, begin time.Time) error {
	registered := time.Now()
	for {
		if err := pause(ctx, overlap); err != nil {
			return err
		}
		// The node itself changes over a moment after it was told.
		end := registered.Add(overlap / 3)
		lost := d.stream.Down().Window(begin, end).Lost + d.stream.Up().Window(begin, end).Lost
		if lost == 0 || time.Since(registered) > drain {
			return nil
		}
	}
}

// arrive plugs an interface in and waits for the registration over it.
func (d *demo) arrive(ctx context.Context, iface, segment string) error {
	for len(d.registered) > 0 {
		<-d.registered
	}
	if err := d.lab.Plug(mobile, iface, segment); err != nil {
		return err
	}
	limit := time.NewTimer(patience)
	defer limit.Stop()
	for {
		select {
		case over := <-d.registered:
			if over == iface {
				return nil
			}
		case <-limit.C:
			return fmt.Errorf("demo: the mobile node did not register over %s on %s within %v\n%s", iface, segment, patience, d.lab.Daemon(mobile).LogTail(10))
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// roundTrip is the time from the mobile node to its home agent and back, by
// the topology alone.
func (d *demo) roundTrip() time.Duration {
	var once time.Duration
	for _, s := range []string{access1, "isp1", "edge"} {
		once += d.lab.Topology.Segment(s).Delay.Duration
	}
	return 2 * once
}

func (d *demo) remark(format string, args ...any) { d.capture.Remark(fmt.Sprintf(format, args...)) }

func pause(ctx context.Context, t time.Duration) error {
	timer := time.NewTimer(t)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
