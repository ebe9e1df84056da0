package world

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"time"

	"careof/internal/core/engine"
	"careof/internal/core/forward"
	"careof/internal/core/note"
	"careof/wire/encap"
)

// Setup says what a daemon runs.
type Setup struct {
	// Make makes the machine of one shard. It is called at every start, with
	// luck of its own.
	Make func(shard int, luck *rand.Rand) (engine.Machine, error)
	// Shards is the number of machines, 0 means 1.
	Shards int
	// Route names the shard that an event concerns. A result outside the
	// shards means all of them. Nil sends everything to shard 0.
	Route func(engine.Event) int
	// Port is the UDP port the daemon listens on, on every address. Zero
	// gives each interface a port of its own, another one after each start,
	// as a mobile node has it.
	Port uint16
	// PlaneInside says that the data plane dies with the daemon.
	PlaneInside bool
	// Faults are what goes wrong.
	Faults Faults
}

// Faults are the probabilities, per commit that somebody waits for, that it
// fails. They may be changed at any time.
type Faults struct {
	DiskFull float64 // nothing became durable
	Refused  float64 // durable, but the plane applied only a part, or nothing
	SlowDisk float64 // it takes 20 to 200 ms
}

// A Daemon drives machines on a node, as engine's package comment says.
type Daemon struct {
	Setup
	Node *Node

	running    bool
	boots      int
	generation int
	ports      map[string]portPair // of the links whose port has changed since the start
	asides     map[string]uint16   // of the links' second sockets
	moved      int                 // how often a port has changed, over all lives
	shards     []*shard
	stores     []map[string][]byte // one keyspace per shard; what is in them is durable
	commits    []commit
	busy       bool
	owners     map[forward.Key]int
	luck       map[string]*rand.Rand // of commits, by what they are about
	notes      []Told
	commands   map[engine.Ticket]func(engine.Result)
	lastTicket engine.Ticket
	broken     error
}

// Told is a note and when it was told.
type Told struct {
	At    time.Duration
	Shard int
	note.Note
}

// A shard is one machine of a daemon.
type shard struct {
	daemon  *Daemon
	index   int
	machine engine.Machine
	wake    *Timer
	asked   map[engine.Ticket]bool
}

// clockOf is the node's clock.
func (n *Node) clockOf() *Clock {
	if n.clock == nil {
		n.clock = &Clock{world: n.world, boot: time.Unix(int64(100*n.number), 0).UTC()}
	}
	return n.clock
}

// Clock is the node's clock.
func (n *Node) Clock() *Clock { return n.clockOf() }

// AddDaemon gives the node a daemon, which is not started, and a data plane
// when it has none.
func (n *Node) AddDaemon(s Setup) *Daemon {
	if n.daemon != nil {
		panicf("node %s has two daemons", n.Name)
	}
	if s.Shards == 0 {
		s.Shards = 1
	}
	if n.plane == nil {
		n.AddPlane()
	}
	d := &Daemon{
		Setup: s, Node: n, luck: make(map[string]*rand.Rand),
		stores: make([]map[string][]byte, s.Shards), commands: make(map[engine.Ticket]func(engine.Result)),
	}
	for i := range d.stores {
		d.stores[i] = make(map[string][]byte)
	}
	n.daemon = d
	n.world.daemons = append(n.world.daemons, d)
	return d
}

// Running tells whether the daemon runs.
func (d *Daemon) Running() bool { return d.running }

// Machines lists the daemon's machines by shard; none when it does not run.
func (d *Daemon) Machines() []engine.Machine {
	var list []engine.Machine
	for _, s := range d.shards {
		list = append(list, s.machine)
	}
	return list
}

// Settled tells whether every commit has become true or failed.
func (d *Daemon) Settled() bool { return !d.busy && len(d.commits) == 0 }

// Notes lists what the machines have told, over all lives of the daemon.
func (d *Daemon) Notes() []Told { return d.notes }

