package tun

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"runtime"
	"sync"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// A Device is the packet side of a TUN device; see [OpenDevice].
type Device interface {
	// read waits for packets and takes as many as are there and in has room
	// for. Its error is os.ErrClosed once the device is gone.
	read(in *intake) error
	// write gives packets to the kernel, in order.
	write(trains []train) error
	// alive reports whether the device is there.
	alive() bool
	// finish has read hand over what is there, and end with os.ErrClosed then.
	finish()
	Close() error
}

const cloneDevice = "/dev/net/tun"

// txQueueLen is the device's queue in packets, which may be 64 KiB each. The
// kernel's default of 500 overflows on one burst of small packets.
const txQueueLen = 2000

// What the device may hand over in one piece, and without checksums: TCP
// segments, also with ECN, and UDP datagrams (Linux 6.2).
const (
	offloads    = unix.TUN_F_CSUM | unix.TUN_F_TSO4 | unix.TUN_F_TSO6 | unix.TUN_F_TSO_ECN
	udpOffloads = unix.TUN_F_USO4 | unix.TUN_F_USO6
)

// A virtual header (struct virtio_net_hdr, in the host's byte order) is in
// front of every packet:
//
//	flags 1, kind of train 1, length of headers 2, payload of each packet 2,
//	where the checksum starts 2, and where it is from there 2
const virtualHeader = 10

// A kernelDevice is a TUN device of the kernel.
type kernelDevice struct {
	file *os.File
	conn syscall.RawConn
	uso  bool // takes trains of datagrams

	// Of the one goroutine that reads.
	in      *intake
	failed  error
	receive func(fd uintptr) bool
	last    int // packets that were read since finish

	closing sync.RWMutex // held for reading while the descriptor is written to
	fd      int          // -1 when closed
}

// ErrNoTUN says that this kernel, or this container, has no TUN devices.
var ErrNoTUN = errors.New("there are no TUN devices here")

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
		if errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ENODEV) || errors.Is(err, unix.ENXIO) {
			err = fmt.Errorf("%w: %w", ErrNoTUN, err)
		}
		return nil, fmt.Errorf("tun: %s: %w", cloneDevice, err)
	}
	d := &kernelDevice{fd: fd}
	err = attach(fd, name, persistent)
	if err == nil {
		if err = unix.IoctlSetInt(fd, unix.TUNSETOFFLOAD, offloads); err == nil {
			d.uso = unix.IoctlSetInt(fd, unix.TUNSETOFFLOAD, offloads|udpOffloads) == nil
		}
	}
	if err == nil {
		err = bringUp(name, mtu)
	}
	if err != nil {
		unix.Close(fd)
		return nil, fmt.Errorf("tun: device %s: %w", name, err)
	}
	d.file = os.NewFile(uintptr(fd), cloneDevice)
	if d.conn, err = d.file.SyscallConn(); err != nil {
		d.file.Close()
		return nil, fmt.Errorf("tun: device %s: %w", name, err)
	}
	d.receive = d.receiveAll
	return d, nil
}

func (d *kernelDevice) read(in *intake) error {
	d.in, d.failed = in, nil
	in.reset()
	err := d.conn.Read(d.receive)
	if errors.Is(err, os.ErrDeadlineExceeded) {
		err = d.rest()
	}
	if err == nil {
		err = d.failed
	}
	if err != nil && (d.isClosed() || errors.Is(err, unix.EBADFD)) {
		return os.ErrClosed // by us, or somebody has deleted the device
	}
	return err
}

// receiveAll takes what is there. Returning false waits for more.
func (d *kernelDevice) receiveAll(fd uintptr) bool {
	for d.in.hasRoom() {
		n, err := unix.Read(int(fd), d.in.next())
		switch {
		case err == nil:
			d.in.took(n)
		case errors.Is(err, unix.EINTR):
		case errors.Is(err, unix.EAGAIN):
			return len(d.in.arrivals) > 0
		default:
			if len(d.in.arrivals) == 0 {
				d.failed = err
			}
			return true
		}
	}
	return true
}

