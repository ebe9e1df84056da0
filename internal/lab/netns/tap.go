package netns

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"syscall"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

const tunPath = "/dev/net/tun"

// tunReady reports in words why TAP devices cannot be made here.
func tunReady() error {
	fd, err := unix.Open(tunPath, unix.O_RDWR|unix.O_CLOEXEC, 0)
	switch {
	case err == nil:
		return unix.Close(fd)
	case errors.Is(err, unix.EACCES), errors.Is(err, unix.EPERM):
		return fmt.Errorf("netns: %s is not open to this user: run the same command with sudo, or once: sudo chmod 0666 %s: %w", tunPath, tunPath, err)
	case errors.Is(err, unix.ENOENT), errors.Is(err, unix.ENODEV), errors.Is(err, unix.ENXIO):
		return fmt.Errorf("netns: this system has no %s: load the driver once with: sudo modprobe tun: %w", tunPath, err)
	}
	return fmt.Errorf("netns: open %s: %w", tunPath, err)
}

// PortConfig describes how a node is plugged into a segment.
type PortConfig struct {
	// MAC is chosen when zero.
	MAC MAC
	// MTU of the interface. Zero is 1500.
	MTU int
	// Addresses are set on the interface.
	Addresses []netip.Prefix
	// Down leaves the interface down.
	Down bool
}

// Attach plugs a new interface of the node into a segment: a TAP device whose other end is the segment.
func (node *Node) Attach(s *Segment, name string, config PortConfig) (*Port, error) {
	if config.MAC == (MAC{}) {
		config.MAC = node.network.newMAC()
	}
	var file *os.File
	err := node.Do(func() (err error) {
		file, err = openTap(name)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("netns: %s: make interface %s: %w", node.name, name, err)
	}
	p := node.network.newPort(node.name+"/"+name, config.MAC)
	p.sink = func(frame []byte) { file.Write(frame) } // EIO while the interface is down: then it hears nothing, as it should
	p.plugged = func(up bool) error { return setCarrier(file, up) }
	t := &tapDevice{file: file, done: make(chan struct{})}
	p.device = t
	go t.read(p)
	node.network.own(p)
	if err := node.configure(name, config); err != nil {
		p.Close()
		return nil, err
	}
	p.Move(s)
	return p, nil
}

// configure sets up a new interface. It is plugged in afterwards, so its first frames are lost rather than early.
func (node *Node) configure(name string, config PortConfig) error {
	link, err := node.link(name)
	if err != nil {
		return err
	}
	if err := node.netlink.LinkSetHardwareAddr(link, net.HardwareAddr(config.MAC[:])); err != nil {
		return fmt.Errorf("netns: %s: set the address of %s: %w", node.name, name, err)
	}
	if config.MTU != 0 {
		if err := node.SetMTU(name, config.MTU); err != nil {
			return err
		}
	}
	for _, a := range config.Addresses {
		if err := node.AddAddress(name, a); err != nil {
			return err
		}
	}
	if config.Down {
		return nil
	}
	return node.SetInterface(name, true)
}

// openTap makes a TAP device in the namespace of the calling thread.
func openTap(name string) (*os.File, error) {
	fd, err := unix.Open(tunPath, unix.O_RDWR|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", tunPath, err)
	}
	request, err := unix.NewIfreq(name)
	if err == nil {
		request.SetUint16(unix.IFF_TAP | unix.IFF_NO_PI)
		err = unix.IoctlIfreq(fd, unix.TUNSETIFF, request)
	}
	if err != nil {
		unix.Close(fd)
		return nil, fmt.Errorf("TUNSETIFF: %w", err)
	}
	// The file joins the runtime's poller only now: before TUNSETIFF the descriptor cannot be polled.
	return os.NewFile(uintptr(fd), "tap "+name), nil
}

func setCarrier(file *os.File, up bool) error {
	value := 0
	if up {
		value = 1
	}
	raw, err := file.SyscallConn()
	if err != nil {
		return fmt.Errorf("netns: carrier: %w", err)
	}
	var failure error
	err = raw.Control(func(fd uintptr) { failure = unix.IoctlSetPointerInt(int(fd), unix.TUNSETCARRIER, value) })
	if err = errors.Join(err, failure); err != nil {
		return fmt.Errorf("netns: carrier: %w", err)
	}
	return nil
}

// tapDevice is the segment's end of a TAP device.
type tapDevice struct {
	file *os.File
	done chan struct{}
}

// read sends what the node's kernel transmits until the device is closed.
func (t *tapDevice) read(p *Port) {
	defer close(t.done)
	buffer := make([]byte, 1<<16)
	for {
		n, err := t.file.Read(buffer)
		switch {
		case err == nil:
			p.send(append(make([]byte, 0, n), buffer[:n]...))
		case errors.Is(err, syscall.EINTR):
		default:
			return // closed, or deleted from inside the node (EBADFD)
		}
	}
}

// Close removes the interface from its node.
func (t *tapDevice) Close() error {
	err := t.file.Close()
	<-t.done
	return err
}

// link finds an interface of the node.
func (node *Node) link(name string) (netlink.Link, error) {
	link, err := retry(func() (netlink.Link, error) { return node.netlink.LinkByName(name) })
	if err != nil {
		return nil, fmt.Errorf("netns: %s: interface %s: %w", node.name, name, err)
	}
	return link, nil
}
