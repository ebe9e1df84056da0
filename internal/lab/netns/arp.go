package netns

import (
	"encoding/binary"
	"net/netip"
	"time"
)

const (
	etherTypeIPv4 = 0x0800
	etherTypeARP  = 0x0806

	arpRequest = 1
	arpReply   = 2
	arpSize    = 28

	// A router asks three times, a second apart, and keeps an answer for a minute. In its second half a packet has it
	// asked for again and does not wait, as kernels do: else a path would stand still for a round trip each minute.
	arpAttempts = 3
	arpInterval = time.Second
	arpLifetime = time.Minute
	arpWaiting  = 32 // packets that wait for one answer
)

// neighbour is a router's knowledge of one address on one link.
type neighbour struct {
	mac      MAC
	known    bool
	again    bool // asked for again while it is known
	until    time.Duration
	attempts int
	waiting  []waiting
}

// waiting is a packet that waits for its next hop's link-layer address.
type waiting struct {
	pkt    []byte
	from   *routerPort // where it came in; nil for the router's own
	origin []byte      // as it came in, to quote in an error
}

// ethernet puts a frame together.
func ethernet(to, from MAC, etherType uint16, payload []byte) []byte {
	frame := make([]byte, 0, ethernetHeader+len(payload))
	frame = append(frame, to[:]...)
	frame = append(frame, from[:]...)
	frame = binary.BigEndian.AppendUint16(frame, etherType)
	return append(frame, payload...)
}

// arpPacket builds an ARP packet for IPv4 over Ethernet (RFC 826).
func arpPacket(operation uint16, senderMAC MAC, sender netip.Addr, targetMAC MAC, target netip.Addr) []byte {
	b := make([]byte, 0, arpSize)
	b = append(b, 0, 1, 8, 0, 6, 4)
	b = binary.BigEndian.AppendUint16(b, operation)
	b = append(append(b, senderMAC[:]...), sender.AsSlice()...)
	return append(append(b, targetMAC[:]...), target.AsSlice()...)
}

// hearARP learns from an ARP packet and answers a request for the router's own addresses.
//
//rfc:826
func (r *Router) hearARP(in *routerPort, b []byte) {
	if len(b) < arpSize || [6]byte(b[0:6]) != [6]byte{0, 1, 8, 0, 6, 4} {
		return
	}
	operation := binary.BigEndian.Uint16(b[6:])
	mac := MAC(b[8:14])
	sender, target := netip.AddrFrom4([4]byte(b[14:18])), netip.AddrFrom4([4]byte(b[24:28]))
	mine := r.local(in, target)
	// RFC 826: "If the pair <protocol type, sender protocol address> is already in my translation table, update the sender
	// hardware address field"; a new entry only if the packet is for us. So a gratuitous ARP moves an address.
	n := in.neighbours[sender]
	if n == nil && mine && in.prefix.Contains(sender) {
		n = &neighbour{}
		in.neighbours[sender] = n
	}
	if n != nil && !r.local(in, sender) && sender.IsValid() && !sender.IsUnspecified() {
		r.resolved(in, n, mac)
	}
	if operation == arpRequest && mine {
		in.port.send(ethernet(mac, in.port.mac, etherTypeARP, arpPacket(arpReply, in.port.mac, target, mac, sender)))
	}
}

func (r *Router) resolved(out *routerPort, n *neighbour, mac MAC) {
	n.mac, n.known, n.again, n.attempts = mac, true, false, 0
	n.until = r.network.line.now() + arpLifetime
	queue := n.waiting
	n.waiting = nil
	for _, w := range queue {
		out.port.send(ethernet(mac, out.port.mac, etherTypeIPv4, w.pkt))
	}
}

// transmit sends a packet to a next hop on a link, after asking for its link-layer address where that is not known.
func (r *Router) transmit(out *routerPort, hop netip.Addr, w waiting) {
	n := out.neighbours[hop]
	if n != nil && n.known && r.network.line.now() < n.until {
		out.port.send(ethernet(n.mac, out.port.mac, etherTypeIPv4, w.pkt))
		if !n.again && r.network.line.now() > n.until-arpLifetime/2 {
			n.again = true
			r.question(out, hop, n.mac)
		}
		return
	}
	if n == nil {
		n = &neighbour{}
		out.neighbours[hop] = n
	}
	n.known, n.again = false, false
	if len(n.waiting) >= arpWaiting {
		n.waiting = n.waiting[1:]
	}
	n.waiting = append(n.waiting, w)
	if n.attempts == 0 {
		r.ask(out, hop, n)
	}
}

// question sends one ARP request.
func (r *Router) question(out *routerPort, hop netip.Addr, to MAC) {
	out.port.send(ethernet(to, out.port.mac, etherTypeARP, arpPacket(arpRequest, out.port.mac, out.prefix.Addr(), MAC{}, hop)))
}

// ask sends an ARP request and comes back a second later, until there is an answer.
func (r *Router) ask(out *routerPort, hop netip.Addr, n *neighbour) {
	if n.attempts == arpAttempts {
		queue := n.waiting
		delete(out.neighbours, hop)
		for _, w := range queue {
			r.counts.Unreachable++
			r.report(w.from, icmpUnreachable, codeHost, 0, w.origin)
		}
		return
	}
	n.attempts++
	attempt := n.attempts
	r.question(out, hop, broadcastMAC)
	r.network.line.after(arpInterval, func() {
		r.mu.Lock()
		defer r.mu.Unlock()
		if !n.known && n.attempts == attempt && out.neighbours[hop] == n {
			r.ask(out, hop, n)
		}
	})
}
