// Package broadcast is a home agent's ear and mouth on its home links for what
// is not for one host: broadcasts, and multicast groups that somebody has
// joined. It works below IP, for the kernel forwards neither.
//
// Groups are joined through the kernel, which answers the queries of multicast
// routers and sets the interface's filter: towards the home link this host is
// an ordinary member (an IGMP proxy's upstream side, RFC 4605).
//
// What must not go in here: who wants what; package tun knows.
package broadcast

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
var ErrNoLink = errors.New("broadcast: nothing open on the link")

// A Set is the sockets on the home links. It is safe for concurrent use.
type Set struct {
	links   []string
	receive func(link string, packet []byte)
	space   *netspace.Space

	mu      sync.Mutex
	sockets map[string]*socket
	groups  map[membership]int // a socket each, that holds the membership; -1 while there is no link
	readers sync.WaitGroup
	closed  bool
}

type membership struct {
	link  string
	group netip.Addr
}

// New makes a set for the links, in the calling thread's network namespace.
// receive is called from one goroutine for each link with whole IP packets that
// are broadcasts or for a group, and keeps no buffer. Sockets are opened when
// [Set.LinkChanged] tells that a link is there.
func New(links []string, receive func(link string, packet []byte)) (*Set, error) {
	space, err := netspace.Here()
	if err != nil {
		return nil, fmt.Errorf("broadcast: %w", err)
	}
	return &Set{
		links: slices.Clone(links), receive: receive, space: space,
		sockets: make(map[string]*socket), groups: make(map[membership]int),
	}, nil
}

// SetLinks replaces the links. The state of those that are there has to be told
// anew.
func (s *Set) SetLinks(links []string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.links = slices.Clone(links)
	for name, sk := range s.sockets {
		if !slices.Contains(links, name) {
			sk.file.Close()
			delete(s.sockets, name)
		}
	}
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
	old := s.sockets[l.Name]
	if l.Gone {
		if old != nil {
			old.file.Close()
			delete(s.sockets, l.Name)
		}
		return nil
	}
	return s.space.Do(func() error {
		ifi, err := net.InterfaceByName(l.Name)
		if err != nil {
			return fmt.Errorf("broadcast: %s: %w", l.Name, err)
		}
		if old != nil {
			if ifi.Index == old.index {
				return nil
			}
			old.file.Close() // a link that was taken away and put back
			delete(s.sockets, l.Name)
		}
		sk, err := open(ifi)
		if err != nil {
			return err
		}
		s.sockets[l.Name] = sk
		s.readers.Add(1)
		go func() {
			defer s.readers.Done()
			sk.read(func(packet []byte) { s.receive(l.Name, packet) })
		}()
		// Memberships went with the old interface.
		var errs []error
		for m, fd := range s.groups {
			if m.link != l.Name {
				continue
			}
			if fd >= 0 {
				unix.Close(fd)
			}
			s.groups[m], err = member(ifi.Index, m.group)
			errs = append(errs, err)
		}
		return errors.Join(errs...)
	})
}

// SendPacket sends a whole IP packet to the group that it is for, or to
// everybody on the link.
//
//rfc:1112#6.4
func (s *Set) SendPacket(link string, packet []byte) error {
	if len(packet) < 20 {
		return encap.ErrShort
	}
	s.mu.Lock()
	sk := s.sockets[link]
	s.mu.Unlock()
	if sk == nil {
		return fmt.Errorf("%w %q", ErrNoLink, link)
	}
	return sk.send(packet)
}

// Join makes packets for a group be heard on a link.
func (s *Set) Join(link string, group netip.Addr) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	m := membership{link, group}
	if _, had := s.groups[m]; had || s.closed {
		return nil
	}
	s.groups[m] = -1
	sk := s.sockets[link]
	if sk == nil {
		return nil // when the link comes
	}
	return s.space.Do(func() (err error) {
		s.groups[m], err = member(sk.index, group)
		return err
	})
}

// Leave takes back what Join did.
func (s *Set) Leave(link string, group netip.Addr) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	m := membership{link, group}
	if fd, had := s.groups[m]; had && fd >= 0 {
		unix.Close(fd)
	}
	delete(s.groups, m)
	return nil
}

// member makes the host a member of a group on an interface while the socket is
// open. One socket may be in few groups (igmp_max_memberships), so each has
// its own. -1 comes with an error.
func member(index int, group netip.Addr) (int, error) {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return -1, fmt.Errorf("broadcast: join %v: %w", group, err)
	}
	err = unix.SetsockoptIPMreqn(fd, unix.IPPROTO_IP, unix.IP_ADD_MEMBERSHIP, &unix.IPMreqn{Multiaddr: group.As4(), Ifindex: int32(index)})
	if err != nil {
		unix.Close(fd)
		return -1, fmt.Errorf("broadcast: join %v: %w", group, err)
	}
	return fd, nil
}

// Close closes all sockets and waits for their readers.
func (s *Set) Close() error {
	s.mu.Lock()
	s.closed = true
	for _, sk := range s.sockets {
		sk.file.Close()
	}
	clear(s.sockets)
	for _, fd := range s.groups {
		if fd >= 0 {
			unix.Close(fd)
		}
	}
	clear(s.groups)
	s.mu.Unlock()
	s.readers.Wait()
	return s.space.Close()
}

// finish computes the checksum of a UDP datagram that the kernel has left to a
// network card: it was sent by a neighbour on the same host, and the field
// holds the sum of the pseudo header.
func finish(packet []byte) {
	ip, err := encap.ParseIPv4(packet)
	const checksumAt, header = 6, 8
	if err != nil || ip.Protocol != unix.IPPROTO_UDP || ip.IsFragment() || ip.TotalLen < ip.HeaderLen+header {
		return
	}
	u := packet[ip.HeaderLen:ip.TotalLen]
	sum := encap.Checksum(u) // over the pseudo header's sum, which is in the field
	if sum == 0 {
		sum = 0xffff // "if the computed checksum is zero, it is transmitted as all ones" (RFC 768)
	}
	u[checksumAt], u[checksumAt+1] = byte(sum>>8), byte(sum)
}
