package tun

import (
	"fmt"
	"os"

	"golang.org/x/sys/unix"
	wgtun "golang.zx2c4.com/wireguard/tun"
)

// A Device is the packet side of a TUN device, in batches: packets begin at
// offset in each buffer, and Write uses the ten octets in front of it.
type Device interface {
	Read(bufs [][]byte, sizes []int, offset int) (int, error)
	Write(bufs [][]byte, offset int) (int, error)
	BatchSize() int
	Close() error
}

const cloneDevice = "/dev/net/tun"

// txQueueLen is the device's queue in packets, which may be 64 KiB each. The
// kernel's default of 500 overflows on one burst of small packets.
const txQueueLen = 2000

// OpenDevice opens the TUN device with this name in the calling thread's
// network namespace, creates it when it is not there, and brings it up.
//
// A persistent device stays when the process ends, with its routes and
// addresses. Without a reader the kernel then drops what is sent to it, which
// is what should happen to packets from a home address while nobody tunnels
// them.
func OpenDevice(name string, mtu int, persistent bool) (Device, error) {
	fd, err := unix.Open(cloneDevice, unix.O_RDWR|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, fmt.Errorf("tun: %s: %w", cloneDevice, err)
	}
	if err := attach(fd, name, persistent); err != nil {
		unix.Close(fd)
		return nil, fmt.Errorf("tun: device %s: %w", name, err)
	}
	dev, _, err := wgtun.CreateUnmonitoredTUNFromFD(fd)
	if err != nil {
		unix.Close(fd)
		return nil, fmt.Errorf("tun: device %s: %w", name, err)
	}
	if err := bringUp(name, mtu); err != nil {
		dev.Close()
		return nil, fmt.Errorf("tun: device %s: %w", name, err)
	}
	return dev, nil
}

// attach names the descriptor's device. IFF_VNET_HDR lets the kernel hand over
// and take whole TCP and UDP trains (GSO, GRO).
func attach(fd int, name string, persistent bool) error {
	ifr, err := unix.NewIfreq(name)
	if err != nil {
		return err
	}
	ifr.SetUint16(unix.IFF_TUN | unix.IFF_NO_PI | unix.IFF_VNET_HDR)
	if err := unix.IoctlIfreq(fd, unix.TUNSETIFF, ifr); err != nil {
		return err
	}
	keep := 0
	if persistent {
		keep = 1
	}
	return unix.IoctlSetInt(fd, unix.TUNSETPERSIST, keep)
}

// bringUp sets MTU, queue length and the up flag.
func bringUp(name string, mtu int) error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	set := func(request uint, value uint32) error {
		ifr, err := unix.NewIfreq(name)
		if err != nil {
			return err
		}
		ifr.SetUint32(value)
		return os.NewSyscallError("ioctl", unix.IoctlIfreq(fd, request, ifr))
	}
	if err := set(unix.SIOCSIFMTU, uint32(mtu)); err != nil {
		return fmt.Errorf("MTU: %w", err)
	}
	// A user namespace may not; the queue is then short, and nothing else.
	set(unix.SIOCSIFTXQLEN, txQueueLen)
	ifr, err := unix.NewIfreq(name)
	if err != nil {
		return err
	}
	if err := unix.IoctlIfreq(fd, unix.SIOCGIFFLAGS, ifr); err != nil {
		return os.NewSyscallError("ioctl", err)
	}
	ifr.SetUint16(ifr.Uint16() | unix.IFF_UP)
	if err := unix.IoctlIfreq(fd, unix.SIOCSIFFLAGS, ifr); err != nil {
		return os.NewSyscallError("ioctl", err)
	}
	return nil
}
