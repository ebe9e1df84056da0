package live

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	"careof/internal/control"
	"careof/internal/core/forward"
	"careof/internal/lab/check"
	"careof/internal/lab/netns"
	"careof/internal/lab/scene"
	"careof/internal/lab/topology"
	"careof/internal/lab/world"
	"careof/wire/encap"
)

// A Stage is a laboratory that a scene plays in. It has real clocks, real disks,
// times that nobody can promise, and whole hosts.
type Stage struct {
	*Lab
	logf func(format string, args ...any)
	ctx  context.Context // its end ends the scene at the next wait

	mu        sync.Mutex
	shapes    map[string]topology.Segment
	ports     uint16
	intruders map[string]*intruder
	ending    []func()
	forwarded string // the first packet of a stranger that somebody passed on
}

var _ scene.Lab = (*Stage)(nil)

// NewStage makes a stage of a laboratory. The caller closes the stage, and
// then the laboratory.
func NewStage(ctx context.Context, l *Lab, logf func(format string, args ...any)) *Stage {
	s := &Stage{Lab: l, logf: logf, ctx: ctx, shapes: make(map[string]topology.Segment), ports: 20000, intruders: make(map[string]*intruder)}
	for _, name := range l.names() {
		s.atEnd(l.segments[name].Tap(func(f netns.Frame) { s.guard(name, f) }))
	}
	return s
}

// guard watches every segment for what strangers have put into tunnel packets.
// It may travel only as they sent it: from their own address. Routers may quote
// it when they complain.
func (s *Stage) guard(segment string, f netns.Frame) {
	if !bytes.Contains(f.Data, []byte(check.Marker)) || len(f.Data) < ethernetHeader {
		return
	}
	ip, err := encap.ParseIPv4(f.Data[ethernetHeader:])
	if err != nil || ip.Protocol == protocolICMP {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, i := range s.intruders {
		if i.address == ip.Src {
			return
		}
	}
	if s.forwarded == "" {
		s.forwarded = fmt.Sprintf("on %s, %v sends %v what a stranger put into a tunnel packet: %x", segment, ip.Src, ip.Dst, f.Data)
	}
}

// Finish tells what must never happen and did.
func (s *Stage) Finish() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.forwarded != "" {
		return errors.New("live: " + s.forwarded)
	}
	return nil
}

const (
	ethernetHeader = 14
	protocolICMP   = 1
)

// Close ends traffic and intruders.
func (s *Stage) Close() {
	s.mu.Lock()
	ending := s.ending
	s.ending = nil
	s.mu.Unlock()
	for i := len(ending) - 1; i >= 0; i-- {
		ending[i]()
	}
}

// atEnd has something done by Close.
func (s *Stage) atEnd(f func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ending = append(s.ending, f)
}

// sure ends the scene on an error of the laboratory itself.
func (s *Stage) sure(err error) {
	if err != nil {
		s.Fatalf("the laboratory failed: %v", err)
	}
}

// Fatalf implements [scene.Lab].
func (s *Stage) Fatalf(format string, args ...any) {
	scene.Fail("at %v: "+format, append([]any{s.Since().Round(time.Millisecond)}, args...)...)
}

// Logf implements [scene.Lab].
func (s *Stage) Logf(format string, args ...any) { s.logf(format, args...) }

// Can implements [scene.Lab].
func (s *Stage) Can(a scene.Ability) bool { return a == scene.Whole }

// Topology implements [scene.Lab].
func (s *Stage) Topology() *topology.Topology { return s.Lab.Topology }

// Now implements [scene.Lab].
func (s *Stage) Now() time.Duration { return s.Since() }

// Wait implements [scene.Lab].
func (s *Stage) Wait(d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-s.ctx.Done():
		s.Fatalf("%v", s.ctx.Err())
	}
}

// leastPatience is the least that a stage waits for anything.
const leastPatience = 30 * time.Second

