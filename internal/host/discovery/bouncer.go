package discovery

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"syscall"

	"golang.org/x/sys/unix"

	"careof/internal/core/engine"
	"careof/wire/encap"
)

// ICMP errors that say that a datagram did not arrive.
const (
	unreachable      = 3
	timeExceeded     = 11
	parameterProblem = 12
)

// A Bouncer hears ICMP errors about UDP datagrams that this host sent from one
// port.
type Bouncer struct {
	file *os.File
	raw  syscall.RawConn
	port uint16
	done chan struct{}
}

// Bounces opens a bouncer in the calling thread's network namespace. receive
// is called from one goroutine and must not keep the buffer.
func Bounces(port uint16, receive func(engine.Bounced)) (*Bouncer, error) {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, unix.IPPROTO_ICMP)
	if err != nil {
		return nil, fmt.Errorf("discovery: ICMP: %w", err)
	}
	// struct icmp_filter: a bit set means that the type is not wanted.
	const icmpFilter = 1
	var word [4]byte
	binary.NativeEndian.PutUint32(word[:], ^uint32(1<<unreachable|1<<timeExceeded|1<<parameterProblem))
	if err := unix.SetsockoptString(fd, unix.SOL_RAW, icmpFilter, string(word[:])); err != nil {
		unix.Close(fd)
		return nil, fmt.Errorf("discovery: ICMP: %w", err)
	}
	b := &Bouncer{file: os.NewFile(uintptr(fd), "icmp"), port: port, done: make(chan struct{})}
	if b.raw, err = b.file.SyscallConn(); err != nil {
		b.file.Close()
		return nil, fmt.Errorf("discovery: ICMP: %w", err)
	}
	go b.read(receive)
	return b, nil
}

// Close ends the bouncer and waits for its reader.
func (b *Bouncer) Close() error {
	err := b.file.Close()
	<-b.done
	return err
}

func (b *Bouncer) read(receive func(engine.Bounced)) {
	defer close(b.done)
	buf := make([]byte, 1<<16)
	for {
		n := 0
		var failed error
		err := b.raw.Read(func(fd uintptr) bool {
			n, _, failed = unix.Recvfrom(int(fd), buf, 0)
			return !errors.Is(failed, unix.EAGAIN)
		})
		if err != nil {
			return // closed
		}
		if failed != nil {
			continue
		}
		if ev, ok := bounced(buf[:n], b.port); ok {
			receive(ev)
		}
	}
}

// bounced reads an ICMP error that quotes a UDP datagram from the port. The
// quotation may be cut short anywhere behind its ports, and its checksums may
// have been changed on the way; only addresses and ports are believed.
func bounced(packet []byte, port uint16) (ev engine.Bounced, ok bool) {
	ip, err := encap.ParseIPv4(packet)
	if err != nil || ip.Protocol != unix.IPPROTO_ICMP {
		return ev, false
	}
	const icmpHeader, ipHeader, udpHeader = 8, 20, 8
	icmp := packet[ip.HeaderLen:ip.TotalLen]
	if len(icmp) < icmpHeader+ipHeader+udpHeader || encap.Checksum(icmp) != 0 {
		return ev, false
	}
	quote := icmp[icmpHeader:]
	header := int(quote[0]&15) * 4
	if quote[0]>>4 != 4 || header < ipHeader || len(quote) < header+udpHeader || quote[9] != unix.IPPROTO_UDP ||
		binary.BigEndian.Uint16(quote[6:])&0x1fff != 0 {
		return ev, false
	}
	udp := quote[header:]
	ev = engine.Bounced{
		From: ip.Src, Type: icmp[0], Code: icmp[1],
		Src:  netip.AddrPortFrom(netip.AddrFrom4([4]byte(quote[12:16])), binary.BigEndian.Uint16(udp)),
		Dst:  netip.AddrPortFrom(netip.AddrFrom4([4]byte(quote[16:20])), binary.BigEndian.Uint16(udp[2:])),
		Data: udp[udpHeader:],
	}
	// A quotation may be padded behind the datagram (RFC 4884).
	if n := int(binary.BigEndian.Uint16(udp[4:])) - udpHeader; n >= 0 && n < len(ev.Data) {
		ev.Data = ev.Data[:n]
	}
	switch ev.Type {
	case unreachable, timeExceeded, parameterProblem:
		return ev, ev.Src.Port() == port
	}
	return ev, false
}
