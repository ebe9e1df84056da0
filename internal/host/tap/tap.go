// Package tap shows the tunnels' packets as the links carry them, also those
// that eBPF programs handle and no process ever sees. It reads; it never
// stands in a packet's way.
package tap

import (
	"errors"
	"fmt"
	"net"
	"os"
	"time"

	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"

	"careof/internal/host/sock"
)

// A Packet is an IPv4 packet as a link carried it.
type Packet struct {
	Time time.Time
	Link string
	Out  bool   // this host sent it
	Data []byte // from the IPv4 header on; valid until the next Read
}

// A Tap hears tunnel packets on all links of a network namespace.
type Tap struct {
	file *os.File
	raw  interface {
		Read(func(uintptr) bool) error
	}
	names map[int]string
	buf   []byte
}

// Numbers of the tunnels.
const (
	protoIPIP, protoUDP, protoGRE, protoMinimal = 4, 17, 47, 55

	ethIPv4    = 0x0800
	tunnelData = 4 // first octet of a Tunnel Data message (RFC 3519 section 3.3)
)

// Open makes a tap in the calling thread's network namespace: for IP-in-IP,
// GRE, minimal encapsulation, and Tunnel Data from or to a UDP port. Of a
// packet no more than snap octets are kept.
func Open(port uint16, snap int) (*Tap, error) {
	// No protocol until the filter is there: nothing else must come.
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return nil, fmt.Errorf("tap: %w", err)
	}
	fail := func(err error) (*Tap, error) { return nil, errors.Join(fmt.Errorf("tap: %w", err), unix.Close(fd)) }
	if err := sock.Filter(fd, filter(port, uint32(snap))); err != nil {
		return fail(err)
	}
	// What leaves is only heard with ETH_P_ALL.
	if err := unix.Bind(fd, &unix.SockaddrLinklayer{Protocol: sock.NetworkOrder(unix.ETH_P_ALL)}); err != nil {
		return fail(err)
	}
	file := os.NewFile(uintptr(fd), "tap")
	raw, err := file.SyscallConn()
	if err != nil {
		return nil, errors.Join(fmt.Errorf("tap: %w", err), file.Close())
	}
	return &Tap{file: file, raw: raw, names: make(map[int]string), buf: make([]byte, snap)}, nil
}

// filter takes tunnel packets. A fragment that is not the first one has no
// ports, and is not taken as UDP.
func filter(port uint16, snap uint32) []bpf.Instruction {
	return []bpf.Instruction{
		bpf.LoadExtension{Num: bpf.ExtProto},
		bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: ethIPv4, SkipTrue: 14},
		bpf.LoadAbsolute{Off: 9, Size: 1},
		bpf.JumpIf{Cond: bpf.JumpEqual, Val: protoIPIP, SkipTrue: 13},
		bpf.JumpIf{Cond: bpf.JumpEqual, Val: protoGRE, SkipTrue: 12},
		bpf.JumpIf{Cond: bpf.JumpEqual, Val: protoMinimal, SkipTrue: 11},
		bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: protoUDP, SkipTrue: 9},
		bpf.LoadAbsolute{Off: 6, Size: 2},
		bpf.JumpIf{Cond: bpf.JumpBitsSet, Val: 0x1fff, SkipTrue: 7},
		bpf.LoadMemShift{Off: 0},
		bpf.LoadIndirect{Off: 8, Size: 1},
		bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: tunnelData, SkipTrue: 4},
		bpf.LoadIndirect{Off: 0, Size: 2},
		bpf.JumpIf{Cond: bpf.JumpEqual, Val: uint32(port), SkipTrue: 3},
		bpf.LoadIndirect{Off: 2, Size: 2},
		bpf.JumpIf{Cond: bpf.JumpEqual, Val: uint32(port), SkipTrue: 1},
		bpf.RetConstant{Val: 0},
		bpf.RetConstant{Val: snap},
	}
}

// Read waits for a packet.
func (t *Tap) Read() (Packet, error) {
	for {
		var n int
		var from unix.Sockaddr
		var failed error
		err := t.raw.Read(func(fd uintptr) bool {
			n, from, failed = unix.Recvfrom(int(fd), t.buf, 0)
			return failed != unix.EAGAIN
		})
		if err = errors.Join(err, failed); err != nil {
			return Packet{}, fmt.Errorf("tap: %w", err)
		}
		link, ok := from.(*unix.SockaddrLinklayer)
		if !ok || link.Pkttype == unix.PACKET_OTHERHOST {
			continue
		}
		name := t.name(link.Ifindex)
		if name == "lo" || n < 20 {
			continue
		}
		return Packet{Time: time.Now(), Link: name, Out: link.Pkttype == unix.PACKET_OUTGOING, Data: t.buf[:n]}, nil
	}
}

// name is an interface's; interfaces that are new are looked up.
func (t *Tap) name(index int) string {
	if name, known := t.names[index]; known {
		return name
	}
	name := fmt.Sprintf("if%d", index)
	if i, err := net.InterfaceByIndex(index); err == nil {
		name = i.Name
	}
	t.names[index] = name
	return name
}

// Dropped counts the packets that came faster than they were read, since the
// last call.
func (t *Tap) Dropped() (n uint32) {
	conn, err := t.file.SyscallConn()
	if err != nil {
		return 0
	}
	// After Close there is nothing to tell.
	_ = conn.Control(func(fd uintptr) {
		if s, err := unix.GetsockoptTpacketStats(int(fd), unix.SOL_PACKET, unix.PACKET_STATISTICS); err == nil {
			n = s.Drops
		}
	})
	return n
}

// Close ends a Read that waits.
func (t *Tap) Close() error { return t.file.Close() }