// Until implements [scene.Lab]. A scene's limit is good where times are exact; here
// it says only what is slow: a busy machine takes its time.
func (s *Stage) Until(what string, limit time.Duration, is func() bool) time.Duration {
	limit = max(3*limit, leastPatience)
	ctx, cancel := context.WithTimeout(s.ctx, limit)
	defer cancel()
	began := s.Now()
	if s.Await(ctx, is) != nil {
		if s.ctx.Err() != nil {
			s.Fatalf("%v", s.ctx.Err())
		}
		s.Fatalf("after %v it is not true that %s", limit, what)
	}
	return s.Now() - began
}

// Plug implements [scene.Lab].
func (s *Stage) Plug(node, iface, segment string) { s.sure(s.Lab.Plug(node, iface, segment)) }

// Unplug implements [scene.Lab].
func (s *Stage) Unplug(node, iface string) { s.sure(s.Lab.Unplug(node, iface)) }

// Shift implements [scene.Lab].
func (s *Stage) Shift(node, iface, segment string) {
	p, _, err := s.uplink(node, iface)
	s.sure(err)
	s.moved(node)
	p.Move(s.segment(segment))
}

func (s *Stage) segment(name string) *netns.Segment {
	g := s.Segment(name)
	if g == nil {
		s.Fatalf("there is no segment %q", name)
	}
	return g
}

// Shape implements [scene.Lab].
func (s *Stage) Shape(segment string, change func(*topology.Segment)) {
	g := s.segment(segment)
	shape, known := s.shapes[segment]
	if !known {
		shape = *s.Lab.Topology.Segment(segment)
	}
	change(&shape)
	if shape.Corrupt != 0 {
		s.Fatalf("only the simulated world flips bits")
	}
	s.shapes[segment] = shape
	g.SetConditions(conditions(&shape))
}

// BlackHole implements [scene.Lab].
func (s *Stage) BlackHole(segment string, on bool) { s.segment(segment).SetUp(!on) }

// Mute implements [scene.Lab].
func (s *Stage) Mute(node, iface string, on bool) {
	p := s.Port(node, iface)
	if p == nil {
		s.Fatalf("node %q has no interface %q", node, iface)
	}
	c := p.Conditions()
	c.Cut = on
	p.SetConditions(c)
}

// Rebind implements [scene.Lab].
func (s *Stage) Rebind(router string) {
	r := s.Router(router)
	if r == nil {
		s.Fatalf("%q is no user-space router", router)
	}
	s.sure(r.Rebind())
}

// Swallow implements [scene.Lab].
func (s *Stage) Swallow(router string) {
	r := s.Router(router)
	if r == nil {
		s.Fatalf("%q is no user-space router", router)
	}
	s.sure(r.Swallow())
}

func (s *Stage) daemon(node string) *Daemon {
	d := s.Daemon(node)
	if d == nil {
		s.Fatalf("node %q runs no daemon", node)
	}
	return d
}

// Start implements [scene.Lab].
func (s *Stage) Start(node string) {
	d := s.daemon(node)
	s.moved(node)
	s.sure(d.Start(context.Background()))
}

// Kill implements [scene.Lab].
func (s *Stage) Kill(node string) { s.daemon(node).Kill() }

// Fall implements [scene.Lab].
func (s *Stage) Fall(node string) {
	s.daemon(node).Kill()
	s.sure(forget(s.Network.Node(node)))
}

// Reboot implements [scene.Lab].
func (s *Stage) Reboot(node string) {
	s.Fall(node)
	s.Start(node)
}

// Drain implements [scene.Lab].
func (s *Stage) Drain(homeAgent string, on bool) {
	ctx, cancel := context.WithTimeout(s.ctx, 10*time.Second)
	defer cancel()
	_, err := s.daemon(homeAgent).client.Drain(ctx, control.DrainOrder{Undrain: !on})
	s.sure(err)
}

// SetClock implements [scene.Lab].
func (s *Stage) SetClock(string, time.Duration) { s.Fatalf("real clocks are not set wrong") }

// Break implements [scene.Lab].
func (s *Stage) Break(string, world.Faults) { s.Fatalf("real disks are not broken") }

// Binding implements [scene.Lab]. A daemon that does not answer has none.
func (s *Stage) Binding(mobile string) scene.Binding {
	b, err := s.Standing(mobile)
	if err != nil {
		return scene.Binding{}
	}
	return b
}

