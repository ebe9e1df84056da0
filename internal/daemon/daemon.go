package daemon

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	crand "crypto/rand"

	"careof/internal/buildinfo"
	"careof/internal/config"
	"careof/internal/control"
	"careof/internal/core/forward"
	"careof/internal/core/realm"
	"careof/internal/enrol"
	"careof/internal/host/beside"
	"careof/internal/host/dhcp"
	"careof/internal/host/discovery"
	"careof/internal/host/drive"
	"careof/internal/host/names"
	"careof/internal/host/plane"
	"careof/internal/host/plane/bpf"
	"careof/internal/host/plane/tun"
	"careof/internal/host/relay"
	"careof/internal/host/sock"
	"careof/internal/host/store"
	"careof/internal/proto/mip4/fa"
	"careof/internal/proto/mip4/ha"
	"careof/internal/snmp"
	"careof/wire/encap"
)

// Names of the roles: in the store, in notes and in what is shown.
const (
	roleHomeAgent  = ha.RoleName
	roleMobileNode = "mobile-node"

	roleForeignAgent = fa.RoleName
)

// A daemon is everything that runs.
type daemon struct {
	cfg     *config.Config
	log     *slog.Logger
	hub     *hub
	started time.Time

	store    *store.Store
	sockets  *sock.Set
	plane    *plane.Host
	names    *names.Resolver             // of home agents
	resolved sync.Map                    // addresses ([]netip.Addr) by the name of a home agent
	leases   atomic.Pointer[dhcp.Client] // nil without a mobile node
	relay    *relay.Relay                // nil unless it is configured
	portals  portals
	renamed  chan struct{} // the configuration names other links now: all are looked at anew
	dns      *dns          // what the host asks for names; nil without a mobile node that says

	translators translators
	linking     sync.Mutex // links are told by who watches them, and by who finds translators

	home    *drive.Driver // nil without the role
	barring sync.Mutex    // held while a node is blocked or let in again
	mobile  *drive.Driver
	foreign *drive.Driver
	// advertiser advertises for a home agent; a foreign agent in the same
	// process does it for both.
	advertiser *drive.Driver

	discovery *discovery.Set // nil without links to advertise on
	canary    *canary        // nil without a home agent, or switched off
	snmp      *snmp.Agent    // nil without a master agent

	secret secret // for encrypted tunnels

	bouncer  *discovery.Bouncer // nil without a foreign agent
	visiting *visiting          // nil without a mobile node that may use foreign agents

	live live // what changes while it runs
	taps taps

	ledger *enrol.Ledger // nil without a home agent
	aaa    *authority    // nil without an [aaa] section
}

// Run runs the daemon until ctx ends. It returns an error when it cannot
// start, or when something it cannot do without ends. What outlives it
// (records, device, routes, the firewall's silence) stays for the next start.
//
// It works in the network namespace of the process; the calling goroutine
// must not be in another one.
func Run(ctx context.Context, cfg *config.Config, log *slog.Logger) error {
	d := &daemon{cfg: cfg, log: log, hub: newHub(log, cfg.Log), started: time.Now(), renamed: make(chan struct{}, 1)}
	d.live.inForce(cfg)
	if err := coreless(); err != nil {
		return err
	}
	usual := relaxed()
	defer usual()
	if err := d.reachable(); err != nil {
		return err
	}
	for _, w := range cfg.Warnings {
		log.Warn(w.String())
	}
	if err := d.openAAA(); err != nil {
		return err
	}
	defer d.closeAAA()
	server, err := control.Listen(cfg.Control.Socket, cfg.Control.Group, d)
	if err != nil {
		return d.failed("control.socket", err)
	}
	defer server.Close()
	servers := []*control.Server{server}
	if cfg.Control.Listen.IsValid() {
		overTCP, err := control.ListenTCP(cfg.Control, d)
		if err != nil {
			return d.failed("control.listen", err)
		}
		defer overTCP.Close()
		servers = append(servers, overTCP)
	}
	if d.store, err = openStore(cfg.StateDirectory, log); err != nil {
		return d.failed("state-directory", err)
	}
	defer d.store.Close()
	if err := d.openLedger(); err != nil {
		return err
	}
	enrolment, err := d.meet()
	if err != nil {
		return d.failed("enrolment.listen", err)
	}
	if enrolment != nil {
		defer enrolment.Close()
	}
	defer d.closeDNS()
	if err := d.openDNS(ctx); err != nil {
		return d.failed("mobile-node.dns", err)
	}
	if !serverOnly(cfg) {
		if err := d.open(); err != nil {
			return err
		}
		defer d.plane.Close()
		defer d.sockets.Close()
		defer d.closeDiscovery()
		defer d.closeVisiting()
		defer d.names.Close()
		if err := d.restore(ctx); err != nil {
			return err
		}
	}
	usual()
	return d.run(ctx, servers, enrolment)
}

