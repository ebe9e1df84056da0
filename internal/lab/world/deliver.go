package world

import (
	"net/netip"
	"slices"
	"time"

	"careof/internal/core/forward"
	"careof/wire/encap"
)

// deliver gives a packet for this node to whom it concerns.
func (n *Node) deliver(a arrival, ip encap.IPv4, packet []byte) {
	if ip.IsFragment() {
		whole := n.fragments.add(n.world.now, ip, packet)
		if whole == nil {
			return
		}
		packet = whole
		var err error
		if ip, err = encap.ParseIPv4(packet); err != nil {
			return
		}
	}
	n.Counts.Delivered++
	n.world.tell(Delivered{Node: n, Packet: packet, Tunnel: a.tunnel})
	switch ip.Protocol {
	case protoICMP:
		n.deliverICMP(a, ip, packet)
	case protoUDP:
		n.deliverUDP(a, packet)
	case protoTCP:
		n.deliverTCP(ip, packet)
	case uint8(encap.IPIP), uint8(encap.GRE), uint8(encap.Minimal):
		if n.plane != nil {
			// Nothing is ever answered to a stranger's tunnel packet: an
			// owned firewall rule sees to that on a real host.
			if !a.tunnel {
				n.plane.receive(a.link, packet)
			}
			return
		}
		n.refuse(ip, encap.ProtocolUnreachable, packet)
	default:
		n.refuse(ip, encap.ProtocolUnreachable, packet)
	}
}

// refuse answers "unreachable" as a host does, but never to a broadcast.
func (n *Node) refuse(ip encap.IPv4, code uint8, packet []byte) {
	for _, i := range n.interfaces {
		if i.broadcast(ip.Dst) {
			return
		}
	}
	n.sendError(encap.ICMP{Type: encap.DestinationUnreachable, Code: code}, packet)
}

// deliverUDP sorts datagrams: tunnel data to the plane, other signalling to
// the daemon, the rest to whoever listens.
func (n *Node) deliverUDP(a arrival, packet []byte) {
	ip, d, err := encap.ParseUDP(packet)
	if err != nil {
		n.Counts.Malformed++
		return
	}
	if n.daemon != nil && a.link != nil && !a.tunnel && n.daemon.listens(a.link, d.Dst) {
		if len(d.Payload) > 0 && d.Payload[0] == encap.TunnelDataType {
			if n.plane != nil {
				n.plane.receive(a.link, packet)
			}
			return
		}
		n.daemon.packet(a, ip, d)
		return
	}
	if n.plane != nil && (d.Dst.Port() == encap.Port || n.daemon != nil && a.link != nil && n.daemon.knownPort(a.link, d.Dst)) {
		// The daemon is dead, or the datagram came out of a tunnel. What the
		// kernel forwards for it still counts; nothing is answered.
		if !a.tunnel && len(d.Payload) > 0 && d.Payload[0] == encap.TunnelDataType {
			n.plane.receive(a.link, packet)
		}
		return
	}
	if listen := n.udp[d.Dst.Port()]; listen != nil {
		listen(d)
		return
	}
	n.refuse(ip, encap.PortUnreachable, packet)
}

// deliverICMP answers echo requests, and tells errors to those whom they
// concern.
func (n *Node) deliverICMP(a arrival, ip encap.IPv4, packet []byte) {
	if e, err := encap.ParseEcho(packet); err == nil {
		if e.Type == encap.EchoReply {
			if heard := n.echoes[e.ID]; heard != nil {
				heard(e)
			}
			return
		}
		if !n.Owns(ip.Dst) || slices.ContainsFunc(n.interfaces, func(i *Interface) bool { return i.broadcast(ip.Dst) }) {
			return
		}
		reply := e.Reply()
		if out, err := encap.AppendEcho(nil, &reply, n.nextID()); err == nil {
			n.Output(out, "", forward.HardwareAddr{})
		}
		return
	}
	if n.plane != nil && !a.tunnel && n.plane.icmp(packet) {
		return
	}
	for _, heard := range n.errors {
		heard(packet)
	}
}