// port gives out port numbers for traffic.
func (s *Stage) port() uint16 {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ports++
	return s.ports
}

// address is the address that a node's programs use.
func (s *Stage) address(name string) netip.Addr {
	a := s.Address(name)
	if !a.IsValid() {
		a = s.Binding(name).HomeAddress
	}
	if !a.IsValid() {
		s.Fatalf("node %q has no address", name)
	}
	return a
}

func (s *Stage) node(name string) *netns.Node {
	n := s.Network.Node(name)
	if n == nil {
		s.Fatalf("there is no host %q", name)
	}
	return n
}

// streamTime is how long a stream lasts when nothing is in its way: its rate
// follows from that.
const streamTime = 10 * time.Second

// Stream implements [scene.Lab].
func (s *Stage) Stream(mobile, to string, octets uint64) scene.Stream {
	return s.LongStream(mobile, to, octets, streamTime)
}

// LongStream implements [scene.Lab].
func (s *Stage) LongStream(mobile, to string, octets uint64, during time.Duration) scene.Stream {
	// Its handshake may be lost again and again, and TCP waits twice as long
	// each time.
	ctx, cancel := context.WithTimeout(s.ctx, time.Minute)
	defer cancel()
	port := s.port()
	t, err := netns.StartTransfer(ctx, netns.TransferConfig{
		Client: s.node(mobile), Server: s.node(to),
		Local: netip.AddrPortFrom(s.address(mobile), 0), Listen: netip.AddrPortFrom(s.address(to), port),
		Up: int64(octets), Down: int64(octets), Rate: int64(float64(octets) * 8 / during.Seconds()), Seed: uint64(port),
	})
	s.sure(err)
	s.atEnd(t.Abort)
	return &stream{transfer: t}
}

type stream struct{ transfer *netns.Transfer }

func (s *stream) result() (r netns.TransferResult, ended bool) {
	select {
	case <-s.transfer.Done():
		return s.transfer.Wait(context.Background()), true
	default:
		return r, false
	}
}

// Done implements [scene.Stream].
func (s *stream) Done() bool {
	r, ended := s.result()
	return ended && r.Up.Intact && r.Down.Intact
}

// Progress implements [scene.Stream].
func (s *stream) Progress() uint64 {
	up, down := s.transfer.Received()
	return uint64(up) + uint64(down)
}

// Broken implements [scene.Stream].
func (s *stream) Broken() string {
	r, ended := s.result()
	switch {
	case !ended:
		return ""
	case r.Err != nil:
		return r.Err.Error()
	case !r.Up.Intact || !r.Down.Intact:
		return "what arrived is not what was sent"
	}
	return ""
}

// Record implements [scene.Lab].
func (s *Stage) Record(segment string) func() [][]byte {
	var mu sync.Mutex
	var packets [][]byte
	s.atEnd(s.segment(segment).Tap(func(f netns.Frame) {
		if len(f.Data) > ethernetHeader && f.Data[12] == 8 && f.Data[13] == 0 {
			mu.Lock()
			defer mu.Unlock()
			packets = append(packets, f.Data[ethernetHeader:])
		}
	}))
	return func() [][]byte {
		mu.Lock()
		defer mu.Unlock()
		return append([][]byte(nil), packets...)
	}
}

// HardwareAddr implements [scene.Lab].
func (s *Stage) HardwareAddr(node, iface string) forward.HardwareAddr {
	p := s.Port(node, iface)
	if p == nil {
		s.Fatalf("node %q has no interface %q", node, iface)
	}
	return forward.HardwareAddr(p.MAC())
}

// Neighbor implements [scene.Lab].
func (s *Stage) Neighbor(node string, a netip.Addr) forward.HardwareAddr {
	for _, i := range s.Lab.Topology.Node(node).Interfaces {
		mac, known, err := s.node(node).Neighbour(i.Name, a)
		s.sure(err)
		if known {
			return forward.HardwareAddr(mac)
		}
	}
	return forward.HardwareAddr{}
}

