package netns

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"
)

// StreamConfig describes a UDP stream in both directions between two nodes: the client sends first, the server answers to
// where the last packet came from, so that a NAT may stand between them.
type StreamConfig struct {
	Client, Server *Node
	// Local is the client's address; not valid: the kernel's choice.
	Local netip.AddrPort
	// Listen is where the server listens, Remote what the client sends to; not valid: the same.
	Listen, Remote netip.AddrPort
	// Interval between packets. Zero is 5 ms.
	Interval time.Duration
	// Size of the UDP payload in octets, at least 28. Zero is 160, a voice packet.
	Size int
}

// The payload: magic, sequence number, time of sending (nanoseconds since the stream's start), direction, padding.
const (
	streamMagic   = 0x63616f66
	streamHeader  = 28
	streamUp      = 0
	streamDown    = 1
	streamDefault = 160
)

// Arrival is one received packet.
type Arrival struct {
	Sequence uint64
	Sent, At time.Time
}

// Window is the report about a stretch of time in one direction.
type Window struct {
	// Sent counts the packets sent in the window, Lost those of them that have not arrived so far, Duplicates further
	// copies of them, Reordered those that arrived after a later one.
	Sent, Lost, Duplicates, Reordered int
	// LargestGap is the longest time between two arrivals that follow each other, and GapAt its start. It holds the
	// regular interval, so a perfect stream has a gap of one interval. Gaps that reach beyond the window count whole.
	LargestGap time.Duration
	GapAt      time.Time
}

// StreamDirection is one direction of a stream. Its methods may be called while it runs.
type StreamDirection struct {
	mu       sync.Mutex
	sent     []time.Time // by sequence number
	arrivals []Arrival
}

// Stream is a running UDP stream.
type Stream struct {
	config         StreamConfig
	client, server *net.UDPConn
	start          time.Time
	peer           atomic.Pointer[netip.AddrPort] // the client, as the server sees it
	up, down       StreamDirection
	cancel         context.CancelFunc
	senders, all   sync.WaitGroup
}

// StartStream opens both sockets and starts sending. The server starts when the first packet has arrived.
func StartStream(config StreamConfig) (*Stream, error) {
	if config.Interval == 0 {
		config.Interval = 5 * time.Millisecond
	}
	if config.Size == 0 {
		config.Size = streamDefault
	}
	if config.Interval < 0 || config.Size < streamHeader {
		return nil, fmt.Errorf("netns: stream: interval %s or size %d too small", config.Interval, config.Size)
	}
	if !config.Remote.IsValid() {
		config.Remote = config.Listen
	}
	if !config.Local.IsValid() {
		config.Local = netip.AddrPortFrom(netip.IPv4Unspecified(), 0)
	}
	server, err := config.Server.ListenUDP(config.Listen)
	if err != nil {
		return nil, err
	}
	// Not connected: a connected socket would keep its source address and report errors of the path as its own.
	client, err := config.Client.ListenUDP(config.Local)
	if err != nil {
		server.Close()
		return nil, err
	}
	ctx, cancel := context.WithCancel(context.Background())
	s := &Stream{config: config, client: client, server: server, start: time.Now(), cancel: cancel}
	s.all.Go(func() { s.receive(s.client, &s.down, streamDown) })
	s.all.Go(func() { s.receive(s.server, &s.up, streamUp) })
	s.senders.Go(func() { s.send(ctx, s.client, &s.up, streamUp) })
	s.senders.Go(func() { s.send(ctx, s.server, &s.down, streamDown) })
	return s, nil
}

// send keeps to the schedule: when it wakes late, it sends what is due.
func (s *Stream) send(ctx context.Context, conn *net.UDPConn, d *StreamDirection, direction uint64) {
	payload := make([]byte, s.config.Size)
	binary.BigEndian.PutUint32(payload, streamMagic)
	binary.BigEndian.PutUint64(payload[20:], direction)
	next := time.Now()
	for ctx.Err() == nil {
		to := s.config.Remote
		if direction == streamDown {
			peer := s.peer.Load()
			if peer == nil {
				pause(ctx, s.config.Interval)
				next = time.Now()
				continue
			}
			to = *peer
		}
		now := time.Now()
		d.mu.Lock()
		sequence := len(d.sent)
		d.sent = append(d.sent, now)
		d.mu.Unlock()
		binary.BigEndian.PutUint64(payload[4:], uint64(sequence))
		binary.BigEndian.PutUint64(payload[12:], uint64(now.Sub(s.start)))
		// What the kernel refuses (no route, no address) is sent, and lost.
		conn.WriteToUDPAddrPort(payload, to)
		next = next.Add(s.config.Interval)
		pause(ctx, time.Until(next))
	}
}

