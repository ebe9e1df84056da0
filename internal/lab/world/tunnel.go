package world

import (
	"net/netip"
	"time"

	"careof/internal/core/forward"
	"careof/wire/encap"
)

// intercept sends a packet for a bound node into its tunnels: one copy to each
// (RFC 5944 section 4.2.3). own says that this host made it itself.
func (p *Plane) intercept(packet []byte, own bool) {
	ip, err := encap.ParseIPv4(packet)
	if err != nil {
		return
	}
	for _, e := range p.entries {
		if e.entry.Role != forward.HomeAgent || !e.entry.Inner.Contains(ip.Dst) {
			continue
		}
		if p.push(e, ip, packet, own) {
			return
		}
		break
	}
	p.Counts.Unbound++
	if !own {
		p.node.sendError(encap.ICMP{Type: encap.DestinationUnreachable, Code: encap.HostUnreachable}, packet)
	}
}

// leaveHome sends a packet from a home address on its way: through the tunnel
// when the node is away, over the home link when it is at home, and otherwise
// nowhere. It never leaves in the clear.
func (p *Plane) leaveHome(ip encap.IPv4, packet []byte) error {
	for _, e := range p.entries {
		if e.entry.Role != forward.MobileNode || !e.entry.Inner.Contains(ip.Src) {
			continue
		}
		if e.entry.HomeLink != "" {
			i := p.node.Interface(e.entry.HomeLink)
			if i == nil {
				return errNoRoute
			}
			r, ok := i.routeVia(ip.Dst)
			if via := e.entry.Deliver.Via; !ok && via.IsValid() && i.segment != nil && i.up {
				r, ok = Route{Gateway: via, Interface: i}, true
			}
			if !ok {
				return errNoRoute
			}
			p.node.world.tell(Originated{Node: p.node, Packet: packet})
			p.node.emit(r, packet)
			return nil
		}
		if e.entry.Network != "" && p.push(e, ip, packet, false) {
			return nil
		}
		for _, r := range e.entry.Routes {
			if r.Contains(ip.Dst) {
				if p.push(e, ip, packet, true) {
					return nil
				}
				break
			}
		}
		if e.entry.Deliver.Link != "" {
			p.plain(e, packet)
			return nil
		}
	}
	p.Counts.Unbound++
	return errNoRoute
}

// push sends a packet into all the sending tunnels of an entry; false when
// there is none.
func (p *Plane) push(e *installed, ip encap.IPv4, packet []byte, own bool) bool {
	if len(e.entry.Redundant) > 0 {
		var ways []forward.Tunnel
		for _, t := range e.entry.Tunnels {
			if t.Copies && !t.AnyPort && p.Live(t) {
				ways = append(ways, t)
			}
		}
		if len(ways) >= forward.Copyable && e.entry.IsRedundant(packet, agentOf(e.entry.Role, ways[0])) {
			if e.number == 0 {
				e.number = uint32(p.clock.Now().Mono.UnixMilli())
			}
			e.number++
			for _, t := range ways {
				if e.affords(t, len(packet)) {
					p.enter(e, t, ip, packet, own, e.number)
				}
			}
			return true
		}
	}
	sent, held := false, false
	for _, t := range e.entry.Tunnels {
		if !p.sends(t) {
			if t.Mode != forward.Receive && !t.AnyPort {
				p.Counts.Lapsed++
			}
			continue
		}
		if !e.affords(t, len(packet)) {
			held = true
			continue
		}
		sent = true
		p.enter(e, t, ip, packet, own, 0)
	}
	if sent || !held {
		return sent
	}
	for _, t := range e.entry.Tunnels {
		if t.Spare && p.Live(t) {
			p.enter(e, t, ip, packet, own, 0)
			return true
		}
	}
	p.Counts.Withheld++
	e.counters.DroppedPackets++
	return true
}

// agentOf is the home agent's address at a tunnel.
func agentOf(r forward.Role, t forward.Tunnel) netip.Addr {
	if r == forward.MobileNode {
		return t.Peer.Addr()
	}
	return t.Local.Addr()
}

// affords pays for a packet of n octets from a tunnel's budget, if it has one
// and enough is left.
func (e *installed) affords(t forward.Tunnel, n int) bool {
	if t.Budget == 0 {
		return true
	}
	h := encap.Header{Kind: t.Encap, Inner: t.Inside, HasKey: t.HasKey}
	n += h.Overhead()
	if e.spent[t.Peer]+n > t.Budget {
		return false
	}
	e.spent[t.Peer] += n
	return true
}

