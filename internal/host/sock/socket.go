package sock

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"unsafe"

	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"

	"careof/internal/core/engine"
)

const (
	batchSize   = 64        // datagrams, or groups of them, read at a time
	sendBatch   = 64        // signalling datagrams sent at a time
	bufferSize  = 1<<16 - 1 // a group merged by UDP_GRO fills one
	controlSize = 128       // packet info, TTL, TOS, segment size
	maxSegments = 64        // the kernel's UDP_MAX_SEGMENTS
	// maxPayload of what is segmented: with its headers it must stay below
	// the interfaces' gso_max_size of 65,536 octets, or the kernel cuts it in
	// software.
	maxPayload = 65000
)

// A socket is one bound UDP socket and its reader.
type socket struct {
	place
	conn  *net.UDPConn
	in    *BatchReader
	local netip.AddrPort
	noGSO atomic.Bool
	over  *translation // nil: it is an IPv4 one

	sending sync.Mutex // guards out
	out     *BatchWriter
}

func (sk *socket) close() { sk.conn.Close() }

// filter puts a program on the socket.
func (sk *socket) filter(program []bpf.Instruction) error {
	var failed error
	err := sk.in.raw.Control(func(fd uintptr) { failed = Filter(int(fd), program) })
	if err = errors.Join(err, failed); err != nil {
		return fmt.Errorf("sock: %w", err)
	}
	return nil
}

// send sends signalling datagrams, in order and with as few system calls as it
// can, and tells of each that was refused.
func (sk *socket) send(messages []engine.Send, refused func(*engine.Send, error)) {
	sk.sending.Lock()
	defer sk.sending.Unlock()
	var staged [sendBatch]*engine.Send
	n := 0
	flush := func() {
		sk.out.flush(func(i int, err error) { refused(staged[i], fmt.Errorf("sock: send to %v: %w", staged[i].Dst, err)) })
		n = 0
	}
	for i := range messages {
		m := &messages[i]
		if !m.Dst.Addr().Is4() {
			refused(m, fmt.Errorf("sock: %v is no IPv4 address: %w", m.Dst, errors.ErrUnsupported))
			continue
		}
		index := 0
		if m.Link != "" && sk.link == "" {
			// An agent's socket is bound to no interface; the reply to a node
			// that came home must leave on the home link (RFC 5944 section
			// 3.8.3).
			ifi, err := net.InterfaceByName(m.Link)
			if err != nil {
				refused(m, fmt.Errorf("sock: %s: %w", m.Link, err))
				continue
			}
			index = ifi.Index
		}
		if n == len(staged) {
			flush()
		}
		control := sk.out.stage(m.Data, sk.outer(m.Dst))
		if m.TTL != 0 {
			control = sk.appendTTL(control, m.TTL)
		}
		if index != 0 {
			control = appendPacketInfo(control, index, m.Src.Addr())
		}
		sk.out.control(control)
		staged[n] = m
		n++
	}
	flush()
}

// sendData sends messages to one peer, as few system calls as it can; way is the
// ancillary data that says by which link.
func (sk *socket) sendData(peer netip.AddrPort, tos uint8, way []byte, messages [][]byte) error {
	for len(messages) > 0 {
		n := 1
		if !sk.noGSO.Load() {
			n = segments(messages)
		}
		if err := sk.sendGroup(peer, tos, way, messages[:n]); err != nil {
			if n > 1 && (errors.Is(err, unix.EIO) || errors.Is(err, unix.EINVAL)) {
				// The interface cannot checksum segments.
				sk.noGSO.Store(true)
				continue
			}
			return err
		}
		messages = messages[n:]
	}
	return nil
}

// segments counts the leading messages that can leave as one segmented
// datagram: all of one size, the last one possibly shorter.
func segments(messages [][]byte) int {
	size, total := len(messages[0]), 0
	for i, m := range messages {
		if i == maxSegments || len(m) > size || total+len(m) > maxPayload {
			return i
		}
		total += len(m)
		if len(m) < size {
			return i + 1
		}
	}
	return len(messages)
}

func (sk *socket) sendGroup(peer netip.AddrPort, tos uint8, way []byte, group [][]byte) error {
	var space [controlSize]byte
	control := append(space[:0], way...)
	if tos != 0 {
		control = sk.appendTOS(control, tos)
	}
	payload := group[0]
	if len(group) > 1 {
		control = appendShort(control, unix.SOL_UDP, unix.UDP_SEGMENT, uint16(len(payload)))
		whole := groups.Get().(*[]byte)
		defer groups.Put(whole)
		payload = (*whole)[:0]
		for _, m := range group {
			payload = append(payload, m...)
		}
	}
	_, _, err := sk.conn.WriteMsgUDPAddrPort(payload, control, sk.outer(peer))
	return err
}

