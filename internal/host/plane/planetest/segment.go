package planetest

import (
	"errors"
	"os"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Segment switches off what lets packets longer than its MTU leave an
// interface in one piece, in the calling thread's network namespace: what
// leaves is what a wire would carry.
func Segment(link string) error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return os.NewSyscallError("socket", err)
	}
	defer unix.Close(fd)
	for _, command := range []uint32{unix.ETHTOOL_STSO, unix.ETHTOOL_SGSO} {
		// struct ethtool_value: command, data.
		value := [2]uint32{command, 0}
		var ifr struct {
			name [unix.IFNAMSIZ]byte
			data unsafe.Pointer
			_    [16]byte
		}
		copy(ifr.name[:unix.IFNAMSIZ-1], link)
		ifr.data = unsafe.Pointer(&value)
		_, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), unix.SIOCETHTOOL, uintptr(unsafe.Pointer(&ifr)))
		if errno != 0 && !errors.Is(errno, unix.EOPNOTSUPP) {
			return os.NewSyscallError("ethtool", errno)
		}
	}
	return nil
}