// Ping sends an echo request from src and calls heard for each reply.
func (n *Node) Ping(src, dst netip.Addr, id, seq uint16, heard func(encap.Echo)) error {
	n.echoes[id] = heard
	out, err := encap.AppendEcho(nil, &encap.Echo{Type: encap.EchoRequest, Src: src, Dst: dst, ID: id, Seq: seq, Data: []byte("careof lab")}, n.nextID())
	if err != nil {
		return err
	}
	return n.Output(out, "", forward.HardwareAddr{})
}

// ListenUDP hands the datagrams for a port to heard.
func (n *Node) ListenUDP(port uint16, heard func(encap.UDPDatagram)) { n.udp[port] = heard }

// SendUDP sends a datagram. An invalid source address lets the node choose.
func (n *Node) SendUDP(from, to netip.AddrPort, payload []byte) error {
	if !from.Addr().IsValid() {
		from = netip.AddrPortFrom(n.SourceFor(to.Addr()), from.Port())
		if !from.Addr().IsValid() {
			return errNoRoute
		}
	}
	out, err := encap.AppendUDP(nil, encap.IPv4{ID: n.nextID()}, from, to, payload)
	if err != nil {
		return err
	}
	return n.Output(out, "", forward.HardwareAddr{})
}

// A reassembly puts fragments together: a few datagrams at a time, each for a
// limited time (RFC 1122 section 3.3.2).
type reassembly struct{ parts []*partial }

type partial struct {
	src, dst netip.Addr
	proto    uint8
	id       uint16
	began    time.Duration
	pieces   []piece
	head     []byte
	total    int
}

type piece struct {
	at   int
	data []byte
}

const (
	reassemblyTime = 15 * time.Second
	reassemblyMost = 16
)

// add takes one fragment and returns the datagram when it is complete.
func (r *reassembly) add(now time.Duration, ip encap.IPv4, packet []byte) []byte {
	r.parts = slices.DeleteFunc(r.parts, func(p *partial) bool { return now-p.began > reassemblyTime })
	at := slices.IndexFunc(r.parts, func(p *partial) bool {
		return p.src == ip.Src && p.dst == ip.Dst && p.proto == ip.Protocol && p.id == ip.ID
	})
	if at < 0 {
		if len(r.parts) == reassemblyMost {
			r.parts = r.parts[1:]
		}
		r.parts = append(r.parts, &partial{src: ip.Src, dst: ip.Dst, proto: ip.Protocol, id: ip.ID, began: now, total: -1})
		at = len(r.parts) - 1
	}
	p := r.parts[at]
	data := packet[ip.HeaderLen:ip.TotalLen]
	if ip.FragOffset == 0 {
		p.head = packet[:ip.HeaderLen]
	}
	if !ip.MF {
		p.total = ip.FragOffset + len(data)
	}
	where, have := slices.BinarySearchFunc(p.pieces, ip.FragOffset, func(q piece, off int) int { return q.at - off })
	if !have {
		p.pieces = slices.Insert(p.pieces, where, piece{ip.FragOffset, data})
	}
	if p.head == nil || p.total < 0 {
		return nil
	}
	end := 0
	for _, q := range p.pieces {
		if q.at > end {
			return nil
		}
		end = max(end, q.at+len(q.data))
	}
	if end < p.total {
		return nil
	}
	payload := make([]byte, p.total)
	for _, q := range p.pieces {
		if q.at < p.total {
			copy(payload[q.at:], q.data)
		}
	}
	head, err := encap.ParseIPv4(append(slices.Clone(p.head), packetTail(p.head)...))
	r.parts = slices.Delete(r.parts, at, at+1)
	if err != nil {
		return nil
	}
	whole, err := encap.AppendIPv4(nil, &encap.IPv4{TOS: head.TOS, ID: head.ID, TTL: head.TTL, Protocol: head.Protocol, Src: head.Src, Dst: head.Dst}, len(payload))
	if err != nil {
		return nil
	}
	return append(whole, payload...)
}

// packetTail is as many octets as a header announces behind itself, so that it
// can be parsed alone.
func packetTail(head []byte) []byte {
	return make([]byte, max(0, int(head[2])<<8|int(head[3])-len(head)))
}
