package netns

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"sync"
	"time"

	"careof/internal/lab/nat"
)

// Router is an IPv4 router that is no node: it forwards between ports in user space, decrements the TTL, sends the ICMP
// errors that path discovery needs, fragments, answers ARP and echo requests for itself, and translates if it has a NAT. It
// drops everything that is not IPv4.
//
// A router with a real kernel behind it is a node with [NodeConfig].Forward.
type Router struct {
	network *Network
	name    string

	// mu is held while a frame is handled. Ports only queue frames on the delay line, so a loop of routers cannot block.
	mu      sync.Mutex
	ports   []*routerPort
	routes  []RouterRoute
	box     *nat.Box
	outside *routerPort
	counts  RouterCounts
}

type routerPort struct {
	port       *Port
	name       string
	prefix     netip.Prefix // the router's own address and the link's prefix
	mtu        int
	neighbours map[netip.Addr]*neighbour
}

// RouterRoute is a route of a Router. The next hop must lie on one of its links.
type RouterRoute struct {
	Prefix netip.Prefix
	Via    netip.Addr
}

// RouterCounts are a router's counters.
type RouterCounts struct {
	Forwarded   uint64
	Local       uint64 // for the router itself
	Malformed   uint64
	Expired     uint64 // TTL
	Unroutable  uint64
	Unreachable uint64 // no answer to ARP
	TooBig      uint64 // DF set
	Translation uint64 // refused by the NAT; see its own statistics for why
}

// NewRouter makes a router without links.
func (n *Network) NewRouter(name string) (*Router, error) {
	if err := n.claim(name); err != nil {
		return nil, err
	}
	r := &Router{network: n, name: name}
	n.own(r)
	return r, nil
}

// Name is the router's name.
func (r *Router) Name() string { return r.name }

// RouterPortConfig describes a link of a router.
type RouterPortConfig struct {
	// Address of the router and prefix of the link. Required.
	Address netip.Prefix
	// MAC is chosen when zero.
	MAC MAC
	// MTU for packets that leave by this link. Zero is 1500.
	MTU int
}

// Attach plugs the router into a segment.
func (r *Router) Attach(s *Segment, name string, config RouterPortConfig) (*Port, error) {
	if !config.Address.Addr().Is4() {
		return nil, fmt.Errorf("netns: %s/%s: a router link needs an IPv4 address", r.name, name)
	}
	if config.MAC == (MAC{}) {
		config.MAC = r.network.newMAC()
	}
	if config.MTU == 0 {
		config.MTU = 1500
	}
	link := &routerPort{
		port:       r.network.newPort(r.name+"/"+name, config.MAC),
		name:       name,
		prefix:     config.Address,
		mtu:        config.MTU,
		neighbours: make(map[netip.Addr]*neighbour),
	}
	link.port.sink = func(frame []byte) { r.hear(link, frame) }
	r.mu.Lock()
	r.ports = append(r.ports, link)
	r.mu.Unlock()
	link.port.Move(s)
	return link.port, nil
}

// AddRoute adds a route, or replaces the one with the same prefix.
func (r *Router) AddRoute(route RouterRoute) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.on(route.Via) == nil {
		return fmt.Errorf("netns: %s: no link leads to %s", r.name, route.Via)
	}
	route.Prefix = route.Prefix.Masked()
	r.routes = slices.DeleteFunc(r.routes, func(x RouterRoute) bool { return x.Prefix == route.Prefix })
	r.routes = append(r.routes, route)
	slices.SortStableFunc(r.routes, func(a, b RouterRoute) int { return b.Prefix.Bits() - a.Prefix.Bits() })
	return nil
}

// Translate makes the router a NAT whose external side is the named link. An invalid config.External means the router's
// address on that link.
func (r *Router) Translate(outside string, config nat.Config) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	at := slices.IndexFunc(r.ports, func(p *routerPort) bool { return p.name == outside })
	if at < 0 {
		return fmt.Errorf("netns: %s has no link %s", r.name, outside)
	}
	if !config.External.IsValid() {
		config.External = r.ports[at].prefix.Addr()
	}
	if config.Rand == nil {
		config.Rand = r.network.rand(r.name + " nat")
	}
	box, err := nat.New(config)
	if err != nil {
		return fmt.Errorf("netns: %s: %w", r.name, err)
	}
	r.box, r.outside = box, r.ports[at]
	return nil
}

var errNoNAT = errors.New("the router does not translate")

// Rebind makes the NAT forget its mappings.
func (r *Router) Rebind() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.box == nil {
		return fmt.Errorf("netns: %s: %w", r.name, errNoNAT)
	}
	r.box.Rebind()
	return nil
}

// Swallow spoils the NAT's mappings.
func (r *Router) Swallow() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.box == nil {
		return fmt.Errorf("netns: %s: %w", r.name, errNoNAT)
	}
	r.box.Swallow()
	return nil
}

// NATStats returns the statistics of the NAT, zero without one.
func (r *Router) NATStats() nat.Stats {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.box == nil {
		return nat.Stats{}
	}
	return r.box.Stats()
}

// Counts returns the counters so far.
func (r *Router) Counts() RouterCounts {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.counts
}

