package live

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"careof/internal/control"
	"careof/internal/lab/nat"
	"careof/internal/lab/netns"
	"careof/internal/lab/topology"
)

// Options of a laboratory. The zero value is good for careof itself.
type Options struct {
	// Seed decides what is lost, delayed and translated to which port.
	Seed uint64
	// Command starts a daemon with a configuration file. Nil is this program
	// as "run -c FILE".
	Command func(config string) *exec.Cmd
	// Kernel makes routers of namespaces, with the kernel's forwarding and
	// masquerading, instead of the user-space ones with the NAT model.
	Kernel bool
	// Directory of the laboratory. It is emptied first. Empty means a new one
	// among the temporary files.
	Directory string
	// Keep leaves Directory where it is when the laboratory is closed.
	Keep bool
	// Capture gets the packets of all segments as pcapng, from the first one
	// to the end. It may be nil.
	Capture io.Writer
	// Heard is called for every event of a daemon, one at a time. It must
	// not call back into the laboratory. It may be nil.
	Heard func(node string, e control.Event)
}

// A Lab is a topology that runs.
type Lab struct {
	Network  *netns.Network
	Topology *topology.Topology
	// Directory holds configurations, logs, records and control sockets of
	// the daemons. It is removed by Close, unless the options keep it.
	Directory string

	options  Options
	began    time.Time
	segments map[string]*netns.Segment
	routers  map[string]*netns.Router
	ports    map[string]*netns.Port // by "node/interface"
	daemons  map[string]*Daemon
	order    []*Daemon // in order of creation
	stock    []*netns.Process
	done     context.Context
	end      context.CancelFunc

	mu      sync.Mutex
	changed chan struct{}        // closed and replaced when something happened
	plugged map[string]time.Time // mobile node: when its links last changed
	events  map[string][]control.Event

	captures []*Capture
	whole    *Capture // of Options.Capture

	named bool // whether host names have a meaning of their own

	held *os.File // the lock of Directory; nil for one that was asked for
	ears sync.WaitGroup
}

// building bounds how many laboratories are built at a time. That is nothing but
// work, much of it under one lock of the kernel: twenty at once would each take as
// long as all of them, and what others measure meanwhile would be that.
var building = make(chan struct{}, 2*runtime.NumCPU())

// Build makes the network of a topology and starts its daemons: those of the
// home agents first. Every daemon is ready when Build returns.
func Build(ctx context.Context, t *topology.Topology, o Options) (l *Lab, err error) {
	if o.Command == nil {
		o.Command = func(config string) *exec.Cmd {
			cmd := netns.Self("run", "-c", config)
			cmd.Args[0] = os.Args[0] // what it is called says what it is
			return cmd
		}
	}
	l = &Lab{
		Topology: t, options: o, began: time.Now(),
		segments: make(map[string]*netns.Segment), routers: make(map[string]*netns.Router),
		ports: make(map[string]*netns.Port), daemons: make(map[string]*Daemon),
		changed: make(chan struct{}), plugged: make(map[string]time.Time), events: make(map[string][]control.Event),
	}
	l.done, l.end = context.WithCancel(context.Background())
	select {
	case building <- struct{}{}:
		defer func() { <-building }()
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, l.Close())
			l = nil
		}
	}()
	if l.Directory, l.held, err = directory(o.Directory); err != nil {
		return l, fmt.Errorf("live: %w", err)
	}
	if l.Network, err = netns.New(netns.Config{Seed: o.Seed}); err != nil {
		return l, err
	}
	if err := l.name(t.Names); err != nil {
		return l, err
	}
	for i := range t.Segments {
		s := &t.Segments[i]
		if s.Corrupt != 0 {
			return l, fmt.Errorf("live: segment %s: corrupt = %v: only the simulated world flips bits", s.Name, s.Corrupt)
		}
		if l.segments[s.Name], err = l.Network.NewSegment(s.Name, conditions(s)); err != nil {
			return l, err
		}
	}
	if o.Capture != nil {
		if l.whole, err = l.StartCapture(o.Capture, CaptureConfig{}); err != nil {
			return l, err
		}
	}
	for i := range t.Nodes {
		n := &t.Nodes[i]
		if n.Kind == topology.Router && !o.Kernel {
			err = l.addRouter(n)
		} else {
			err = l.addNode(n)
		}
		if err != nil {
			return l, err
		}
	}
	for i := range t.Nodes {
		if n := &t.Nodes[i]; n.Kind == topology.RADIUSServer {
			if err := l.startRADIUS(ctx, n); err != nil {
				return l, err
			}
		} else if n.Kind == topology.DiameterRelay {
			if err := l.startRelay(ctx, n); err != nil {
				return l, err
			}
		}
	}
	for _, kind := range []topology.Kind{topology.AAAServer, topology.HomeAgent, topology.ForeignAgent, topology.MobileNode} {
		for i := range t.Nodes {
			if n := &t.Nodes[i]; n.Kind == kind && n.Parsed != nil {
				d, err := l.addDaemon(n)
				if err != nil {
					return l, err
				}
				if err := d.Start(ctx); err != nil {
					return l, err
				}
			}
		}
	}
	return l, nil
}