// Start starts the daemon: the machines are made, get their records back, the
// data plane is repaired, and the machines learn of the links.
func (d *Daemon) Start() error {
	if d.running {
		return nil
	}
	w := d.Node.world
	d.boots++
	d.generation++
	d.running, d.busy, d.commits, d.broken = true, false, nil, nil
	d.owners = make(map[forward.Key]int)
	d.ports = make(map[string]portPair)
	d.asides = make(map[string]uint16)
	d.shards = nil
	w.Tracef(d.Node.Name, "daemon starts")
	for i := range d.Shards {
		luck := w.Luck(fmt.Sprintf("machine %s %d %d", d.Node.Name, i, d.boots))
		m, err := d.Make(i, luck)
		if err != nil {
			d.running = false
			return fmt.Errorf("world: node %s: %w", d.Node.Name, err)
		}
		d.shards = append(d.shards, &shard{daemon: d, index: i, machine: m, asked: make(map[engine.Ticket]bool)})
	}
	if err := d.restore(); err != nil {
		return err
	}
	w.tell(Started{Daemon: d})
	for _, i := range d.Node.interfaces {
		d.each(engine.LinkChanged{Link: i.Link()})
	}
	for _, s := range d.shards {
		s.arm()
	}
	return nil
}

// restore gives the machines their records and the plane what they call for.
func (d *Daemon) restore() error {
	now := d.Node.clockOf().Now()
	wanted := make(map[forward.Key]forward.Entry)
	var order []forward.Key
	for _, s := range d.shards {
		p, ok := s.machine.(engine.Persistent)
		if !ok {
			continue
		}
		for _, key := range sortedKeys(d.stores[s.index]) {
			r := engine.Record{Key: []byte(key), Value: slices.Clone(d.stores[s.index][key])}
			if err := p.Restore(now, r); err != nil {
				return fmt.Errorf("world: node %s: restore %q: %w", d.Node.Name, key, err)
			}
		}
		for e := range p.Entries() {
			e.Tunnels = slices.Clone(e.Tunnels)
			wanted[e.Key] = e
			order = append(order, e.Key)
			d.owners[e.Key] = s.index
		}
	}
	var changes []forward.Change
	for have := range d.Node.plane.List(context.Background()) {
		if _, ok := wanted[have.Key]; !ok {
			changes = append(changes, forward.Change{Op: forward.Delete, Entry: have})
		}
	}
	slices.Sort(order)
	for _, k := range order {
		if at, ok := d.Node.plane.find(k); !ok || !SameEntry(d.Node.plane.entries[at].entry, wanted[k]) {
			changes = append(changes, forward.Change{Op: forward.Put, Entry: wanted[k]})
		}
	}
	for _, c := range changes {
		d.Node.world.Tracef(d.Node.Name, "repair %s", changeText(c))
	}
	if err := d.Node.plane.Apply(context.Background(), changes); err != nil {
		return fmt.Errorf("world: node %s: repair: %w", d.Node.Name, err)
	}
	return nil
}

// Kill ends the daemon without warning. What was not durable is lost.
func (d *Daemon) Kill() {
	if !d.running {
		return
	}
	d.Node.world.Tracef(d.Node.Name, "daemon killed with %d commits under way", len(d.commits))
	d.generation++
	d.running, d.busy, d.commits = false, false, nil
	for _, s := range d.shards {
		s.wake.Stop()
	}
	d.shards = nil
	if d.PlaneInside {
		d.Node.plane.vanish()
	}
	d.Node.world.tell(Killed{Daemon: d})
}

// Reboot kills the daemon and with it everything that is not durable in the
// whole machine: the data plane's entries and the monotonic clock.
func (d *Daemon) Reboot() {
	d.Kill()
	d.Node.plane.vanish()
	d.Node.clockOf().reboot(d.boots)
	for _, i := range d.Node.interfaces {
		i.forget()
	}
}

// Store shows what is durable in one shard's keyspace.
func (d *Daemon) Store(shard int) []engine.Record {
	var list []engine.Record
	for _, k := range sortedKeys(d.stores[shard]) {
		list = append(list, engine.Record{Key: []byte(k), Value: slices.Clone(d.stores[shard][k])})
	}
	return list
}

// later lets something happen unless the daemon dies before.
func (d *Daemon) later(after time.Duration, do func()) {
	life := d.generation
	d.Node.world.After(after, func() {
		if d.generation == life {
			do()
		}
	})
}

// deliver routes an event to the machines it concerns.
func (d *Daemon) deliver(ev engine.Event) {
	at := 0
	if d.Route != nil {
		at = d.Route(ev)
	}
	if at < 0 || at >= len(d.shards) {
		d.each(ev)
		return
	}
	d.shards[at].step(ev)
}

