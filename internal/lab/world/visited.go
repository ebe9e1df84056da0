package world

import (
	"net/netip"

	"careof/internal/core/engine"
	"careof/internal/core/forward"
	"careof/wire/adv4"
	"careof/wire/encap"
)

// This file is what visited links need: router discovery, next hops by
// link-layer address, and a data plane that delivers to visitors.

// discovered gives a router discovery message to the node's daemon, whoever it
// was sent to at the IP layer; true when the packet was one.
func (n *Node) discovered(i *Interface, hw forward.HardwareAddr, ip encap.IPv4, packet []byte) bool {
	data := packet[ip.HeaderLen:]
	if ip.Protocol != protoICMP || len(data) < 8 || ip.IsFragment() ||
		data[0] != byte(adv4.TypeAdvertisement) && data[0] != byte(adv4.TypeSolicitation) {
		return false
	}
	if d := n.daemon; d != nil && d.running {
		d.deliver(engine.Discovery{Link: i.Name, Src: ip.Src, Dst: ip.Dst, TTL: ip.TTL, HW: hw, Data: data})
	}
	return true
}

// sendDiscovery sends a router discovery message for a machine.
func (d *Daemon) sendDiscovery(s engine.SendDiscovery) {
	n := d.Node
	i := n.Interface(s.Link)
	if i == nil || i.segment == nil || !i.up {
		return
	}
	src := s.Src
	if !src.IsValid() {
		src = i.sourceFor(s.Dst)
	}
	packet, err := encap.AppendIPv4(nil, &encap.IPv4{TTL: adv4.TTL, Protocol: protoICMP, ID: n.nextID(), Src: src, Dst: s.Dst}, len(s.Data))
	if err != nil {
		n.world.Tracef(n.Name, "cannot send to %v: %v", s.Dst, err)
		return
	}
	hw := s.HW
	if hw == (forward.HardwareAddr{}) {
		hw = everyone // a multicast group; all that are on the segment listen
	}
	i.transmitTo(hw, append(packet, s.Data...))
}

// unconfigured gives the daemon a reply that is sent to an address which the
// node does not have yet, but to its link-layer address: the first reply to a
// node that gets its home address from its home agent (RFC 5944 section
// 3.7.2.3). True when it was one.
func (n *Node) unconfigured(i *Interface, hw forward.HardwareAddr, ip encap.IPv4, packet []byte) bool {
	if n.daemon == nil || n.Forward || ip.Protocol != protoUDP {
		return false
	}
	_, u, err := encap.ParseUDP(packet)
	if err != nil || u.Src.Port() != encap.Port || !n.daemon.listens(i, u.Dst) {
		return false
	}
	n.daemon.packet(arrival{link: i, hw: hw}, ip, u)
	return true
}

// hand sends a packet to a link-layer address, cut to the link's MTU.
func (n *Node) hand(i *Interface, hw forward.HardwareAddr, packet []byte) {
	if i == nil || i.segment == nil {
		return
	}
	pieces, err := encap.Fragment(packet, i.segment.mtu())
	if err != nil {
		n.Counts.TooBig++
		n.sendError(encap.ICMP{Type: encap.DestinationUnreachable, Code: encap.DatagramTooBig, MTU: uint16(i.segment.mtu())}, packet)
		return
	}
	for _, p := range pieces {
		i.transmitTo(hw, p)
	}
}

// visit is the foreign agent that a home address is registered through, with
// the zero Deliver when there is none.
func (p *Plane) visit(home netip.Addr) (*installed, forward.Deliver) {
	for _, e := range p.entries {
		if e.entry.Role == forward.MobileNode && e.entry.HomeLink == "" && e.entry.Inner.Contains(home) {
			return e, e.entry.Deliver
		}
	}
	return nil, forward.Deliver{}
}

// Visits tells whether a home address is registered with a foreign agent's
// care-of address, so that its packets go to that agent in the clear.
func (p *Plane) Visits(home netip.Addr) bool {
	_, d := p.visit(home)
	return d.Link != ""
}

// plain sends a packet from a home address to the foreign agent as it is.
func (p *Plane) plain(e *installed, packet []byte) {
	e.counters.SentPackets++
	e.counters.SentBytes += uint64(len(packet))
	e.use.Sent = p.clock.Now().Mono
	p.node.world.tell(Originated{Node: p.node, Packet: packet})
	p.node.hand(p.node.Interface(e.entry.Deliver.Link), e.entry.Deliver.HW, packet)
}

// fromVisitor takes a packet that came in plain from a visitor's link, with its
// link-layer and home address, and sends it back through the tunnel (RFC 3024
// section 5.1); false when none was agreed on for plain packets, so that the
// packet is routed like any other (RFC 5944 section 4.2.2).
func (p *Plane) fromVisitor(i *Interface, hw forward.HardwareAddr, ip encap.IPv4, packet []byte) bool {
	for _, e := range p.entries {
		v := e.entry
		if v.Role != forward.ForeignAgent || v.Deliver.Link != i.Name || v.Deliver.HW != hw || !v.Inner.Contains(ip.Src) {
			continue
		}
		if len(v.Tunnels) != 1 || !p.sends(v.Tunnels[0]) {
			continue
		}
		if !encap.DecrementTTL(packet) {
			p.node.sendError(encap.ICMP{Type: encap.TimeExceeded}, packet)
			return true
		}
		p.enter(e, v.Tunnels[0], ip, packet, false, 0)
		return true
	}
	return false
}

// toVisitor hands a packet out of a tunnel to the visitor, without ARP. One that
// the visitor itself has tunnelled here goes on to its home agent.
func (p *Plane) toVisitor(e *installed, t forward.Tunnel, ip encap.IPv4, inner []byte) {
	n := p.node
	if !encap.DecrementTTL(inner) {
		n.sendError(encap.ICMP{Type: encap.TimeExceeded}, inner)
		return
	}
	if t.Peer.Addr() == e.entry.Inner.Addr() {
		if first := e.entry.Tunnels[0]; p.sends(first) {
			p.enter(e, first, ip, inner, false, 0)
		}
		return
	}
	n.Counts.Forwarded++
	n.world.tell(Forwarded{Node: n, Packet: inner})
	n.hand(n.Interface(e.entry.Deliver.Link), e.entry.Deliver.HW, inner)
}
