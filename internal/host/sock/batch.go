package sock

import (
	"encoding/binary"
	"errors"
	"net"
	"net/netip"
	"os"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"

	"careof/internal/core/engine"
)

// mmsghdr is struct mmsghdr of recvmmsg(2): a message and the octets that it
// has brought or taken.
type mmsghdr struct {
	header unix.Msghdr
	n      uint32
}

// A BatchReader reads the datagrams or packets that wait at a socket, many of
// them with one system call, and allocates nothing.
type BatchReader struct {
	raw      syscall.RawConn
	headers  []mmsghdr
	vectors  []unix.Iovec
	names    []unix.RawSockaddrAny
	buffers  [][]byte
	controls [][]byte
	receive  func(fd uintptr) bool // made once: a closure for each call would be garbage
	n        int
	err      error
}

// NewBatchReader makes a reader of at most n datagrams of size octets each, of a
// socket that does not block.
func NewBatchReader(c syscall.Conn, n, size int) (*BatchReader, error) {
	raw, err := c.SyscallConn()
	if err != nil {
		return nil, err
	}
	r := &BatchReader{
		raw: raw, headers: make([]mmsghdr, n), vectors: make([]unix.Iovec, n), names: make([]unix.RawSockaddrAny, n),
		buffers: make([][]byte, n), controls: make([][]byte, n),
	}
	for i := range n {
		r.buffers[i], r.controls[i] = make([]byte, size), make([]byte, controlSize)
		r.vectors[i].Base = &r.buffers[i][0]
		r.vectors[i].SetLen(size)
		h := &r.headers[i].header
		h.Iov = &r.vectors[i]
		h.SetIovlen(1)
		h.Name = (*byte)(unsafe.Pointer(&r.names[i]))
		h.Control = &r.controls[i][0]
	}
	r.receive = func(fd uintptr) bool {
		got, _, errno := unix.Syscall6(unix.SYS_RECVMMSG, fd, uintptr(unsafe.Pointer(&r.headers[0])), uintptr(len(r.headers)), unix.MSG_DONTWAIT, 0, 0)
		r.n, r.err = int(got), nil
		if errno != 0 {
			r.n, r.err = 0, errno
		}
		return errno != unix.EAGAIN && errno != unix.EINTR
	}
	return r, nil
}

// Read waits for datagrams and tells how many have come. They are valid until
// the next Read. When the socket is closed the error is [net.ErrClosed], and
// at its deadline one that is [os.ErrDeadlineExceeded].
func (r *BatchReader) Read() (int, error) {
	for i := range r.headers {
		h := &r.headers[i].header
		h.Namelen = unix.SizeofSockaddrAny
		h.SetControllen(controlSize)
		h.Flags = 0
	}
	switch err := r.raw.Read(r.receive); {
	case errors.Is(err, os.ErrDeadlineExceeded):
		return 0, err
	case err != nil:
		return 0, net.ErrClosed // nothing else ends the wait itself
	}
	return r.n, r.err
}

// Payload is the i-th datagram.
func (r *BatchReader) Payload(i int) []byte { return r.buffers[i][:r.headers[i].n] }

// From is where the i-th datagram came from, invalid when the kernel did not
// tell.
func (r *BatchReader) From(i int) netip.AddrPort {
	switch length, family := r.headers[i].header.Namelen, r.names[i].Addr.Family; {
	case family == unix.AF_INET && length >= unix.SizeofSockaddrInet4:
		name := (*unix.RawSockaddrInet4)(unsafe.Pointer(&r.names[i]))
		port := (*[2]byte)(unsafe.Pointer(&name.Port))
		return netip.AddrPortFrom(netip.AddrFrom4(name.Addr), binary.BigEndian.Uint16(port[:]))
	case family == unix.AF_INET6 && length >= unix.SizeofSockaddrInet6:
		name := (*unix.RawSockaddrInet6)(unsafe.Pointer(&r.names[i]))
		port := (*[2]byte)(unsafe.Pointer(&name.Port))
		return netip.AddrPortFrom(netip.AddrFrom16(name.Addr), binary.BigEndian.Uint16(port[:]))
	}
	return netip.AddrPort{}
}

// Station is the link-layer source of the i-th packet of a packet socket, and
// the packet's type (PACKET_HOST and so on); ok is false when the kernel did not
// tell. Without an Ethernet address the source is zero.
func (r *BatchReader) Station(i int) (hw engine.HardwareAddr, kind uint8, ok bool) {
	const beforeAddress = unix.SizeofSockaddrLinklayer - 8
	if r.headers[i].header.Namelen < beforeAddress || r.names[i].Addr.Family != unix.AF_PACKET {
		return hw, 0, false
	}
	name := (*unix.RawSockaddrLinklayer)(unsafe.Pointer(&r.names[i]))
	if name.Halen == 6 {
		copy(hw[:], name.Addr[:])
	}
	return hw, name.Pkttype, true
}

