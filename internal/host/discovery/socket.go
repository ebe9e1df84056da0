package discovery

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"syscall"

	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"

	"careof/internal/core/engine"
	"careof/internal/host/sock"
	"careof/wire/encap"
)

// ICMP types of router discovery (RFC 1256 section 3).
const (
	routerAdvertisement = 9
	routerSolicitation  = 10
)

// Multicast groups that agents and mobile nodes hear: all systems, all
// routers, all mobility agents.
var groups = []netip.Addr{
	netip.AddrFrom4([4]byte{224, 0, 0, 1}),
	netip.AddrFrom4([4]byte{224, 0, 0, 2}),
	netip.AddrFrom4([4]byte{224, 0, 0, 11}),
}

var limitedBroadcast = netip.AddrFrom4([4]byte{255, 255, 255, 255})

// A flood is read with a system call for so many packets. Fragments do not come
// up, so none is larger than a link's frame.
const (
	batch     = 64
	frameSize = 1 << 14
)

// A socket is a packet socket on one link.
type socket struct {
	link  string
	index int
	file  *os.File
	raw   syscall.RawConn
	in    *sock.BatchReader
}

// attach puts a program on the socket, in place of the one before.
func (s *socket) attach(program []bpf.Instruction) error {
	var failed error
	err := s.raw.Control(func(fd uintptr) { failed = sock.Filter(int(fd), program) })
	return errors.Join(err, failed)
}

// filter lets router discovery and, with a port, UDP datagrams to it go on to
// the program's end; no fragments.
func filter(port uint16, end []bpf.Instruction) []bpf.Instruction {
	const (
		atFlags    = 6 // flags and fragment offset
		atProtocol = 9
		fragment   = 0x3fff // more to come, or an offset
	)
	udp := bpf.Instruction(drop)
	if port != 0 {
		udp = bpf.Jump{Skip: 1}
	}
	return append([]bpf.Instruction{
		bpf.LoadAbsolute{Off: atProtocol, Size: 1},
		bpf.JumpIf{Cond: bpf.JumpEqual, Val: unix.IPPROTO_UDP, SkipTrue: 8},
		bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: unix.IPPROTO_ICMP, SkipTrue: 6},
		bpf.LoadAbsolute{Off: atFlags, Size: 2},
		bpf.JumpIf{Cond: bpf.JumpBitsSet, Val: fragment, SkipTrue: 4},
		bpf.LoadMemShift{Off: 0},
		bpf.LoadIndirect{Off: 0, Size: 1},
		bpf.JumpIf{Cond: bpf.JumpEqual, Val: routerAdvertisement, SkipTrue: 9},
		bpf.JumpIf{Cond: bpf.JumpEqual, Val: routerSolicitation, SkipTrue: 8},
		drop,
		bpf.LoadAbsolute{Off: atFlags, Size: 2},
		bpf.JumpIf{Cond: bpf.JumpBitsSet, Val: fragment, SkipTrue: 4},
		bpf.LoadMemShift{Off: 0},
		bpf.LoadIndirect{Off: 2, Size: 2},
		bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: uint32(port), SkipTrue: 1},
		udp,
		drop,
	}, end...)
}

// open makes a socket on a link. Nothing is let up before the filter is on.
func open(on *net.Interface, program []bpf.Instruction) (*socket, error) {
	link, index := on.Name, on.Index
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return nil, fmt.Errorf("discovery: %s: %w", link, err)
	}
	if err := prepare(fd, on, program); err != nil {
		unix.Close(fd)
		return nil, fmt.Errorf("discovery: %s: %w", link, err)
	}
	s := &socket{link: link, index: index, file: os.NewFile(uintptr(fd), "packet "+link)}
	if s.raw, err = s.file.SyscallConn(); err == nil {
		s.in, err = sock.NewBatchReader(s.file, batch, frameSize)
	}
	if err != nil {
		s.file.Close()
		return nil, fmt.Errorf("discovery: %s: %w", link, err)
	}
	return s, nil
}

