package world

import (
	"fmt"
	"net/netip"
	"time"

	"careof/internal/core/forward"
	"careof/internal/lab/nat"
	"careof/wire/encap"
)

// IP protocol numbers.
const (
	protoICMP = 1
	protoTCP  = 6
	protoUDP  = 17
)

// A Node is a host or a router: interfaces, routes, a small IP stack, and what
// runs on it.
type Node struct {
	Name    string
	Forward bool // it is a router
	Counts  NodeCounts

	world      *World
	number     int
	interfaces []*Interface
	routes     []Route
	local      []netip.Addr // addresses that are the node's without being on an interface
	translator *translator
	plane      *Plane
	daemon     *Daemon
	udp        map[uint16]func(encap.UDPDatagram)
	tcp        map[connectionKey]*Connection
	listeners  map[uint16]func(*Connection)
	echoes     map[uint16]func(encap.Echo)
	errors     []func(packet []byte)
	fragments  reassembly
	identifier uint16
	clock      *Clock
}

// NodeCounts counts packets of a node's IP stack.
type NodeCounts struct {
	Malformed, NoRoute, Expired, TooBig, Forwarded, Delivered, ICMPSent int
}

// A Route sends packets for Prefix to Gateway over an interface; an invalid
// gateway means that they are on the link.
type Route struct {
	Prefix    netip.Prefix
	Gateway   netip.Addr
	Interface *Interface
}

// AddNode adds a node.
func (w *World) AddNode(name string) *Node {
	if w.Node(name) != nil {
		panicf("node %s twice", name)
	}
	n := &Node{
		Name: name, world: w, number: len(w.nodes) + 1,
		udp: make(map[uint16]func(encap.UDPDatagram)), tcp: make(map[connectionKey]*Connection),
		listeners: make(map[uint16]func(*Connection)), echoes: make(map[uint16]func(encap.Echo)),
	}
	w.nodes = append(w.nodes, n)
	return n
}

// AddRoute adds a route.
func (n *Node) AddRoute(r Route) { n.routes = append(n.routes, r) }

// AddLocal makes an address the node's own without an interface: a loopback
// address, or the directed broadcast address of a virtual home network.
func (n *Node) AddLocal(a netip.Addr) { n.local = append(n.local, a) }

// A translator makes a node a NAT box between an inside and an outside.
type translator struct {
	box     *nat.Box
	outside *Interface
}

// Translate makes the node a translator: what it forwards to outside is
// translated.
func (n *Node) Translate(outside *Interface, c nat.Config) error {
	box, err := nat.New(c)
	if err != nil {
		return fmt.Errorf("world: node %s: %w", n.Name, err)
	}
	n.translator = &translator{box, outside}
	return nil
}

// NAT is the node's translator, nil when it has none.
func (n *Node) NAT() *nat.Box {
	if n.translator == nil {
		return nil
	}
	return n.translator.box
}

// Plane is the node's data plane, nil when it has none.
func (n *Node) Plane() *Plane { return n.plane }

// Daemon is the node's daemon, nil when it has none.
func (n *Node) Daemon() *Daemon { return n.daemon }

// Owns tells whether an address is one of the node's own.
func (n *Node) Owns(a netip.Addr) bool {
	for _, i := range n.interfaces {
		if i.has(a) {
			return true
		}
	}
	return slicesHas(n.local, a) || n.plane != nil && n.plane.ownsHome(a)
}

// instant is the time as lab/nat wants it.
func (n *Node) instant() time.Time { return n.world.Time() }

// nextID numbers the IP packets that the node makes.
func (n *Node) nextID() uint16 {
	n.identifier++
	return n.identifier
}

// input takes an IP packet off an interface. hw is the link-layer source.
func (n *Node) input(i *Interface, hw forward.HardwareAddr, linkBroadcast bool, packet []byte) {
	ip, err := encap.ParseIPv4(packet)
	if err != nil {
		n.Counts.Malformed++
		return
	}
	packet = packet[:ip.TotalLen]
	if n.discovered(i, hw, ip, packet) {
		return
	}
	if t := n.translator; t != nil {
		if i == t.outside && ip.Dst == t.box.External() {
			in, verdict := t.box.Inbound(n.instant(), packet)
			if verdict != nat.Translated {
				return
			}
			// Whoever sent too much must recognise the packet that an error
			// quotes: it is judged as it came.
			if after, err := encap.ParseIPv4(in); err == nil {
				if r, ok := n.route(after.Dst); ok && n.tooBig(r, ip, packet) {
					return
				}
			}
			n.forward(i, in)
			return
		}
	}
	if n.Owns(ip.Dst) || i.broadcast(ip.Dst) {
		n.deliver(arrival{link: i, hw: hw}, ip, packet)
		return
	}
	if linkBroadcast {
		return
	}
	if n.unconfigured(i, hw, ip, packet) || n.plane != nil && n.plane.fromVisitor(i, hw, ip, packet) {
		return
	}
	if !n.Forward && n.plane == nil {
		return
	}
	n.forward(i, packet)
}