// reachable refuses, before anything of the host is touched, addresses that
// the host does not have.
func (d *daemon) reachable() error {
	var errs []error
	for _, a := range d.localAddresses() {
		conn, err := net.ListenPacket("udp4", netip.AddrPortFrom(a, 0).String())
		if err != nil {
			key, hint := "home-agent.address", "`ip -brief address` lists them; behind a 1:1 NAT, local-address names the one that is here"
			if d.cfg.HomeAgent.LocalAddress.IsValid() {
				key, hint = "home-agent.local-address", "`ip -brief address` lists them"
			}
			errs = append(errs, &failure{d.cfg.Problem(key, a.String()+" is no address of this host", hint), err})
			continue
		}
		conn.Close()
	}
	return errors.Join(append(errs, d.agentLinks()...)...)
}

// localAddresses are the addresses at which a home agent's tunnels end here.
func (d *daemon) localAddresses() []netip.Addr {
	switch c := d.cfg.HomeAgent; {
	case c == nil:
		return nil
	case c.LocalAddress.IsValid():
		return []netip.Addr{c.LocalAddress}
	default:
		return c.Addresses
	}
}

// open makes sockets, data plane and machines. Nothing is read or answered yet.
func (d *daemon) open() error {
	d.sockets = sock.New(sock.Receiver{Signal: d.signal, Data: d.data, Error: d.icmp}, beside.Mark)
	var err error
	if d.secret, err = openSecret(d.cfg); err != nil {
		d.sockets.Close()
		return d.failed("state-directory", err)
	}
	if err = errors.Join(d.openDiscovery(), d.openVisiting()); err != nil {
		d.closeDiscovery()
		d.closeVisiting()
		d.sockets.Close()
		return d.failed("", err)
	}
	// A home agent's nodes are put in order while the plane reads what its
	// programs have: both take long where there are many.
	made := sync.OnceValues(func() (agency, error) { return agents(d.cfg, d.secret.public) })
	if d.cfg.HomeAgent != nil {
		go made()
	}
	if d.plane, err = plane.Open(d.planeConfig(d.cfg)); err != nil {
		d.closeDiscovery()
		d.closeVisiting()
		d.sockets.Close()
		return d.failed(planeKey(err), err)
	}
	d.names, err = names.Open(func() []string {
		if c := d.live.config().MobileNode; c != nil {
			return uplinkNames(c)
		}
		return nil
	}, func(link string) []netip.Addr {
		if l, _ := d.leases.Load().Status(link); l.Has {
			return l.Lease.DNS
		}
		return nil
	})
	if err == nil {
		d.names.OverSix(d.overSix)
		err = d.machines(made)
	}
	if err != nil {
		d.closeDiscovery()
		d.closeVisiting()
		d.sockets.Close()
		return errors.Join(err, d.plane.Close())
	}
	return nil
}

// planeKinds are the data planes that this version has.
var planeKinds = map[config.PlaneKind]plane.Kind{
	config.PlaneAuto: plane.Auto, config.PlaneBPF: plane.BPF, config.PlaneTUN: plane.TUN, config.PlaneKernel: plane.Kernel,
}

// nodeCapacity is room for the entries of a node without a home agent's role.
const nodeCapacity = 256

// agentCapacity is room for the entries of a home agent's nodes. It is a power
// of two, so that some nodes more do not need other maps: pinned ones of
// another size are not taken over.
func agentCapacity(c *config.HomeAgent) int {
	n := bpf.DefaultCapacity
	for n < len(c.MobileNodes) {
		n *= 2
	}
	return n
}

func (d *daemon) planeConfig(cfg *config.Config) plane.Config {
	out := plane.Config{
		Device: cfg.Plane.Device, Kind: planeKinds[cfg.Plane.Kind], Pins: cfg.Plane.BPFFS,
		Datagrams: d.sockets, Port: d.sockets.Port, Mark: beside.Mark, Unclamped: !cfg.Plane.ClampMSS, Secret: d.secret.private,
	}
	if cfg.HomeAgent == nil {
		out.Capacity = nodeCapacity
	}
	if c := cfg.HomeAgent; c != nil {
		out.Forward, out.Capacity = true, agentCapacity(c)
		out.Encapsulations, out.Masquerade = c.Encapsulations, c.Masquerade == config.On
		for _, n := range c.Networks {
			// Which of several home links a network is on shows by the
			// addresses there; the plane may meet it on any of them.
			for _, link := range c.Interfaces {
				out.HomeNetworks = append(out.HomeNetworks, plane.Network{Prefix: n.Prefix, Link: link})
			}
			if len(c.Interfaces) == 0 {
				out.HomeNetworks = append(out.HomeNetworks, plane.Network{Prefix: n.Prefix})
			}
		}
		out.Casts = &tun.Casts{
			Directed:  slices.Contains(c.Broadcasts, config.BroadcastDirected),
			Limited:   slices.Contains(c.Broadcasts, config.BroadcastLimited),
			Multicast: c.Multicast == config.On,
		}
		if c.LocalAddress.IsValid() {
			out.Identities = append(out.Identities, c.Addresses...)
		}
	}
	if c := cfg.ForeignAgent; c != nil {
		out.Forward = true
		out.VisitorLinks, out.Visitors = c.Interfaces, d.discovery
	}
	if c := cfg.MobileNode; c != nil {
		if c.Encapsulation.Kind == encap.WireGuard && cfg.HomeAgent == nil {
			out.Encapsulations = []encap.Kind{encap.WireGuard}
		}
		out.Forward = out.Forward || len(c.Networks) > 0 // a mobile router
		guarded(&out, c)
	}
	return out
}

