package sock

import (
	"cmp"
	"net/netip"
	"slices"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Status is one socket as the kernel sees it.
type Status struct {
	Local  netip.AddrPort
	Link   string // of an uplink's socket
	Queued uint32 // octets that wait to be read, with the kernel's own
	Room   uint32 // for them
	Drops  uint32 // datagrams that found no room, since the socket was opened
}

// memory is what SO_MEMINFO tells (struct sk_meminfo of linux/sock_diag.h).
type memory struct {
	received, room, _, _, _, _, _, _, drops uint32
}

// Status lists the sockets, by address.
func (s *Set) Status() []Status {
	s.mu.Lock()
	open := make([]*socket, 0, len(s.sockets))
	for _, sk := range s.sockets {
		open = append(open, sk)
	}
	s.mu.Unlock()
	var list []Status
	for _, sk := range open {
		raw, err := sk.conn.SyscallConn()
		if err != nil {
			continue
		}
		var m memory
		var failed unix.Errno
		err = raw.Control(func(fd uintptr) {
			size := uint32(unsafe.Sizeof(m))
			_, _, failed = unix.Syscall6(unix.SYS_GETSOCKOPT, fd, unix.SOL_SOCKET, unix.SO_MEMINFO,
				uintptr(unsafe.Pointer(&m)), uintptr(unsafe.Pointer(&size)), 0)
		})
		if err != nil || failed != 0 {
			continue // it has just been closed
		}
		list = append(list, Status{Local: sk.local, Link: sk.link, Queued: m.received, Room: m.room, Drops: m.drops})
	}
	slices.SortFunc(list, func(a, b Status) int {
		return cmp.Or(a.Local.Compare(b.Local), cmp.Compare(a.Link, b.Link))
	})
	return list
}
