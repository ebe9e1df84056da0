package world

import (
	"encoding/binary"
	"net/netip"
	"time"

	"careof/internal/core/forward"
	"careof/wire/encap"
)

// A Flow is a stream of numbered datagrams in one direction, which measures
// what is lost, what comes twice, and for how long nothing comes.
type Flow struct {
	From, To *Node

	number   uint32
	src, dst netip.AddrPort
	every    time.Duration
	size     int
	sent     []time.Duration // when each datagram was sent
	arrived  []time.Duration // when it came first; never is -1
	twice    int
	foreign  int
	stopped  bool
}

const never time.Duration = -1

// flowHeader is the number of the flow and that of the datagram.
const flowHeader = 12

// StartFlow sends a datagram of size octets every so often until the flow is
// stopped. An invalid source lets the sending node choose, anew each time.
func (w *World) StartFlow(from *Node, src netip.AddrPort, to *Node, dst netip.AddrPort, every time.Duration, size int) *Flow {
	f := &Flow{From: from, To: to, number: uint32(dst.Port())<<16 | uint32(src.Port()), src: src, dst: dst, every: every, size: max(size, flowHeader)}
	to.ListenUDP(dst.Port(), func(d encap.UDPDatagram) { f.receive(w, d) })
	f.tick(w)
	return f
}

// Stop ends the sending; datagrams under way still count.
func (f *Flow) Stop() { f.stopped = true }

func (f *Flow) tick(w *World) {
	if f.stopped {
		return
	}
	payload := make([]byte, f.size)
	binary.BigEndian.PutUint32(payload, f.number)
	binary.BigEndian.PutUint64(payload[4:], uint64(len(f.sent)))
	f.sent = append(f.sent, w.now)
	f.arrived = append(f.arrived, never)
	f.From.SendUDP(f.src, f.dst, payload)
	w.After(f.every, func() { f.tick(w) })
}

func (f *Flow) receive(w *World, d encap.UDPDatagram) {
	if len(d.Payload) < flowHeader || binary.BigEndian.Uint32(d.Payload) != f.number {
		f.foreign++
		return
	}
	at := binary.BigEndian.Uint64(d.Payload[4:])
	switch {
	case at >= uint64(len(f.sent)):
		f.foreign++
	case f.arrived[at] != never:
		f.twice++
	default:
		f.arrived[at] = w.now
	}
}

// A Report says what became of the datagrams that were sent in a window.
type Report struct {
	Sent, Received, Lost int
	Duplicates           int           // over the whole life of the flow
	Gap                  time.Duration // the longest time without an arrival
	GapBegan             time.Duration
}

// Report counts the datagrams sent from begin until end, and finds the longest
// time without an arrival in that window.
func (f *Flow) Report(begin, end time.Duration) Report {
	r := Report{Duplicates: f.twice}
	last := begin
	gap := func(from, to time.Duration) {
		if to-from > r.Gap {
			r.Gap, r.GapBegan = to-from, from
		}
	}
	latest := begin
	for i, at := range f.sent {
		if at < begin || at >= end {
			continue
		}
		r.Sent++
		if f.arrived[i] == never {
			r.Lost++
			continue
		}
		r.Received++
	}
	for _, at := range f.arrived {
		// Arrivals are nearly in order; the latest so far bounds the gap.
		if at == never || at < begin || at >= end {
			continue
		}
		if at > latest {
			gap(latest, at)
			latest = at
		}
	}
	gap(max(latest, last), end)
	return r
}

// Flowing tells whether a datagram sent at or after since has arrived.
func (f *Flow) Flowing(since time.Duration) bool {
	for i := len(f.sent) - 1; i >= 0 && f.sent[i] >= since; i-- {
		if f.arrived[i] != never {
			return true
		}
	}
	return false
}

// Inject puts a packet on the wire as it is, from a node that lies: no check
// of its source address, no route but the interface's gateway.
func (n *Node) Inject(link string, packet []byte) error {
	i := n.Interface(link)
	if i == nil {
		return errNoRoute
	}
	ip, err := encap.ParseIPv4(packet)
	if err != nil {
		return err
	}
	r, ok := i.routeVia(ip.Dst)
	if !ok {
		return errNoRoute
	}
	n.emit(r, append([]byte(nil), packet...))
	return nil
}

// InjectTo is Inject to a given link-layer address.
func (n *Node) InjectTo(link string, hw forward.HardwareAddr, packet []byte) error {
	i := n.Interface(link)
	if i == nil || i.segment == nil {
		return errNoRoute
	}
	i.transmitTo(hw, append([]byte(nil), packet...))
	return nil
}