// world is what the machines' driver is given.
func (d *daemon) world() drive.World {
	return drive.World{
		AAA:      d.askAAA,
		Store:    d.store,
		Plane:    d.metered(),
		Send:     d.sending(d.sockets.Send),
		Announce: d.plane.Announce,
		Resolve:  d.resolve,
		Note:     d.hub.note,

		Originate: d.plane.Originate,
	}
}

// luck is a generator for one machine, seeded by the operating system: nonces
// must not be guessed.
//
//rfc:1256#4.3-1
//rfc:1256#5.3-7
func luck() *rand.Rand {
	var seed [32]byte
	// crypto/rand.Read never returns an error.
	_, _ = crand.Read(seed[:])
	return rand.New(rand.NewChaCha8(seed))
}

// restore brings back what outlived the last process, before any socket is
// read, and then makes the kernel agree with it.
func (d *daemon) restore(ctx context.Context) error {
	for _, r := range []struct {
		driver *drive.Driver
		role   forward.Role
	}{{d.home, forward.HomeAgent}, {d.foreign, forward.ForeignAgent}, {d.mobile, forward.MobileNode}} {
		if r.driver == nil {
			continue
		}
		if err := r.driver.Restore(ctx, func(e forward.Entry) bool { return e.Role == r.role }); err != nil {
			return err
		}
	}
	return d.failed("plane.device", d.plane.Reconcile())
}

// run serves until ctx ends or something fails.
func (d *daemon) run(ctx context.Context, servers []*control.Server, enrolment *enrol.Server) error {
	if err := d.prepare(); err != nil {
		return err
	}
	c := muster(ctx)
	for _, driver := range d.drivers() {
		if driver != nil {
			c.running.Go(func() { driver.Run(c.machines) })
		}
	}
	defer d.closeLeases()
	if err := d.openInputs(); err != nil {
		c.dismiss()
		return err
	}
	d.employ(c)
	for _, server := range servers {
		c.spawn("control", func(context.Context) error { return server.Serve() })
	}
	if enrolment != nil {
		c.spawn("enrolment", enrolment.Serve)
	}
	defer d.live.stop()
	d.tellReady()
	<-c.ctx.Done()
	notify(d.log, "STOPPING=1")
	d.attend(false)
	d.withdraw()
	c.silence()
	d.closeDiameter()
	var err error
	for _, server := range servers {
		err = errors.Join(err, server.Close())
	}
	c.dismiss()
	if d.plane != nil {
		d.plane.Finish()
	}
	d.log.Info("stopped; bindings and forwarding state are kept")
	return errors.Join(c.failed(), err)
}

// prepare makes what may fail before anything runs.
func (d *daemon) prepare() (err error) {
	if c := d.cfg.HomeAgent; c != nil && c.Canary > 0 {
		if d.canary, err = d.newCanary(); err != nil {
			return err
		}
	}
	if master := d.cfg.SNMP.Master; master != "" {
		d.snmp, err = snmp.New(master, d, d.log)
	}
	return err
}

// openInputs lets in what the machines, which run already, are to hear.
func (d *daemon) openInputs() error {
	if err := errors.Join(d.listen(), d.listenForeign(), d.serveDiameter()); err != nil {
		return err
	}
	d.attend(true)
	if d.mobile != nil {
		if err := d.openLeases(); err != nil {
			return d.failed("mobile-node.uplink.address", err)
		}
		if err := d.openTranslators(); err != nil {
			return d.failed("mobile-node.uplink.nat64-prefix", err)
		}
	}
	return d.openRelay()
}

