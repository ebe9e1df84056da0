// Package plane joins what forwarding needs of this host (tunnels in user
// space, routes and rules, ARP on the home link, a firewall table) into one
// [forward.Plane], and keeps the order that RFC 5944 section 4.6 asks for.
//
// What must not go in here: packets (package tun), and what the kernel should
// look like (package route).
package plane

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"iter"
	"maps"
	"net"
	"net/netip"
	"slices"
	"sync"

	"careof/internal/core/engine"
	"careof/internal/core/forward"
	"careof/internal/host/arp"
	"careof/internal/host/broadcast"
	"careof/internal/host/firewall"
	"careof/internal/host/lan"
	"careof/internal/host/plane/bpf"
	"careof/internal/host/plane/kernel"
	"careof/internal/host/plane/tun"
	"careof/internal/host/route"
	"careof/internal/host/visit"
	"careof/wire/encap"
)

// DefaultDevice is the name of the tunnel device.
const DefaultDevice = "careof0"

// A Kind is a way to move packets.
type Kind uint8

// The kinds.
const (
	TUN Kind = iota // user space alone
	BPF             // eBPF programs, with user space behind them
	// Auto is BPF where it is to be had, else TUN. On virtual Ethernet it
	// sends through user space while the daemon serves, for the other end may
	// be one that reads packets from sockets; see bpf.Config.AvoidVirtual.
	Auto
	// Kernel is the kernel's own tunnel devices, with user space for what
	// these cannot; for home agents.
	Kernel
)

func (k Kind) String() string {
	if int(k) < len(kindNames) {
		return kindNames[k]
	}
	return fmt.Sprintf("Kind(%d)", uint8(k))
}

var kindNames = [...]string{"tun", "bpf", "auto", "kernel"}

// A Network is a home network.
type Network struct {
	Prefix netip.Prefix
	Link   string // the interface on it; empty when it is virtual
}

// Config is what a [Host] is built from.
type Config struct {
	Device string // empty: DefaultDevice
	Kind   Kind
	// Pins is a directory on a BPF file system: what is kept there forwards
	// while no daemon runs. A Transient device has nothing to keep, and Auto
	// does without where there is no such file system.
	Pins string
	// Capacity is how many entries the programs handle; see bpf.Config.
	Capacity int
	// Port tells the port of an uplink's UDP socket; see bpf.Config.
	Port func(link string, addr netip.Addr) uint16
	// Transient makes a device that vanishes with the process. The default
	// leaves it, with its routes, for the next start.
	Transient bool
	// MTU of the device; 0 works it out from the links and Encapsulations.
	MTU            int
	Unclamped      bool         // leave the segment size that TCP announces alone
	Masquerade     bool         // HomeAgent: what is forwarded from private addresses leaves with the host's own
	Encapsulations []encap.Kind // enabled ones; none means all
	Datagrams      tun.Datagrams
	Secret         *tun.Secret // for encrypted tunnels; nil for none
	Mark           uint32      // SO_MARK of outer packets, 0 for none; see beside.Mark, and give the UDP sockets the same
	Base           int         // see route.Config

	HomeNetworks []Network    // HomeAgent
	Identities   []netip.Addr // HomeAgent: addresses behind a 1:1 NAT
	Forward      bool         // agents and mobile routers
	Casts        *tun.Casts   // HomeAgent: what is forwarded besides unicast; its Links are made here

	HomeAddresses []netip.Addr   // MobileNode
	Uplinks       []string       // MobileNode
	Through       []netip.Prefix // MobileNode: see route.Config

	VisitorLinks []string     // ForeignAgent
	Visitors     tun.Visitors // ForeignAgent: delivers to them
}

// A Host is the data plane of a daemon.
type Host struct {
	c         Config
	packets   forward.Plane // fast, or slow when there is none
	slow      *tun.Plane
	fast      *bpf.Plane    // nil: user space alone
	devices   *kernel.Plane // of kind kernel, else nil
	why       string        // there is no fast one, though it was asked for
	unknown   error         // bpf.ErrUnknown: an earlier daemon's programs may be there
	routes    *route.Keeper
	announcer *arp.Announcer
	neighbour *arp.Neighbours
	firewall  *firewall.Firewall
	visits    *visit.Keeper // nil without visitors
	networks  *lan.Keeper
	casts     *broadcast.Set // nil without a home agent
	origin    *origin        // nil without a mobile node

	mu          sync.Mutex
	intercepted map[forward.Key]interception
	uplinks     map[forward.Key][]forward.Tunnel // of mobile nodes
	underlays   map[string]int                   // MTU by link
	told        map[string]engine.Link           // uplinks, as LinkChanged was last told
	narrow      map[forward.Key]int              // MTU of mobile nodes' tunnels whose path was found to be narrower
	mtu         int
	closed      bool
}