//rfc:5944#2.3-3
//rfc:1256#4.3-7
//rfc:1256#4.3-9
func prepare(fd int, on *net.Interface, program []bpf.Instruction) error {
	if err := sock.Filter(fd, program); err != nil {
		return err
	}
	// Tells datagrams of this host's own veth neighbours, whose checksum the
	// kernel has left for a network card that is not there.
	if err := unix.SetsockoptInt(fd, unix.SOL_PACKET, unix.PACKET_AUXDATA, 1); err != nil {
		return err
	}
	// The default holds two hundred requests: a flood of ten milliseconds would
	// lose those of good nodes. Without the privilege the default stays.
	_ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, 4<<20)
	for _, g := range groups {
		if len(on.HardwareAddr) == 0 {
			break // a modem's interface hears all there is, and can join nothing
		}
		m := unix.PacketMreq{Ifindex: int32(on.Index), Type: unix.PACKET_MR_MULTICAST, Alen: 6}
		hw := multicast(g)
		copy(m.Address[:], hw[:])
		if err := unix.SetsockoptPacketMreq(fd, unix.SOL_PACKET, unix.PACKET_ADD_MEMBERSHIP, &m); err != nil {
			return fmt.Errorf("join %v: %w", g, err)
		}
	}
	return unix.Bind(fd, &unix.SockaddrLinklayer{Protocol: sock.NetworkOrder(unix.ETH_P_IP), Ifindex: on.Index})
}

// multicast is the Ethernet address of an IPv4 group (RFC 1112 section 6.4).
func multicast(g netip.Addr) engine.HardwareAddr {
	a := g.As4()
	return engine.HardwareAddr{1, 0, 0x5e, a[1] & 0x7f, a[2], a[3]}
}

// send sends an IP packet to a link-layer address.
func (s *socket) send(hw engine.HardwareAddr, packet []byte) error {
	to := &unix.SockaddrLinklayer{Protocol: sock.NetworkOrder(unix.ETH_P_IP), Ifindex: s.index, Halen: 6}
	copy(to.Addr[:], hw[:])
	var failed error
	err := s.raw.Write(func(fd uintptr) bool {
		failed = unix.Sendto(int(fd), packet, 0, to)
		return !errors.Is(failed, unix.EAGAIN)
	})
	if err = errors.Join(err, failed); err != nil {
		return fmt.Errorf("discovery: send on %s: %w", s.link, err)
	}
	return nil
}

// read sorts what comes in until the socket is closed. The link going away is
// no end of it: the owner closes the socket.
func (s *socket) read(to Receiver) {
	for {
		n, err := s.in.Read()
		if errors.Is(err, net.ErrClosed) {
			return
		}
		// ENETDOWN and the like pass.
		for i := range max(n, 0) {
			hw, kind, ok := s.in.Station(i)
			if !ok || kind != unix.PACKET_HOST && kind != unix.PACKET_BROADCAST && kind != unix.PACKET_MULTICAST {
				continue // to another host, or from this one
			}
			s.sort(to, s.in.Payload(i), hw, sock.ChecksumMissing(s.in.Control(i)))
		}
	}
}

// sort hands one packet to whom it concerns; of an incomplete one the UDP
// checksum was never computed.
//
//rfc:5944#3.7.2.1-1
func (s *socket) sort(to Receiver, packet []byte, hw engine.HardwareAddr, incomplete bool) {
	ip, err := encap.ParseIPv4(packet)
	if err != nil {
		return
	}
	packet = packet[:ip.TotalLen]
	if ip.Protocol == unix.IPPROTO_ICMP {
		if to.Discovery != nil {
			to.Discovery(engine.Discovery{
				Link: s.link, Src: ip.Src, Dst: ip.Dst, TTL: ip.TTL, HW: hw, Data: packet[ip.HeaderLen:],
			})
		}
		return
	}
	if to.Signal == nil {
		return
	}
	const checksumAt, udpHeader = 6, 8
	if incomplete && len(packet) >= ip.HeaderLen+udpHeader {
		// It never left this host: there is nothing to verify.
		packet[ip.HeaderLen+checksumAt], packet[ip.HeaderLen+checksumAt+1] = 0, 0
	}
	_, u, err := encap.ParseUDP(packet)
	if err != nil {
		return
	}
	to.Signal(engine.Packet{Link: s.link, Src: u.Src, Dst: u.Dst, TTL: ip.TTL, HW: hw, Data: u.Payload})
}
