package world

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"time"

	"careof/internal/core/forward"
	"careof/wire/encap"
)

// A Connection is one end of a reliable byte stream, a small model of TCP in
// real TCP segments: sequence numbers, acknowledgements, a fixed window, fast
// retransmission and a timer that backs off. Whoever has no such connection
// answers with a reset, as a kernel does. Every octet has a value that follows
// from its place, so that the receiver knows a wrong one.
//
// Left out: closing, congestion control, options, wrapping of numbers.
type Connection struct {
	Local, Remote netip.AddrPort
	Sent          uint64 // octets that the program wrote
	Acknowledged  uint64 // of them, octets that have arrived
	Received      uint64 // octets that came in, in order
	Retransmitted int
	Broken        string // why the connection is dead; empty while it is well

	node        *Node
	established bool
	client      bool
	total       uint64
	chunk       uint64
	every       time.Duration
	unsent      uint64 // next octet to send
	highest     uint64 // it was never beyond this
	ahead       []piece
	timer       *Timer
	rto         time.Duration
	duplicates  int
	recover     uint64 // no second fast retransmission before this is acknowledged
	mss         int
}

type connectionKey struct{ local, remote netip.AddrPort }

// Numbers of the stream model.
const (
	streamMSS    = 1200
	streamWindow = 16 // segments under way
	streamRTO    = 300 * time.Millisecond
	streamMaxRTO = 3 * time.Second
)

// TCP flags.
const (
	flagSYN = 0x02
	flagRST = 0x04
	flagACK = 0x10
)

const tcpHeaderLen = 20

// A Traffic says what one end of a stream writes: Chunk octets every Every,
// Total in all.
type Traffic struct {
	Total, Chunk uint64
	Every        time.Duration
}

// Listen accepts connections on a port; each of them writes traffic.
func (n *Node) Listen(port uint16, traffic Traffic, accepted func(*Connection)) {
	n.listeners[port] = func(c *Connection) {
		c.write(traffic)
		if accepted != nil {
			accepted(c)
		}
	}
}

// Dial connects from an address of the node to a listener. An invalid local
// address lets the node choose.
func (n *Node) Dial(local netip.AddrPort, remote netip.AddrPort, traffic Traffic) *Connection {
	if !local.Addr().IsValid() {
		local = netip.AddrPortFrom(n.SourceFor(remote.Addr()), local.Port())
	}
	c := n.connection(local, remote)
	c.client = true
	c.write(traffic)
	c.segment(flagSYN, 0, nil)
	c.alarm()
	return c
}

func (n *Node) connection(local, remote netip.AddrPort) *Connection {
	c := &Connection{Local: local, Remote: remote, node: n, rto: streamRTO, mss: streamMSS}
	n.tcp[connectionKey{local, remote}] = c
	n.errors = append(n.errors, c.icmp)
	return c
}

// Done tells whether all that was to be written has arrived.
func (c *Connection) Done() bool { return c.Acknowledged == c.total }

// write lets the program write its traffic.
func (c *Connection) write(t Traffic) {
	c.total, c.chunk, c.every = t.Total, t.Chunk, t.Every
	c.more()
}

func (c *Connection) more() {
	if c.Broken != "" || c.Sent >= c.total {
		return
	}
	c.Sent = min(c.total, c.Sent+c.chunk)
	c.push()
	c.node.world.After(c.every, c.more)
}

// octet is the value of the octet at a place in the stream.
func octet(place uint64) byte { return byte(place*31 + place>>8*17 + place>>16) }

// push sends what the window allows.
func (c *Connection) push() {
	if !c.established || c.Broken != "" {
		return
	}
	for c.unsent < c.Sent && c.unsent-c.Acknowledged < uint64(streamWindow*c.mss) {
		n := c.sendAt(c.unsent)
		c.unsent += n
		c.highest = max(c.highest, c.unsent)
	}
	if c.timer == nil && c.Acknowledged < c.unsent {
		c.alarm()
	}
}