var _ forward.Adopter = (*Host)(nil)

// Open builds the plane in the calling thread's network namespace. What an
// earlier process left in the kernel stays until [Host.Reconcile].
func Open(c Config) (h *Host, err error) {
	if c.Device == "" {
		c.Device = DefaultDevice
	}
	c.Base = cmp.Or(c.Base, route.BaseOf(c.Device))
	if len(c.Encapsulations) == 0 {
		c.Encapsulations = encap.Kinds()
	}
	h = &Host{c: c, intercepted: make(map[forward.Key]interception), uplinks: make(map[forward.Key][]forward.Tunnel), narrow: make(map[forward.Key]int), underlays: make(map[string]int), told: make(map[string]engine.Link)}
	defer func() {
		if err != nil {
			h.Close()
			h = nil
		}
	}()
	// Silence first: from here on nobody learns more than the last time.
	if h.firewall, err = firewall.Open(c.Device); err != nil {
		return h, err
	}
	h.firewall.SetMasquerading(c.masquerading())
	h.mtu = c.MTU
	if h.mtu == 0 {
		h.mtu = route.DeviceMTU(nil, c.Encapsulations)
	}
	if err = h.clamp(); err != nil {
		return h, err
	}
	if h.announcer, err = arp.NewAnnouncer(); err != nil {
		return h, err
	}
	if h.neighbour, err = arp.OpenNeighbours(); err != nil {
		return h, err
	}
	dev, err := tun.OpenDevice(c.Device, h.mtu, !c.Transient)
	if err != nil {
		return h, err
	}
	virtual, all, links := c.networks()
	if c.Casts != nil {
		if h.casts, err = broadcast.New(links, func(link string, packet []byte) { h.slow.Heard(link, packet) }); err != nil {
			dev.Close()
			return h, err
		}
		c.Casts.Links = h.casts
	}
	var elsewhere []encap.Kind
	if c.Kind == Kernel {
		elsewhere = kernel.Protocols
	}
	h.slow, err = tun.New(tun.Config{Device: dev, Elsewhere: elsewhere, Settling: true, Datagrams: c.Datagrams, Identities: c.Identities, HomeNetworks: all, Casts: c.Casts, Visitors: c.Visitors, Mark: c.Mark, Secret: c.Secret})
	if err != nil {
		dev.Close()
		return h, err
	}
	h.packets = h.slow
	if err = h.openFast(); err != nil {
		return h, err
	}
	if err = h.setAside(c.Casts, all); err != nil {
		return h, err
	}
	if len(c.Uplinks) > 0 {
		if h.origin, err = openOrigin(c.Device); err != nil {
			return h, err
		}
	}
	h.routes, err = route.New(route.Config{
		Device: c.Device, Base: c.Base,
		HomeNetworks: virtual, HomeLinks: links, Identities: c.Identities, Forward: c.Forward,
		HomeAddresses: c.HomeAddresses, Uplinks: c.Uplinks, Through: c.Through,
	})
	if err != nil {
		return h, err
	}
	if h.networks, err = lan.Open(c.Device, c.Uplinks); err != nil || len(c.VisitorLinks) == 0 {
		return h, err
	}
	h.visits, err = visit.Open(visit.Config{Device: c.Device, Links: c.VisitorLinks, Base: c.Base, Heard: h.slow.FromVisitor})
	return h, err
}

// setAside keeps the programs from what user space forwards.
func (h *Host) setAside(c *tun.Casts, networks []netip.Prefix) error {
	if h.fast == nil || c == nil {
		return nil
	}
	return h.fast.SetAside(c.Destinations(networks))
}

// networks are the home networks without a link, all of them, and the links.
func (c *Config) networks() (virtual, all []netip.Prefix, links []string) {
	for _, n := range c.HomeNetworks {
		all = append(all, n.Prefix)
		if n.Link == "" {
			virtual = append(virtual, n.Prefix)
		} else if !slices.Contains(links, n.Link) {
			links = append(links, n.Link)
		}
	}
	return virtual, all, links
}

// Reconfigure takes HomeNetworks, Identities, Encapsulations and Uplinks of
// another configuration while packets flow; the rest of it stays as it was.
// The states of the links have to be told anew after it.
func (h *Host) Reconfigure(c Config) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.closed {
		return net.ErrClosed
	}
	if len(c.Encapsulations) == 0 {
		c.Encapsulations = encap.Kinds()
	}
	virtual, all, links := c.networks()
	if err := h.routes.Reconfigure(virtual, links, c.Identities, c.Uplinks, c.Through); err != nil {
		return err
	}
	if err := h.networks.Reconfigure(c.Uplinks); err != nil {
		return err
	}
	for _, name := range h.c.Uplinks {
		if slices.Contains(c.Uplinks, name) {
			continue
		}
		delete(h.underlays, name)
		if h.fast != nil {
			if err := h.fast.Link(engine.Link{Name: name, Gone: true}); err != nil {
				return err
			}
		}
	}
	h.slow.SetOwn(c.Identities, all)
	h.slow.SetCasts(c.Casts)
	if h.casts != nil {
		h.casts.SetLinks(links)
	}
	if err := h.setAside(c.Casts, all); err != nil {
		return err
	}
	h.c.HomeNetworks, h.c.Identities, h.c.Encapsulations, h.c.Uplinks = c.HomeNetworks, c.Identities, c.Encapsulations, c.Uplinks
	return nil
}

