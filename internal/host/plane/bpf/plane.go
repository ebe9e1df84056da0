package bpf

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"iter"
	"net"
	"net/netip"
	"os"
	"slices"
	"sync"
	"time"

	"github.com/cilium/ebpf"
	"github.com/vishvananda/netlink"

	"careof/internal/core/engine"
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

	// Mark is put on outer packets of tunnels with a Link, unless it is 0.
	// Other tunnels are user space's then.
	Mark uint32

	// Port tells the port of an uplink's UDP socket, for tunnels whose Local
	// has none; 0 when there is no socket.
	Port func(link string, addr netip.Addr) uint16

	// AvoidVirtual leaves encapsulating to user space on virtual Ethernet and
	// bridges. Between namespaces of one host packets travel without their
	// checksums and in trains of 64 KiB; a program passes them on like that,
	// and the kernel on the other side knows what to do with it, but another
	// process that reads them from a socket does not.
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
	entries  map[forward.Key]*installed
	owners   map[place]forward.Key
	shared   map[place]map[forward.Key]bool // places with several owners
	left     map[place]*bindingValue        // pinned by an earlier process, wanted by nobody yet
	settings settingsValue
	counts   [4]int // of the tables, as settings tells programs
	overflow bool   // a table is full
	links    map[string]underLink
	egress   *attachment
	ingress  map[string]*attachment
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

// installed is an entry that was applied.
type installed struct {
	at    place
	slot  uint32
	sends uint8 // a bit for each tunnel of the binding that an Extend concerns
	path  path  // of the first of these
}

// path is what packets of a tunnel have in common for routers.
type path struct {
	local, peer [4]byte
	link        uint32
	kind        uint8
}

