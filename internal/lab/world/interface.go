package world

import (
	"net/netip"
	"slices"
	"time"

	"careof/internal/core/engine"
	"careof/internal/core/forward"
)

// An Interface connects a node to a segment.
type Interface struct {
	Name string
	HW   forward.HardwareAddr

	node      *Node
	segment   *Segment
	up        bool
	plugged   uint64 // how often
	addresses []netip.Prefix
	gateways  []netip.Addr
	neighbors map[netip.Addr]neighbor
	resolving map[netip.Addr]*resolution
	proxied   map[netip.Addr]bool
}

// AddInterface gives the node an interface that is not plugged in.
func (n *Node) AddInterface(name string) *Interface {
	if n.Interface(name) != nil {
		panicf("node %s has interface %s twice", n.Name, name)
	}
	i := &Interface{
		Name: name, node: n,
		HW:      forward.HardwareAddr{2, 0, 0, 0, byte(n.number), byte(len(n.interfaces) + 1)},
		proxied: make(map[netip.Addr]bool),
	}
	i.forget()
	n.interfaces = append(n.interfaces, i)
	return i
}

// Interface finds an interface by name; nil when there is none.
func (n *Node) Interface(name string) *Interface {
	for _, i := range n.interfaces {
		if i.Name == name {
			return i
		}
	}
	return nil
}

// Interfaces lists the node's interfaces.
func (n *Node) Interfaces() []*Interface { return n.interfaces }

// Segment is what the interface is plugged into, nil when into nothing.
func (i *Interface) Segment() *Segment { return i.segment }

// Addresses lists the interface's addresses.
func (i *Interface) Addresses() []netip.Prefix { return slices.Clone(i.addresses) }

// Plug connects the interface to a segment, without any address yet.
func (i *Interface) Plug(s *Segment) {
	i.Unplug()
	i.segment, i.up = s, true
	i.plugged++
	s.ports = append(s.ports, i)
	i.changed()
}

// Unplug takes the interface off its segment, and with it its addresses.
func (i *Interface) Unplug() {
	if i.segment == nil {
		return
	}
	i.segment.ports = slices.DeleteFunc(i.segment.ports, func(p *Interface) bool { return p == i })
	i.segment, i.up = nil, false
	i.addresses, i.gateways = nil, nil
	i.forget()
	i.changed()
}

// Shift takes the interface to another segment behind its owner's back, as a
// bridge or a radio does that keeps the link up: no event, the same addresses.
func (i *Interface) Shift(s *Segment) {
	if i.segment != nil {
		i.segment.ports = slices.DeleteFunc(i.segment.ports, func(p *Interface) bool { return p == i })
	}
	i.segment = s
	s.ports = append(s.ports, i)
}

// Carrier sets whether the link works, as its owner sees it. Addresses stay.
func (i *Interface) Carrier(up bool) {
	if i.segment == nil || i.up == up {
		return
	}
	i.up = up
	if up {
		i.plugged++
	} else {
		i.forget()
	}
	i.changed()
}

// Configure sets the interface's address and default gateway; an invalid
// gateway sets none. An invalid address takes the present one away.
func (i *Interface) Configure(address netip.Prefix, gateway netip.Addr) {
	i.addresses, i.gateways = nil, nil
	if address.IsValid() {
		i.addresses = []netip.Prefix{address}
	}
	if gateway.IsValid() {
		i.gateways = []netip.Addr{gateway}
	}
	i.forget()
	i.changed()
}

// AddAddress gives the interface one more address.
func (i *Interface) AddAddress(address netip.Prefix) {
	i.addresses = append(i.addresses, address)
	i.changed()
}

// Link is the interface's state as machines are told.
func (i *Interface) Link() engine.Link {
	l := engine.Link{
		Name: i.Name, Up: i.up, HW: i.HW,
		Addresses: slices.Clone(i.addresses), Gateways: slices.Clone(i.gateways),
		Attachment: i.plugged,
	}
	if i.segment != nil {
		l.MTU = i.segment.mtu()
	}
	if len(i.gateways) > 0 {
		l.GatewayHW = i.neighbors[i.gateways[0]].hw
	}
	return l
}

// changed tells the node's daemons, after the moment that the kernel and the
// daemon's reader take.
func (i *Interface) changed() {
	if i.node.daemon != nil {
		i.node.daemon.linkChanged(i)
	}
}

// has tells whether an address is configured on the interface.
func (i *Interface) has(a netip.Addr) bool {
	for _, p := range i.addresses {
		if p.Addr() == a {
			return true
		}
	}
	return false
}

// onLink tells whether an address is reached without a router.
func (i *Interface) onLink(a netip.Addr) bool {
	for _, p := range i.addresses {
		if p.Contains(a) {
			return true
		}
	}
	return false
}

// broadcast tells whether an address is a broadcast address on the interface.
func (i *Interface) broadcast(a netip.Addr) bool {
	if a == limitedBroadcast {
		return true
	}
	for _, p := range i.addresses {
		if a == Broadcast(p) {
			return true
		}
	}
	return false
}

var limitedBroadcast = netip.AddrFrom4([4]byte{255, 255, 255, 255})

// Broadcast is the directed broadcast address of an IPv4 prefix, or the zero
// address where a prefix has none.
func Broadcast(p netip.Prefix) netip.Addr {
	if p.Bits() > 30 || !p.Addr().Is4() {
		return netip.Addr{}
	}
	b := p.Masked().Addr().As4()
	for bit := p.Bits(); bit < 32; bit++ {
		b[bit/8] |= 0x80 >> (bit % 8)
	}
	return netip.AddrFrom4(b)
}

// receive takes a frame off the segment.
func (i *Interface) receive(f frame) {
	switch f.kind {
	case etherARP:
		i.receiveARP(f.data)
	case etherIPv4:
		i.node.input(i, f.src, f.dst == everyone, f.data)
	}
}

// linkDelay is how long it takes until a daemon hears of a link event.
const linkDelay = time.Millisecond
