package load

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"careof/internal/lab/median"
	"careof/internal/lab/netns"
)

// Options of a measurement.
type Options struct {
	Nodes   int    // how many mobile nodes: all of them bind
	Round   int    // requests in one round; rates are medians of rounds
	Rounds  int    // rounds of the echo and of the refreshes
	Plane   string // plane.kind of the configuration
	Shards  int    // of the home agent; 0: one for each processor
	Profile string // a file for the daemon's processor profile of the refreshes; empty: none
	Keep    string // a folder for configuration and store; empty: a temporary one
	// Command is the daemon's command for a configuration file; nil means
	// careof itself.
	Command func(config string) *exec.Cmd
	// Progress hears what is going on; nil: nobody.
	Progress func(string)
}

// A Rate is how fast something went: registrations a second in the median
// round, in the slowest and in the fastest, and the processor time that one
// took of daemon and generator together.
type Rate struct {
	What   string  `json:"what"`
	Count  int     `json:"count"`
	Median float64 `json:"per_second"`
	Least  float64 `json:"least"`
	Most   float64 `json:"most"`
	CPU    float64 `json:"cpu_microseconds"`
	Daemon float64 `json:"daemon_cpu_microseconds"`
}

// Report is what a measurement found.
type Report struct {
	Nodes      int     `json:"nodes"`
	Plane      string  `json:"plane"`
	Processors int     `json:"processors"`
	Load       string  `json:"load_average"`
	Rates      []Rate  `json:"rates"`
	FirstStart float64 `json:"first_start_seconds"`     // with all nodes configured and none bound
	Restart    float64 `json:"restart_seconds"`         // after SIGTERM, all bound
	Crash      float64 `json:"crash_seconds"`           // after kill -9, all bound
	FirstCPU   float64 `json:"first_start_cpu_seconds"` // processor time of the daemon until it was ready
	RestartCPU float64 `json:"restart_cpu_seconds"`
	CrashCPU   float64 `json:"crash_cpu_seconds"`
	Resident   int64   `json:"resident_octets"`
	Kernel     int64   `json:"kernel_octets"`
	PerBinding float64 `json:"octets_per_binding"` // both, over all nodes
	StoreSize  int64   `json:"store_octets"`
	Repeated   int     `json:"requests_repeated"`
	Forwarding int     `json:"forwarding_checked"` // nodes of which a packet was seen in its tunnel
}

// ErrNotForwarding says that an accepted binding does not forward.
var ErrNotForwarding = errors.New("load: an answered binding does not forward")

// Registrations measures a home agent. It must run in namespaces of its own.
func Registrations(ctx context.Context, o Options) (*Report, error) {
	if o.Nodes < 1 || o.Nodes > maxNodes {
		return nil, fmt.Errorf("load: %d nodes: 1 to %d", o.Nodes, maxNodes)
	}
	if o.Command == nil {
		o.Command = func(config string) *exec.Cmd { return netns.Self("run", "-c", config) }
	}
	if o.Progress == nil {
		o.Progress = func(string) {}
	}
	o.Round = min(max(o.Round, 1), o.Nodes)
	b := &bench{Options: o, report: &Report{Nodes: o.Nodes, Plane: o.Plane, Processors: runtime.GOMAXPROCS(0)}}
	defer b.close()
	if err := b.prepare(); err != nil {
		return nil, err
	}
	for _, phase := range []func(context.Context) error{b.echo, b.first, b.bind, b.forwarding, b.refresh, b.weigh, b.restart} {
		if err := phase(ctx); err != nil {
			return nil, err
		}
	}
	load, _ := os.ReadFile("/proc/loadavg")
	b.report.Load = strings.Join(strings.Fields(string(load))[:3], " ")
	b.report.Repeated = b.generator.repeated
	return b.report, nil
}

// bench is one measurement.
type bench struct {
	Options
	dir       string
	fleet     *fleet
	generator *generator
	daemon    *process
	report    *Report
	prepared  prepared
}

func (b *bench) close() {
	if b.daemon != nil {
		b.daemon.kill()
	}
	if b.generator != nil {
		b.generator.close()
	}
	if b.dir != "" {
		_ = unix.Unmount(filepath.Join(b.dir, "bpf"), 0)
		if b.Keep == "" {
			os.RemoveAll(b.dir)
		}
	}
}

