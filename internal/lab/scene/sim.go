package scene

import (
	"errors"
	"fmt"
	"net/netip"
	"time"

	"careof/internal/core/engine"
	"careof/internal/core/forward"
	"careof/internal/lab/check"
	"careof/internal/lab/nat"
	"careof/internal/lab/topology"
	"careof/internal/lab/world"
	"careof/internal/proto/mip4/feature/assignment"
	"careof/wire/mip4"
)

// Options of a simulation.
type Options struct {
	Seed   uint64
	Shards int  // of each home agent, 0 means 1
	Keep   bool // keep the text of the trace
	Tune   func(*Tuning)
	// Wrap may put something between the world and a machine.
	Wrap func(node string, m engine.Machine) engine.Machine
	// PlaneInside says that data planes die with their daemons.
	PlaneInside bool
}

// A Sim is a simulated laboratory, watched by all invariants.
type Sim struct {
	World *world.World
	Check *check.Checker

	topology  *topology.Topology
	options   Options
	heard     map[string]int // mobile node: how many notes it had told when its links last changed
	replies   map[string]map[uint8]int
	listeners uint16
	intruders map[string]*world.Node
	logged    []string
	logf      func(format string, args ...any) // also told what the scene says; may be nil
}

var _ Lab = (*Sim)(nil)

// addressDelay is how long an interface takes to get its address once it is
// plugged in.
const addressDelay = 3 * time.Millisecond

// Simulate builds a simulated laboratory and starts its daemons.
func Simulate(t *topology.Topology, o Options) (*Sim, error) {
	w := world.New(o.Seed)
	if o.Keep {
		w.KeepTrace()
	}
	s := &Sim{
		World: w, Check: check.New(w), topology: t, options: o, heard: make(map[string]int),
		replies: make(map[string]map[uint8]int), intruders: make(map[string]*world.Node), listeners: 20000,
	}
	w.Observe(s)
	for i := range t.Segments {
		g := &t.Segments[i]
		w.AddSegment(g.Name, properties(g))
	}
	for i := range t.Nodes {
		if err := s.addNode(&t.Nodes[i]); err != nil {
			return nil, err
		}
	}
	// The network has been up for a while: only who moves has to ask for
	// link-layer addresses.
	for _, g := range w.Segments() {
		g.Introduce()
	}
	for _, d := range w.Daemons() {
		if err := d.Start(); err != nil {
			return nil, err
		}
	}
	return s, nil
}

func properties(g *topology.Segment) world.Properties {
	return world.Properties{
		Delay: g.Delay.Duration, Jitter: g.Jitter.Duration, Loss: g.Loss, Duplicate: g.Duplicate, Corrupt: g.Corrupt, MTU: g.MTU,
	}
}

func (s *Sim) addNode(n *topology.Node) error {
	w := s.World
	node := w.AddNode(n.Name)
	node.Forward = n.Kind == topology.Router || n.Kind == topology.HomeAgent || n.Kind == topology.ForeignAgent ||
		n.Kind == topology.MobileNode && n.Parsed != nil && len(n.Parsed.MobileNode.Networks) > 0
	for _, i := range n.Interfaces {
		at := node.AddInterface(i.Name)
		if i.Hardware != (forward.HardwareAddr{}) {
			at.HW = i.Hardware
		}
		if i.Segment == "" {
			continue
		}
		at.Plug(w.Segment(i.Segment))
		if i.Address.IsValid() {
			at.Configure(i.Address, i.Gateway)
		} else if a, gateway, ok := s.topology.Lease(s.topology.Segment(i.Segment), n.Name, i.Name); ok {
			at.Configure(a, gateway)
		}
	}
	for _, r := range n.Routes {
		for _, i := range n.Interfaces {
			if i.Address.IsValid() && i.Address.Contains(r.Via) {
				node.AddRoute(world.Route{Prefix: r.Prefix, Gateway: r.Via, Interface: node.Interface(i.Name)})
			}
		}
	}
	if n.NAT != nil {
		kind, _ := n.NAT.Behaviour()
		err := node.Translate(node.Interface(n.NAT.Outside), nat.Config{
			External: n.Interface(n.NAT.Outside).Address.Addr(), Inside: n.NAT.Inside, Kind: kind,
			MappingTimeout: n.NAT.Timeout.Duration, Rand: w.Luck("nat " + n.Name),
		})
		if err != nil {
			return err
		}
	}
	if n.Parsed == nil {
		return nil
	}
	switch n.Kind {
	case topology.HomeAgent:
		return s.addHomeAgent(node, n)
	case topology.ForeignAgent:
		return s.addForeignAgent(node, n)
	case topology.MobileNode:
		return s.addMobileNode(node, n)
	}
	return fmt.Errorf("scene: node %s: a simulated %v is not there yet", n.Name, n.Kind)
}