func (s *Stream) receive(conn *net.UDPConn, d *StreamDirection, direction uint64) {
	buffer := make([]byte, 1<<16)
	for {
		n, from, err := conn.ReadFromUDPAddrPort(buffer)
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil || n < streamHeader || binary.BigEndian.Uint32(buffer) != streamMagic ||
			binary.BigEndian.Uint64(buffer[20:]) != direction {
			continue
		}
		now := time.Now()
		if direction == streamUp {
			peer := netip.AddrPortFrom(from.Addr().Unmap(), from.Port())
			s.peer.Store(&peer)
		}
		a := Arrival{
			Sequence: binary.BigEndian.Uint64(buffer[4:]),
			Sent:     s.start.Add(time.Duration(binary.BigEndian.Uint64(buffer[12:]))),
			At:       now,
		}
		d.mu.Lock()
		if a.Sequence < uint64(len(d.sent)) {
			d.arrivals = append(d.arrivals, a)
		}
		d.mu.Unlock()
	}
}

// Up is the direction from the client to the server, Down the other.
func (s *Stream) Up() *StreamDirection { return &s.up }

// Down is the direction from the server to the client.
func (s *Stream) Down() *StreamDirection { return &s.down }

// Stop ends the senders, gives what is under way the time drain to arrive, and closes the sockets. The record stays.
func (s *Stream) Stop(drain time.Duration) {
	s.cancel()
	s.senders.Wait()
	pause(context.Background(), drain)
	s.client.Close()
	s.server.Close()
	s.all.Wait()
}

// Arrivals returns the packets received so far, in order of arrival.
func (d *StreamDirection) Arrivals() []Arrival {
	d.mu.Lock()
	defer d.mu.Unlock()
	return append([]Arrival(nil), d.arrivals...)
}

// Window reports about the packets sent in [from, to). Packets that are still under way count as lost: ask again later.
func (d *StreamDirection) Window(from, to time.Time) Window {
	d.mu.Lock()
	defer d.mu.Unlock()
	within := func(t time.Time) bool { return !t.Before(from) && t.Before(to) }
	var w Window
	for _, t := range d.sent {
		if within(t) {
			w.Sent++
		}
	}
	seen := make(map[uint64]bool)
	var highest uint64
	for i, a := range d.arrivals {
		if within(d.sent[a.Sequence]) {
			switch {
			case seen[a.Sequence]:
				w.Duplicates++
			case i > 0 && a.Sequence < highest:
				w.Reordered++
			}
			seen[a.Sequence] = true
		}
		highest = max(highest, a.Sequence)
	}
	w.Lost = w.Sent - len(seen)
	w.LargestGap, w.GapAt = d.gap(from, to)
	return w
}

// GapAround gives the longest time between two arrivals that follow each other and overlap [moment, moment+horizon],
// with its start: what a move at that moment cost. It holds the regular interval. A gap that has not ended yet, because
// nothing has arrived since, reaches until now.
func (d *StreamDirection) GapAround(moment time.Time, horizon time.Duration) (time.Duration, time.Time) {
	d.mu.Lock()
	defer d.mu.Unlock()
	gap, at := d.gap(moment, moment.Add(horizon))
	if n := len(d.arrivals); n > 0 {
		last := d.arrivals[n-1].At
		if open := time.Since(last); open > gap && !last.After(moment.Add(horizon)) {
			return open, last
		}
	}
	return gap, at
}

func (d *StreamDirection) gap(from, to time.Time) (longest time.Duration, at time.Time) {
	for i := 1; i < len(d.arrivals); i++ {
		a, b := d.arrivals[i-1].At, d.arrivals[i].At
		if b.Before(from) || a.After(to) {
			continue
		}
		if gap := b.Sub(a); gap > longest {
			longest, at = gap, a
		}
	}
	return longest, at
}