// enter sends a packet into one tunnel, with a number unless that is 0.
func (p *Plane) enter(e *installed, t forward.Tunnel, ip encap.IPv4, packet []byte, own bool, number uint32) {
	n := p.node
	mine := n.Owns
	if own {
		mine = nil
	}
	if encap.Loops(ip.Src, t.Peer.Addr(), mine) || e.entry.Role == forward.HomeAgent && encap.CameBack(packet, t.Peer.Addr()) {
		p.Counts.Loop++
		e.counters.DroppedPackets++
		return
	}
	inside := t.Inside
	if t.Secured() {
		inside = encap.IPIP // stands for it: what encryption keeps out, this world's strangers cannot do
	}
	h := encap.Header{
		Kind: t.Encap, Inner: inside, Src: t.Local.Addr(), Dst: t.Peer.Addr(),
		SrcPort: p.port(t), DstPort: t.Peer.Port(), Key: t.Key, HasKey: t.HasKey, TTL: 64,
	}
	if t.Encap == encap.UDP && h.DstPort == 0 {
		h.DstPort = encap.Port
	}
	if number != 0 {
		if h.HasSeq, h.Seq = true, number; h.Kind == encap.UDP {
			h.Inner = encap.GRE
		} else {
			h.Kind = encap.GRE
		}
	}
	r, ok := n.outerRoute(t)
	var agent *Interface // to which a mobile node tunnels by its link-layer address
	if e.entry.Role == forward.MobileNode && e.entry.Deliver.Link != "" && t.Local.Addr() == e.entry.Inner.Addr() {
		agent = n.Interface(e.entry.Deliver.Link)
		r, ok = Route{Interface: agent}, agent != nil && agent.segment != nil
	}
	if !ok {
		e.counters.DroppedPackets++
		return
	}
	sized := h
	sized.Inner = t.Inside
	mtu := p.mtu(t, r) - sized.Overhead()
	if encap.IsProbe(packet) {
		mtu = r.Interface.segment.mtu() - sized.Overhead()
	}
	pieces, err := encap.Fragment(packet, mtu)
	if err != nil {
		p.Counts.TooBig++
		e.counters.DroppedPackets++
		n.sendError(encap.ICMP{Type: encap.DestinationUnreachable, Code: encap.DatagramTooBig, MTU: uint16(mtu)}, packet)
		return
	}
	for _, piece := range pieces {
		g := h
		g.ID = n.nextID()
		if encap.IsFragment(piece) && g.Kind == encap.Minimal {
			// "This encapsulation ... MUST NOT be used when the original
			// datagram is already fragmented" (RFC 2004 section 1).
			g.Kind = encap.IPIP
		}
		outer, err := encap.Append(nil, &g, piece)
		if err != nil {
			p.Counts.Malformed++
			continue
		}
		p.Counts.Sent++
		e.counters.SentPackets++
		e.counters.SentBytes += uint64(len(piece))
		e.use.Sent = p.clock.Now().Mono
		n.world.tell(Encapsulated{Node: n, Entry: e.entry, Tunnel: t, Inner: piece})
		n.world.tell(Originated{Node: n, Packet: outer})
		if agent != nil {
			agent.transmitTo(e.entry.Deliver.HW, outer)
			continue
		}
		n.emit(r, outer)
	}
}

// outerRoute is the way of a tunnel's packets.
func (n *Node) outerRoute(t forward.Tunnel) (Route, bool) {
	if t.Link != "" {
		i := n.Interface(t.Link)
		if i == nil {
			return Route{}, false
		}
		return i.routeVia(t.Peer.Addr())
	}
	return n.way(encap.IPv4{Src: t.Local.Addr(), Dst: t.Peer.Addr()}, "")
}

// mtu is the MTU of a tunnel's outer packets.
func (p *Plane) mtu(t forward.Tunnel, r Route) int {
	mtu := r.Interface.segment.mtu()
	if t.MTU != 0 {
		h := encap.Header{Kind: t.Encap, Inner: t.Inside, HasKey: t.HasKey}
		mtu = min(mtu, t.MTU+h.Overhead())
	}
	for _, learned := range p.tunnelMTU {
		if learned.local == t.Local.Addr() && learned.peer == t.Peer.Addr() && learned.until > p.node.world.now {
			mtu = min(mtu, learned.mtu)
		}
	}
	return mtu
}

