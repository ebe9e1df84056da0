package broadcast

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"

	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"

	"careof/internal/host/sock"
)

// socket is the packet socket of one link.
type socket struct {
	link  string
	index int
	file  *os.File
}

// filter lets up what came as a broadcast or multicast frame, but for the groups
// of 224.0.0.0/24, which never leave their link.
func filter() []bpf.Instruction {
	const atDestination = 16
	return []bpf.Instruction{
		bpf.LoadExtension{Num: bpf.ExtType},
		bpf.JumpIf{Cond: bpf.JumpEqual, Val: unix.PACKET_BROADCAST, SkipTrue: 3},
		bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: unix.PACKET_MULTICAST, SkipTrue: 3},
		bpf.LoadAbsolute{Off: atDestination, Size: 4},
		bpf.JumpIf{Cond: bpf.JumpLessThan, Val: 0xe0000100, SkipTrue: 1},
		bpf.RetConstant{Val: 1 << 16},
		bpf.RetConstant{Val: 0},
	}
}

// open makes the socket of a link. Nothing is let up before the filter is on.
func open(ifi *net.Interface) (*socket, error) {
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return nil, fmt.Errorf("broadcast: %s: %w", ifi.Name, err)
	}
	if err := prepare(fd, ifi.Index); err != nil {
		unix.Close(fd)
		return nil, fmt.Errorf("broadcast: %s: %w", ifi.Name, err)
	}
	return &socket{link: ifi.Name, index: ifi.Index, file: os.NewFile(uintptr(fd), "broadcasts "+ifi.Name)}, nil
}

func prepare(fd, index int) error {
	if err := sock.Filter(fd, filter()); err != nil {
		return err
	}
	if err := unix.SetsockoptInt(fd, unix.SOL_PACKET, unix.PACKET_AUXDATA, 1); err != nil {
		return err
	}
	return unix.Bind(fd, &unix.SockaddrLinklayer{Protocol: sock.NetworkOrder(unix.ETH_P_IP), Ifindex: index})
}

// send sends a packet to its group's link-layer address (RFC 1112 section
// 6.4), or to everybody.
func (s *socket) send(packet []byte) error {
	to := &unix.SockaddrLinklayer{Protocol: sock.NetworkOrder(unix.ETH_P_IP), Ifindex: s.index, Halen: 6}
	copy(to.Addr[:], []byte{0xff, 0xff, 0xff, 0xff, 0xff, 0xff})
	if dst := packet[16:20]; netip.AddrFrom4([4]byte(dst)).IsMulticast() {
		copy(to.Addr[:], []byte{1, 0, 0x5e, dst[1] & 0x7f, dst[2], dst[3]})
	}
	raw, err := s.file.SyscallConn()
	if err != nil {
		return fmt.Errorf("broadcast: %s: %w", s.link, err)
	}
	var failed error
	err = raw.Write(func(fd uintptr) bool {
		failed = unix.Sendto(int(fd), packet, 0, to)
		return !errors.Is(failed, unix.EAGAIN)
	})
	if err = errors.Join(err, failed); err != nil {
		return fmt.Errorf("broadcast: send on %s: %w", s.link, err)
	}
	return nil
}

// read hands over packets until the socket is closed.
func (s *socket) read(take func(packet []byte)) {
	raw, err := s.file.SyscallConn()
	if err != nil {
		return
	}
	buf, oob := make([]byte, 1<<16), make([]byte, 128)
	for {
		var n, oobn int
		var failed error
		err := raw.Read(func(fd uintptr) bool {
			n, oobn, _, _, failed = unix.Recvmsg(int(fd), buf, oob, 0)
			return !errors.Is(failed, unix.EAGAIN)
		})
		if err != nil {
			return // only closing ends the wait itself
		}
		if failed != nil {
			continue // ENETDOWN and the like pass
		}
		packet := buf[:n]
		if sock.ChecksumMissing(oob[:oobn]) {
			finish(packet)
		}
		take(packet)
	}
}
