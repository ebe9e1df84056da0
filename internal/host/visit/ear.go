package visit

import (
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"net"
	"net/netip"
	"os"
	"slices"
	"sync"
	"syscall"

	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"

	"careof/internal/core/engine"
	"careof/internal/core/forward"
	"careof/internal/host/netspace"
	"careof/internal/host/sock"
)

// ears are the packet sockets on the links where visitors share a home address;
// elsewhere there are none. The keeper's lock guards them.
type ears struct {
	space *netspace.Space
	heard func(link string, hw forward.HardwareAddr, own netip.Addr, packet []byte)
	open  map[string]*ear

	addresses sync.RWMutex
	own       map[string]netip.Addr // this host's address by link
}

// An ear hears the packets from shared home addresses on one link.
type ear struct {
	link  string
	index int
	homes map[netip.Addr]bool
	nodes map[node]bool
	mu    sync.RWMutex // guards nodes
	file  *os.File
	raw   syscall.RawConn
	done  chan struct{}
}

// listen hears the nodes of one home address, and no others of it.
func (e *ears) listen(home netip.Addr, nodes map[node]bool) error {
	links := make(map[string]bool)
	for n := range nodes {
		links[n.link] = true
	}
	for name, ear := range e.open {
		if ear.homes[home] {
			links[name] = true
		}
	}
	var errs []error
	for _, link := range slices.Sorted(maps.Keys(links)) {
		errs = append(errs, e.attend(link, home, nodes))
	}
	return errors.Join(errs...)
}

func (e *ears) attend(link string, home netip.Addr, nodes map[node]bool) (err error) {
	a := e.open[link]
	if a == nil {
		if e.heard == nil {
			return fmt.Errorf("visit: %s: nobody hears visitors of one home address: %w", link, errors.ErrUnsupported)
		}
		if a, err = e.begin(link); err != nil {
			return err
		}
		e.open[link] = a
	}
	a.mu.Lock()
	maps.DeleteFunc(a.nodes, func(n node, _ bool) bool { return n.home == home })
	delete(a.homes, home)
	for n := range nodes {
		if n.link == link {
			a.nodes[n], a.homes[home] = true, true
		}
	}
	a.mu.Unlock()
	if len(a.homes) == 0 {
		a.end()
		delete(e.open, link)
		return nil
	}
	return a.filter()
}

// begin opens a link's socket.
func (e *ears) begin(link string) (a *ear, err error) {
	err = e.space.Do(func() error {
		a, err = openEar(link)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("visit: %s: %w", link, err)
	}
	go func() {
		defer close(a.done)
		a.read(e)
	}()
	return a, nil
}

// linkChanged opens the socket anew on a link that has another index.
func (e *ears) linkChanged(l engine.Link) error {
	e.addresses.Lock()
	delete(e.own, l.Name)
	if !l.Gone && len(l.Addresses) > 0 {
		e.own[l.Name] = l.Addresses[0].Addr()
	}
	e.addresses.Unlock()
	old := e.open[l.Name]
	if old == nil || l.Gone {
		return nil
	}
	same := false
	err := e.space.Do(func() error {
		ifi, err := net.InterfaceByName(l.Name)
		same = err == nil && ifi.Index == old.index
		return nil
	})
	if same || err != nil {
		return err
	}
	a, err := e.begin(l.Name)
	if err != nil {
		return err
	}
	a.mu.Lock()
	a.homes, a.nodes = old.homes, maps.Clone(old.nodes)
	a.mu.Unlock()
	old.end()
	e.open[l.Name] = a
	return a.filter()
}

func (e *ears) close() {
	for _, a := range e.open {
		a.end()
	}
	clear(e.open)
}

func openEar(link string) (*ear, error) {
	ifi, err := net.InterfaceByName(link)
	if err != nil {
		return nil, err
	}
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	a := &ear{
		link: link, index: ifi.Index, homes: make(map[netip.Addr]bool), nodes: make(map[node]bool),
		file: os.NewFile(uintptr(fd), "visitors of "+link), done: make(chan struct{}),
	}
	fail := func(err error) (*ear, error) {
		a.file.Close()
		return nil, err
	}
	if a.raw, err = a.file.SyscallConn(); err != nil {
		return fail(err)
	}
	if err := a.filter(); err != nil { // nothing is let up before
		return fail(err)
	}
	// The kernel merges what comes in, and leaves checksums of neighbours on
	// this machine to a network card that is not there. It says so.
	if err := unix.SetsockoptInt(fd, unix.SOL_PACKET, unix.PACKET_VNET_HDR, 1); err != nil {
		return fail(fmt.Errorf("offload headers: %w", err))
	}
	// A visitor's burst fits; a user namespace may not.
	unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, earBuffer)
	if err := unix.Bind(fd, &unix.SockaddrLinklayer{Protocol: sock.NetworkOrder(unix.ETH_P_IP), Ifindex: ifi.Index}); err != nil {
		return fail(err)
	}
	return a, nil
}

