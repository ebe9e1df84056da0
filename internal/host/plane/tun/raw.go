package tun

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"sync"

	"golang.org/x/net/ipv4"
	"golang.org/x/sys/unix"

	"careof/wire/encap"
)

const protoICMP = 1

// tunnelProtocols are the IP protocols of the tunnels without UDP: IP-in-IP,
// GRE, minimal encapsulation.
var tunnelProtocols = []int{4, 47, 55}

// rawBatch is how many packets a raw socket reads at a time.
const rawBatch = 64

// rawSocket is how whole IPv4 packets leave and come in beside UDP.
type rawSocket interface {
	// send sends packets, header included, in order, and returns how many of
	// them were refused.
	send(packets []ipv4.Message) (refused int)
	// receive hands over what comes in of one protocol until close. The
	// buffers of a batch belong to take until it returns.
	receive(proto int, take func(*batch))
	// link tells index and MTU of an interface; of that with the address when
	// the name is empty. Index 0 lets routing decide.
	link(name string, local netip.Addr) (index, mtu int, err error)
	close() error
}

// kernelRaw is the kernel's raw sockets: one for each protocol to receive
// from, one to send through, and one for ioctls.
type kernelRaw struct {
	out  *ipv4.RawConn
	in   map[int]*ipv4.RawConn
	ctl  int
	once sync.Once
}

func openRaw(mark uint32, elsewhere []encap.Kind) (*kernelRaw, error) {
	k := &kernelRaw{in: make(map[int]*ipv4.RawConn), ctl: -1}
	fail := func(err error) (*kernelRaw, error) {
		k.close()
		return nil, err
	}
	for _, proto := range append([]int{protoICMP}, tunnelProtocols...) {
		if slices.Contains(elsewhere, encap.Kind(proto)) {
			continue
		}
		c, err := listenRaw(proto)
		if err != nil {
			return fail(err)
		}
		k.in[proto] = c
	}
	// Only errors are of interest; the filter is a mask of the types that are
	// not wanted.
	if err := k.in[protoICMP].SetICMPFilter(errorsOnly()); err != nil {
		return fail(fmt.Errorf("tun: ICMP filter: %w", err))
	}
	out, err := listenRaw(unix.IPPROTO_RAW) // sends only
	if err != nil {
		return fail(err)
	}
	k.out = out
	// Path MTUs are this plane's business (RFC 2003 section 5). The kernel
	// would believe an ICMP error that quotes nothing but the tunnel's two
	// ends, which anybody can forge, and then report it to us as its own.
	if err := setOption(out, unix.SOL_IP, unix.IP_MTU_DISCOVER, unix.IP_PMTUDISC_PROBE); err != nil {
		return fail(fmt.Errorf("tun: path MTU discovery: %w", err))
	}
	if mark != 0 {
		if err := setOption(out, unix.SOL_SOCKET, unix.SO_MARK, int(mark)); err != nil {
			return fail(fmt.Errorf("tun: mark: %w", err))
		}
	}
	if k.ctl, err = unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0); err != nil {
		return fail(fmt.Errorf("tun: control socket: %w", err))
	}
	return k, nil
}

func listenRaw(proto int) (*ipv4.RawConn, error) {
	c, err := net.ListenPacket(fmt.Sprintf("ip4:%d", proto), "0.0.0.0")
	if err != nil {
		return nil, fmt.Errorf("tun: raw socket of protocol %d: %w", proto, err)
	}
	// Bursts of 64 packets of 64 KiB fit; the kernel doubles what is asked
	// for and cuts it to its limit unless the process may exceed it.
	ip := c.(*net.IPConn)
	ip.SetReadBuffer(socketBuffer)
	ip.SetWriteBuffer(socketBuffer)
	rc, err := ipv4.NewRawConn(ip)
	if err != nil {
		c.Close()
		return nil, fmt.Errorf("tun: raw socket of protocol %d: %w", proto, err)
	}
	return rc, nil
}

const socketBuffer = 4 << 20

func setOption(c *ipv4.RawConn, level, name, value int) error {
	sc, err := c.SyscallConn()
	if err != nil {
		return err
	}
	var set error
	if err := sc.Control(func(fd uintptr) { set = unix.SetsockoptInt(int(fd), level, name, value) }); err != nil {
		return err
	}
	return set
}

func errorsOnly() *ipv4.ICMPFilter {
	var f ipv4.ICMPFilter
	f.SetAll(true)
	f.Accept(ipv4.ICMPTypeDestinationUnreachable)
	f.Accept(ipv4.ICMPTypeTimeExceeded)
	f.Accept(ipv4.ICMPTypeParameterProblem)
	return &f
}

func (k *kernelRaw) send(packets []ipv4.Message) (refused int) {
	for len(packets) > 0 {
		n, err := k.out.WriteBatch(packets, 0)
		if n > 0 {
			packets = packets[n:]
			continue
		}
		if err == nil || errors.Is(err, net.ErrClosed) {
			return refused + len(packets)
		}
		// The first one was refused (no route, too long); the rest may pass.
		refused++
		packets = packets[1:]
	}
	return refused
}

func (k *kernelRaw) receive(proto int, take func(*batch)) {
	c := k.in[proto]
	b := newBatch(rawBatch)
	messages := make([]ipv4.Message, len(b.bufs))
	for i := range messages {
		messages[i].Buffers = [][]byte{b.bufs[i][headroom : headroom+maxPacket]}
	}
	for {
		n, err := c.ReadBatch(messages, 0)
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil {
			continue // an ICMP error about a packet sent earlier
		}
		for i := range n {
			b.packets[i] = messages[i].Buffers[0][:messages[i].N]
		}
		b.n = n
		take(b)
	}
}

func (k *kernelRaw) link(name string, local netip.Addr) (index, mtu int, err error) {
	if name == "" {
		return 0, defaultUnderlayMTU, nil
	}
	index, err = k.ioctl(name, unix.SIOCGIFINDEX)
	if err == nil {
		mtu, err = k.ioctl(name, unix.SIOCGIFMTU)
	}
	if err != nil {
		return 0, 0, fmt.Errorf("link %s: %w", name, err)
	}
	return index, mtu, nil
}

// defaultUnderlayMTU is believed of an underlay that routing chooses.
const defaultUnderlayMTU = 1500

func (k *kernelRaw) ioctl(name string, request uint) (int, error) {
	ifr, err := unix.NewIfreq(name)
	if err != nil {
		return 0, err
	}
	if err := unix.IoctlIfreq(k.ctl, request, ifr); err != nil {
		return 0, err
	}
	return int(ifr.Uint32()), nil
}

func (k *kernelRaw) close() error {
	var err error
	k.once.Do(func() {
		for _, c := range k.in {
			err = errors.Join(err, c.Close())
		}
		if k.out != nil {
			err = errors.Join(err, k.out.Close())
		}
		if k.ctl >= 0 {
			err = errors.Join(err, unix.Close(k.ctl))
		}
	})
	return err
}