// Control is what came beside the i-th datagram.
func (r *BatchReader) Control(i int) []byte {
	return r.controls[i][:r.headers[i].header.Controllen]
}

// sockaddr is a destination of either family, as the kernel reads it.
type sockaddr unix.RawSockaddrInet6

// set makes it that of to, and tells its length.
func (s *sockaddr) set(to netip.AddrPort) uint32 {
	if to.Addr().Is4() {
		name := (*unix.RawSockaddrInet4)(unsafe.Pointer(s))
		*name = unix.RawSockaddrInet4{Family: unix.AF_INET, Addr: to.Addr().As4()}
		binary.BigEndian.PutUint16((*[2]byte)(unsafe.Pointer(&name.Port))[:], to.Port())
		return unix.SizeofSockaddrInet4
	}
	*s = sockaddr{Family: unix.AF_INET6, Addr: to.Addr().As16()}
	binary.BigEndian.PutUint16((*[2]byte)(unsafe.Pointer(&s.Port))[:], to.Port())
	return unix.SizeofSockaddrInet6
}

// A BatchWriter sends datagrams, many of them with one system call, and
// allocates nothing. It is not safe for concurrent use.
type BatchWriter struct {
	raw      syscall.RawConn
	headers  []mmsghdr
	vectors  []unix.Iovec
	names    []sockaddr
	controls [][]byte
	send     func(fd uintptr) bool
	staged   int
	sent     int
	errno    unix.Errno
}

// NewBatchWriter makes a writer that sends n datagrams at a time.
func NewBatchWriter(c *net.UDPConn, n int) (*BatchWriter, error) {
	raw, err := c.SyscallConn()
	if err != nil {
		return nil, err
	}
	w := &BatchWriter{
		raw: raw, headers: make([]mmsghdr, n), vectors: make([]unix.Iovec, n), names: make([]sockaddr, n), controls: make([][]byte, n),
	}
	for i := range n {
		w.controls[i] = make([]byte, 0, controlSize)
		h := &w.headers[i].header
		h.Iov = &w.vectors[i]
		h.SetIovlen(1)
		h.Name = (*byte)(unsafe.Pointer(&w.names[i]))
	}
	w.send = func(fd uintptr) bool {
		got, _, errno := unix.Syscall6(unix.SYS_SENDMMSG, fd, uintptr(unsafe.Pointer(&w.headers[w.sent])), uintptr(w.staged-w.sent), unix.MSG_DONTWAIT, 0, 0)
		if errno == unix.EAGAIN || errno == unix.EINTR {
			return false
		}
		w.errno = errno
		if errno == 0 {
			w.sent += int(got)
		}
		return true
	}
	return w, nil
}

// Add stages a datagram; payload must stay as it is until it is sent. A valid
// source is the address it leaves from, where that is not the socket's own.
// With no room left, what is staged is sent first.
func (w *BatchWriter) Add(payload []byte, to netip.AddrPort, source netip.Addr) error {
	var err error
	if w.staged == len(w.headers) {
		err = w.Flush()
	}
	control := w.stage(payload, to)
	if source.IsValid() {
		control = appendPacketInfo(control, 0, source)
	}
	w.control(control)
	return err
}

// stage stages a datagram and returns the space for its control data, which
// control then puts beside it.
func (w *BatchWriter) stage(payload []byte, to netip.AddrPort) (control []byte) {
	i := w.staged
	w.staged++
	w.vectors[i].Base = unsafe.SliceData(payload)
	w.vectors[i].SetLen(len(payload))
	w.headers[i].header.Namelen = w.names[i].set(to)
	return w.controls[i][:0]
}

func (w *BatchWriter) control(c []byte) {
	i := w.staged - 1
	h := &w.headers[i].header
	h.Control = nil
	if len(c) > 0 {
		w.controls[i] = c
		h.Control = &c[0]
	}
	h.SetControllen(len(c))
}

// Flush sends what is staged, in order. A datagram that is refused keeps none
// of the others; the error is the last one's that was.
func (w *BatchWriter) Flush() (err error) {
	w.flush(func(_ int, refused error) { err = refused })
	return err
}

// flush is Flush, and tells of each datagram that was refused, by its number
// among those staged.
func (w *BatchWriter) flush(refused func(i int, err error)) {
	for w.sent = 0; w.sent < w.staged; {
		w.errno = 0
		err := w.raw.Write(w.send)
		if err == nil && w.errno != 0 {
			err = w.errno
		}
		if err != nil {
			// The system call sends those before the one that it refuses.
			refused(w.sent, err)
			w.sent++
		}
	}
	for i := range w.staged {
		w.vectors[i].Base = nil // nobody's payload is kept alive
	}
	w.staged = 0
}
