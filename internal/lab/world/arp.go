package world

import (
	"encoding/binary"
	"net/netip"
	"time"

	"careof/internal/core/forward"
)

// ARP operations (RFC 826).
const (
	arpRequest = 1
	arpReply   = 2
)

// arpPacket is RFC 826's packet for IPv4 over Ethernet.
type arpPacket struct {
	op                 uint16
	senderHW, targetHW forward.HardwareAddr
	sender, target     netip.Addr
}

// arpHead is hardware type 1, protocol IPv4, lengths 6 and 4.
var arpHead = [6]byte{0, 1, 8, 0, 6, 4}

func (p arpPacket) bytes() []byte {
	b := make([]byte, 0, 28)
	b = append(b, arpHead[:]...)
	b = binary.BigEndian.AppendUint16(b, p.op)
	s, t := p.sender.As4(), p.target.As4()
	b = append(append(b, p.senderHW[:]...), s[:]...)
	return append(append(b, p.targetHW[:]...), t[:]...)
}

func parseARP(b []byte) (p arpPacket, ok bool) {
	if len(b) < 28 || [6]byte(b[:6]) != arpHead {
		return p, false
	}
	p.op = binary.BigEndian.Uint16(b[6:])
	p.senderHW = forward.HardwareAddr(b[8:14])
	p.sender = netip.AddrFrom4([4]byte(b[14:18]))
	p.targetHW = forward.HardwareAddr(b[18:24])
	p.target = netip.AddrFrom4([4]byte(b[24:28]))
	return p, p.op == arpRequest || p.op == arpReply
}

// A resolution is a wait for an ARP reply.
type resolution struct {
	waiting [][]byte
	tries   int
	timer   *Timer
}

const (
	arpTries    = 4
	arpInterval = 500 * time.Millisecond
	arpWaiting  = 16 // packets kept per address, as Linux does it by octets
	arpFresh    = 30 * time.Second
)

// A neighbor is what an interface believes about an address on its link. What
// it has not heard of for arpFresh it asks for again, while it goes on using
// it, and forgets when nobody answers.
type neighbor struct {
	hw   forward.HardwareAddr
	seen time.Duration
}

// forget empties the neighbour table.
func (i *Interface) forget() {
	for _, r := range i.resolving {
		r.timer.Stop()
	}
	i.neighbors = make(map[netip.Addr]neighbor)
	i.resolving = make(map[netip.Addr]*resolution)
}

// Neighbor is what the interface believes to be the link-layer address of an
// address; zero when it does not know.
func (i *Interface) Neighbor(a netip.Addr) forward.HardwareAddr { return i.neighbors[a].hw }

// transmit sends an IP packet to a next hop on the link, asking for its
// link-layer address first when that is not known.
func (i *Interface) transmit(hop netip.Addr, packet []byte) {
	if i.segment == nil || !i.up {
		return
	}
	if i.broadcast(hop) {
		i.segment.send(i, frame{dst: everyone, src: i.HW, kind: etherIPv4, data: packet})
		return
	}
	if known, ok := i.neighbors[hop]; ok {
		if i.node.world.now-known.seen > arpFresh && i.resolving[hop] == nil {
			r := &resolution{}
			i.resolving[hop] = r
			i.ask(hop, r)
		}
		i.segment.send(i, frame{dst: known.hw, src: i.HW, kind: etherIPv4, data: packet})
		return
	}
	r := i.resolving[hop]
	if r == nil {
		r = &resolution{}
		i.resolving[hop] = r
		i.ask(hop, r)
	}
	if len(r.waiting) < arpWaiting {
		r.waiting = append(r.waiting, packet)
	}
}

// transmitTo sends an IP packet to a given link-layer address.
func (i *Interface) transmitTo(hw forward.HardwareAddr, packet []byte) {
	if i.segment != nil && i.up {
		i.segment.send(i, frame{dst: hw, src: i.HW, kind: etherIPv4, data: packet})
	}
}