func (d *Daemon) each(ev engine.Event) {
	for _, s := range d.shards {
		s.step(ev)
	}
}

// linkChanged tells the machines of a link, a moment later, as it is then.
func (d *Daemon) linkChanged(i *Interface) {
	if d.running {
		d.later(linkDelay, func() { d.each(engine.LinkChanged{Link: i.Link()}) })
	}
}

// planeEvent tells the machine that owns the entry.
func (d *Daemon) planeEvent(ev forward.Event) {
	if !d.running {
		return
	}
	at, ok := d.owners[ev.Entry()]
	if !ok {
		return
	}
	d.later(0, func() { d.shards[at].step(engine.Plane{Event: ev}) })
}

// packet gives the machines a signalling datagram.
func (d *Daemon) packet(a arrival, ip encap.IPv4, u encap.UDPDatagram) {
	d.deliver(engine.Packet{Link: a.link.Name, Src: u.Src, Dst: u.Dst, TTL: ip.TTL, HW: a.hw, Data: u.Payload})
}

// portOn is the port of the daemon's socket on a link.
func (d *Daemon) portOn(link string) uint16 {
	if d.Port != 0 {
		return d.Port
	}
	if p, ok := d.ports[link]; ok {
		return p.now
	}
	at := slices.IndexFunc(d.Node.interfaces, func(i *Interface) bool { return i.Name == link })
	return uint16(40000 + 16*max(d.boots, 1) + at)
}

// portPair is the port of a link's socket and that of the one before it, at
// which packets are taken still.
type portPair struct{ now, before uint16 }

// renew gives a link's socket another port.
func (d *Daemon) renew(link string) {
	if d.Port != 0 {
		return
	}
	before := d.portOn(link)
	d.ports[link] = portPair{now: uint16(50000 + d.moved%10000), before: before}
	d.moved++
}

// beside is the port of a link's second socket, another one with fresh.
func (d *Daemon) beside(link string, fresh bool) uint16 {
	if p, ok := d.asides[link]; ok && !fresh {
		return p
	}
	p := uint16(60000 + d.moved%5000)
	d.asides[link] = p
	d.moved++
	return p
}

// knownPort tells whether a port is the daemon's, running or not.
func (d *Daemon) knownPort(i *Interface, dst netip.AddrPort) bool {
	return d.hasPort(i.Name, dst.Port())
}

func (d *Daemon) hasPort(link string, port uint16) bool {
	return port == d.portOn(link) || port != 0 && (port == d.ports[link].before || port == d.asides[link])
}

// listens tells whether a socket of the running daemon takes the datagram.
func (d *Daemon) listens(i *Interface, dst netip.AddrPort) bool {
	return d.running && d.knownPort(i, dst)
}

// Command gives the machines an order; result is called with each answer.
func (d *Daemon) Command(value any, result func(engine.Result)) error {
	if !d.running {
		return fmt.Errorf("world: the daemon on %s does not run", d.Node.Name)
	}
	d.lastTicket++
	t := d.lastTicket | 1<<63
	d.commands[t] = result
	d.later(0, func() { d.deliver(engine.Command{Ticket: t, Value: value}) })
	return nil
}

// step gives the machine one event and does what it says.
func (s *shard) step(ev engine.Event) {
	d := s.daemon
	w := d.Node.world
	now := d.Node.clockOf().Now()
	if a, ok := ev.(engine.Answer); ok {
		delete(s.asked, a.Ticket)
	}
	actions := s.machine.Step(now, ev)
	who := fmt.Sprintf("%s/%d", d.Node.Name, s.index)
	w.Tracef(who, "< %s", eventText(ev))
	for _, a := range actions {
		w.Tracef(who, "> %s", actionText(a))
	}
	for _, a := range actions {
		if ask, ok := a.(engine.Ask); ok {
			s.asked[ask.Ticket] = true
		}
	}
	w.tell(Stepped{Daemon: d, Shard: s.index, Machine: s.machine, Now: now, Event: ev, Actions: actions, Asked: len(s.asked)})
	s.execute(actions)
	s.arm()
}

// wakeDelay is how late a daemon is.
const wakeDelay = 100 * time.Microsecond

