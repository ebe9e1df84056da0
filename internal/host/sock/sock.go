// Package sock owns the signalling sockets: UDP port 434 and a mobile node's
// ports on its uplinks. Registration messages and tunnel data share a socket,
// so that they share a NAT's mapping (RFC 3519 section 4); what comes in is
// parted by its first octet: Tunnel Data goes to the data plane in batches,
// all else is signalling.
package sock

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"sync"
	"syscall"

	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"

	"careof/internal/core/engine"
	"careof/wire/encap"
	"careof/wire/mip4"
)

// Data is one Tunnel Data message as it came in, or several of one flow that
// the kernel has merged.
type Data struct {
	Local, From netip.AddrPort
	Link        string // interface it came in on
	TOS         uint8  // of the outer header: its ECN field matters (RFC 6040)
	TTL         uint8  // of the outer header: minimal encapsulation has no other; 0 when it is not known
	Message     []byte // the UDP payload; valid until the receiver returns
	Size        int    // octets of each message but the last; 0: there is one
}

// A Receiver takes what comes in. Its functions are called from one goroutine
// for each socket and must not keep the buffers.
type Receiver struct {
	Signal func(engine.Packet)
	Data   func([]Data)
	// Error, where there is one, takes ICMP errors about datagrams that left over
	// IPv6 (see [Set.Translate]), each as a whole IPv4 packet. Those about others
	// come up to whoever reads ICMP.
	Error func(packet []byte)
}

// A Set is the sockets of one daemon. It is safe for concurrent use.
type Set struct {
	receive Receiver
	mark    uint32

	mu      sync.Mutex
	sockets map[place]*socket
	former  map[place]*socket       // the uplinks' sockets before the present ones; they only receive
	ports   map[string]uint16       // by link: the port that a mobile node keeps there
	shared  map[netip.AddrPort]bool // several sockets are, or shall be, bound there
	over    map[place]translation   // by link and address: where IPv4 goes over IPv6
	errors  net.PacketConn          // ICMPv6; nil as long as nothing goes over IPv6
	readers sync.WaitGroup
	closed  bool
}

// place is where a socket is bound: to an address, and to an interface when
// it is an uplink's.
type place struct {
	link string
	addr netip.Addr
	port uint16 // 0 for an uplink's socket, whose port is the kernel's choice
	more int    // of an agent's sockets that share a port: 0 the one that sends too

	aside bool // an uplink's second socket, for what must not touch the mapping of the first
}

// ErrNoSocket says that nothing is bound where a message should leave.
var ErrNoSocket = errors.New("sock: no socket there")

// New makes an empty set. A mark other than 0 is put on every packet sent
// (SO_MARK), for policy routing.
func New(receive Receiver, mark uint32) *Set {
	return &Set{receive: receive, mark: mark, sockets: make(map[place]*socket), former: make(map[place]*socket), ports: make(map[string]uint16), shared: make(map[netip.AddrPort]bool), over: make(map[place]translation)}
}

// Listen binds an agent's socket. A broadcast address may be given, to
// receive what is sent to it.
func (s *Set) Listen(local netip.AddrPort) error {
	_, err := s.open(place{addr: local.Addr(), port: local.Port()})
	return err
}

// ListenMany is Listen with n sockets that share the address and port
// (SO_REUSEPORT), each with a reader of its own. The kernel gives all that comes
// from one address and port to one of them, so that it stays in order once all of
// them are there.
//
// Another process of the same user could share them too, and would take a part of
// what comes. So it is an error when somebody is there.
func (s *Set) ListenMany(local netip.AddrPort, n int) error {
	if n > 1 {
		alone, err := net.ListenPacket("udp4", local.String())
		if err != nil {
			return fmt.Errorf("sock: %w", err)
		}
		alone.Close()
		s.mu.Lock()
		s.shared[local] = true
		s.mu.Unlock()
	}
	for i := range max(n, 1) {
		if _, err := s.open(place{addr: local.Addr(), port: local.Port(), more: i}); err != nil {
			return err
		}
	}
	return nil
}

// ListenForReplies is Listen for an address at which somebody else hears the
// Registration Requests: they are dropped in the kernel, before a flood of them
// costs anything here.
func (s *Set) ListenForReplies(local netip.AddrPort) error {
	sk, err := s.open(place{addr: local.Addr(), port: local.Port()})
	if err != nil {
		return err
	}
	return sk.filter([]bpf.Instruction{
		bpf.LoadAbsolute{Off: 8, Size: 1}, // behind the UDP header
		bpf.JumpIf{Cond: bpf.JumpEqual, Val: uint32(mip4.TypeRegistrationRequest), SkipTrue: 1},
		bpf.RetConstant{Val: 1 << 16},
		bpf.RetConstant{Val: 0},
	})
}