// receive takes a packet of a tunnel from the network. Only what a live tunnel
// allows comes out: outer source and destination, protocol, ports or key, and
// the inner address all match. To everything else there is silence.
func (p *Plane) receive(link *Interface, packet []byte) {
	h, inner, err := encap.Pull(append([]byte(nil), packet...))
	if err != nil {
		p.Counts.Malformed++
		return
	}
	ip, err := encap.ParseIPv4(inner)
	if err != nil {
		p.Counts.Malformed++
		return
	}
	for _, e := range p.entries {
		if !innerMatches(e.entry, ip) {
			continue
		}
		for _, t := range e.entry.Tunnels {
			if p.receives(t) && p.outerMatches(e.entry, t, &h) && visitorMatches(e.entry, t, ip) {
				p.leave(e, t, link, &h, ip, inner)
				return
			}
		}
		p.seen(e, &h, inner)
	}
	p.Counts.Stranger++
}

// innerMatches: a home agent takes what a bound node sends, a mobile node what
// is sent to it.
func innerMatches(e forward.Entry, ip encap.IPv4) bool {
	switch e.Role {
	case forward.HomeAgent:
		return e.Inner.Contains(ip.Src)
	case forward.MobileNode:
		return e.HomeLink == "" && e.Inner.Contains(ip.Dst)
	case forward.ForeignAgent:
		return e.Inner.Contains(ip.Dst) || e.Inner.Contains(ip.Src)
	}
	return false
}

// visitorMatches: from the home agent comes what is for the visitor, from the
// visitor what is its own.
func visitorMatches(e forward.Entry, t forward.Tunnel, ip encap.IPv4) bool {
	if e.Role != forward.ForeignAgent {
		return true
	}
	if t.Peer.Addr() == e.Inner.Addr() {
		return e.Inner.Contains(ip.Src)
	}
	return e.Inner.Contains(ip.Dst)
}

// outerMatches compares the outer headers with a tunnel.
func (p *Plane) outerMatches(e forward.Entry, t forward.Tunnel, h *encap.Header) bool {
	if h.Src != t.Peer.Addr() || h.Dst != t.Local.Addr() {
		return false
	}
	numbered := e.Counts() && h.HasSeq && h.Kind == encap.GRE
	if h.Kind != t.Encap && !numbered && !(t.Encap == encap.Minimal && h.Kind == encap.IPIP) {
		return false
	}
	if t.Encap == encap.UDP {
		peer := t.Peer.Port()
		if peer == 0 && !t.AnyPort {
			peer = encap.Port
		}
		if !p.hasPort(t, h.DstPort) || !t.AnyPort && h.SrcPort != peer {
			return false
		}
	}
	return t.Takes(h.HasKey, h.Key)
}

// leave takes a packet out of a tunnel.
func (p *Plane) leave(e *installed, t forward.Tunnel, link *Interface, h *encap.Header, ip encap.IPv4, inner []byte) {
	n := p.node
	echo, isEcho := encap.ParseEcho(inner)
	keepalive := isEcho == nil && echo.Type == encap.EchoRequest && n.Owns(echo.Dst)
	if t.AnyPort && keepalive {
		p.hint(e, "seen-echo", forward.EndpointSeen{Key: e.entry.Key, Local: netip.AddrPortFrom(h.Dst, h.DstPort), From: netip.AddrPortFrom(h.Src, h.SrcPort), Echo: true})
		return
	}
	if err := encap.SetECN(h, inner); err != nil {
		e.counters.DroppedPackets++
		return
	}
	if h.HasSeq && e.entry.Counts() && !e.numbers.Fresh(h.Seq, p.clock.Now().Mono.UnixNano()) {
		p.Counts.Copies++
		return
	}
	if t.Budget > 0 {
		o := encap.Header{Kind: t.Encap, Inner: t.Inside, HasKey: t.HasKey}
		e.spent[t.Peer] -= 3 * (len(inner) + o.Overhead())
	}
	p.Counts.Received++
	e.counters.ReceivedPackets++
	e.counters.ReceivedBytes += uint64(len(inner))
	if !h.HasSeq || t.Mode != forward.Receive {
		e.use.Received = p.clock.Now().Mono
	}
	n.world.tell(Decapsulated{Node: n, Entry: e.entry, Tunnel: t, Outer: *h, Inner: inner})
	if isEcho == nil && echo.Type == encap.EchoReply && echo.Src == t.Peer.Addr() && e.entry.Role != forward.HomeAgent {
		p.event(forward.EchoReply{Key: e.entry.Key, From: netip.AddrPortFrom(h.Src, h.SrcPort), ID: echo.ID, Seq: echo.Seq, Token: echo.Token(), Received: p.clock.Now().Mono})
	}
	if e.entry.Role == forward.ForeignAgent {
		p.toVisitor(e, t, ip, inner)
		return
	}
	if n.Owns(ip.Dst) {
		n.deliver(arrival{link: link, tunnel: true}, ip, inner)
		return
	}
	if e.entry.Role == forward.HomeAgent || e.entry.Network != "" {
		n.forward(nil, inner)
	}
}