const earBuffer = 4 << 20

func (a *ear) end() {
	a.file.Close()
	<-a.done
}

// Offsets in an Ethernet frame with an IPv4 packet.
const (
	frameSource = 6
	frameHeader = 14
	ipSource    = frameHeader + 12
)

// maxFiltered is how many home addresses the kernel compares; with more of
// them this process does.
const maxFiltered = 1000

// filter lets up what comes to this host from one of the home addresses.
func (a *ear) filter() error {
	drop, accept := bpf.RetConstant{Val: 0}, bpf.RetConstant{Val: 1 << 17}
	program := []bpf.Instruction{
		bpf.LoadExtension{Num: bpf.ExtType},
		bpf.JumpIf{Cond: bpf.JumpEqual, Val: unix.PACKET_HOST, SkipTrue: 1},
		drop,
	}
	if len(a.homes) > maxFiltered {
		program = append(program, accept)
	} else {
		program = append(program, bpf.LoadAbsolute{Off: ipSource, Size: 4})
		for _, home := range slices.SortedFunc(maps.Keys(a.homes), netip.Addr.Compare) {
			b := home.As4()
			program = append(program, bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: binary.BigEndian.Uint32(b[:]), SkipTrue: 1}, accept)
		}
		program = append(program, drop)
	}
	var set error
	err := a.raw.Control(func(fd uintptr) { set = sock.Filter(int(fd), program) })
	if err = errors.Join(err, set); err != nil {
		return fmt.Errorf("visit: %s: filter: %w", a.link, err)
	}
	return nil
}

// read hands up packets until the socket is closed.
func (a *ear) read(e *ears) {
	buf := make([]byte, offloadHeader+frameHeader+1<<16)
	for {
		var n int
		var failed error
		if err := a.raw.Read(func(fd uintptr) bool {
			n, failed = unix.Read(int(fd), buf)
			return !errors.Is(failed, unix.EAGAIN)
		}); err != nil {
			return // closed
		}
		if failed != nil || n < offloadHeader+frameHeader+20 {
			continue // ENETDOWN and the like pass
		}
		a.frame(e, buf[:n])
	}
}

// frame hands up what one frame carries, when it is a sorted visitor's.
func (a *ear) frame(e *ears, buf []byte) {
	frame := buf[offloadHeader:]
	packet := frame[frameHeader:]
	n := node{place{a.link, netip.AddrFrom4([4]byte(packet[12:16]))}, forward.HardwareAddr(frame[frameSource : frameSource+6])}
	a.mu.RLock()
	known := a.nodes[n]
	a.mu.RUnlock()
	if !known || packet[0]>>4 != 4 {
		return
	}
	size := int(binary.BigEndian.Uint16(packet[2:]))
	if size < 20 || size > len(packet) {
		return // shorter than it says; longer is the padding of a short frame
	}
	e.addresses.RLock()
	own := e.own[a.link]
	e.addresses.RUnlock()
	for p := range wirePackets(parseOffload(buf), packet[:size]) {
		e.heard(a.link, n.hw, own, p)
	}
}