// prepare makes addresses, files and keys.
func (b *bench) prepare() (err error) {
	if b.dir = b.Keep; b.dir == "" {
		if b.dir, err = os.MkdirTemp("", "careof-bench-"); err != nil {
			return fmt.Errorf("load: %w", err)
		}
	}
	if err := os.MkdirAll(b.dir, 0o700); err != nil {
		return fmt.Errorf("load: %w", err)
	}
	if err := addresses(); err != nil {
		return err
	}
	b.Progress(fmt.Sprintf("%d keys", b.Nodes))
	if b.fleet, err = newFleet(b.Nodes); err != nil {
		return err
	}
	if err := b.fleet.writeNodes(filepath.Join(b.dir, "nodes")); err != nil {
		return err
	}
	if b.Plane != "tun" {
		// Without a BPF file system "auto" works too, but nothing outlives
		// the daemon.
		pins := filepath.Join(b.dir, "bpf")
		if err := os.MkdirAll(pins, 0o700); err != nil {
			return fmt.Errorf("load: %w", err)
		}
		_ = unix.Mount("bpf", pins, "bpf", 0, "")
	}
	text := configuration(b.dir, b.Plane, b.Shards)
	if err := os.WriteFile(filepath.Join(b.dir, "careof.toml"), []byte(text), 0o600); err != nil {
		return fmt.Errorf("load: %w", err)
	}
	b.generator, err = newGenerator(b.fleet, netip.AddrPortFrom(homeAgent, 434))
	return err
}

// addresses makes the home agent's address and all care-of addresses this
// namespace's own.
func addresses() error {
	lo, err := netlink.LinkByName("lo")
	if err != nil {
		return fmt.Errorf("load: %w", err)
	}
	if err := netlink.LinkSetUp(lo); err != nil {
		return fmt.Errorf("load: lo: %w", err)
	}
	if err := own(homeAgent); err != nil {
		return err
	}
	all := &netlink.Route{
		LinkIndex: lo.Attrs().Index, Type: unix.RTN_LOCAL, Table: unix.RT_TABLE_LOCAL, Scope: netlink.SCOPE_HOST,
		Dst: &net.IPNet{IP: careOfPrefix.Addr().AsSlice(), Mask: net.CIDRMask(careOfPrefix.Bits(), 32)},
	}
	if err := netlink.RouteReplace(all); err != nil {
		return fmt.Errorf("load: route to %v: %w", careOfPrefix, err)
	}
	return nil
}

// own gives this namespace an address.
func own(a netip.Addr) error {
	lo, err := netlink.LinkByName("lo")
	if err != nil {
		return fmt.Errorf("load: %w", err)
	}
	if err := netlink.AddrReplace(lo, &netlink.Addr{IPNet: &net.IPNet{IP: a.AsSlice(), Mask: net.CIDRMask(32, 32)}}); err != nil {
		return fmt.Errorf("load: lo: %w", err)
	}
	return nil
}

// portion is how many requests are signed at a time: their timestamps must not
// be older than seven seconds when a slow home agent comes to them.
const portion = 25000

// measure runs rounds of requests from all nodes in turn and tells how fast
// they went.
func (b *bench) measure(ctx context.Context, what string, rounds int) error {
	var rates []float64
	total, first := 0, 0
	var own, theirs time.Duration
	for range rounds {
		n := min(b.Round, b.Nodes-first)
		var took time.Duration
		for done := 0; done < n; done += portion {
			if err := b.generator.prepare(&b.prepared, first+done, min(portion, n-done)); err != nil {
				return err
			}
			ownBefore, theirsBefore := ownCPU(), b.theirs()
			one, err := b.generator.run(ctx, &b.prepared)
			if err != nil {
				return fmt.Errorf("%s: %w\n%s", what, err, b.tail())
			}
			own += ownCPU() - ownBefore
			theirs += b.theirs() - theirsBefore
			took += one
		}
		rates = append(rates, float64(n)/took.Seconds())
		total += n
		if first += n; first >= b.Nodes {
			first = 0
		}
	}
	slices.Sort(rates)
	each := func(d time.Duration) float64 { return d.Seconds() * 1e6 / float64(total) }
	r := Rate{
		What: what, Count: total, Median: median.Of(rates), Least: rates[0], Most: rates[len(rates)-1],
		CPU: each(own + theirs), Daemon: each(theirs),
	}
	b.report.Rates = append(b.report.Rates, r)
	b.Progress(fmt.Sprintf("%s: %.0f a second, %.1f us of processor time each", what, r.Median, r.CPU))
	return nil
}

func (b *bench) theirs() time.Duration {
	if b.daemon == nil {
		return 0
	}
	return b.daemon.cpu()
}

func (b *bench) tail() string {
	if b.daemon == nil {
		return ""
	}
	return b.daemon.tail()
}

