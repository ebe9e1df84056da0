package discovery

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"syscall"

	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"

	"careof/internal/core/engine"
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

// A socket is the packet socket of one link.
type socket struct {
	link  string
	index int
	file  *os.File
	raw   syscall.RawConn
}

// filter accepts router discovery and, with a port, UDP datagrams to it; no
// fragments.
func filter(port uint16) ([]bpf.RawInstruction, error) {
	const (
		atFlags    = 6 // flags and fragment offset
		atProtocol = 9
		fragment   = 0x3fff // more to come, or an offset
	)
	accept := bpf.RetConstant{Val: 1 << 16}
	drop := bpf.RetConstant{Val: 0}
	udp := bpf.Instruction(drop)
	if port != 0 {
		udp = accept
	}
	return bpf.Assemble([]bpf.Instruction{
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
		accept,
	})
}

// open makes the socket of a link. Nothing is let up before the filter is on.
func open(link string, port uint16) (*socket, error) {
	ifi, err := net.InterfaceByName(link)
	if err != nil {
		return nil, fmt.Errorf("discovery: %s: %w", link, err)
	}
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return nil, fmt.Errorf("discovery: %s: %w", link, err)
	}
	if err := prepare(fd, ifi.Index, port); err != nil {
		unix.Close(fd)
		return nil, fmt.Errorf("discovery: %s: %w", link, err)
	}
	s := &socket{link: link, index: ifi.Index, file: os.NewFile(uintptr(fd), "packet "+link)}
	if s.raw, err = s.file.SyscallConn(); err != nil {
		s.file.Close()
		return nil, fmt.Errorf("discovery: %s: %w", link, err)
	}
	return s, nil
}

//rfc:5944#2.3-3
//rfc:1256#4.3-7
//rfc:1256#4.3-9
func prepare(fd, index int, port uint16) error {
	program, err := filter(port)
	if err != nil {
		return err
	}
	code := make([]unix.SockFilter, len(program))
	for i, p := range program {
		code[i] = unix.SockFilter{Code: p.Op, Jt: p.Jt, Jf: p.Jf, K: p.K}
	}
	err = unix.SetsockoptSockFprog(fd, unix.SOL_SOCKET, unix.SO_ATTACH_FILTER, &unix.SockFprog{Len: uint16(len(code)), Filter: &code[0]})
	if err != nil {
		return fmt.Errorf("filter: %w", err)
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
		m := unix.PacketMreq{Ifindex: int32(index), Type: unix.PACKET_MR_MULTICAST, Alen: 6}
		hw := multicast(g)
		copy(m.Address[:], hw[:])
		if err := unix.SetsockoptPacketMreq(fd, unix.SOL_PACKET, unix.PACKET_ADD_MEMBERSHIP, &m); err != nil {
			return fmt.Errorf("join %v: %w", g, err)
		}
	}
	return unix.Bind(fd, &unix.SockaddrLinklayer{Protocol: networkOrder(unix.ETH_P_IP), Ifindex: index})
}

// networkOrder is a 16-bit number as the kernel wants it in socket addresses.
func networkOrder(v uint16) uint16 {
	var b [2]byte
	binary.BigEndian.PutUint16(b[:], v)
	return binary.NativeEndian.Uint16(b[:])
}

// multicast is the Ethernet address of an IPv4 group (RFC 1112 section 6.4).
func multicast(g netip.Addr) engine.HardwareAddr {
	a := g.As4()
	return engine.HardwareAddr{1, 0, 0x5e, a[1] & 0x7f, a[2], a[3]}
}

// send sends an IP packet to a link-layer address.
func (s *socket) send(hw engine.HardwareAddr, packet []byte) error {
	to := &unix.SockaddrLinklayer{Protocol: networkOrder(unix.ETH_P_IP), Ifindex: s.index, Halen: 6}
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

// arrived is one packet as the socket gave it.
type arrived struct {
	n          int
	hw         engine.HardwareAddr
	incomplete bool // the UDP checksum was never computed
	foreign    bool // to another host, or from this one
}

// receive reads the next packet into buf. The link going away is no end: the
// owner closes the socket.
func (s *socket) receive(buf, oob []byte) (a arrived, err error) {
	var failed error
	err = s.raw.Read(func(fd uintptr) bool {
		var oobn int
		var from unix.Sockaddr
		a = arrived{}
		a.n, oobn, _, from, failed = unix.Recvmsg(int(fd), buf, oob, 0)
		if errors.Is(failed, unix.EAGAIN) {
			return false
		}
		if failed != nil {
			return true
		}
		if ll, ok := from.(*unix.SockaddrLinklayer); ok {
			if ll.Halen == 6 {
				copy(a.hw[:], ll.Addr[:6])
			}
			a.foreign = ll.Pkttype != unix.PACKET_HOST && ll.Pkttype != unix.PACKET_BROADCAST && ll.Pkttype != unix.PACKET_MULTICAST
		}
		a.incomplete = checksumMissing(oob[:oobn])
		return true
	})
	if err != nil {
		return a, os.ErrClosed // only closing ends the wait itself
	}
	return a, failed
}

// checksumMissing reads the auxiliary data of a packet.
func checksumMissing(oob []byte) bool {
	for len(oob) >= unix.SizeofCmsghdr {
		header, body, rest, err := unix.ParseOneSocketControlMessage(oob)
		if err != nil {
			return false
		}
		oob = rest
		if header.Level == unix.SOL_PACKET && header.Type == unix.PACKET_AUXDATA && len(body) >= 4 {
			return binary.NativeEndian.Uint32(body)&unix.TP_STATUS_CSUMNOTREADY != 0
		}
	}
	return false
}

// read sorts what comes in until the socket is closed.
func (s *socket) read(to Receiver) {
	buf, oob := make([]byte, 1<<16), make([]byte, 128)
	for {
		a, err := s.receive(buf, oob)
		if errors.Is(err, os.ErrClosed) {
			return
		}
		if err != nil || a.foreign {
			continue // ENETDOWN and the like pass
		}
		s.sort(to, buf[:a.n], a)
	}
}

// sort hands one packet to whom it concerns.
//
//rfc:5944#3.7.2.1-1
func (s *socket) sort(to Receiver, packet []byte, a arrived) {
	ip, err := encap.ParseIPv4(packet)
	if err != nil {
		return
	}
	packet = packet[:ip.TotalLen]
	if ip.Protocol == unix.IPPROTO_ICMP {
		if to.Discovery != nil {
			to.Discovery(engine.Discovery{
				Link: s.link, Src: ip.Src, Dst: ip.Dst, TTL: ip.TTL, HW: a.hw, Data: packet[ip.HeaderLen:],
			})
		}
		return
	}
	if to.Signal == nil {
		return
	}
	const checksumAt, udpHeader = 6, 8
	if a.incomplete && len(packet) >= ip.HeaderLen+udpHeader {
		// It never left this host: there is nothing to verify.
		packet[ip.HeaderLen+checksumAt], packet[ip.HeaderLen+checksumAt+1] = 0, 0
	}
	_, u, err := encap.ParseUDP(packet)
	if err != nil {
		return
	}
	to.Signal(engine.Packet{Link: s.link, Src: u.Src, Dst: u.Dst, TTL: ip.TTL, HW: a.hw, Data: u.Payload})
}