// arrival says how a packet came.
type arrival struct {
	link   *Interface
	hw     forward.HardwareAddr
	tunnel bool // it came out of a tunnel
}

// forward routes a packet that is not for this node. from is nil for a packet
// out of a tunnel. What the plane's home network claims goes to the plane.
func (n *Node) forward(from *Interface, packet []byte) {
	ip, err := encap.ParseIPv4(packet)
	if err != nil {
		n.Counts.Malformed++
		return
	}
	// A packet that carries a link-local or loopback address stays where it is.
	if ip.Dst.IsLoopback() || ip.Src.IsLoopback() || ip.Dst.IsMulticast() || ip.Dst == limitedBroadcast {
		return
	}
	if n.plane != nil && n.plane.claims(ip.Dst) {
		if !encap.DecrementTTL(packet) {
			n.sendError(encap.ICMP{Type: encap.TimeExceeded}, packet)
			return
		}
		n.plane.intercept(packet, false)
		return
	}
	if !n.Forward {
		return
	}
	if n.Owns(ip.Dst) {
		// Out of a tunnel or a translator, to this node itself.
		n.deliver(arrival{tunnel: from == nil}, ip, packet)
		return
	}
	if !encap.DecrementTTL(packet) {
		n.Counts.Expired++
		n.sendError(encap.ICMP{Type: encap.TimeExceeded}, packet)
		return
	}
	if n.plane != nil && n.plane.behind(ip) {
		n.plane.leaveHome(ip, packet)
		return
	}
	r, ok := n.route(ip.Dst)
	if !ok {
		n.Counts.NoRoute++
		n.sendError(encap.ICMP{Type: encap.DestinationUnreachable, Code: encap.NetUnreachable}, packet)
		return
	}
	// A directed broadcast is not spread on a link (RFC 2644), unless the
	// node delivers it to itself, which Owns has said above.
	if r.Interface.broadcast(ip.Dst) {
		return
	}
	if t := n.translator; t != nil && r.Interface == t.outside && from != t.outside {
		if n.tooBig(r, ip, packet) {
			return
		}
		out, verdict := t.box.Outbound(n.instant(), packet)
		if verdict != nat.Translated {
			return
		}
		packet = out
	}
	n.Counts.Forwarded++
	n.world.tell(Forwarded{Node: n, Packet: packet})
	n.emit(r, packet)
}

// route finds the way to a destination: the longest prefix; among equals the
// connected one, then the order of the table, then the default gateways of the
// interfaces in their order.
func (n *Node) route(dst netip.Addr) (Route, bool) {
	best, found := Route{}, false
	for _, i := range n.interfaces {
		if !i.up {
			continue
		}
		for _, p := range i.addresses {
			if p.Contains(dst) && (!found || p.Bits() > best.Prefix.Bits()) {
				best, found = Route{Prefix: p.Masked(), Interface: i}, true
			}
		}
	}
	for _, r := range n.routes {
		if r.Interface.up && r.Prefix.Contains(dst) && (!found || r.Prefix.Bits() > best.Prefix.Bits()) {
			best, found = r, true
		}
	}
	if found {
		return best, true
	}
	for _, i := range n.interfaces {
		if i.up && len(i.gateways) > 0 {
			return Route{Prefix: everything, Gateway: i.gateways[0], Interface: i}, true
		}
	}
	return Route{}, false
}

var everything = netip.PrefixFrom(netip.IPv4Unspecified(), 0)

// routeVia finds the way over a given interface.
func (i *Interface) routeVia(dst netip.Addr) (Route, bool) {
	switch {
	case i.segment == nil || !i.up:
		return Route{}, false
	case i.onLink(dst) || i.broadcast(dst):
		return Route{Interface: i}, true
	case len(i.gateways) > 0:
		return Route{Gateway: i.gateways[0], Interface: i}, true
	}
	for _, r := range i.node.routes {
		if r.Interface == i && r.Prefix.Contains(dst) {
			return r, true
		}
	}
	return Route{}, false
}

// tooBig answers a packet that is too big for a route and must not be cut.
func (n *Node) tooBig(r Route, ip encap.IPv4, packet []byte) bool {
	if r.Interface.segment == nil || ip.TotalLen <= r.Interface.segment.mtu() || !ip.DF {
		return false
	}
	n.Counts.TooBig++
	n.sendError(encap.ICMP{Type: encap.DestinationUnreachable, Code: encap.DatagramTooBig, MTU: uint16(r.Interface.segment.mtu())}, packet)
	return true
}