// finish implements [Device].
func (d *kernelDevice) finish() { d.file.SetReadDeadline(time.Unix(1, 0)) }

// rest takes what is there without waiting for more.
func (d *kernelDevice) rest() error {
	// More than its queue holds came later: somebody goes on sending.
	if d.last >= txQueueLen {
		return os.ErrClosed
	}
	if err := d.conn.Control(func(fd uintptr) { d.receive(fd) }); err != nil {
		return err
	}
	if len(d.in.arrivals) == 0 && d.failed == nil {
		return os.ErrClosed
	}
	d.last += max(len(d.in.arrivals), 1)
	return nil
}

// alive asks, for a reader does not always learn: the kernel wakes it before
// the device is gone for good, and not again after that.
func (d *kernelDevice) alive() bool {
	d.closing.RLock()
	defer d.closing.RUnlock()
	if d.fd < 0 {
		return false
	}
	ifr, err := unix.NewIfreq("")
	return err == nil && !errors.Is(unix.IoctlIfreq(d.fd, unix.TUNGETIFF, ifr), unix.EBADFD)
}

func (d *kernelDevice) isClosed() bool {
	d.closing.RLock()
	defer d.closing.RUnlock()
	return d.fd < 0
}

// maxPieces is how many pieces of memory one call writes (UIO_MAXIOV).
const maxPieces = 1024

// pieces are arrays for write, one for each call at a time.
var pieces = sync.Pool{New: func() any { return new([maxPieces]unix.Iovec) }}

func (d *kernelDevice) write(trains []train) error {
	d.closing.RLock()
	defer d.closing.RUnlock()
	if d.fd < 0 {
		return os.ErrClosed
	}
	iov := pieces.Get().(*[maxPieces]unix.Iovec)
	defer pieces.Put(iov)
	var errs error
	for i := range trains {
		t := &trains[i]
		n := 0
		add := func(b []byte) {
			iov[n].Base = unsafe.SliceData(b)
			iov[n].SetLen(len(b))
			n++
		}
		t.finish()
		add(t.virtual[:])
		add(t.packet)
		for _, p := range t.rest {
			add(p)
		}
		_, _, errno := unix.Syscall(unix.SYS_WRITEV, uintptr(d.fd), uintptr(unsafe.Pointer(iov)), uintptr(n))
		if errno != 0 {
			errs = errno
		}
	}
	runtime.KeepAlive(trains)
	clear(iov[:])
	return errs
}

// Close implements [Device].
func (d *kernelDevice) Close() error {
	d.closing.Lock()
	defer d.closing.Unlock()
	if d.fd < 0 {
		return nil
	}
	d.fd = -1
	return d.file.Close()
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

// The kinds of trains in a virtual header, VIRTIO_NET_HDR_GSO_…; the bit says
// that the first packet has CWR.
const (
	virtualTCP = 1
	virtualUDP = 5
	virtualECN = 0x80
	// needsChecksum (VIRTIO_NET_HDR_F_NEEDS_CSUM): the checksum's place holds
	// the sum of the pseudo header.
	needsChecksum = 1
)

// setVirtual fills in the virtual header of a train, or of a single packet.
func setVirtual(v []byte, protocol uint8, head, size, ip int) {
	clear(v)
	if size == 0 {
		return
	}
	v[0], v[1] = needsChecksum, virtualTCP
	at := tcpChecksum
	if protocol == protoUDP {
		v[1], at = virtualUDP, udpChecksum
	}
	order := binary.NativeEndian
	order.PutUint16(v[2:], uint16(head))
	order.PutUint16(v[4:], uint16(size))
	order.PutUint16(v[6:], uint16(ip))
	order.PutUint16(v[8:], uint16(at))
}