// employ starts what runs beside the machines.
func (d *daemon) employ(c *crew) {
	forever := func(what string, run func(context.Context)) {
		c.spawn(what, func(ctx context.Context) error { run(ctx); return nil })
	}
	if d.translators.finder != nil {
		c.spawn("translators", d.runTranslators)
	}
	if d.relay != nil {
		c.spawn("relay", d.relay.Run)
	}
	if d.plane != nil {
		c.spawn("links", d.watch)
		forever("plane", d.planeEvents)
		c.spawn("upkeep", d.upkeep)
	}
	if d.snmp != nil {
		forever("snmp", d.snmp.Run)
	}
	if a := d.aaa; a != nil && a.ledger != nil {
		forever("accounting", a.ledger.Run)
	}
	if a := d.aaa; a != nil && a.orders != nil {
		c.spawn("aaa", a.orders.Run)
	}
	if m := d.cfg.MobileNode; m != nil && (m.PortalCheck != "" || len(leased(m)) > 0) {
		forever("portals", d.watchPortals)
	}
	if d.dns != nil {
		forever("dns", func(ctx context.Context) { d.watchDNS(ctx, c.machines) })
		switch d.cfg.MobileNode.HomeDHCP {
		case config.HomeDHCPOn:
			forever("home-dhcp", d.watchHomeDHCP)
		case config.HomeDHCPLease:
			forever("home-dhcp", d.watchHomeLease)
		}
	}
	forever("watchdog", d.watchdog)
	forever("hangup", d.hangup)
}

// tellReady tells the log and the service manager that the daemon serves.
func (d *daemon) tellReady() {
	device := ""
	if d.plane != nil {
		device = d.cfg.Plane.Device
		for _, setting := range d.plane.Status().Routes.Changed {
			d.log.Info("changed a setting of this host", "sysctl", setting)
		}
		if f := d.plane.Status().Fast; f != nil && f.Pinned == "" {
			d.log.Info("forwarding stops while the daemon is away: plane.bpffs is on no BPF file system", "bpffs", d.cfg.Plane.BPFFS, "fix", "mount -t bpf bpf /sys/fs/bpf")
		}
	}
	d.log.Info("ready", "version", buildinfo.Read().Version, "roles", d.roles(), "device", device, "socket", d.cfg.Control.Socket)
	notify(d.log, "READY=1")
}

// attend tells the plane whether the daemon serves.
func (d *daemon) attend(serves bool) {
	if d.plane == nil {
		return
	}
	if err := d.plane.Attend(serves); err != nil && serves {
		d.log.Warn("the programs send everything themselves", "error", err)
	} else if err != nil {
		d.log.Warn("packets are lost until the next start", "error", err)
	}
}

// drivers are those of all roles; nil where a role does not run.
func (d *daemon) drivers() []*drive.Driver {
	list := []*drive.Driver{d.home, d.foreign, d.advertiser, d.mobile}
	if d.aaa != nil && d.aaa.diameter != nil {
		list = append(list, d.aaa.diameter.serve)
	}
	return list
}

// upkeepInterval is how long something that others took away from the kernel
// stays away.
const upkeepInterval = 5 * time.Second

// errDevice ends a daemon whose device somebody deleted. The service manager
// starts it again, and the start makes everything anew.
var errDevice = errors.New("the tunnel device was deleted")

// upkeep looks now and then whether the kernel still has what the tunnels
// need, and puts back what somebody removed.
func (d *daemon) upkeep(ctx context.Context) error {
	tick := time.NewTicker(upkeepInterval)
	defer tick.Stop()
	var kernel, pins, disk teller
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		case <-d.plane.Deaf():
		}
		if !d.plane.Status().Up {
			if ctx.Err() != nil {
				return nil
			}
			return fmt.Errorf("%s: %w: the next start makes it anew, and until then nothing goes through the tunnel", d.cfg.Plane.Device, errDevice)
		}
		kernel.tell(d.log, "cannot repair what the kernel should have", "the kernel has what it should have again", d.plane.Reconcile())
		pins.tell(d.log, "a restart would interrupt forwarding", "forwarding would outlive a restart again", d.plane.Trouble())
		disk.tell(d.log, "registrations are refused, for nothing can be written", "records are written again", d.store.Trouble())
	}
}

// A teller logs a trouble when it is another one than before, and its end.
type teller struct{ said string }

func (t *teller) tell(log *slog.Logger, begins, ends string, err error) {
	problem := ""
	if err != nil {
		problem = err.Error()
	}
	switch {
	case problem == t.said:
	case problem == "":
		log.Info(ends)
	case t.said == "" || !errors.Is(err, store.ErrFull): // a full disk tells how full
		log.Warn(begins, "error", problem)
	}
	t.said = problem
}

func (d *daemon) roles() (names []string) {
	if d.home != nil {
		names = append(names, roleHomeAgent)
	}
	if d.foreign != nil {
		names = append(names, roleForeignAgent)
	}
	if d.mobile != nil {
		names = append(names, roleMobileNode)
	}
	if d.aaa != nil && d.aaa.diameter != nil && d.aaa.diameter.serve != nil {
		names = append(names, realm.RoleName)
	}
	return names
}