// openFast puts the programs in front of user space, as configured.
func (h *Host) openFast() error {
	pins := h.c.Pins
	if h.c.Transient {
		pins = ""
	}
	if h.c.Kind == Kernel {
		if err := h.noPrograms(pins); err != nil {
			return err
		}
		var err error
		if h.devices, err = kernel.Open(kernel.Config{Slow: h.slow, Device: h.c.Device, Base: h.c.Base}); err != nil {
			return err
		}
		h.packets = h.devices
		return nil
	}
	// An earlier daemon's programs would go on with what it wanted.
	if h.c.Kind == TUN {
		return h.noPrograms(pins)
	}
	err := bpf.SupportedAgain(pins, h.c.Device)
	if err == nil {
		c := bpf.Config{Slow: h.slow, Device: h.c.Device, Pins: pins, Capacity: h.c.Capacity, Port: h.c.Port, AvoidVirtual: h.c.Kind == Auto}
		h.fast, err = bpf.Open(c)
		if errors.Is(err, bpf.ErrNoBPFFS) && h.c.Kind == Auto {
			c.Pins = ""
			h.fast, err = bpf.Open(c)
		}
	}
	if err != nil {
		if h.c.Kind == BPF {
			return err
		}
		h.why = err.Error()
		return h.noPrograms(pins)
	}
	h.packets = h.fast
	return nil
}

// noPrograms ends those of an earlier daemon. Where it may not, it remembers.
func (h *Host) noPrograms(pins string) error {
	err := bpf.Remove(pins, h.c.Device)
	if errors.Is(err, bpf.ErrUnknown) {
		h.unknown, err = bpf.ErrUnknown, nil
	}
	return err
}

// Tunnels is the user-space packet side: its Deliver takes what the UDP
// sockets receive.
func (h *Host) Tunnels() *tun.Plane { return h.slow }

// List implements [forward.Plane].
func (h *Host) List(ctx context.Context) iter.Seq[forward.Entry] { return h.packets.List(ctx) }

// Adopts implements [forward.Adopter]: user space has nothing at a start, and
// what programs have is compared when it is applied again; Reconcile removes
// the rest. The kernel's own tunnel devices have to be listed.
func (h *Host) Adopts() bool { return h.devices == nil }

// Events implements [forward.Plane].
func (h *Host) Events() <-chan forward.Event { return h.packets.Events() }

// Counters implements [forward.Plane].
func (h *Host) Counters(k forward.Key) forward.Counters { return h.packets.Counters(k) }

// Learn implements [forward.Learner]: of mobile nodes' tunnels user space keeps what
// routers say. What the kernel has heard of it, and would hold TCP to for ten
// minutes, is forgotten with that.
func (h *Host) Learn(c forward.Carried) {
	if !h.slow.Learn(c) {
		return
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if !h.closed {
		_ = h.routes.ForgetPaths() // it ends by itself
	}
}

// Use implements [forward.Plane].
func (h *Host) Use(k forward.Key) forward.Use { return h.packets.Use(k) }

// Attend tells whether the daemon serves: its sockets are open, and somebody
// reads what the programs leave to user space. It is taken back before the
// sockets are closed.
func (h *Host) Attend(serves bool) error {
	if h.fast == nil {
		return nil
	}
	return h.fast.Attend(serves)
}

// Finish sends what the programs have left to user space by now. After it the
// sockets may be closed.
func (h *Host) Finish() { h.slow.Finish() }

// Deaf is [tun.Plane.Deaf].
func (h *Host) Deaf() <-chan struct{} { return h.slow.Deaf() }

// Announce executes an [engine.Announce].
func (h *Host) Announce(a engine.Announce) error {
	return h.announcer.Announce(a.Link, a.Address, a.HW)
}

// PortMoved tells that the UDP socket of an uplink has another port.
func (h *Host) PortMoved(link string) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.closed || h.fast == nil {
		return nil
	}
	return h.fast.PortMoved(link)
}

// Neighbour tells the link-layer address of a neighbour, zero when the kernel
// has not resolved it.
func (h *Host) Neighbour(link string, a netip.Addr) (forward.HardwareAddr, error) {
	return h.neighbour.Lookup(link, a)
}

