package bpf

import (
	"cmp"
	"errors"
	"fmt"
	"hash/maphash"
	"net/netip"
	"os"
	"sync"
	"unsafe"

	"github.com/cilium/ebpf"
	"github.com/vishvananda/netlink"

	"careof/internal/core/forward"
	"careof/internal/host/netspace"
	"careof/internal/host/plane/tun"
)

// DefaultCapacity is how many entries the programs handle unless configured
// otherwise; a slot for each is 128 octets of kernel memory from the start.
const DefaultCapacity = 1 << 17

// Config is what a [Plane] is built from.
type Config struct {
	Slow   *tun.Plane // takes what the programs do not; closed by Close
	Device string     // the tunnel device, which is there

	// Pins is a directory on a BPF file system in which what outlives the
	// process is kept. Empty: forwarding in the kernel ends with the process.
	Pins string

	// Capacity is how many entries the programs handle; those beyond it are
	// user space's. 0 means DefaultCapacity.
	Capacity int

	// Port tells the port of an uplink's UDP socket, for tunnels whose Local
	// has none; 0 when there is no socket.
	Port func(link string, addr netip.Addr) uint16

	// AvoidVirtual leaves encapsulating to user space on virtual Ethernet and
	// bridges. Between namespaces of one host packets travel without their
	// checksums and in trains of 64 KiB; a program passes them on like that,
	// and the kernel on the other side knows what to do with it, but another
	// process that reads them from a socket does not. That holds while this
	// process serves ([Plane.Attend]); without it the programs send there too.
	AvoidVirtual bool

	// Classic attaches by clsact filters even where TCX is to be had.
	Classic bool
}

// A Plane is the data plane in the kernel. It implements [forward.Plane].
type Plane struct {
	config Config
	slow   *tun.Plane
	space  *netspace.Space
	pins   string
	o      *objects
	device int

	mu       sync.Mutex
	slots    *slots
	entries  int                              // how many were applied
	slotless map[forward.Key]installed        // those for which there was no room
	left     leftovers                        // pinned by an earlier process, wanted by nobody yet
	seed     maphash.Seed                     // of leftover.sum and installed.path
	asides   map[place]bool                   // see SetAside
	kept     map[forward.Key]forward.Counters // what of user space's is counted in slots by now
	settings settingsValue
	counts   [4]int // of the tables, as settings tells programs
	aside    [4]int // how many of them are set aside
	overflow bool   // a table is full
	links    map[string]underLink
	egress   *attachment
	ingress  map[string]*attachment
	swept    bool  // strays are removed
	trouble  error // with the pins, at the last Reconcile
	stranger bool  // ErrUnknown
	closed   bool
}

var (
	_ forward.Plane = (*Plane)(nil)
	_ tun.Shortcut  = (*Plane)(nil)
)

// place is where a binding is kept: a role's table and an inner prefix.
type place struct {
	role forward.Role
	bits uint8
	addr [4]byte
}

func placeOf(e *forward.Entry) place {
	return place{e.Role, uint8(e.Inner.Bits()), e.Inner.Addr().As4()}
}

func (at place) prefix() netip.Prefix {
	return netip.PrefixFrom(netip.AddrFrom4(at.addr), int(at.bits))
}

// table numbers the maps of bindings.
func (at place) table() int {
	n := 0
	if at.role == forward.MobileNode {
		n = 1
	}
	if at.bits != 32 {
		n += 2
	}
	return n
}

func (p *Plane) table(n int) *ebpf.Map {
	return [...]*ebpf.Map{p.o.Agents, p.o.Mobiles, p.o.AgentNets, p.o.MobileNets}[n]
}

// installed is an entry that was applied. It is kept in the entry's tag and in
// its slot; what else is to be known of it the user-space plane knows.
type installed struct {
	at    place
	sends uint8 // a bit for each tunnel of the binding that an Extend concerns
	slot  uint32
	path  uint32 // hash of the path of the first of these
}

// tag is what user space keeps for an entry that has a slot: the slot, and what
// a refresh has to know.
func (in *installed) tag() uint64 { return uint64(in.slot) + 1 | uint64(in.sends)<<32 }

func slotOfTag(tag uint64) uint32 { return uint32(tag) - 1 } // noSlot of 0

func sendsOfTag(tag uint64) uint8 { return uint8(tag >> 32) }

// installed is what there is of an entry.
func (p *Plane) installed(k forward.Key) (installed, bool) {
	tag := p.slow.Tag(k)
	s := p.slots.at(slotOfTag(tag))
	if s == nil {
		in, ok := p.slotless[k]
		return in, ok
	}
	at := place{forward.Role(s.role), s.bits, s.addr}
	return installed{at: at, sends: sendsOfTag(tag), slot: slotOfTag(tag), path: s.path}, true
}