// Join binds a socket to a multicast group and hears what is sent to it on a
// link. It may be called again, for the same link and for others.
func (s *Set) Join(group netip.AddrPort, link string) error {
	sk, err := s.open(place{addr: group.Addr(), port: group.Port()})
	if err != nil {
		return err
	}
	ifi, err := net.InterfaceByName(link)
	if err != nil {
		return fmt.Errorf("sock: %s: %w", link, err)
	}
	raw, err := sk.conn.SyscallConn()
	if err != nil {
		return fmt.Errorf("sock: %w", err)
	}
	var failed error
	err = raw.Control(func(fd uintptr) {
		failed = unix.SetsockoptIPMreqn(int(fd), unix.IPPROTO_IP, unix.IP_ADD_MEMBERSHIP, &unix.IPMreqn{Multiaddr: group.Addr().As4(), Ifindex: int32(ifi.Index)})
	})
	if err = errors.Join(err, failed); err != nil && !errors.Is(err, unix.EADDRINUSE) {
		return fmt.Errorf("sock: join %v on %s: %w", group.Addr(), link, err)
	}
	return nil
}

// Send sends one signalling message. From a Src without a port it leaves
// through the socket of that address on that link, which is opened when it is
// not there yet.
//
// With Fresh it leaves, like all that comes after it, from another port. With
// Aside it leaves from a second socket there.
//
// HW is not needed here: every peer of a registration without foreign agents
// answers ARP.
func (s *Set) Send(m engine.Send) error {
	var failed error
	s.SendAll([]engine.Send{m}, func(_ *engine.Send, err error) { failed = err })
	return failed
}

// SendAll is Send for many messages, in order. It tells of each that was
// refused; that keeps none of the others.
func (s *Set) SendAll(messages []engine.Send, refused func(*engine.Send, error)) {
	for len(messages) > 0 {
		first, n := &messages[0], 1
		for n < len(messages) && messages[n].Src == first.Src && messages[n].Link == first.Link && messages[n].Aside == first.Aside && !messages[n].Fresh {
			n++
		}
		var sk *socket
		var err error
		switch {
		case first.Aside:
			sk, err = s.beside(place{link: first.Link, addr: first.Src.Addr(), aside: true}, first.Fresh)
		case first.Fresh:
			s.retire(place{link: first.Link, addr: first.Src.Addr()})
			fallthrough
		default:
			sk, err = s.find(first.Link, first.Src, true)
		}
		if err == nil {
			sk.send(messages[:n], refused)
		} else {
			for i := range messages[:n] {
				refused(&messages[i], err)
			}
		}
		messages = messages[n:]
	}
}

// SendData sends Tunnel Data messages of one flow, in order. A local port of
// 0 means the uplink's socket. From an agent's socket they leave by a link only if
// one is named.
func (s *Set) SendData(local, peer netip.AddrPort, link string, tos uint8, messages [][]byte) error {
	sk, err := s.find(link, local, false)
	if err != nil {
		return err
	}
	way, err := sk.way(link, local)
	if err != nil {
		return err
	}
	return sk.sendData(peer, tos, way, messages)
}

// beside gives an uplink's second socket. With fresh the one that is there is
// closed first.
func (s *Set) beside(p place, fresh bool) (*socket, error) {
	if p.link == "" || !p.addr.IsValid() {
		return nil, fmt.Errorf("%w: aside of %v on %q", ErrNoSocket, p.addr, p.link)
	}
	if fresh {
		s.mu.Lock()
		if sk := s.sockets[p]; sk != nil {
			sk.close()
			delete(s.sockets, p)
		}
		s.mu.Unlock()
	}
	return s.open(p)
}

func (s *Set) find(link string, local netip.AddrPort, open bool) (*socket, error) {
	s.mu.Lock()
	sk := s.lookup(link, local)
	s.mu.Unlock()
	if sk != nil {
		return sk, nil
	}
	if !open || local.Port() != 0 || !local.Addr().IsValid() || link == "" {
		return nil, fmt.Errorf("%w: %v on %q", ErrNoSocket, local, link)
	}
	return s.open(place{link: link, addr: local.Addr()})
}