// hostsFile says what host names mean (hosts(5)).
const hostsFile = "/etc/hosts"

// name gives host names a meaning, in this program's mount namespace and so for
// its daemons.
func (l *Lab) name(names map[string]netip.Addr) error {
	if len(names) == 0 {
		return nil
	}
	var text strings.Builder
	text.WriteString("127.0.0.1 localhost\n")
	for _, name := range slices.Sorted(maps.Keys(names)) {
		fmt.Fprintf(&text, "%v %s\n", names[name], name)
	}
	path := filepath.Join(l.Directory, "hosts")
	if err := os.WriteFile(path, []byte(text.String()), 0o644); err != nil {
		return fmt.Errorf("live: %w", err)
	}
	if err := unix.Mount(path, hostsFile, "", unix.MS_BIND, ""); err != nil {
		return fmt.Errorf("live: give %s other content: %w", hostsFile, err)
	}
	l.named = true
	return nil
}

// conditions translates what a topology says about a segment.
func conditions(s *topology.Segment) netns.Conditions {
	return netns.Conditions{
		Delay: s.Delay.Duration, Jitter: s.Jitter.Duration, Reorder: s.Jitter.Duration > 0,
		Loss: s.Loss, Duplicate: s.Duplicate, MTU: s.MTU,
	}
}

func (l *Lab) addRouter(n *topology.Node) error {
	r, err := l.Network.NewRouter(n.Name)
	if err != nil {
		return err
	}
	l.routers[n.Name] = r
	for _, i := range n.Interfaces {
		p, err := r.Attach(l.segments[i.Segment], i.Name, netns.RouterPortConfig{
			Address: i.Address, MAC: netns.MAC(i.Hardware), MTU: l.Topology.Segment(i.Segment).MTU,
		})
		if err != nil {
			return err
		}
		l.ports[n.Name+"/"+i.Name] = p
	}
	for _, route := range routes(n) {
		if err := r.AddRoute(netns.RouterRoute{Prefix: route.Prefix, Via: route.Via}); err != nil {
			return err
		}
	}
	if n.NAT == nil {
		return nil
	}
	kind, _ := n.NAT.Behaviour()
	return r.Translate(n.NAT.Outside, nat.Config{Inside: n.NAT.Inside, Kind: kind, MappingTimeout: n.NAT.Timeout.Duration})
}

var everywhere = netip.PrefixFrom(netip.IPv4Unspecified(), 0)

// routes lists a node's static routes, default routes included.
func routes(n *topology.Node) []topology.Route {
	var list []topology.Route
	for _, i := range n.Interfaces {
		if i.Gateway.IsValid() && i.Segment != "" {
			list = append(list, topology.Route{Prefix: everywhere, Via: i.Gateway})
		}
	}
	return append(list, n.Routes...)
}