// install takes down what there is of an entry from now on.
func (p *Plane) install(k forward.Key, in *installed, was bool) {
	if !was {
		p.entries++
	}
	s := p.slots.at(in.slot)
	if s == nil {
		p.slotless[k] = *in
		p.slow.SetTag(k, 0)
		return
	}
	s.role, s.bits, s.addr, s.path = uint8(in.at.role), in.at.bits, in.at.addr, in.path
	p.slow.SetTag(k, in.tag())
	delete(p.slotless, k)
}

// path is what packets of a tunnel have in common for routers.
type path struct {
	local, peer [4]byte
	link        uint32
	kind        uint8
}

// leftover is a pinned binding.
type leftover struct {
	sum  uint64 // hash of its octets, under a seed that nobody knows
	slot uint32
}

func (p *Plane) leftoverOf(b *bindingValue) leftover {
	octets := unsafe.Slice((*byte)(unsafe.Pointer(b)), unsafe.Sizeof(*b))
	return leftover{maphash.Bytes(p.seed, octets), b.Slot}
}

// Open loads the programs and puts the one that encapsulates on the device, in
// the calling thread's network namespace. The underlays' come with [Plane.Link].
// What an earlier process pinned goes on working until [Plane.Reconcile].
//
// Errors: ErrUnsupported, ErrNoBPFFS, ErrPins.
func Open(c Config) (p *Plane, err error) {
	p = &Plane{
		config:   c,
		slow:     c.Slow,
		slotless: make(map[forward.Key]installed),
		seed:     maphash.MakeSeed(),
		asides:   make(map[place]bool),
		kept:     make(map[forward.Key]forward.Counters),
		links:    make(map[string]underLink),
		ingress:  make(map[string]*attachment),
	}
	defer func() {
		if err != nil {
			p.release()
			p = nil
		}
	}()
	if c.Pins != "" {
		if p.pins, err = pinDirectory(c.Pins, c.Device); err != nil {
			return p, err
		}
	}
	if p.space, err = netspace.Here(); err != nil {
		return p, err
	}
	dev, err := netlink.LinkByName(c.Device)
	if err != nil {
		return p, fmt.Errorf("bpf: %s: %w", c.Device, err)
	}
	p.device = dev.Attrs().Index
	if p.o, err = load(cmp.Or(c.Capacity, DefaultCapacity), p.pins); err != nil {
		return p, err
	}
	if p.slots, err = openSlots(p.o.Slots); err != nil {
		return p, err
	}
	if err = p.adopt(); err != nil {
		return p, err
	}
	p.settings.Device = uint32(p.device)
	if err = p.avoidLinks(); err != nil {
		return p, err
	}
	if err = p.writeSettings(); err != nil {
		return p, err
	}
	if p.egress, err = p.attach(c.Device, p.device, true, p.o.Encapsulate); err != nil {
		return p, err
	}
	p.adoptLinks()
	p.slow.SetShortcut(p)
	return p, nil
}

// Events implements [forward.Plane]: everything that is an event comes through
// user space.
func (p *Plane) Events() <-chan forward.Event { return p.slow.Events() }

// Withdraw takes back what would outlive the process: the programs go with
// [Plane.Close].
func (p *Plane) Withdraw() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed || p.pins == "" {
		return nil
	}
	err := removePins(p.pins)
	if rm := os.Remove(p.pins); rm != nil && !errors.Is(rm, os.ErrNotExist) {
		err = errors.Join(err, rm)
	}
	p.pins = ""
	return err
}

// Close implements [forward.Plane]. Pinned programs go on forwarding.
func (p *Plane) Close() error {
	p.mu.Lock()
	if p.closed {
		p.mu.Unlock()
		return nil
	}
	p.closed = true
	for _, k := range p.slow.Awake() {
		p.keep(k, p.slotOf(k))
	}
	err := errors.Join(p.attend(false), p.release())
	p.mu.Unlock()
	return errors.Join(err, p.slow.Close())
}

func (p *Plane) release() error {
	var errs []error
	attachments := []*attachment{}
	if p.egress != nil {
		attachments = append(attachments, p.egress)
	}
	for _, a := range p.ingress {
		attachments = append(attachments, a)
	}
	for _, a := range attachments {
		if p.pins != "" {
			errs = append(errs, a.close())
		} else {
			errs = append(errs, p.space.Do(a.remove))
		}
	}
	errs = append(errs, p.slots.close())
	if p.o != nil {
		errs = append(errs, p.o.close())
	}
	if p.space != nil {
		errs = append(errs, p.space.Close())
	}
	return errors.Join(errs...)
}
