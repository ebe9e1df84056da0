package sock

import (
	"errors"
	"fmt"
	"net/netip"
	"sync"
	"unsafe"

	"golang.org/x/sys/unix"
)

// maxPieces is how many pieces of memory a train may consist of: two for each
// of its messages.
const maxPieces = 2 * maxSegments

// ErrLongTrain refuses a train of more pieces than that.
var ErrLongTrain = errors.New("sock: too many pieces")

// SendTrain sends Tunnel Data messages of one flow: as many octets as the
// pieces have, every size of them a message. The kernel gathers them, so that
// payloads are not copied before.
func (s *Set) SendTrain(local, peer netip.AddrPort, link string, tos uint8, size int, pieces [][]byte) error {
	sk, err := s.find(link, local, false)
	if err != nil {
		return err
	}
	way, err := sk.way(link, local)
	if err != nil {
		return err
	}
	return sk.sendTrain(peer, tos, size, way, pieces)
}

// trainCall is the memory of one system call; made once, it is no garbage.
type trainCall struct {
	header  unix.Msghdr
	vectors [maxPieces]unix.Iovec
	name    sockaddr
	control [controlSize]byte
	send    func(fd uintptr) bool
	errno   unix.Errno
}

var trainCalls = sync.Pool{New: func() any {
	c := new(trainCall)
	c.header.Name = (*byte)(unsafe.Pointer(&c.name))
	c.header.Iov = &c.vectors[0]
	c.send = func(fd uintptr) bool {
		_, _, c.errno = unix.Syscall(unix.SYS_SENDMSG, fd, uintptr(unsafe.Pointer(&c.header)), unix.MSG_DONTWAIT)
		return c.errno != unix.EAGAIN && c.errno != unix.EINTR
	}
	return c
}}

func (sk *socket) sendTrain(peer netip.AddrPort, tos uint8, size int, way []byte, pieces [][]byte) error {
	if len(pieces) > maxPieces {
		return ErrLongTrain
	}
	if sk.noGSO.Load() {
		return sk.sendApart(peer, tos, size, way, pieces)
	}
	c := trainCalls.Get().(*trainCall)
	defer trainCalls.Put(c)
	for i, p := range pieces {
		c.vectors[i].Base = unsafe.SliceData(p)
		c.vectors[i].SetLen(len(p))
	}
	c.header.SetIovlen(len(pieces))
	c.header.Namelen = c.name.set(sk.outer(peer))
	control := append(c.control[:0], way...)
	if tos != 0 {
		control = sk.appendTOS(control, tos)
	}
	control = appendShort(control, unix.SOL_UDP, unix.UDP_SEGMENT, uint16(size))
	c.header.Control = &c.control[0]
	c.header.SetControllen(len(control))
	err := sk.out.raw.Write(c.send)
	clear(c.vectors[:len(pieces)]) // nobody's payload is kept alive
	if err == nil && c.errno != 0 {
		err = c.errno
	}
	if errors.Is(err, unix.EIO) || errors.Is(err, unix.EINVAL) {
		// The interface cannot checksum segments.
		sk.noGSO.Store(true)
		return sk.sendApart(peer, tos, size, way, pieces)
	}
	if err != nil {
		return fmt.Errorf("sock: send to %v: %w", peer, err)
	}
	return nil
}

// sendApart sends every message by itself, with as few system calls as it can.
func (sk *socket) sendApart(peer netip.AddrPort, tos uint8, size int, way []byte, pieces [][]byte) error {
	whole := groups.Get().(*[]byte)
	defer groups.Put(whole)
	all := (*whole)[:0]
	for _, p := range pieces {
		all = append(all, p...)
	}
	sk.sending.Lock()
	defer sk.sending.Unlock()
	var errs error
	for len(all) > 0 {
		n := min(size, len(all))
		if sk.out.staged == sendBatch {
			errs = errors.Join(errs, sk.out.Flush())
		}
		control := append(sk.out.stage(all[:n:n], sk.outer(peer)), way...)
		if tos != 0 {
			control = sk.appendTOS(control, tos)
		}
		sk.out.control(control)
		all = all[n:]
	}
	return errors.Join(errs, sk.out.Flush())
}