// ask sends an ARP request, and again until somebody answers or patience ends.
func (i *Interface) ask(hop netip.Addr, r *resolution) {
	if r.tries++; r.tries > arpTries {
		delete(i.resolving, hop)
		delete(i.neighbors, hop)
		return
	}
	if i.segment != nil && i.up {
		i.sendARP(everyone, arpPacket{op: arpRequest, senderHW: i.HW, sender: i.sourceFor(hop), target: hop})
	}
	r.timer = i.node.world.After(arpInterval, func() { i.ask(hop, r) })
}

// sourceFor is the address that the interface gives itself towards a
// neighbour. A mobile node at home speaks with its home address.
func (i *Interface) sourceFor(netip.Addr) netip.Addr {
	if len(i.addresses) > 0 {
		return i.addresses[0].Addr()
	}
	if p := i.node.plane; p != nil {
		if home := p.atHome(i.Name); home.IsValid() {
			return home
		}
	}
	return netip.IPv4Unspecified()
}

// Introduce lets all that are on the segment know each other, as if they had
// spoken before.
func (s *Segment) Introduce() {
	for _, i := range s.ports {
		for _, other := range s.ports {
			for _, a := range other.addresses {
				if i != other && i.onLink(a.Addr()) {
					i.neighbors[a.Addr()] = neighbor{other.HW, i.node.world.now}
				}
			}
		}
	}
}

func (i *Interface) sendARP(to forward.HardwareAddr, p arpPacket) {
	i.segment.send(i, frame{dst: to, src: i.HW, kind: etherARP, data: p.bytes()})
}

// announce broadcasts a gratuitous ARP: an ARP request or reply whose sender
// and target address are the same (RFC 5944 section 4.6).
func (i *Interface) announce(a netip.Addr, hw forward.HardwareAddr) {
	if i.segment == nil || !i.up {
		return
	}
	if hw == (forward.HardwareAddr{}) {
		hw = i.HW
	}
	i.node.world.Tracef(i.node.Name, "gratuitous arp on %s: %v is at %v", i.Name, a, hw)
	i.node.world.tell(Announced{Node: i.node, Link: i.Name, Address: a, HW: hw})
	i.sendARP(everyone, arpPacket{op: arpRequest, senderHW: hw, sender: a, targetHW: hw, target: a})
}

// answersFor tells whether the interface answers ARP requests for an address:
// its own, one it proxies for, or the home address while at home.
func (i *Interface) answersFor(a netip.Addr) bool {
	if i.has(a) || i.proxied[a] {
		return true
	}
	return i.node.plane != nil && i.node.plane.atHome(i.Name) == a
}

// receiveARP is the algorithm of RFC 826: an entry that is there is updated by
// anything, a new one is made only by who is asked. A request from 0.0.0.0 is
// a probe and teaches nothing.
func (i *Interface) receiveARP(b []byte) {
	p, ok := parseARP(b)
	if !ok {
		return
	}
	mine := i.answersFor(p.target) && p.sender != p.target
	_, known := i.neighbors[p.sender]
	wanted := i.resolving[p.sender]
	if !p.sender.IsUnspecified() && !i.has(p.sender) && (known || mine || wanted != nil) {
		first := !known && slicesHas(i.gateways, p.sender)
		i.neighbors[p.sender] = neighbor{p.senderHW, i.node.world.now}
		if wanted != nil {
			wanted.timer.Stop()
			delete(i.resolving, p.sender)
			for _, packet := range wanted.waiting {
				i.transmitTo(p.senderHW, packet)
			}
		}
		if first {
			i.changed() // the gateway's link-layer address is known now
		}
	}
	if p.op == arpRequest && mine {
		if i.proxied[p.target] {
			i.node.world.tell(ProxyAnswered{Node: i.node, Link: i.Name, Address: p.target})
		}
		i.sendARP(p.senderHW, arpPacket{op: arpReply, senderHW: i.HW, sender: p.target, targetHW: p.senderHW, target: p.sender})
	}
}

func slicesHas(list []netip.Addr, a netip.Addr) bool {
	for _, x := range list {
		if x == a {
			return true
		}
	}
	return false
}