// Close unplugs the router.
func (r *Router) Close() error {
	r.mu.Lock()
	ports := slices.Clone(r.ports)
	r.mu.Unlock()
	var errs []error
	for _, p := range ports {
		errs = append(errs, p.port.Close())
	}
	return errors.Join(errs...)
}

// on finds the link whose prefix holds an address.
func (r *Router) on(addr netip.Addr) *routerPort {
	for _, p := range r.ports {
		if p.prefix.Contains(addr) {
			return p
		}
	}
	return nil
}

// local reports whether the router itself answers for an address on a link.
func (r *Router) local(in *routerPort, addr netip.Addr) bool {
	return addr == in.prefix.Addr() || r.box != nil && in == r.outside && addr == r.box.External()
}

// lookup finds link and next hop.
func (r *Router) lookup(dst netip.Addr) (*routerPort, netip.Addr) {
	if p := r.on(dst); p != nil {
		return p, dst
	}
	for _, route := range r.routes {
		if route.Prefix.Contains(dst) {
			return r.on(route.Via), route.Via
		}
	}
	return nil, netip.Addr{}
}

// hear takes a frame from a link, on the delay line's goroutine.
func (r *Router) hear(in *routerPort, frame []byte) {
	to := MAC(frame[0:6])
	if to != in.port.mac && to[0]&1 == 0 {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	payload := frame[ethernetHeader:]
	switch binary.BigEndian.Uint16(frame[12:]) {
	case etherTypeARP:
		r.hearARP(in, payload)
	case etherTypeIPv4:
		if to == in.port.mac {
			r.hearIPv4(in, payload)
		}
	}
}

// hearIPv4 forwards a packet. The checks and the errors are about the packet as it came in; translation is first for
// inbound packets, because the route depends on it, and last for outbound ones.
//
//rfc:1812#5.2
func (r *Router) hearIPv4(in *routerPort, b []byte) {
	origin, ok := validIPv4(b)
	if !ok {
		r.counts.Malformed++
		return
	}
	pkt := origin
	if r.box != nil && in == r.outside && destinationOf(origin) == r.box.External() {
		translated, v := r.box.Inbound(time.Now(), origin)
		if v != nat.Translated {
			r.counts.Translation++
			r.hearLocal(in, origin) // an echo request for the router itself has no mapping
			return
		}
		pkt = translated
	}
	dst := destinationOf(pkt)
	for _, p := range r.ports {
		if dst == p.prefix.Addr() {
			r.hearLocal(in, pkt)
			return
		}
	}
	if dst.IsMulticast() || dst.IsLoopback() || dst.IsUnspecified() || dst == netip.AddrFrom4([4]byte{255, 255, 255, 255}) {
		r.counts.Unroutable++
		return
	}
	if pkt[8] <= 1 {
		r.counts.Expired++
		r.report(in, icmpTimeExceeded, 0, 0, origin)
		return
	}
	out, hop := r.lookup(dst)
	if out == nil {
		r.counts.Unroutable++
		r.report(in, icmpUnreachable, codeNet, 0, origin)
		return
	}
	if len(pkt) > out.mtu && binary.BigEndian.Uint16(pkt[6:])&flagDontFragment != 0 {
		r.counts.TooBig++
		r.report(in, icmpUnreachable, codeTooBig, uint32(out.mtu), origin)
		return
	}
	if r.box != nil && out == r.outside && in != r.outside && r.box.Inside().Contains(sourceOf(pkt)) {
		translated, v := r.box.Outbound(time.Now(), pkt)
		if v != nat.Translated {
			r.counts.Translation++
			return
		}
		pkt = translated
	} else {
		pkt = slices.Clone(pkt) // frames are shared between receivers: never change one
	}
	pkt[8]--
	sealIPv4(pkt)
	r.counts.Forwarded++
	pieces := [][]byte{pkt}
	if len(pkt) > out.mtu {
		pieces = fragment(pkt, out.mtu)
	}
	for _, piece := range pieces {
		r.transmit(out, hop, waiting{pkt: piece, from: in, origin: origin})
	}
}

// hearLocal answers an echo request to the router; it has no other service.
func (r *Router) hearLocal(in *routerPort, pkt []byte) {
	header := int(pkt[0]&15) * 4
	if pkt[9] != protocolICMP || len(pkt) < header+8 || pkt[header] != icmpEchoRequest ||
		binary.BigEndian.Uint16(pkt[6:])&^flagDontFragment != 0 || checksum(pkt[header:]) != 0 {
		return
	}
	r.counts.Local++
	reply := slices.Clone(pkt[header:])
	reply[0], reply[2], reply[3] = icmpEchoReply, 0, 0
	binary.BigEndian.PutUint16(reply[2:], checksum(reply))
	r.originate(newIPv4(protocolICMP, destinationOf(pkt), sourceOf(pkt), reply))
}

// report sends an ICMP error about a packet that came in by a link.
func (r *Router) report(in *routerPort, kind, code uint8, rest uint32, about []byte) {
	if in == nil {
		return
	}
	if pkt := icmpError(in.prefix.Addr(), kind, code, rest, about); pkt != nil {
		r.originate(pkt)
	}
}

func (r *Router) originate(pkt []byte) {
	if out, hop := r.lookup(destinationOf(pkt)); out != nil {
		r.transmit(out, hop, waiting{pkt: pkt})
	}
}