// seen tells of a packet from a bound node that came by another way than its
// entry names.
func (p *Plane) seen(e *installed, h *encap.Header, inner []byte) {
	if h.Kind != encap.UDP {
		return
	}
	for _, t := range e.entry.Tunnels {
		if t.Local.Addr() != h.Dst || t.Encap != encap.UDP || !p.Live(t) {
			continue
		}
		echo, err := encap.ParseEcho(inner)
		p.hint(e, "seen", forward.EndpointSeen{
			Key: e.entry.Key, Local: netip.AddrPortFrom(h.Dst, h.DstPort), From: netip.AddrPortFrom(h.Src, h.SrcPort),
			Echo: err == nil && echo.Type == encap.EchoRequest && p.node.Owns(echo.Dst),
		})
		return
	}
}

// hint tells the daemon, at most once a second for each sort and entry.
func (p *Plane) hint(e *installed, sort string, ev forward.Event) {
	now := p.node.world.now
	if last, ok := e.hinted[sort]; ok && now-last < time.Second {
		return
	}
	e.hinted[sort] = now
	p.event(ev)
}

// event gives an event to the node's daemon.
func (p *Plane) event(ev forward.Event) {
	select {
	case p.events <- ev:
	default:
		<-p.events // keep the latest: nobody but a test reads these
		p.events <- ev
	}
	if d := p.node.daemon; d != nil {
		d.planeEvent(ev)
	}
}

// The least path MTU that is believed, and for how long: "off-path PTB of 68:
// PMTU stays >= floor and recovers" (threat T16).
const (
	leastMTU = 576
	mtuAge   = 10 * time.Minute
)

// icmp reads an ICMP error about a packet of ours that is under way in a
// tunnel (RFC 2003 section 4); true when it was about a tunnel packet at all.
func (p *Plane) icmp(packet []byte) bool {
	te, err := encap.ParseTunnelError(packet)
	if err != nil {
		return false
	}
	for _, e := range p.entries {
		for _, t := range e.entry.Tunnels {
			if te.Outer.Src != t.Local.Addr() || te.Outer.Dst != t.Peer.Addr() || te.Kind != t.Encap || !p.Live(t) {
				continue
			}
			m, ok := te.Answer(false)
			if te.Type == encap.DestinationUnreachable && te.Code == encap.DatagramTooBig {
				if ok && te.MTU >= leastMTU {
					p.learn(t, int(te.MTU))
				}
			} else if te.Type == encap.DestinationUnreachable {
				p.hint(e, "unreachable", forward.Unreachable{Key: e.entry.Key, Peer: t.Peer.Addr(), Type: uint8(te.Type), Code: te.Code})
			}
			if ok && te.Quote != nil {
				p.node.sendError(m, te.Quote)
			}
			return true
		}
	}
	return true
}

// learn remembers a path MTU, as soft state.
func (p *Plane) learn(t forward.Tunnel, mtu int) {
	now := p.node.world.now
	for i := range p.tunnelMTU {
		if l := &p.tunnelMTU[i]; l.local == t.Local.Addr() && l.peer == t.Peer.Addr() {
			l.mtu, l.until = mtu, now+mtuAge
			return
		}
	}
	p.tunnelMTU = append(p.tunnelMTU, pathMTU{t.Local.Addr(), t.Peer.Addr(), mtu, now + mtuAge})
}