// lookup finds an agent's socket by address and port, an uplink's by link and
// address. An uplink's real port is accepted too.
func (s *Set) lookup(link string, local netip.AddrPort) *socket {
	if sk := s.sockets[place{addr: local.Addr(), port: local.Port()}]; sk != nil {
		return sk
	}
	if sk := s.sockets[place{link: link, addr: local.Addr()}]; sk != nil && (local.Port() == 0 || local.Port() == sk.local.Port()) {
		return sk
	}
	if link != "" {
		return nil
	}
	// Without a link the address decides; two uplinks with one address
	// need the link to be told apart.
	var found *socket
	for p, sk := range s.sockets {
		if p.addr == local.Addr() && p.port == 0 && !p.aside && (local.Port() == 0 || local.Port() == sk.local.Port()) {
			if found != nil {
				return nil
			}
			found = sk
		}
	}
	return found
}

func (s *Set) open(p place) (*socket, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return nil, net.ErrClosed
	}
	if sk := s.sockets[p]; sk != nil {
		return sk, nil
	}
	port := p.port
	if port == 0 && !p.aside {
		// "SHOULD keep the same port" when nothing but the lifetime is
		// renewed (RFC 3519 section 4.1): one port for each link.
		port = s.ports[p.link]
	}
	sk, err := s.bind(p, port)
	if err != nil && p.port == 0 && port != 0 && errors.Is(err, unix.EADDRINUSE) {
		sk, err = s.bind(p, 0)
	}
	if err != nil {
		return nil, err
	}
	if p.port == 0 && !p.aside {
		s.ports[p.link] = sk.local.Port()
	}
	s.sockets[p] = sk
	receive := s.receive
	if p.aside {
		receive.Data = func([]Data) {} // no tunnel is there
	}
	s.readers.Add(1)
	go func() {
		defer s.readers.Done()
		sk.read(receive)
	}()
	return sk, nil
}

// retire makes the next message from an uplink's socket open another one. The
// one that there is stays to receive: the home agent sends to it until it has
// the registration from the other one.
func (s *Set) retire(p place) {
	s.mu.Lock()
	defer s.mu.Unlock()
	sk := s.sockets[p]
	if sk == nil {
		return
	}
	if older := s.former[p]; older != nil {
		older.close()
	}
	delete(s.sockets, p)
	delete(s.ports, p.link)
	s.former[p] = sk
}

// Addresses tells which addresses a link has now; uplink sockets bound to
// others are closed.
func (s *Set) Addresses(l engine.Link) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, sockets := range []map[place]*socket{s.sockets, s.former} {
		for p, sk := range sockets {
			if p.link == l.Name && p.port == 0 && !has(l, p.addr) {
				sk.close()
				delete(sockets, p)
			}
		}
	}
}

func has(l engine.Link, addr netip.Addr) bool {
	for _, p := range l.Addresses {
		if p.Addr() == addr {
			return true
		}
	}
	return false
}

// Port is the port of the uplink's socket with this address, 0 when there is none
// or it is one over IPv6: only who sends through it gets there.
func (s *Set) Port(link string, addr netip.Addr) uint16 {
	s.mu.Lock()
	defer s.mu.Unlock()
	if sk := s.sockets[place{link: link, addr: addr}]; sk != nil && sk.over == nil {
		return sk.local.Port()
	}
	return 0
}

// From is the port that a message without one has left from, through the uplink's
// socket or the second one there, whatever it goes over; 0 when there is none.
func (s *Set) From(link string, addr netip.Addr, aside bool) uint16 {
	s.mu.Lock()
	defer s.mu.Unlock()
	if sk := s.sockets[place{link: link, addr: addr, aside: aside}]; sk != nil {
		return sk.local.Port()
	}
	return 0
}

// Close closes all sockets and waits for their readers.
func (s *Set) Close() {
	s.mu.Lock()
	s.closed = true
	for _, sk := range s.sockets {
		sk.close()
	}
	for _, sk := range s.former {
		sk.close()
	}
	if s.errors != nil {
		s.errors.Close()
	}
	s.mu.Unlock()
	s.readers.Wait()
}