// arm sets the alarm for the machine's deadline.
func (s *shard) arm() {
	s.wake.Stop()
	s.wake = nil
	if !s.daemon.running {
		return
	}
	at := s.machine.Deadline()
	if at.IsZero() {
		return
	}
	w := s.daemon.Node.world
	wait := max(0, s.daemon.Node.clockOf().sinceMono(at)-w.now) + wakeDelay
	s.wake = w.After(wait, func() { s.step(engine.Wake{}) })
}

// execute does what a machine says, in order.
func (s *shard) execute(actions []engine.Action) {
	d := s.daemon
	w := d.Node.world
	for _, a := range actions {
		switch a := a.(type) {
		case engine.Send:
			d.send(s.index, a)
		case engine.SendDiscovery:
			d.sendDiscovery(a)
		case engine.Originate:
			if err := d.Node.Output(a.Packet, "", forward.HardwareAddr{}); err != nil {
				w.Tracef(d.Node.Name, "cannot originate: %v", err)
			}
		case engine.Commit:
			d.commits = append(d.commits, commit{shard: s.index, Commit: a})
			d.work()
		case engine.Ask:
			d.ask(s, a)
		case engine.Tell:
			d.notes = append(d.notes, Told{At: w.now, Shard: s.index, Note: a.Note})
			w.tell(Noted{Daemon: d, Shard: s.index, Note: a.Note})
		case engine.Result:
			if result := d.commands[a.Ticket]; result != nil {
				delete(d.commands, a.Ticket)
				result(a)
			}
		case engine.Announce:
			if i := d.Node.Interface(a.Link); i != nil {
				for again := range announcements {
					d.later(time.Duration(again)*time.Second, func() { i.announce(a.Address, a.HW) })
				}
			}
		}
	}
}

// announcements is how often a gratuitous ARP is sent: "SHOULD be
// retransmitted a small number of times" (RFC 5944 section 4.6).
const announcements = 3

// send sends a datagram for a machine.
func (d *Daemon) send(shard int, s engine.Send) {
	n := d.Node
	link := s.Link
	src := s.Src.Addr()
	if !src.IsValid() {
		if i := n.Interface(link); i != nil && len(i.addresses) > 0 {
			src = i.addresses[0].Addr()
		} else if r, ok := n.route(s.Dst.Addr()); ok && len(r.Interface.addresses) > 0 {
			src = r.Interface.addresses[0].Addr()
		} else {
			src = netip.IPv4Unspecified()
		}
	}
	port := s.Src.Port()
	if port == 0 {
		name := link
		if name == "" {
			name = n.linkOf(forward.Tunnel{Local: netip.AddrPortFrom(src, 0)})
		}
		switch {
		case s.Aside:
			port = d.beside(name, s.Fresh)
		case s.Fresh:
			d.renew(name)
			fallthrough
		default:
			port = d.portOn(name)
		}
	}
	from := netip.AddrPortFrom(src, port)
	n.world.tell(Sent{Daemon: d, Shard: shard, Send: s, From: from})
	packet, err := encap.AppendUDP(nil, encap.IPv4{TTL: s.TTL, ID: n.nextID()}, from, s.Dst, s.Data)
	if err != nil {
		n.world.Tracef(n.Name, "cannot send to %v: %v", s.Dst, err)
		return
	}
	if err := n.Output(packet, link, s.HW); err != nil {
		n.world.Tracef(n.Name, "cannot send to %v: %v", s.Dst, err)
	}
}

// ask answers a question after a moment.
func (d *Daemon) ask(s *shard, a engine.Ask) {
	w := d.Node.world
	answer := engine.Answer{Ticket: a.Ticket}
	wait := 200 * time.Microsecond
	switch q := a.Question.(type) {
	case engine.LastUse:
		d.later(wait, func() {
			answer.Value = d.Node.plane.Use(q.Key)
			s.step(answer)
		})
		return
	case engine.Traffic:
		d.later(wait, func() {
			answer.Value = d.Node.plane.Counters(q.Key)
			s.step(answer)
		})
		return
	case forward.Carried: // routers of this world do not lie
	case engine.Resolve:
		wait = 20 * time.Millisecond
		if list := w.names[q.Name]; len(list) > 0 {
			answer.Value = slices.Clone(list)
		} else {
			answer.Err = fmt.Errorf("world: no such host %q", q.Name)
		}
	default:
		answer.Err = fmt.Errorf("world: nobody answers %T", a.Question)
	}
	d.later(wait, func() { s.step(answer) })
}