// echo measures what the sockets and two authenticators cost.
func (b *bench) echo(ctx context.Context) error {
	conn, err := net.ListenUDP("udp4", net.UDPAddrFromAddrPort(b.generator.to))
	if err != nil {
		return fmt.Errorf("load: echo: %w", err)
	}
	defer conn.Close()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	ended := make(chan error, 1)
	go func() { ended <- echo(ctx, b.fleet, conn) }()
	if err := b.measure(ctx, "signed echo", b.Rounds); err != nil {
		return err
	}
	cancel()
	return <-ended
}

func (b *bench) start(ctx context.Context) (err error) {
	b.daemon, err = start(ctx, b.Command, b.dir)
	return err
}

// first starts the daemon with all its nodes and nothing in its store.
func (b *bench) first(ctx context.Context) error {
	if err := b.start(ctx); err != nil {
		return err
	}
	b.report.FirstStart, b.report.FirstCPU = b.daemon.took.Seconds(), b.daemon.spent.Seconds()
	b.Progress(fmt.Sprintf("ready after %v with no binding, %v of processor time", b.daemon.took.Round(time.Millisecond), b.daemon.spent))
	return nil
}

// bind lets every node register for the first time.
func (b *bench) bind(ctx context.Context) error {
	return b.measure(ctx, "new bindings", (b.Nodes+b.Round-1)/b.Round)
}

// refresh lets nodes renew their bindings.
func (b *bench) refresh(ctx context.Context) error {
	if b.Profile != "" {
		stop := profile(ctx, filepath.Join(b.dir, "careof.sock"), b.Profile)
		defer stop()
	}
	return b.measure(ctx, "refreshes", b.Rounds)
}

// forwarding sends a packet to some nodes' home addresses and looks for it in
// their tunnels.
func (b *bench) forwarding(ctx context.Context) error {
	tunnels, err := net.ListenPacket("ip4:4", "0.0.0.0")
	if err != nil {
		return fmt.Errorf("load: %w", err)
	}
	defer tunnels.Close()
	sender, err := net.ListenUDP("udp4", &net.UDPAddr{IP: homeAgent.AsSlice()})
	if err != nil {
		return fmt.Errorf("load: %w", err)
	}
	defer sender.Close()
	const samples = 200
	packet := make([]byte, 2048)
	for k := range min(samples, b.Nodes) {
		i := k * (b.Nodes / min(samples, b.Nodes))
		if err := ctx.Err(); err != nil {
			return err
		}
		if _, err := sender.WriteToUDPAddrPort([]byte("careof"), netip.AddrPortFrom(homeOf(i), 9)); err != nil {
			return fmt.Errorf("load: to %v: %w", homeOf(i), err)
		}
		tunnels.SetReadDeadline(time.Now().Add(30 * time.Second))
		for {
			// The outer header is taken off; the inner one begins.
			n, _, err := tunnels.ReadFrom(packet)
			if err != nil {
				return fmt.Errorf("%w: %v: %w\n%s", ErrNotForwarding, homeOf(i), err, b.tail())
			}
			if home := homeOf(i).As4(); n >= 20 && [4]byte(packet[16:20]) == home {
				break
			}
		}
		b.report.Forwarding++
	}
	return nil
}

// weigh asks what the bindings take.
func (b *bench) weigh(context.Context) error {
	r := b.report
	r.Resident, r.Kernel = b.daemon.memory()
	r.PerBinding = float64(r.Resident+r.Kernel) / float64(b.Nodes)
	_ = filepath.WalkDir(filepath.Join(b.dir, "state"), func(_ string, d os.DirEntry, err error) error {
		if err == nil {
			if info, err := d.Info(); err == nil && !d.IsDir() {
				r.StoreSize += info.Size()
			}
		}
		return nil
	})
	b.Progress(fmt.Sprintf("%.0f octets a binding", r.PerBinding))
	return nil
}

// restart ends the daemon, in order and by kill -9, and starts it again.
func (b *bench) restart(ctx context.Context) error {
	b.daemon.stop()
	if err := b.start(ctx); err != nil {
		return err
	}
	b.report.Restart, b.report.RestartCPU = b.daemon.took.Seconds(), b.daemon.spent.Seconds()
	b.Progress(fmt.Sprintf("back after SIGTERM in %v, %v of processor time", b.daemon.took.Round(time.Millisecond), b.daemon.spent))
	if err := b.forwarding(ctx); err != nil {
		return err
	}
	if err := b.measure(ctx, "refreshes after a restart", 1); err != nil {
		return err
	}
	b.daemon.kill()
	if err := b.start(ctx); err != nil {
		return err
	}
	b.report.Crash, b.report.CrashCPU = b.daemon.took.Seconds(), b.daemon.spent.Seconds()
	b.Progress(fmt.Sprintf("back after kill -9 in %v, %v of processor time", b.daemon.took.Round(time.Millisecond), b.daemon.spent))
	return b.forwarding(ctx)
}
