package scene

import (
	"context"
	"net/netip"
	"slices"
	"time"

	"careof/internal/core/forward"
	"careof/internal/lab/topology"
	"careof/internal/lab/world"
	"careof/wire/encap"
)

// simStream is both ends of a stream.
type simStream struct {
	octets uint64
	near   *world.Connection
	far    *world.Connection
}

func (s *simStream) Done() bool {
	return s.far != nil && s.near.Received == s.octets && s.far.Received == s.octets
}

func (s *simStream) Progress() uint64 {
	if s.far == nil {
		return 0
	}
	return s.near.Received + s.far.Received
}

func (s *simStream) Broken() string {
	if s.near.Broken == "" && s.far != nil {
		return s.far.Broken
	}
	return s.near.Broken
}

// port gives out port numbers for traffic.
func (s *Sim) port() uint16 {
	s.listeners++
	return s.listeners
}

// address is the address that a node's programs use.
func (s *Sim) address(name string) netip.Addr {
	n := s.node(name)
	if p := n.Plane(); p != nil {
		for e := range p.List(context.Background()) {
			if e.Role == forward.MobileNode && e.Network == "" {
				return e.Inner.Addr()
			}
		}
	}
	for _, i := range n.Interfaces() {
		for _, a := range i.Addresses() {
			return a.Addr()
		}
	}
	s.Fatalf("node %q has no address", name)
	return netip.Addr{}
}

// Stream implements Lab.
func (s *Sim) Stream(mobile, to string, octets uint64) Stream {
	return s.stream(mobile, to, world.Traffic{Total: octets, Chunk: max(1, octets/200), Every: 50 * time.Millisecond})
}

// LongStream implements Lab.
func (s *Sim) LongStream(mobile, to string, octets uint64, during time.Duration) Stream {
	const every = 500 * time.Millisecond
	return s.stream(mobile, to, world.Traffic{Total: octets, Chunk: max(1, octets*uint64(every)/uint64(during)), Every: every})
}

func (s *Sim) stream(mobile, to string, traffic world.Traffic) *simStream {
	near, far, port := s.node(mobile), s.node(to), s.port()
	octets := traffic.Total
	stream := &simStream{octets: octets}
	far.Listen(port, traffic, func(c *world.Connection) { stream.far = c })
	stream.near = near.Dial(netip.AddrPortFrom(s.address(mobile), port), netip.AddrPortFrom(s.address(to), port), traffic)
	return stream
}

// Flow implements Lab.
func (s *Sim) Flow(from, to string, every time.Duration) Flow {
	port := s.port()
	return s.World.StartFlow(s.node(from), netip.AddrPortFrom(s.address(from), port), s.node(to), netip.AddrPortFrom(s.address(to), port), every, 160)
}

// Record implements Lab.
func (s *Sim) Record(segment string) func() [][]byte {
	var packets [][]byte
	s.segment(segment).Tap(func(_ time.Time, frame []byte) {
		if len(frame) > 14 && frame[12] == 8 && frame[13] == 0 {
			packets = append(packets, frame[14:])
		}
	})
	return func() [][]byte { return slices.Clone(packets) }
}

// Intruder implements Lab.
func (s *Sim) Intruder(segment string) netip.Addr {
	return s.intruder(segment).Interface("eth0").Addresses()[0].Addr()
}

// intruder is a stranger's host on a segment, at the network's address 66.
func (s *Sim) intruder(segment string) *world.Node {
	if n := s.intruders[segment]; n != nil {
		return n
	}
	t := s.topology.Segment(segment)
	if t == nil || !t.Network.IsValid() {
		s.Fatalf("segment %q has no network for an intruder", segment)
	}
	a := t.Network.Addr().As4()
	a[3] += 66
	n := s.World.AddNode("intruder-" + segment)
	i := n.AddInterface("eth0")
	i.Plug(s.segment(segment))
	gateway := t.Gateway
	if !gateway.IsValid() {
		gateway = s.router(segment)
	}
	i.Configure(netip.PrefixFrom(netip.AddrFrom4(a), t.Network.Bits()), gateway)
	s.intruders[segment] = n
	return n
}

// router is the address of a router on a segment.
func (s *Sim) router(segment string) netip.Addr {
	for _, n := range s.topology.Nodes {
		for _, i := range n.Interfaces {
			if n.Kind == topology.Router && i.Segment == segment && i.Address.IsValid() {
				return i.Address.Addr()
			}
		}
	}
	return netip.Addr{}
}

// Inject implements Lab.
func (s *Sim) Inject(segment string, packet []byte) {
	n := s.intruder(segment)
	inject := n.Inject
	if to := netip.AddrFrom4([4]byte(packet[16:20])); to.IsMulticast() {
		inject = func(link string, p []byte) error {
			return n.InjectTo(link, forward.HardwareAddr{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}, p) // all of a segment listen
		}
	}
	if err := inject("eth0", packet); err != nil {
		s.Fatalf("inject on %s: %v", segment, err)
	}
}

// Reaches implements Lab.
func (s *Sim) Reaches(from, to string) bool {
	port, got := s.port(), false
	s.node(to).ListenUDP(port, func(encap.UDPDatagram) { got = true })
	source, target := netip.AddrPortFrom(s.address(from), port), netip.AddrPortFrom(s.address(to), port)
	for range 4 {
		s.node(from).SendUDP(source, target, []byte("hello"))
		if s.World.RunUntil(250*time.Millisecond, func() bool { return got }) {
			return true
		}
	}
	return false
}