// PlaySimulated plays a scene in the simulated world, watched by all
// invariants. The same seed gives the same story.
func PlaySimulated(s *Scene, seed uint64, logf func(format string, args ...any)) error {
	t, err := s.Build()
	if err != nil {
		return err
	}
	sim, err := Simulate(t, Options{Seed: seed, Tune: s.Tune})
	if err != nil {
		return err
	}
	sim.logf = logf
	if err := Perform(s, sim); err != nil {
		return err
	}
	return sim.Finish()
}

// Observe counts replies.
func (s *Sim) Observe(o world.Observation) {
	sent, ok := o.(world.Sent)
	if !ok {
		return
	}
	m, err := mip4.Parse(sent.Send.Data)
	if err != nil || m.Type != mip4.TypeRegistrationReply {
		return
	}
	r, err := m.Reply()
	if err != nil {
		return
	}
	code := uint8(r.Code)
	if r.Code.Accepted() {
		code = 0
	}
	name := sent.Daemon.Node.Name
	if s.replies[name] == nil {
		s.replies[name] = make(map[uint8]int)
	}
	s.replies[name][code]++
}

// Finish runs the invariants' last judgement and returns what did not hold.
func (s *Sim) Finish() error {
	s.Check.Judge()
	if v := s.Check.Violations(); len(v) > 0 {
		return fmt.Errorf("scene: %d violations, the first %v", len(v), v[0])
	}
	return nil
}

func (s *Sim) node(name string) *world.Node {
	n := s.World.Node(name)
	if n == nil {
		s.Fatalf("there is no node %q", name)
	}
	return n
}

func (s *Sim) segment(name string) *world.Segment {
	g := s.World.Segment(name)
	if g == nil {
		s.Fatalf("there is no segment %q", name)
	}
	return g
}

func (s *Sim) iface(node, name string) *world.Interface {
	i := s.node(node).Interface(name)
	if i == nil {
		s.Fatalf("node %q has no interface %q", node, name)
	}
	return i
}

func (s *Sim) daemon(node string) *world.Daemon {
	d := s.node(node).Daemon()
	if d == nil {
		s.Fatalf("node %q runs no daemon", node)
	}
	return d
}

// Fatalf implements Lab.
func (s *Sim) Fatalf(format string, args ...any) {
	Fail("at %v: "+format, append([]any{s.World.Now()}, args...)...)
}

// Logf implements Lab.
func (s *Sim) Logf(format string, args ...any) {
	s.World.Tracef("scene", format, args...)
	s.logged = append(s.logged, fmt.Sprintf(format, args...))
	if s.logf != nil {
		s.logf("at %v: "+format, append([]any{s.World.Now()}, args...)...)
	}
}

// Logged lists what the scene has said.
func (s *Sim) Logged() []string { return s.logged }

// Can implements Lab.
func (s *Sim) Can(a Ability) bool { return Simulable(a) }

// Topology implements Lab.
func (s *Sim) Topology() *topology.Topology { return s.topology }

// Now implements Lab.
func (s *Sim) Now() time.Duration { return s.World.Now() }

// Wait implements Lab.
func (s *Sim) Wait(d time.Duration) { s.World.Run(d) }

// Until implements Lab.
func (s *Sim) Until(what string, limit time.Duration, is func() bool) time.Duration {
	began := s.World.Now()
	if !s.World.RunUntil(limit, is) {
		s.Fatalf("after %v it is not true that %s", limit, what)
	}
	return s.World.Now() - began
}

// Plug implements Lab.
func (s *Sim) Plug(node, iface, segment string) {
	i, g := s.iface(node, iface), s.segment(segment)
	s.World.Tracef("scene", "plug %s of %s into %s", iface, node, segment)
	s.changed(node)
	i.Plug(g)
	a, gateway, ok := s.topology.Lease(s.topology.Segment(segment), node, iface)
	if !ok {
		return // a visited link: only foreign agents lend addresses there
	}
	s.World.After(addressDelay, func() {
		if i.Segment() == g && len(i.Addresses()) == 0 {
			i.Configure(a, gateway)
		}
	})
}

// Unplug implements Lab.
func (s *Sim) Unplug(node, iface string) {
	s.World.Tracef("scene", "unplug %s of %s", iface, node)
	s.changed(node)
	s.iface(node, iface).Unplug()
}