// read parts what comes in until the socket is closed.
func (sk *socket) read(to Receiver) {
	names := make(map[int]string)
	var data []Data
	for {
		n, err := sk.in.Read()
		if errors.Is(err, net.ErrClosed) {
			return
		}
		// Any other error is one that an ICMP message left on the socket; it
		// concerns one datagram sent, not this socket.
		data = data[:0]
		for i := range max(n, 0) {
			from, whole := sk.inner(sk.in.From(i)), sk.in.Payload(i)
			if !from.IsValid() || len(whole) == 0 {
				continue
			}
			info := parseControl(sk.in.Control(i))
			link := sk.link
			if link == "" {
				link = sk.interfaceName(names, info.index)
			}
			local := sk.local
			if info.dst.IsValid() {
				local = netip.AddrPortFrom(info.dst, sk.local.Port())
			}
			d := Data{Local: local, From: from, Link: link, TOS: info.tos, TTL: info.ttl}
			if allTunnelData(whole, info.segment) {
				d.Message, d.Size = whole, info.segment
				data = append(data, d)
				continue
			}
			eachSegment(whole, info.segment, func(payload []byte) {
				if isTunnelData(payload) {
					d.Message = payload
					data = append(data, d)
					return
				}
				to.Signal(engine.Packet{Link: link, Src: from, Dst: local, TTL: info.ttl, Data: payload})
			})
		}
		if len(data) > 0 {
			to.Data(data)
		}
	}
}

// allTunnelData tells whether no message of a group is signalling.
func allTunnelData(group []byte, size int) bool {
	if size <= 0 {
		size = len(group)
	}
	for off := 0; off < len(group); off += size {
		if !isTunnelData(group[off:]) {
			return false
		}
	}
	return true
}

// eachSegment parts a group that UDP_GRO merged.
func eachSegment(payload []byte, size int, yield func([]byte)) {
	if size <= 0 {
		size = len(payload)
	}
	for len(payload) > 0 {
		n := min(size, len(payload))
		yield(payload[:n:n])
		payload = payload[n:]
	}
}

// way is the ancillary data that makes a datagram leave by a link, and with the socket's
// address, although an agent's socket is bound to no interface: what routing says
// of the destination then counts only as far as it leads there. An uplink's socket
// needs none.
func (sk *socket) way(link string, local netip.AddrPort) ([]byte, error) {
	if link == "" || sk.link != "" || sk.over != nil {
		return nil, nil
	}
	ifr, err := unix.NewIfreq(link)
	if err != nil {
		return nil, fmt.Errorf("sock: %s: %w", link, err)
	}
	var failed error
	err = sk.in.raw.Control(func(fd uintptr) { failed = unix.IoctlIfreq(int(fd), unix.SIOCGIFINDEX, ifr) })
	if err = errors.Join(err, failed); err != nil {
		return nil, fmt.Errorf("sock: %s: %w", link, err)
	}
	return appendPacketInfo(nil, int(ifr.Uint32()), local.Addr()), nil
}

// interfaceName translates an index and remembers the answer: an interface
// that is renamed while the daemon runs keeps its first name here. The socket
// is asked, since it may be in another network namespace than the caller.
func (sk *socket) interfaceName(names map[int]string, index int) string {
	if name, known := names[index]; known {
		return name
	}
	var r struct {
		name  [unix.IFNAMSIZ]byte
		index int32
		_     [20]byte // of the union in struct ifreq
	}
	r.index = int32(index)
	var errno unix.Errno
	err := sk.in.raw.Control(func(fd uintptr) {
		_, _, errno = unix.Syscall(unix.SYS_IOCTL, fd, unix.SIOCGIFNAME, uintptr(unsafe.Pointer(&r)))
	})
	if err != nil || errno != 0 {
		return "" // it is gone
	}
	name := unix.ByteSliceToString(r.name[:])
	names[index] = name
	return name
}

// controlInfo is what the ancillary data of one datagram say.
type controlInfo struct {
	index    int
	dst      netip.Addr
	ttl, tos uint8
	segment  int
}

func parseControl(b []byte) (info controlInfo) {
	for len(b) >= unix.SizeofCmsghdr {
		header, body, rest, err := unix.ParseOneSocketControlMessage(b)
		if err != nil {
			return info
		}
		b = rest
		switch {
		case header.Level == unix.SOL_IP && header.Type == unix.IP_PKTINFO && len(body) >= 12:
			// struct in_pktinfo: interface index, local address, header
			// destination address.
			info.index = int(int32(binary.NativeEndian.Uint32(body)))
			info.dst = netip.AddrFrom4([4]byte(body[8:12]))
		case header.Level == unix.SOL_IP && header.Type == unix.IP_TTL && len(body) >= 4:
			info.ttl = uint8(binary.NativeEndian.Uint32(body))
		case header.Level == unix.SOL_IP && header.Type == unix.IP_TOS && len(body) >= 1:
			info.tos = body[0]
		case header.Level == unix.SOL_IPV6 && header.Type == unix.IPV6_HOPLIMIT && len(body) >= 4:
			info.ttl = uint8(binary.NativeEndian.Uint32(body))
		case header.Level == unix.SOL_IPV6 && header.Type == unix.IPV6_TCLASS && len(body) >= 4:
			info.tos = uint8(binary.NativeEndian.Uint32(body))
		case header.Level == unix.SOL_UDP && header.Type == unix.UDP_GRO && len(body) >= 4:
			info.segment = int(int32(binary.NativeEndian.Uint32(body)))
		}
	}
	return info
}
