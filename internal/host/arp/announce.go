package arp

import (
	"fmt"
	"net"
	"net/netip"
	"sync"
	"time"

	"github.com/mdlayher/packet"

	"careof/internal/core/forward"
	"careof/internal/host/netspace"
)

// repeats are when a gratuitous ARP is sent again, since broadcasts are "not
// guaranteed to be reliable, the gratuitous ARP packet SHOULD be retransmitted
// a small number of times" (RFC 5944 section 4.6).
var repeats = []time.Duration{200 * time.Millisecond, 800 * time.Millisecond}

// An Announcer sends gratuitous ARP. It is safe for concurrent use.
type Announcer struct {
	space *netspace.Space

	mu     sync.Mutex
	links  map[string]*port
	timers map[place]*time.Timer
	closed bool
}

// place is what an announcement is about: a later one stops the repetitions of
// an earlier one, which would contradict it.
type place struct {
	link string
	addr netip.Addr
}

// port is a packet socket on a link.
type port struct {
	conn *packet.Conn
	hw   forward.HardwareAddr
}

// NewAnnouncer makes an announcer for the calling thread's network namespace.
func NewAnnouncer() (*Announcer, error) {
	space, err := netspace.Here()
	if err != nil {
		return nil, fmt.Errorf("arp: %w", err)
	}
	return &Announcer{space: space, links: make(map[string]*port), timers: make(map[place]*time.Timer)}, nil
}

// Announce broadcasts on a link that addr is at hw; a zero hw means the link's
// own address. The first packet has been sent when it returns, the others
// follow by themselves.
//
//rfc:5944#4.6
func (a *Announcer) Announce(link string, addr netip.Addr, hw forward.HardwareAddr) error {
	if !addr.Is4() {
		return fmt.Errorf("arp: %v is no IPv4 address", addr)
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.closed {
		return net.ErrClosed
	}
	at := place{link, addr}
	if t := a.timers[at]; t != nil {
		t.Stop()
		delete(a.timers, at)
	}
	if err := a.send(at, hw); err != nil {
		return err
	}
	a.repeat(at, hw, repeats)
	return nil
}

// Cease ends what is left of the repetitions about an address, on all links: a
// mobile node that has left its home link "MUST NOT transmit any broadcast ARP
// Request or ARP Reply messages" (RFC 5944 section 4.6) on the next one, which
// may be the same interface; and what a home agent does not intercept any more
// it must not draw to itself.
//
//rfc:5944#4.6
func (a *Announcer) Cease(addr netip.Addr) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for at, t := range a.timers {
		if at.addr == addr {
			t.Stop()
			delete(a.timers, at)
		}
	}
}

// repeat arms the next repetition.
func (a *Announcer) repeat(at place, hw forward.HardwareAddr, rest []time.Duration) {
	if len(rest) == 0 {
		return
	}
	var t *time.Timer
	t = time.AfterFunc(rest[0], func() {
		a.mu.Lock()
		defer a.mu.Unlock()
		if a.closed || a.timers[at] != t {
			return
		}
		delete(a.timers, at)
		// A link that is gone needs no announcement.
		if a.send(at, hw) == nil {
			a.repeat(at, hw, rest[1:])
		}
	})
	a.timers[at] = t
}

// send sends one packet. The frame's own source is always this host's, whoever
// the packet speaks about: switches learn from it.
func (a *Announcer) send(at place, hw forward.HardwareAddr) error {
	for attempt := 0; ; attempt++ {
		p, err := a.port(at.link)
		if err != nil {
			return err
		}
		what := hw
		if what == (forward.HardwareAddr{}) {
			what = p.hw
		}
		frame := AppendFrame(nil, Broadcast, p.hw, Gratuitous(at.addr, what))
		if _, err = p.conn.WriteTo(frame, &packet.Addr{HardwareAddr: net.HardwareAddr(Broadcast[:])}); err == nil {
			return nil
		}
		// The interface may have been replaced by another of its name.
		p.conn.Close()
		delete(a.links, at.link)
		if attempt > 0 {
			return fmt.Errorf("arp: announce %v on %s: %w", at.addr, at.link, err)
		}
	}
}

func (a *Announcer) port(link string) (*port, error) {
	if p := a.links[link]; p != nil {
		return p, nil
	}
	var p *port
	err := a.space.Do(func() error {
		ifi, err := net.InterfaceByName(link)
		if err != nil {
			return err
		}
		if len(ifi.HardwareAddr) != hardwareLen {
			return fmt.Errorf("%s is no Ethernet link", link)
		}
		// Protocol 0 receives nothing.
		conn, err := packet.Listen(ifi, packet.Raw, 0, nil)
		if err != nil {
			return err
		}
		p = &port{conn: conn, hw: forward.HardwareAddr(ifi.HardwareAddr)}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("arp: %s: %w", link, err)
	}
	a.links[link] = p
	return p, nil
}

// Close stops all repetitions.
func (a *Announcer) Close() error {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.closed = true
	for _, t := range a.timers {
		t.Stop()
	}
	for _, p := range a.links {
		p.conn.Close()
	}
	a.links, a.timers = nil, nil
	return a.space.Close()
}
