package discovery

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"sync"

	"golang.org/x/sys/unix"

	"careof/internal/core/engine"
	"careof/internal/host/netspace"
	"careof/wire/encap"
)

// ErrNoLink says that nothing is open on a link.
var ErrNoLink = errors.New("discovery: nothing open on the link")

// A Receiver takes what comes in. Its functions are called from one or two
// goroutines for each link and must not keep the buffers. Either may be nil.
type Receiver struct {
	Discovery func(engine.Discovery)
	Signal    func(engine.Packet) // registration messages, with their link-layer source
}

// A Set is the packet sockets of one daemon, on those of its links that are
// there. It is safe for concurrent use.
type Set struct {
	links   []string
	port    uint16
	receive Receiver
	space   *netspace.Space

	mu        sync.Mutex
	listeners map[string]*listener
	readers   sync.WaitGroup
	closed    bool
	ids       uint16
}

// New makes a set for the links, in the calling thread's network namespace.
// With a port, UDP datagrams to it are heard too. Sockets are opened when
// [Set.LinkChanged] tells that a link is there.
func New(links []string, port uint16, receive Receiver) (*Set, error) {
	space, err := netspace.Here()
	if err != nil {
		return nil, fmt.Errorf("discovery: %w", err)
	}
	return &Set{links: slices.Clone(links), port: port, receive: receive, space: space, listeners: make(map[string]*listener)}, nil
}

// LinkChanged opens a socket on a link of the set that has appeared, and closes
// that of one that has gone. Other links may be told too.
func (s *Set) LinkChanged(l engine.Link) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return net.ErrClosed
	}
	if !slices.Contains(s.links, l.Name) {
		return nil
	}
	old := s.listeners[l.Name]
	if l.Gone {
		if old != nil {
			old.close()
			delete(s.listeners, l.Name)
		}
		return nil
	}
	var e *listener
	err := s.space.Do(func() (err error) {
		if old != nil {
			// A link that was taken away and put back has another index.
			ifi, err := net.InterfaceByName(l.Name)
			if err != nil || ifi.Index == old.index {
				return err
			}
		}
		e, err = listen(l.Name, s.port)
		return err
	})
	if err != nil || e == nil {
		return err
	}
	if old != nil {
		old.close()
	}
	s.listeners[l.Name] = e
	s.readers.Add(1)
	go func() {
		defer s.readers.Done()
		e.read(s.receive)
	}()
	return nil
}

// SetLinks makes it a set for other links. Those that are new have to be told
// of by [Set.LinkChanged].
func (s *Set) SetLinks(links []string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.links = slices.Clone(links)
	for name, e := range s.listeners {
		if !slices.Contains(links, name) {
			e.close()
			delete(s.listeners, name)
		}
	}
}

func (s *Set) socket(link string) (*socket, uint16, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	e := s.listeners[link]
	if e == nil {
		return nil, 0, fmt.Errorf("%w %q", ErrNoLink, link)
	}
	s.ids++
	return e.socket, s.ids, nil
}

// hardware is where a packet for dst goes on the link.
func hardware(dst netip.Addr, hw engine.HardwareAddr) (engine.HardwareAddr, error) {
	switch {
	case hw != (engine.HardwareAddr{}):
		return hw, nil
	case dst == limitedBroadcast:
		return engine.HardwareAddr{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}, nil
	case dst.Is4() && dst.IsMulticast():
		return multicast(dst), nil
	}
	return hw, fmt.Errorf("discovery: no link-layer address for %v", dst)
}

// SendDiscovery executes an [engine.SendDiscovery].
//
//rfc:5944#2.1
//rfc:5944#2.2
//rfc:5944#2-1
//rfc:5944#2.1-2
func (s *Set) SendDiscovery(m engine.SendDiscovery) error {
	sk, id, err := s.socket(m.Link)
	if err != nil {
		return err
	}
	hw, err := hardware(m.Dst, m.HW)
	if err != nil {
		return err
	}
	if !m.Src.IsValid() {
		m.Src = netip.IPv4Unspecified()
	}
	// "The TTL for all Agent Advertisements MUST be set to 1", that of
	// solicitations too.
	packet, err := encap.AppendIPv4(nil, &encap.IPv4{
		TTL: 1, ID: id, Protocol: unix.IPPROTO_ICMP, Src: m.Src, Dst: m.Dst,
	}, len(m.Data))
	if err != nil {
		return fmt.Errorf("discovery: %w", err)
	}
	return sk.send(hw, append(packet, m.Data...))
}

// SendTo executes an [engine.Send] that names a link-layer destination: a
// registration message to a visitor, whom nobody may ask for by ARP.
//
//rfc:5944#3.7.2.3
//rfc:5944#1.7-3
func (s *Set) SendTo(m engine.Send) error {
	sk, id, err := s.socket(m.Link)
	if err != nil {
		return err
	}
	hw, err := hardware(m.Dst.Addr(), m.HW)
	if err != nil {
		return err
	}
	packet, err := encap.AppendUDP(nil, encap.IPv4{TTL: m.TTL, ID: id}, m.Src, m.Dst, m.Data)
	if err != nil {
		return fmt.Errorf("discovery: %w", err)
	}
	return sk.send(hw, packet)
}

// SendPacket sends a whole IP packet to a link-layer address on a link.
//
//rfc:5944#4.2.2
func (s *Set) SendPacket(link string, hw engine.HardwareAddr, packet []byte) error {
	sk, _, err := s.socket(link)
	if err != nil {
		return err
	}
	return sk.send(hw, packet)
}

// Close closes all sockets and waits for their readers.
func (s *Set) Close() error {
	s.mu.Lock()
	s.closed = true
	for _, e := range s.listeners {
		e.close()
	}
	clear(s.listeners)
	s.mu.Unlock()
	s.readers.Wait()
	return s.space.Close()
}
