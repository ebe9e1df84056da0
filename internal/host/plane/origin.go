package plane

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// An origin sends packets of the host's own into the tunnel device, headers
// and all, whatever the routing table says of their destination.
type origin struct{ fd int }

func openOrigin(device string) (*origin, error) {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, unix.IPPROTO_RAW)
	if err != nil {
		return nil, fmt.Errorf("plane: socket into %s: %w", device, os.NewSyscallError("socket", err))
	}
	if err := unix.BindToDevice(fd, device); err != nil {
		unix.Close(fd)
		return nil, fmt.Errorf("plane: socket into %s: %w", device, os.NewSyscallError("setsockopt", err))
	}
	return &origin{fd}, nil
}

func (o *origin) close() error { return unix.Close(o.fd) }

// Originate executes an [engine.Originate].
func (h *Host) Originate(packet []byte) error {
	if h.origin == nil || len(packet) < 20 {
		return errors.New("plane: nothing is sent into the tunnel by this host itself")
	}
	to := &unix.SockaddrInet4{Addr: [4]byte(packet[16:20])}
	if err := unix.Sendto(h.origin.fd, packet, 0, to); err != nil {
		return fmt.Errorf("plane: into %s: %w", h.c.Device, os.NewSyscallError("sendto", err))
	}
	return nil
}