func (l *Lab) addNode(n *topology.Node) error {
	node, err := l.Network.NewNode(n.Name, netns.NodeConfig{Forward: n.Kind == topology.Router})
	if err != nil {
		return err
	}
	for _, i := range n.Interfaces {
		c := netns.PortConfig{}
		if s := l.Topology.Segment(i.Segment); s != nil {
			c.MTU = s.MTU
			if i.Address.IsValid() {
				c.Addresses = []netip.Prefix{i.Address}
			}
		}
		// Not plugged in yet: an interface that waits must not have a carrier.
		p, err := node.Attach(nil, i.Name, c)
		if err != nil {
			return err
		}
		l.ports[n.Name+"/"+i.Name] = p
		if err := p.SetCarrier(false); err != nil {
			return err
		}
		if i.Segment == "" {
			continue
		}
		if i.Address.IsValid() {
			p.Move(l.segments[i.Segment])
			err = p.SetCarrier(true)
		} else {
			err = l.Plug(n.Name, i.Name, i.Segment)
		}
		if err != nil {
			return err
		}
	}
	for _, r := range routes(n) {
		if err := node.AddRoute(netns.Route{Prefix: r.Prefix, Via: r.Via}); err != nil {
			return err
		}
	}
	if n.NAT != nil {
		if kind, _ := n.NAT.Behaviour(); kind == nat.OneToOne {
			return fmt.Errorf("live: %s: kernel routers masquerade, and do not translate %v", n.Name, kind)
		}
		return node.Masquerade(n.NAT.Outside)
	}
	return nil
}

// Close ends the daemons, takes the network down and removes the directory.
func (l *Lab) Close() error {
	l.end()
	for _, d := range l.order {
		d.Kill()
	}
	for _, p := range l.stock {
		p.Kill()
		<-p.Done()
	}
	l.ears.Wait()
	var errs []error
	if l.whole != nil {
		errs = append(errs, l.whole.Close())
	}
	if l.Network != nil {
		errs = append(errs, l.Network.Close())
	}
	if l.named {
		errs = append(errs, unix.Unmount(hostsFile, unix.MNT_DETACH))
	}
	if l.held != nil {
		if l.options.Keep {
			errs = append(errs, os.Remove(filepath.Join(l.Directory, heldFile)))
		}
		errs = append(errs, l.held.Close())
		l.held = nil
	}
	if l.Directory != "" && !l.options.Keep {
		errs = append(errs, os.RemoveAll(l.Directory))
	}
	return errors.Join(errs...)
}

// Segment finds a segment of the network; nil when there is none.
func (l *Lab) Segment(name string) *netns.Segment { return l.segments[name] }

// Router finds a user-space router; nil when there is none.
func (l *Lab) Router(name string) *netns.Router { return l.routers[name] }

// Port finds where an interface is plugged in; nil when there is none.
func (l *Lab) Port(node, iface string) *netns.Port { return l.ports[node+"/"+iface] }

// Daemon finds a node's daemon; nil when there is none.
func (l *Lab) Daemon(node string) *Daemon { return l.daemons[node] }

// Daemons lists the daemons in order of creation.
func (l *Lab) Daemons() []*Daemon { return append([]*Daemon(nil), l.order...) }

// Events lists what a node's daemons have told so far.
func (l *Lab) Events(node string) []control.Event {
	l.mu.Lock()
	defer l.mu.Unlock()
	return append([]control.Event(nil), l.events[node]...)
}

// happened wakes those who wait for something.
func (l *Lab) happened() {
	l.mu.Lock()
	defer l.mu.Unlock()
	close(l.changed)
	l.changed = make(chan struct{})
}

// pulse bounds how late something is noticed that tells nobody.
const pulse = 20 * time.Millisecond

// Await waits until is, or for the end of ctx.
func (l *Lab) Await(ctx context.Context, is func() bool) error {
	tick := time.NewTicker(pulse)
	defer tick.Stop()
	for {
		l.mu.Lock()
		changed := l.changed
		l.mu.Unlock()
		if is() {
			return nil
		}
		select {
		case <-changed:
		case <-tick.C:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}