// emit sends a packet along a route, cut to the link's MTU.
func (n *Node) emit(r Route, packet []byte) {
	ip, err := encap.ParseIPv4(packet)
	if err != nil || r.Interface.segment == nil {
		return
	}
	hop := r.Gateway
	if !hop.IsValid() {
		hop = ip.Dst
	}
	mtu := r.Interface.segment.mtu()
	if ip.TotalLen <= mtu {
		r.Interface.transmit(hop, packet)
		return
	}
	pieces, err := encap.Fragment(packet, mtu)
	if err != nil {
		n.Counts.TooBig++
		n.sendError(encap.ICMP{Type: encap.DestinationUnreachable, Code: encap.DatagramTooBig, MTU: uint16(mtu)}, packet)
		return
	}
	for _, p := range pieces {
		r.Interface.transmit(hop, p)
	}
}

// errNoRoute says that a node has nowhere to send a packet.
var errNoRoute = fmt.Errorf("world: no route")

// Output sends a packet that the node itself has made. link forces an
// interface, as a socket bound to a device does; hw a link-layer destination.
// A packet from a home address goes the plane's way; one from an interface's
// address leaves by that interface, as policy routing of a multi-homed host
// does.
func (n *Node) Output(packet []byte, link string, hw forward.HardwareAddr) error {
	ip, err := encap.ParseIPv4(packet)
	if err != nil {
		return err
	}
	if hw != (forward.HardwareAddr{}) && link != "" {
		if i := n.Interface(link); i != nil && i.up {
			i.transmitTo(hw, packet)
			return nil
		}
		return errNoRoute
	}
	if link == "" {
		if n.Owns(ip.Dst) {
			n.world.After(0, func() {
				if ip, err := encap.ParseIPv4(packet); err == nil {
					n.deliver(arrival{}, ip, packet)
				}
			})
			return nil
		}
		if n.plane != nil {
			if n.plane.ownsHome(ip.Src) {
				return n.plane.leaveHome(ip, packet)
			}
			if n.plane.claims(ip.Dst) {
				n.plane.intercept(packet, true)
				return nil
			}
		}
	}
	r, ok := n.way(ip, link)
	if !ok {
		n.Counts.NoRoute++
		return errNoRoute
	}
	if t := n.translator; t != nil && r.Interface == t.outside && ip.Src != t.box.External() && t.box.Inside().Contains(ip.Src) {
		out, verdict := t.box.Outbound(n.instant(), packet)
		if verdict != nat.Translated {
			return nil
		}
		packet = out
	}
	n.world.tell(Originated{Node: n, Packet: packet})
	n.emit(r, packet)
	return nil
}

// way picks the route of an own packet.
func (n *Node) way(ip encap.IPv4, link string) (Route, bool) {
	if link != "" {
		if i := n.Interface(link); i != nil {
			return i.routeVia(ip.Dst)
		}
		return Route{}, false
	}
	for _, i := range n.interfaces {
		if i.has(ip.Src) {
			if r, ok := i.routeVia(ip.Dst); ok {
				return r, true
			}
		}
	}
	return n.route(ip.Dst)
}

// SourceFor is the address that the node uses towards dst when a program does
// not choose: the home address when it has one, else the outgoing interface's.
func (n *Node) SourceFor(dst netip.Addr) netip.Addr {
	if n.plane != nil {
		if home := n.plane.home(); home.IsValid() {
			return home
		}
	}
	if r, ok := n.route(dst); ok && len(r.Interface.addresses) > 0 {
		return r.Interface.addresses[0].Addr()
	}
	return netip.Addr{}
}

// sendError answers a packet with an ICMP error, where RFC 1812 allows it.
func (n *Node) sendError(m encap.ICMP, original []byte) {
	ip, err := encap.ParseIPv4(original)
	if err != nil {
		return
	}
	src := n.replySource(ip.Src)
	if answer := encap.ICMPError(m, src, original); answer != nil {
		n.Counts.ICMPSent++
		n.Output(answer, "", forward.HardwareAddr{})
	}
}

// replySource is an interface address of the node that faces dst.
func (n *Node) replySource(dst netip.Addr) netip.Addr {
	if r, ok := n.route(dst); ok && len(r.Interface.addresses) > 0 {
		return r.Interface.addresses[0].Addr()
	}
	for _, i := range n.interfaces {
		if len(i.addresses) > 0 {
			return i.addresses[0].Addr()
		}
	}
	return netip.Addr{}
}