// Reconcile makes the kernel agree with the entries: what an earlier process
// left and nobody wants is removed, what somebody took away is put back. Call
// it once the entries that outlived a restart have been applied.
func (h *Host) Reconcile() error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.closed {
		return net.ErrClosed
	}
	h.slow.Settle()
	_, err := h.firewall.Reconcile()
	if h.fast != nil {
		err = errors.Join(err, h.fast.Reconcile())
	}
	if h.devices != nil {
		err = errors.Join(err, h.devices.Reconcile())
	}
	if h.visits != nil {
		err = errors.Join(err, h.visits.Reconcile())
	}
	return errors.Join(err, h.networks.Reconcile(), h.routes.Reconcile(), h.reconcileProxies())
}

// reconcileProxies: the kernel does not tell who made a proxy entry. Those on
// a home link for addresses of its home network are ours.
func (h *Host) reconcileProxies() error {
	want := make(map[interception]bool)
	for _, at := range h.intercepted {
		want[at] = true
	}
	var errs []error
	have := make(map[interception]bool)
	for _, n := range h.c.HomeNetworks {
		if n.Link == "" {
			continue
		}
		addrs, err := h.neighbour.Proxied(n.Link)
		errs = append(errs, err)
		for _, a := range addrs {
			at := interception{n.Link, a}
			have[at] = true
			if n.Prefix.Contains(a) && !want[at] {
				errs = append(errs, h.neighbour.Unproxy(n.Link, a))
			}
		}
	}
	for _, key := range slices.Sorted(maps.Keys(h.intercepted)) {
		if at := h.intercepted[key]; !have[at] {
			errs = append(errs, h.neighbour.Proxy(at.link, at.addr))
		}
	}
	return errors.Join(errs...)
}

// Status is what `careof show` tells of the plane.
type Status struct {
	Kind    string       `json:"kind"`
	Device  string       `json:"device"`
	Up      bool         `json:"up"` // false once somebody has deleted the device
	MTU     int          `json:"mtu"`
	Routes  route.Status `json:"routes"`
	Totals  tun.Totals   `json:"totals"`
	Fast    *bpf.Status  `json:"fast,omitempty"`    // of kind bpf
	Devices []string     `json:"devices,omitempty"` // of kind kernel: the tunnels' own
	Why     string       `json:"why,omitempty"`     // there are no programs, though there might have been
}

// Status tells about the plane as a whole.
func (h *Host) Status() Status {
	h.mu.Lock()
	mtu := h.mtu
	h.mu.Unlock()
	s := Status{Kind: TUN.String(), Device: h.c.Device, Up: h.slow.Alive(), MTU: mtu, Routes: h.routes.Status(), Totals: h.slow.Totals(), Why: h.why}
	if h.fast != nil {
		fast := h.fast.Status()
		s.Kind, s.Fast = BPF.String(), &fast
	}
	if h.devices != nil {
		s.Kind, s.Devices = Kernel.String(), h.devices.Devices()
	}
	return s
}

// Trouble is what does not work as it should while packets flow; nil when all does.
func (h *Host) Trouble() error {
	if h.fast == nil {
		return h.unknown
	}
	return h.fast.Trouble()
}

// Withdraw removes everything of ours from the kernel, but for the device: for
// uninstalling, and for a lab that tidies up.
func (h *Host) Withdraw() error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.closed {
		return net.ErrClosed
	}
	var errs []error
	for _, key := range slices.Sorted(maps.Keys(h.intercepted)) {
		errs = append(errs, h.release(key, h.intercepted[key]))
	}
	if h.visits != nil {
		errs = append(errs, h.visits.Withdraw())
	}
	if h.fast != nil {
		errs = append(errs, h.fast.Withdraw())
	}
	if h.devices != nil {
		errs = append(errs, h.devices.Withdraw())
	}
	return errors.Join(append(errs, h.networks.Withdraw(), h.routes.Withdraw(), h.firewall.Remove())...)
}

// Close implements [forward.Plane].
func (h *Host) Close() error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.closed {
		return nil
	}
	h.closed = true
	var errs []error
	if h.casts != nil {
		errs = append(errs, h.casts.Close())
	}
	if h.origin != nil {
		errs = append(errs, h.origin.close())
	}
	if h.packets != nil {
		errs = append(errs, h.packets.Close())
	}
	if h.routes != nil {
		errs = append(errs, h.routes.Close())
	}
	if h.visits != nil {
		errs = append(errs, h.visits.Close())
	}
	if h.networks != nil {
		errs = append(errs, h.networks.Close())
	}
	if h.announcer != nil {
		errs = append(errs, h.announcer.Close())
	}
	if h.neighbour != nil {
		errs = append(errs, h.neighbour.Close())
	}
	if h.firewall != nil {
		errs = append(errs, h.firewall.Close())
	}
	return errors.Join(errs...)
}