// Shift implements Lab.
func (s *Sim) Shift(node, iface, segment string) {
	s.World.Tracef("scene", "shift %s of %s to %s", iface, node, segment)
	s.changed(node)
	s.iface(node, iface).Shift(s.segment(segment))
}

// Shape implements Lab.
func (s *Sim) Shape(segment string, change func(*topology.Segment)) {
	g, t := s.segment(segment), *s.topology.Segment(segment)
	p := g.Properties
	t.Delay.Duration, t.Jitter.Duration, t.Loss, t.Duplicate, t.Corrupt, t.MTU = p.Delay, p.Jitter, p.Loss, p.Duplicate, p.Corrupt, p.MTU
	change(&t)
	q := properties(&t)
	q.Down = p.Down
	s.World.Tracef("scene", "shape %s: %+v", segment, q)
	g.Properties = q
}

// BlackHole implements Lab.
func (s *Sim) BlackHole(segment string, on bool) {
	s.World.Tracef("scene", "black hole %s: %v", segment, on)
	s.segment(segment).Down = on
}

// Mute implements Lab.
func (s *Sim) Mute(node, iface string, on bool) {
	s.World.Tracef("scene", "mute %s of %s: %v", iface, node, on)
	i := s.iface(node, iface)
	if i.Segment() == nil {
		s.Fatalf("%s of %s is plugged in nowhere", iface, node)
	}
	if !on {
		i.Segment().Partition(nil)
		return
	}
	i.Segment().Partition(func(from, _ *world.Interface) bool { return from == i })
}

// Rebind implements Lab.
func (s *Sim) Rebind(router string) {
	box := s.node(router).NAT()
	if box == nil {
		s.Fatalf("%q does not translate", router)
	}
	s.World.Tracef("scene", "%s forgets its mappings", router)
	box.Rebind()
}

// Swallow implements Lab.
func (s *Sim) Swallow(router string) {
	box := s.node(router).NAT()
	if box == nil {
		s.Fatalf("%q does not translate", router)
	}
	s.World.Tracef("scene", "%s swallows what belongs to its mappings", router)
	box.Swallow()
}

// Start implements Lab.
func (s *Sim) Start(node string) {
	d := s.daemon(node)
	s.changed(node)
	if err := d.Start(); err != nil {
		s.Check.Failed(d, err)
		s.Fatalf("%v", err)
	}
}

// Kill implements Lab.
func (s *Sim) Kill(node string) { s.daemon(node).Kill() }

// Fall implements Lab.
func (s *Sim) Fall(node string) { s.daemon(node).Reboot() }

// Reboot implements Lab.
func (s *Sim) Reboot(node string) {
	s.Fall(node)
	s.Start(node)
}

// Drain implements Lab.
func (s *Sim) Drain(homeAgent string, on bool) {
	var order any = assignment.Undrain{}
	if on {
		order = assignment.Drain{}
	}
	answered, failed := 0, error(nil)
	if err := s.daemon(homeAgent).Command(order, func(r engine.Result) { answered, failed = answered+1, errors.Join(failed, r.Err) }); err != nil {
		s.Fatalf("%v", err)
	}
	s.Until(homeAgent+" has obeyed", time.Second, func() bool { return answered > 0 })
	if failed != nil {
		s.Fatalf("%v", failed)
	}
}

// SetClock implements Lab.
func (s *Sim) SetClock(node string, ahead time.Duration) {
	c := s.node(node).Clock()
	c.Correct()
	c.Jump(ahead)
	s.World.Tracef("scene", "the clock of %s is %v ahead", node, ahead)
}

// Break implements Lab.
func (s *Sim) Break(node string, f world.Faults) { s.daemon(node).Faults = f }

// Replies implements Lab.
func (s *Sim) Replies(homeAgent string, code uint8) int { return s.replies[homeAgent][code] }

// HardwareAddr implements Lab.
func (s *Sim) HardwareAddr(node, iface string) forward.HardwareAddr { return s.iface(node, iface).HW }

// Neighbor implements Lab.
func (s *Sim) Neighbor(node string, a netip.Addr) forward.HardwareAddr {
	for _, i := range s.node(node).Interfaces() {
		if hw := i.Neighbor(a); hw != (forward.HardwareAddr{}) {
			return hw
		}
	}
	return forward.HardwareAddr{}
}

// changed notes that a node's links are about to change: what it has told so
// far is about the links before.
func (s *Sim) changed(node string) {
	if d := s.World.Node(node).Daemon(); d != nil {
		s.heard[node] = len(d.Notes())
	}
}