// sendAt sends the segment that begins at a place.
func (c *Connection) sendAt(place uint64) uint64 {
	n := min(uint64(c.mss), c.Sent-place)
	data := make([]byte, n)
	for i := range data {
		data[i] = octet(place + uint64(i))
	}
	c.segment(flagACK, uint32(place)+1, data)
	return n
}

// segment sends one TCP segment.
func (c *Connection) segment(flags uint8, sequence uint32, data []byte) {
	c.node.sendTCP(c.Local, c.Remote, flags, sequence, c.acknowledgement(), data)
}

func (c *Connection) acknowledgement() uint32 { return uint32(c.Received) + 1 }

func (n *Node) sendTCP(from, to netip.AddrPort, flags uint8, sequence, acknowledgement uint32, data []byte) {
	b := make([]byte, tcpHeaderLen, tcpHeaderLen+len(data))
	binary.BigEndian.PutUint16(b[0:], from.Port())
	binary.BigEndian.PutUint16(b[2:], to.Port())
	binary.BigEndian.PutUint32(b[4:], sequence)
	binary.BigEndian.PutUint32(b[8:], acknowledgement)
	b[12], b[13] = tcpHeaderLen/4<<4, flags
	binary.BigEndian.PutUint16(b[14:], 0xffff)
	b = append(b, data...)
	binary.BigEndian.PutUint16(b[16:], tcpChecksum(from.Addr(), to.Addr(), b))
	packet, err := encap.AppendIPv4(nil, &encap.IPv4{ID: n.nextID(), DF: true, TTL: 64, Protocol: protoTCP, Src: from.Addr(), Dst: to.Addr()}, len(b))
	if err != nil {
		return
	}
	n.Output(append(packet, b...), "", forward.HardwareAddr{})
}

// tcpChecksum sums the pseudo header and the segment.
func tcpChecksum(src, dst netip.Addr, segment []byte) uint16 {
	s, d := src.As4(), dst.As4()
	b := make([]byte, 0, 12+len(segment))
	b = append(append(b, s[:]...), d[:]...)
	b = append(b, 0, protoTCP, byte(len(segment)>>8), byte(len(segment)))
	return encap.Checksum(append(b, segment...))
}

// alarm sets the retransmission timer.
func (c *Connection) alarm() {
	c.timer.Stop()
	c.timer = c.node.world.After(c.rto, func() {
		c.timer = nil
		if c.Broken != "" {
			return
		}
		switch {
		case !c.established && c.client:
			c.segment(flagSYN, 0, nil)
		case c.Acknowledged < c.unsent:
			c.Retransmitted++
			c.sendAt(c.Acknowledged)
		default:
			return
		}
		c.rto = min(2*c.rto, streamMaxRTO)
		c.alarm()
	})
}

// deliverTCP gives a segment to its connection, or answers with a reset.
func (n *Node) deliverTCP(ip encap.IPv4, packet []byte) {
	b := packet[ip.HeaderLen:ip.TotalLen]
	if len(b) < tcpHeaderLen || int(b[12]>>4)*4 > len(b) || tcpChecksum(ip.Src, ip.Dst, b) != 0 {
		n.Counts.Malformed++
		return
	}
	from := netip.AddrPortFrom(ip.Src, binary.BigEndian.Uint16(b[0:]))
	to := netip.AddrPortFrom(ip.Dst, binary.BigEndian.Uint16(b[2:]))
	sequence, acknowledgement := binary.BigEndian.Uint32(b[4:]), binary.BigEndian.Uint32(b[8:])
	flags, data := b[13], b[int(b[12]>>4)*4:]
	c := n.tcp[connectionKey{to, from}]
	if c == nil {
		accept := n.listeners[to.Port()]
		if accept == nil || flags&flagSYN == 0 || flags&flagACK != 0 {
			if flags&flagRST == 0 {
				n.sendTCP(to, from, flagRST|flagACK, acknowledgement, sequence, nil)
			}
			return
		}
		c = n.connection(to, from)
		accept(c)
	}
	c.receive(flags, sequence, acknowledgement, data)
}