// Reaches implements [scene.Lab].
func (s *Stage) Reaches(from, to string) bool {
	const tries, wait = 12, 250 * time.Millisecond
	target := netip.AddrPortFrom(s.address(to), s.port())
	ears, err := s.node(to).ListenUDP(target)
	s.sure(err)
	defer ears.Close()
	mouth, err := s.node(from).ListenUDP(netip.AddrPortFrom(s.address(from), target.Port()))
	s.sure(err)
	defer mouth.Close()
	b := make([]byte, 64)
	for range tries {
		// That there is no way at the moment is an answer, too.
		_, _ = mouth.WriteToUDPAddrPort([]byte("hello"), target)
		ears.SetReadDeadline(time.Now().Add(wait))
		n, _, err := ears.ReadFromUDPAddrPort(b)
		if err == nil && string(b[:n]) == "hello" {
			return true
		}
		var slow net.Error
		if err != nil && !(errors.As(err, &slow) && slow.Timeout()) {
			s.sure(fmt.Errorf("from %s to %s: %w", from, to, err))
		}
	}
	return false
}

// intruderAddress is that of an intruder in a segment's network.
const intruderAddress = 66

// An intruder is a stranger's host on a segment.
type intruder struct {
	address netip.Addr
	inject  func(packet []byte) error
}

// Intruder implements [scene.Lab].
func (s *Stage) Intruder(segment string) netip.Addr { return s.intruder(segment).address }

// Inject implements [scene.Lab].
func (s *Stage) Inject(segment string, packet []byte) { s.sure(s.intruder(segment).inject(packet)) }

func (s *Stage) intruder(segment string) *intruder {
	if i := s.intruders[segment]; i != nil {
		return i
	}
	t := s.Lab.Topology.Segment(segment)
	if t == nil || !t.Network.IsValid() {
		s.Fatalf("segment %q has no network for an intruder", segment)
	}
	bytes := t.Network.Addr().As4()
	bytes[3] += intruderAddress
	i := &intruder{address: netip.AddrFrom4(bytes)}
	gateway := t.Gateway
	if !gateway.IsValid() {
		gateway = s.gateway(segment)
	}
	node, err := s.Network.NewNode("intruder-"+segment, netns.NodeConfig{})
	s.sure(err)
	_, err = node.Attach(s.segment(segment), "eth0", netns.PortConfig{Addresses: []netip.Prefix{netip.PrefixFrom(i.address, t.Network.Bits())}})
	s.sure(err)
	if gateway.IsValid() {
		s.sure(node.AddRoute(netns.Route{Prefix: everywhere, Via: gateway}))
	}
	var stop func()
	i.inject, stop, err = rawSender(node)
	s.sure(err)
	s.atEnd(stop)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.intruders[segment] = i
	return i
}

// gateway is the address of a router on a segment.
func (s *Stage) gateway(segment string) netip.Addr {
	for _, n := range s.Lab.Topology.Nodes {
		for _, i := range n.Interfaces {
			if n.Kind == topology.Router && i.Segment == segment && i.Address.IsValid() {
				return i.Address.Addr()
			}
		}
	}
	return netip.Addr{}
}

// Playable tells whether a scene can play on real networking at all.
func Playable(s *scene.Scene) bool {
	return s.Tune == nil && !slices.ContainsFunc(s.Needs, func(a scene.Ability) bool { return a != scene.Whole })
}

// Play builds the laboratory of a scene and plays it there.
func Play(ctx context.Context, s *scene.Scene, o Options, logf func(format string, args ...any)) (err error) {
	t, err := s.Build()
	if err != nil {
		return err
	}
	l, err := Build(ctx, t, o)
	if err != nil {
		return err
	}
	stage := NewStage(ctx, l, logf)
	defer func() {
		stage.Close()
		if ctx.Err() != nil {
			err = ctx.Err()
		} else if err != nil {
			for _, d := range l.Daemons() {
				err = fmt.Errorf("%w\nthe end of the log of %s:\n  %s", err, d.Node, strings.ReplaceAll(d.LogTail(30), "\n", "\n  "))
			}
		}
		err = errors.Join(err, l.Close())
	}()
	return errors.Join(scene.Perform(s, stage), stage.Finish())
}