// Open loads the programs and puts the one that encapsulates on the device, in
// the calling thread's network namespace. The underlays' come with [Plane.Link].
// What an earlier process pinned goes on working until [Plane.Reconcile].
//
// Errors: ErrUnsupported, ErrNoBPFFS.
func Open(c Config) (p *Plane, err error) {
	p = &Plane{
		config:  c,
		slow:    c.Slow,
		entries: make(map[forward.Key]*installed),
		owners:  make(map[place]forward.Key),
		shared:  make(map[place]map[forward.Key]bool),
		left:    make(map[place]*bindingValue),
		links:   make(map[string]underLink),
		ingress: make(map[string]*attachment),
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
	p.settings.Device, p.settings.Mark = uint32(p.device), c.Mark
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

// adopt reads the pinned bindings.
func (p *Plane) adopt() error {
	used := make(map[uint32]bool)
	for n := range 4 {
		role := forward.HomeAgent
		if n&1 != 0 {
			role = forward.MobileNode
		}
		err := eachBinding(p.table(n), n >= 2, func(bits uint8, addr [4]byte, b *bindingValue) {
			p.left[place{role, bits, addr}] = b
			p.counts[n]++
			if b.Slot != noSlot {
				used[b.Slot] = true
			}
		})
		if err != nil {
			return fmt.Errorf("bpf: read bindings: %w", err)
		}
	}
	p.slots.reserve(used)
	return nil
}

// readBatch is how many bindings one system call reads.
const readBatch = 4096

func eachBinding(m *ebpf.Map, prefixes bool, yield func(bits uint8, addr [4]byte, b *bindingValue)) error {
	if prefixes {
		var k netKey
		var b bindingValue
		it := m.Iterate()
		for it.Next(&k, &b) {
			v := b
			yield(uint8(k.Bits), k.Addr, &v)
		}
		return it.Err()
	}
	var cursor ebpf.MapBatchCursor
	keys := make([][4]byte, min(readBatch, m.MaxEntries()))
	for {
		values := make([]bindingValue, len(keys)) // kept
		n, err := m.BatchLookup(&cursor, keys, values, nil)
		for i := range n {
			yield(32, keys[i], &values[i])
		}
		if errors.Is(err, ebpf.ErrKeyNotExist) {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

// Apply implements [forward.Plane]. User space has an entry before the
// programs have it, and loses it after them.
func (p *Plane) Apply(ctx context.Context, changes []forward.Change) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return net.ErrClosed
	}
	var b writes
	for len(changes) > 0 {
		if err := ctx.Err(); err != nil {
			return errors.Join(err, p.flush(&b))
		}
		n := 1
		for changes[0].Op == forward.Extend && n < len(changes) && changes[n].Op == forward.Extend {
			n++
		}
		run := changes[:n]
		changes = changes[n:]
		if run[0].Op == forward.Delete {
			if err := p.flush(&b); err != nil {
				return err
			}
			if err := p.remove(run[0].Entry.Key); err != nil {
				return fmt.Errorf("bpf: entry %q: %w", run[0].Entry.Key, err)
			}
		}
		if err := p.slow.Apply(ctx, run); err != nil {
			return errors.Join(err, p.flush(&b))
		}
		switch run[0].Op {
		case forward.Put:
			if err := p.put(&run[0].Entry, &b); err != nil {
				return fmt.Errorf("bpf: entry %q: %w", run[0].Entry.Key, err)
			}
		case forward.Extend:
			// The slots of a batch's own entries are set when it is written.
			if err := p.flush(&b); err != nil {
				return err
			}
			for i := range run {
				p.extend(run[i].Entry.Key, run[i].Until)
			}
		}
	}
	return p.flush(&b)
}

func (p *Plane) extend(key forward.Key, until time.Time) {
	in := p.entries[key]
	if in == nil {
		return
	}
	s := p.slots.at(in.slot)
	if s == nil {
		return
	}
	ns := nanos(until)
	for i := range maxTunnels {
		if in.sends&(1<<i) != 0 {
			s.setUntil(i, ns)
		}
	}
}

// put stages the binding of an entry. A foreign agent's visitors, who may
// share an address, are user space's.
func (p *Plane) put(e *forward.Entry, w *writes) error {
	if e.Role == forward.ForeignAgent {
		if p.entries[e.Key] == nil {
			return nil
		}
		if err := p.flush(w); err != nil {
			return err
		}
		return p.remove(e.Key)
	}
	at := placeOf(e)
	old := p.entries[e.Key]
	if old != nil && old.at != at {
		if err := p.flush(w); err != nil {
			return err
		}
		if err := p.remove(e.Key); err != nil {
			return err
		}
		old = nil
	}
	b, untils := p.translate(e)
	in := &installed{at: at, slot: noSlot}
	if old != nil {
		in.slot = old.slot
	}
	for i := range maxTunnels {
		if b.Tunnel[i].Flags&tunnelSends == 0 {
			continue
		}
		if in.sends == 0 {
			t := &b.Tunnel[i]
			in.path = path{t.Local, t.Peer, t.Link, t.Kind}
		}
		in.sends |= 1 << i
	}
	if old != nil && old.path != in.path {
		// What routers told was about another path.
		if s := p.slots.at(in.slot); s != nil {
			s.heedNothing()
		}
	}
	left := p.left[at]
	if owner, taken := p.owners[at]; taken && owner != e.Key || p.shared[at] != nil {
		// Two entries for one address: which of them a packet is for depends
		// on more than the programs look at.
		if p.shared[at] == nil {
			p.shared[at] = map[forward.Key]bool{owner: true}
		}
		p.shared[at][e.Key] = true
		b.Flags |= bindingSlow
	} else {
		p.owners[at] = e.Key
		if left != nil && old == nil {
			in.slot = left.Slot
		}
	}
	if in.slot == noSlot {
		if in.slot = p.slots.take(); in.slot == noSlot {
			b.Flags |= bindingSlow
		}
	}
	b.Slot = in.slot
	p.entries[e.Key] = in
	delete(p.left, at)
	if left != nil && *left == b {
		// As it was before the restart: only its end may differ.
		p.setUntils(b.Slot, &untils)
		return nil
	}
	isNew := old == nil && left == nil && len(p.shared[at]) == 0
	return p.stage(w, at, &b, &untils, isNew)
}

func (p *Plane) setUntils(i uint32, untils *[maxTunnels]uint64) {
	if s := p.slots.at(i); s != nil {
		for j, ns := range untils {
			s.setUntil(j, ns)
		}
	}
}

// remove takes an entry from the programs.
func (p *Plane) remove(key forward.Key) error {
	in := p.entries[key]
	if in == nil {
		return nil
	}
	if group := p.shared[in.at]; group != nil {
		// The others stay slow until they are applied again, the last of them
		// too: this is rare, and user space does all it should.
		delete(group, key)
		if len(group) > 0 {
			if p.owners[in.at] == key {
				keys := make([]forward.Key, 0, len(group))
				for k := range group {
					keys = append(keys, k)
				}
				p.owners[in.at] = slices.Min(keys)
			}
			p.forget(key, in)
			return nil
		}
		delete(p.shared, in.at)
	}
	if err := p.unset(in.at); err != nil {
		return err
	}
	delete(p.owners, in.at)
	p.forget(key, in)
	return nil
}

func (p *Plane) forget(key forward.Key, in *installed) {
	p.slots.give(in.slot)
	delete(p.entries, key)
}

// List implements [forward.Plane]: the entries that were applied, and what an
// earlier process pinned and nobody has applied since. Of the latter only what
// programs need is known, and so neither Routes nor Intercept.
func (p *Plane) List(ctx context.Context) iter.Seq[forward.Entry] {
	return func(yield func(forward.Entry) bool) {
		left := p.leftEntries()
		for e := range p.slow.List(ctx) {
			for len(left) > 0 && left[0].Key < e.Key {
				if !yield(left[0]) {
					return
				}
				left = left[1:]
			}
			if !yield(e) {
				return
			}
		}
		for _, e := range left {
			if ctx.Err() != nil || !yield(e) {
				return
			}
		}
	}
}

func (p *Plane) leftEntries() []forward.Entry {
	p.mu.Lock()
	defer p.mu.Unlock()
	names := make(map[int]string)
	name := func(index int) string {
		if n, ok := names[index]; ok {
			return n
		}
		var n string
		p.space.Do(func() error {
			l, err := netlink.LinkByIndex(index)
			if err == nil {
				n = l.Attrs().Name
			}
			return err
		})
		names[index] = n
		return n
	}
	var out []forward.Entry
	for at, b := range p.left {
		out = append(out, b.entry(at, p.slots.at(b.Slot), name))
	}
	slices.SortFunc(out, func(a, b forward.Entry) int { return cmp.Compare(a.Key, b.Key) })
	return out
}

// Reconcile removes what an earlier process pinned and nobody has applied
// since. Call it once the entries that outlived a restart have been applied.
func (p *Plane) Reconcile() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return net.ErrClosed
	}
	var errs []error
	for at, b := range p.left {
		if err := p.unset(at); err != nil {
			errs = append(errs, fmt.Errorf("bpf: %v: %w", at.prefix(), err))
			continue
		}
		p.slots.give(b.Slot)
		delete(p.left, at)
	}
	return errors.Join(errs...)
}

// Events implements [forward.Plane]: everything that is an event comes through
// user space.
func (p *Plane) Events() <-chan forward.Event { return p.slow.Events() }

func (p *Plane) slotOf(k forward.Key) *slot {
	if in := p.entries[k]; in != nil {
		return p.slots.at(in.slot)
	}
	return nil
}

// Counters implements [forward.Plane]. Packets that wait for segmentation
// count as what they will be.
func (p *Plane) Counters(k forward.Key) forward.Counters {
	c := p.slow.Counters(k)
	p.mu.Lock()
	defer p.mu.Unlock()
	if s := p.slotOf(k); s != nil {
		s.count(&c)
	}
	return c
}

// Use implements [forward.Plane].
func (p *Plane) Use(k forward.Key) forward.Use {
	u := p.slow.Use(k)
	p.mu.Lock()
	defer p.mu.Unlock()
	if s := p.slotOf(k); s != nil {
		fast := s.use()
		u.Sent, u.Received = later(u.Sent, fast.Sent), later(u.Received, fast.Received)
	}
	return u
}

func later(a, b time.Time) time.Time {
	if b.After(a) {
		return b
	}
	return a
}

// LastSent implements [tun.Shortcut].
func (p *Plane) LastSent(k forward.Key) time.Time {
	p.mu.Lock()
	defer p.mu.Unlock()
	if s := p.slotOf(k); s != nil {
		return s.use().Sent
	}
	return time.Time{}
}

// Heed implements [tun.Shortcut].
func (p *Plane) Heed(k forward.Key, mtu int, until time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if s := p.slotOf(k); s != nil {
		s.heed(mtu, until)
	}
}

// Link tells the present state of a link, and puts the program that
// decapsulates on those that are up. The tunnel device does not concern it.
func (p *Plane) Link(l engine.Link) error {
	if l.Name == p.config.Device || l.Name == "lo" {
		return nil
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return net.ErrClosed
	}
	return p.space.Do(func() error {
		delete(p.links, l.Name)
		dev, err := netlink.LinkByName(l.Name)
		if l.Gone || err != nil {
			a := p.ingress[l.Name]
			delete(p.ingress, l.Name)
			if a == nil {
				return nil
			}
			return a.remove()
		}
		if err := p.avoid(dev); err != nil {
			return err
		}
		index := dev.Attrs().Index
		a := p.ingress[l.Name]
		if a != nil && a.index == index {
			return nil
		}
		if a != nil {
			delete(p.ingress, l.Name)
			if err := a.remove(); err != nil {
				return err
			}
		}
		ethernet, ok := underlay(dev)
		if !ok {
			return nil
		}
		prog := p.o.DecapsulatePlain
		if ethernet {
			prog = p.o.DecapsulateEther
		}
		if a, err = p.attach(l.Name, index, false, prog); err != nil {
			return err
		}
		p.ingress[l.Name] = a
		return nil
	})
}

// lookup tells about an underlay. p.mu is held.
func (p *Plane) lookup(name string) (underLink, bool) {
	if l, ok := p.links[name]; ok {
		return l, true
	}
	var l underLink
	err := p.space.Do(func() error {
		dev, err := netlink.LinkByName(name)
		if err == nil {
			l = underLink{dev.Attrs().Index, dev.Attrs().MTU}
		}
		return err
	})
	if err != nil {
		return l, false
	}
	p.links[name] = l
	return l, true
}

// Status is what `careof show` tells of the programs.
type Status struct {
	Attach   string   `json:"attach"` // tcx or clsact
	Pinned   string   `json:"pinned,omitempty"`
	Links    []string `json:"links"`
	Entries  int      `json:"entries"`
	Left     int      `json:"left"` // of an earlier process, not yet reconciled
	Capacity int      `json:"capacity"`
}

// Status tells about the programs as a whole.
func (p *Plane) Status() Status {
	p.mu.Lock()
	defer p.mu.Unlock()
	s := Status{Attach: "tcx", Pinned: p.pins, Entries: len(p.entries), Left: len(p.left), Capacity: int(p.o.Slots.MaxEntries())}
	if p.egress != nil && p.egress.link == nil {
		s.Attach = "clsact"
	}
	for name := range p.ingress {
		s.Links = append(s.Links, name)
	}
	slices.Sort(s.Links)
	return s
}

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
	err := p.release()
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