func (c *Connection) fail(format string, args ...any) {
	if c.Broken == "" {
		c.Broken = fmt.Sprintf(format, args...)
		c.timer.Stop()
		c.node.world.Tracef(c.node.Name, "stream %v-%v: %s", c.Local, c.Remote, c.Broken)
		c.node.world.tell(Failed{Node: c.node, What: fmt.Sprintf("stream %v-%v: %s", c.Local, c.Remote, c.Broken)})
	}
}

func (c *Connection) receive(flags uint8, sequence, acknowledgement uint32, data []byte) {
	switch {
	case c.Broken != "":
		return
	case flags&flagRST != 0:
		c.fail("reset by peer")
		return
	case flags&flagSYN != 0 && !c.client:
		c.segment(flagSYN|flagACK, 0, nil)
		return
	case flags&flagSYN != 0:
		c.segment(flagACK, uint32(c.unsent)+1, nil)
	}
	if !c.established {
		c.established = true
		c.rto = streamRTO
		c.timer.Stop()
		c.timer = nil
	}
	c.acknowledge(uint64(acknowledgement-1), len(data) == 0)
	if len(data) > 0 {
		c.take(uint64(sequence-1), data)
		c.segment(flagACK, uint32(c.unsent)+1, nil)
	}
	c.push()
}

// acknowledge notes how far the other end has got.
func (c *Connection) acknowledge(upTo uint64, pure bool) {
	switch {
	case upTo > c.highest:
		c.fail("peer acknowledges octet %d, which was not sent", upTo)
	case upTo > c.Acknowledged:
		c.Acknowledged, c.duplicates, c.rto = upTo, 0, streamRTO
		c.unsent = max(c.unsent, upTo)
		c.timer.Stop()
		c.timer = nil
		if c.Acknowledged < c.unsent {
			if c.Acknowledged < c.recover {
				c.Retransmitted++
				c.sendAt(c.Acknowledged)
			}
			c.alarm()
		}
	case upTo == c.Acknowledged && pure && c.unsent > upTo:
		if c.duplicates++; c.duplicates == 3 && c.Acknowledged >= c.recover {
			c.recover = c.unsent
			c.Retransmitted++
			c.sendAt(c.Acknowledged)
		}
	}
}

// take puts data in its place and lets the program read what is complete.
func (c *Connection) take(place uint64, data []byte) {
	for i, b := range data {
		if b != octet(place+uint64(i)) {
			c.fail("octet %d is changed", place+uint64(i))
			return
		}
	}
	if place > c.Received {
		if len(c.ahead) < 4*streamWindow {
			c.ahead = append(c.ahead, piece{at: int(place), data: data})
		}
		return
	}
	c.Received = max(c.Received, place+uint64(len(data)))
	for again := true; again; {
		again = false
		kept := c.ahead[:0]
		for _, p := range c.ahead {
			if uint64(p.at) <= c.Received {
				c.Received = max(c.Received, uint64(p.at+len(p.data)))
				again = true
			} else {
				kept = append(kept, p)
			}
		}
		c.ahead = kept
	}
}

// icmp makes segments smaller when a router says so.
func (c *Connection) icmp(packet []byte) {
	ip, err := encap.ParseIPv4(packet)
	if err != nil {
		return
	}
	b := packet[ip.HeaderLen:ip.TotalLen]
	if len(b) < 8+20+8 || encap.ICMPType(b[0]) != encap.DestinationUnreachable || b[1] != encap.DatagramTooBig {
		return
	}
	q := b[8:]
	if q[9] != protoTCP || netip.AddrFrom4([4]byte(q[12:16])) != c.Local.Addr() || netip.AddrFrom4([4]byte(q[16:20])) != c.Remote.Addr() {
		return
	}
	mtu := int(binary.BigEndian.Uint16(b[6:]))
	if size := mtu - 40; size >= 100 && size < c.mss {
		c.mss = size
		if c.unsent > c.Acknowledged {
			// All that is under way was too big.
			c.unsent = c.Acknowledged
			c.push()
		}
	}
}

// Forget makes the node forget its connections, as a host does that loses its
// memory: it answers what comes for them with a reset.
func (n *Node) Forget() { n.tcp = make(map[connectionKey]*Connection) }