// bind makes a socket with the options that its reader and writers rely on.
func (s *Set) bind(p place, port uint16) (*socket, error) {
	sk := &socket{place: p}
	config := net.ListenConfig{Control: func(_, _ string, c syscall.RawConn) error {
		var failed error
		err := c.Control(func(fd uintptr) { failed = s.options(int(fd), p, sk.over) })
		return errors.Join(err, failed)
	}}
	var conn net.PacketConn
	var err error
	if t, translated := s.over[place{link: p.link, addr: p.addr}]; translated && p.link != "" {
		sk.over = &t
	}
	switch {
	case sk.over != nil:
		conn, err = config.ListenPacket(context.Background(), "udp6", netip.AddrPortFrom(sk.over.source, port).String())
	case p.addr.IsMulticast():
		conn, err = s.bindGroup(p, port)
	default:
		conn, err = config.ListenPacket(context.Background(), "udp4", netip.AddrPortFrom(p.addr, port).String())
	}
	if err != nil {
		return nil, fmt.Errorf("sock: %w", err)
	}
	sk.conn = conn.(*net.UDPConn)
	if sk.in, err = NewBatchReader(sk.conn, batchSize, bufferSize); err != nil {
		return nil, errors.Join(fmt.Errorf("sock: %w", err), conn.Close())
	}
	if sk.out, err = NewBatchWriter(sk.conn, sendBatch); err != nil {
		return nil, errors.Join(fmt.Errorf("sock: %w", err), conn.Close())
	}
	sk.local = sk.conn.LocalAddr().(*net.UDPAddr).AddrPort()
	sk.local = netip.AddrPortFrom(sk.local.Addr().Unmap(), sk.local.Port())
	if sk.over != nil {
		sk.local = netip.AddrPortFrom(p.addr, sk.local.Port())
	}
	return sk, nil
}

// bindGroup binds to a multicast group itself: package net would bind to every
// address of the host.
func (s *Set) bindGroup(p place, port uint16) (net.PacketConn, error) {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	file := os.NewFile(uintptr(fd), p.addr.String())
	defer file.Close() // the connection has a copy
	if err := errors.Join(s.options(fd, p, nil), unix.Bind(fd, &unix.SockaddrInet4{Port: int(port), Addr: p.addr.As4()})); err != nil {
		return nil, err
	}
	return net.FilePacketConn(file)
}

func (s *Set) options(fd int, p place, over *translation) error {
	set := func(level, name, value int) error {
		if err := unix.SetsockoptInt(fd, level, name, value); err != nil {
			return fmt.Errorf("sock: option %d/%d: %w", level, name, err)
		}
		return nil
	}
	var err error
	if over != nil {
		err = over.options(set)
	} else {
		err = errors.Join(
			set(unix.SOL_IP, unix.IP_PKTINFO, 1),
			set(unix.SOL_IP, unix.IP_RECVTTL, 1),
			set(unix.SOL_IP, unix.IP_RECVTOS, 1),
			set(unix.SOL_SOCKET, unix.SO_BROADCAST, 1),
			// The outer header always has DF, and its path MTU is the data
			// plane's business: the kernel must neither fragment nor remember.
			set(unix.SOL_IP, unix.IP_MTU_DISCOVER, unix.IP_PMTUDISC_PROBE),
		)
	}
	if err != nil {
		return err
	}
	if p.addr == broadcast || p.link == "" && !isLocalUnicast(p.addr) {
		// Several daemons on one host may listen to the same broadcasts.
		err = set(unix.SOL_SOCKET, unix.SO_REUSEADDR, 1)
	}
	if s.shared[netip.AddrPortFrom(p.addr, p.port)] {
		err = errors.Join(err, set(unix.SOL_SOCKET, unix.SO_REUSEPORT, 1))
	}
	if p.link != "" {
		// What leaves by an uplink's socket leaves by that uplink, whatever
		// the routing table prefers.
		err = errors.Join(err, unix.SetsockoptString(fd, unix.SOL_SOCKET, unix.SO_BINDTODEVICE, p.link))
	}
	if s.mark != 0 {
		err = errors.Join(err, set(unix.SOL_SOCKET, unix.SO_MARK, int(s.mark)))
	}
	// Wishes, not conditions: big buffers need CAP_NET_ADMIN, UDP_GRO a
	// kernel of version 5.0.
	_ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, 4<<20)
	_ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_SNDBUFFORCE, 4<<20)
	_ = unix.SetsockoptInt(fd, unix.SOL_UDP, unix.UDP_GRO, 1)
	return err
}

var broadcast = netip.AddrFrom4([4]byte{255, 255, 255, 255})

// isLocalUnicast tells whether addr is an address of this host, and not a
// broadcast address of one of its networks.
func isLocalUnicast(addr netip.Addr) bool {
	addrs, err := net.InterfaceAddrs()
	if err != nil {
		return true
	}
	for _, a := range addrs {
		if prefix, err := netip.ParsePrefix(a.String()); err == nil && prefix.Addr() == addr {
			return true
		}
	}
	return false
}

// isTunnelData tells a Tunnel Data message from signalling.
func isTunnelData(payload []byte) bool {
	return len(payload) > 0 && payload[0] == encap.TunnelDataType
}
