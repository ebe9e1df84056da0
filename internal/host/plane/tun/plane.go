package tun

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"iter"
	"maps"
	"math"
	"net"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"careof/internal/core/forward"
	"careof/internal/host/clock"
	"careof/internal/host/sock"
	"careof/wire/encap"
)

// ErrUnsupported says that this plane cannot do what an entry asks. It is an
// errors.ErrUnsupported.
var ErrUnsupported = fmt.Errorf("tun: %w", errors.ErrUnsupported)

// Datagrams sends Tunnel Data messages through the role's own UDP sockets:
// data and registrations share a port (RFC 3519 section 4.9). The messages of
// one call are of one flow and leave in order. *sock.Set is one.
type Datagrams interface {
	SendData(local, peer netip.AddrPort, link string, tos uint8, messages [][]byte) error
	// SendTrain sends messages of size octets each, the last one possibly
	// shorter. They are given as the pieces of memory that they consist of.
	SendTrain(local, peer netip.AddrPort, link string, tos uint8, size int, pieces [][]byte) error
}

// Visitors sends whole IP packets to a link-layer address on a link.
// *discovery.Set is one.
type Visitors interface {
	SendPacket(link string, hw forward.HardwareAddr, packet []byte) error
}

// Config is what a [Plane] is built from.
type Config struct {
	Device    Device    // see OpenDevice; closed by Close
	Datagrams Datagrams // nil when no tunnel uses UDP

	// Identities are the addresses by which peers know this host as a home
	// agent, where they differ from the ends of its tunnels (1:1 NAT). A
	// keepalive is one to such an address.
	Identities []netip.Addr

	// HomeNetworks are the home agent's own: a packet for an address in one
	// of them that nobody has bound is answered with host unreachable.
	HomeNetworks []netip.Prefix

	// Casts says what is forwarded besides unicast; nil without a home agent.
	Casts *Casts

	// Visitors delivers packets to a foreign agent's visitors; nil without
	// that role.
	Visitors Visitors

	// Settling says that entries of an earlier process are about to be
	// applied: until [Plane.Settle], nobody is told that an address is not
	// bound.
	Settling bool

	// Mark is put on the outer packets (SO_MARK) unless it is 0.
	Mark uint32

	// Secret is this host's WireGuard key; nil without encrypted tunnels.
	Secret *Secret

	// CopyDF leaves DF of the outer header as the inner one has it. The
	// default sets it always, RFC 2003 section 5.1: "the encapsulator SHOULD
	// normally do Path MTU Discovery, requiring it to send all datagrams into
	// the tunnel with the "Don't Fragment" bit set". UDP sockets are not
	// concerned.
	CopyDF bool

	// Elsewhere are the encapsulations whose packets from the network the
	// kernel's own tunnel devices take. Ones over UDP cannot be among them.
	Elsewhere []encap.Kind

	// Clock is the monotonic clock of the machines; nil means clock.Mono.
	Clock func() time.Time

	// raw replaces the raw sockets in tests.
	raw rawSocket
}

// eventRoom bounds the events that wait for a reader.
const eventRoom = 1024

// Totals counts what belongs to no entry.
type Totals struct {
	Strangers     uint64 `json:"strangers"`      // tunnel packets that no live tunnel takes
	Malformed     uint64 `json:"malformed"`      // tunnel packets that are none
	Unbound       uint64 `json:"unbound"`        // packets for or from an address without an entry
	Loops         uint64 `json:"loops"`          // packets that would have gone in a circle
	Congested     uint64 `json:"congested"`      // dropped by RFC 6040 section 4.2
	ErrorsRelayed uint64 `json:"errors_relayed"` // ICMP errors sent to original senders
	EventsLost    uint64 `json:"events_lost"`
	SendErrors    uint64 `json:"send_errors"` // refused by a socket or the device
	Copies        uint64 `json:"copies"`      // of redundant packets, dropped since another one had come
	Copied        uint64 `json:"copied"`      // packets that were sent over another path besides, once for each
	CopiedBytes   uint64 `json:"copied_bytes"`
	Withheld      uint64 `json:"withheld"`   // for an end that has not shown to be there, beyond its budget
	Tunnelless    uint64 `json:"tunnelless"` // of an entry that has no live tunnel
	Returned      uint64 `json:"returned"`   // too long, or with a TTL at its end: the sender is told, where it may be
	Overruns      uint64 `json:"overruns"`   // for which there was no room, or no leave to go to many
}

type totals struct {
	strangers, malformed, unbound, loops, congested, relayed, lost, sendErrors, withheld, copies, copied, copiedBytes,
	tunnelless, returned, overruns atomic.Uint64
}

// own is what a running plane may be told anew.
type own struct {
	identities []netip.Addr
	networks   []netip.Prefix
}

// SetOwn replaces Identities and HomeNetworks of the configuration.
func (p *Plane) SetOwn(identities []netip.Addr, networks []netip.Prefix) {
	p.own.Store(&own{identities, networks})
}

// A Plane is the user-space data plane. It implements [forward.Plane].
type Plane struct {
	config  Config
	own     atomic.Pointer[own]
	clock   func() time.Time
	began   time.Time
	dev     Device
	raw     rawSocket
	events  chan forward.Event
	totals  totals
	ident   atomic.Uint32 // outer identification
	deaf    atomic.Bool   // the device is not read any more
	settled atomic.Bool   // what outlived a restart has been applied

	shortcut atomic.Pointer[Shortcut]

	agent  table      // HomeAgent, by inner destination when sending, source when receiving
	mobile table      // MobileNode, the other way round
	guests table      // ForeignAgent, like MobileNode
	back   sync.Mutex // one visitor's packet at a time leaves a tunnel
	onward *sender    // of those, guarded by back
	peers  peers
	casts  casts

	ciphers ciphers
	policy  atomic.Pointer[Casts]
	done    chan struct{} // closed by Close

	mu       sync.Mutex // of the control side
	bindings map[forward.Key]*binding
	asleep   sleeping // the other entries; with a lock of its own, which is taken after mu
	closed   bool

	scratch     sync.Pool // *batch, for Deliver
	outerErrors bucket    // for OuterError
	readers     sync.WaitGroup
	deafened    chan struct{} // closed when the device is not read any more
}

var _ forward.Plane = (*Plane)(nil)

// New starts a plane on a device. It opens its raw sockets in the calling
// thread's network namespace.
func New(c Config) (*Plane, error) {
	p := &Plane{
		config:      c,
		clock:       c.Clock,
		dev:         c.Device,
		raw:         c.raw,
		events:      make(chan forward.Event, eventRoom),
		bindings:    make(map[forward.Key]*binding),
		done:        make(chan struct{}),
		deafened:    make(chan struct{}),
		outerErrors: newBucket(100, 50),
	}
	p.SetOwn(c.Identities, c.HomeNetworks)
	p.ciphers = ciphers{p: p, ends: make(map[endID]*cipherEnd), peers: make(map[peerID]*cipherPeer), ways: make(map[cipherWay][]*tunnel)}
	p.casts.init()
	p.SetCasts(c.Casts)
	if p.clock == nil {
		p.clock = clock.Mono
	}
	p.settled.Store(!c.Settling)
	p.began = p.clock()
	p.casts.asked = p.now()
	p.scratch.New = func() any { return newBatch(0) }
	if p.raw == nil {
		raw, err := openRaw(c.Mark, c.Elsewhere)
		if err != nil {
			return nil, err
		}
		p.raw = raw
	}
	p.start(p.readDevice)
	for _, proto := range tunnelProtocols {
		if slices.Contains(c.Elsewhere, encap.Kind(proto)) {
			continue
		}
		p.start(func() { p.raw.receive(proto, p.rawPackets) })
	}
	p.start(func() { p.raw.receive(protoICMP, p.icmpPackets()) })
	p.start(p.castsWatch)
	return p, nil
}

func (p *Plane) start(run func()) {
	p.readers.Add(1)
	go func() {
		defer p.readers.Done()
		run()
	}()
}

// Apply implements [forward.Plane]. An error names the entry.
func (p *Plane) Apply(ctx context.Context, changes []forward.Change) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	for i := range changes {
		if err := ctx.Err(); err != nil {
			return err
		}
		if p.closed {
			return net.ErrClosed
		}
		c := &changes[i]
		switch c.Op {
		case forward.Put:
			if err := p.put(&c.Entry); err != nil {
				return fmt.Errorf("tun: entry %q: %w", c.Entry.Key, err)
			}
		case forward.Delete:
			if old := p.bindings[c.Entry.Key]; old != nil {
				p.uninstall(old)
				delete(p.bindings, c.Entry.Key)
				p.castsFollow(old, nil)
			} else {
				p.asleep.drop(c.Entry.Key)
			}
		case forward.Extend:
			until := p.until(c.Until)
			if p.asleep.extend(c.Entry.Key, until) {
				continue
			}
			if b := p.bindings[c.Entry.Key]; b != nil {
				for _, t := range b.tunnels {
					if t.t.Mode != forward.Receive {
						t.until.Store(until)
					}
				}
			}
		default:
			return fmt.Errorf("tun: entry %q: unknown operation %d", c.Entry.Key, c.Op)
		}
	}
	return nil
}

func (p *Plane) until(t time.Time) int64 {
	if t.IsZero() {
		return noEnd
	}
	return p.instant(t)
}

// put installs e, or replaces the entry with its key in one step.
func (p *Plane) put(e *forward.Entry) error {
	if err := check(e); err != nil {
		return err
	}
	if p.bindings[e.Key] == nil {
		if maySleep(e) && p.alone(e) && p.asleep.put(e, p.until(e.Tunnels[0].Until)) {
			return nil
		}
		p.wake(e.Key)
	}
	if e.Role == forward.HomeAgent && e.Inner.Bits() == 32 {
		p.wakeAt(word(e.Inner.Addr())) // of several entries for one address none sleeps
	}
	return p.install(*e)
}

// install makes a binding of an entry that was checked.
func (p *Plane) install(e forward.Entry) error {
	e.Routes, e.Direct, e.Redundant = slices.Clone(e.Routes), slices.Clone(e.Direct), slices.Clone(e.Redundant)
	tunnels := e.Tunnels
	e.Tunnels = nil
	b := &binding{entry: e, stats: new(stats)}
	old := p.bindings[e.Key]
	if old != nil {
		b.stats, b.tag = old.stats, old.tag
	}
	b.tunnels = make([]*tunnel, 0, len(tunnels))
	for i := range tunnels {
		t, err := p.tunnel(b, tunnels[i])
		if err != nil {
			return err
		}
		if old != nil {
			t.soft.inherit(old, t)
		}
		t.purse = purseOf(old, &t.t)
		b.tunnels = append(b.tunnels, t)
	}
	if e.Role == forward.ForeignAgent {
		if err := p.admit(b); err != nil {
			return err
		}
	}
	for i, t := range b.tunnels {
		if err := p.ciphers.enter(t); err != nil {
			for _, t := range b.tunnels[:i] {
				p.ciphers.leave(t)
			}
			return err
		}
	}
	p.bindings[e.Key] = b
	for _, t := range b.tunnels {
		p.peers.add(t)
	}
	if old != nil && old.entry.Role == e.Role && old.entry.Inner == e.Inner {
		p.table(e.Role).replace(old, b)
		p.forgetPeers(old)
		p.castsFollow(old, b)
		return nil
	}
	p.table(e.Role).add(b)
	if old != nil {
		p.uninstall(old)
	}
	p.castsFollow(old, b)
	return nil
}

func (p *Plane) uninstall(b *binding) {
	p.table(b.entry.Role).remove(b)
	p.forgetPeers(b)
}

func (p *Plane) forgetPeers(b *binding) {
	for _, t := range b.tunnels {
		p.peers.remove(t)
		p.ciphers.leave(t)
	}
}

func (p *Plane) table(r forward.Role) *table {
	switch r {
	case forward.MobileNode:
		return &p.mobile
	case forward.ForeignAgent:
		return &p.guests
	}
	return &p.agent
}

// goneLink is the index of an interface that is not there: what is sent over it
// gets ENODEV, where 0 would let routing choose another one.
const goneLink = math.MaxInt32

// tunnel makes a tunnel ready for packets. DF is set as RFC 2003 section 5.1 has
// it: "requiring it to send all datagrams into the tunnel with the "Don't
// Fragment" bit set in the outer IP header".
//
//rfc:2003#5.1-3
func (p *Plane) tunnel(b *binding, ft forward.Tunnel) (*tunnel, error) {
	t := &tunnel{of: b, t: ft}
	t.until.Store(p.until(ft.Until))
	t.header = encap.Header{
		Kind: ft.Encap,
		Src:  ft.Local.Addr(), Dst: ft.Peer.Addr(),
		SrcPort: ft.Local.Port(), DstPort: ft.Peer.Port(),
		HasKey: ft.HasKey, Key: ft.Key,
		DF: !p.config.CopyDF,
	}
	if ft.Encap == encap.UDP {
		t.header.Inner = cmp.Or(ft.Inside, encap.IPIP)
	}
	index, mtu, err := p.raw.link(ft.Link, ft.Local.Addr())
	if errors.Is(err, unix.ENODEV) {
		// A modem that was pulled out. What came over it may still drain, says
		// the entry, and the tunnels beside it must not wait for that.
		index, mtu, err = goneLink, defaultUnderlayMTU, nil
	}
	if err != nil {
		return nil, err
	}
	t.link = mtu - t.overhead()
	t.mtu = cmp.Or(ft.MTU, t.link)
	if ft.Secured() {
		t.link &^= cipherUnit - 1
		t.mtu &^= cipherUnit - 1
	}
	if b.doubles() && ft.Wrap.IsValid() {
		t.wrap = &encap.Header{Kind: encap.IPIP, Src: ft.Wrap, Dst: b.entry.Router, DF: t.header.DF}
		t.mtu -= t.wrap.Overhead()
		t.link -= t.wrap.Overhead()
	}
	if t.mtu < minInnerMTU {
		t.mtu = minInnerMTU
	}
	if ft.Encap == encap.UDP && (t.wrap != nil || ft.Secured()) {
		return t, nil // its trains are cut, for prefix has one tunnel's headers, and no cipher's
	}
	if ft.Encap == encap.UDP {
		t.prefix = prefixOf(t.header)
		return t, nil
	}
	t.index = int32(index)
	return t, nil
}

// List implements [forward.Plane].
func (p *Plane) List(ctx context.Context) iter.Seq[forward.Entry] {
	return func(yield func(forward.Entry) bool) {
		for _, k := range p.keys() {
			if ctx.Err() != nil {
				return
			}
			if e, ok := p.entry(k); ok && !yield(e) {
				return
			}
		}
	}
}

// keys are those of all entries, in order.
func (p *Plane) keys() []forward.Key {
	p.mu.Lock()
	defer p.mu.Unlock()
	keys := slices.Collect(maps.Keys(p.bindings))
	p.asleep.mu.RLock()
	defer p.asleep.mu.RUnlock()
	for z := range p.asleep.all() {
		keys = append(keys, z.key)
	}
	slices.Sort(keys)
	return keys
}

func (p *Plane) entry(k forward.Key) (forward.Entry, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if b := p.bindings[k]; b != nil {
		return p.entryOf(b), true
	}
	p.asleep.mu.RLock()
	defer p.asleep.mu.RUnlock()
	if z := p.asleep.find(k); z != nil {
		return p.sleepersEntry(z), true
	}
	return forward.Entry{}, false
}

// entryOf is the entry as applied, with the Until of its last extension.
func (p *Plane) entryOf(b *binding) forward.Entry {
	e := b.entry
	e.Routes = slices.Clone(e.Routes)
	for _, t := range b.tunnels {
		ft := t.t
		if u := t.until.Load(); u == noEnd {
			ft.Until = time.Time{}
		} else {
			ft.Until = p.timeOf(u)
		}
		e.Tunnels = append(e.Tunnels, ft)
	}
	return e
}

// Events implements [forward.Plane]. The channel is never closed.
func (p *Plane) Events() <-chan forward.Event { return p.events }

// Counters implements [forward.Plane].
func (p *Plane) Counters(k forward.Key) forward.Counters {
	s := p.statsOf(k)
	if s == nil {
		return forward.Counters{}
	}
	return forward.Counters{
		SentPackets: s.sentPackets.Load(), SentBytes: s.sentBytes.Load(),
		ReceivedPackets: s.receivedPackets.Load(), ReceivedBytes: s.receivedBytes.Load(),
		DroppedPackets: s.dropped.Load(),
	}
}

// Use implements [forward.Plane].
func (p *Plane) Use(k forward.Key) forward.Use {
	s := p.statsOf(k)
	if s == nil {
		return forward.Use{}
	}
	return forward.Use{Sent: p.timeOf(s.sent.Load()), Received: p.timeOf(s.received.Load())}
}

func (p *Plane) statsOf(k forward.Key) *stats {
	p.mu.Lock()
	defer p.mu.Unlock()
	if b := p.bindings[k]; b != nil {
		return b.stats
	}
	return nil
}

// Totals tells what was counted for no entry in particular.
func (p *Plane) Totals() Totals {
	return Totals{
		Strangers: p.totals.strangers.Load(), Malformed: p.totals.malformed.Load(),
		Unbound: p.totals.unbound.Load(), Loops: p.totals.loops.Load(),
		Congested: p.totals.congested.Load(), ErrorsRelayed: p.totals.relayed.Load(),
		EventsLost: p.totals.lost.Load(), SendErrors: p.totals.sendErrors.Load(), Withheld: p.totals.withheld.Load(), Copies: p.totals.copies.Load(),
		Copied: p.totals.copied.Load(), CopiedBytes: p.totals.copiedBytes.Load(),
		Tunnelless: p.totals.tunnelless.Load(), Returned: p.totals.returned.Load(), Overruns: p.totals.overruns.Load(),
	}
}

// Settle says that the entries which outlived a restart have been applied:
// from now on an address without an entry is one that nobody has bound.
func (p *Plane) Settle() { p.settled.Store(true) }

// Alive reports whether the device is being read. It is not once somebody has
// deleted it.
func (p *Plane) Alive() bool { return !p.deaf.Load() && p.dev.alive() }

// Deaf is closed when the device is not read any more: by Close or Finish, or because
// somebody has deleted it.
func (p *Plane) Deaf() <-chan struct{} { return p.deafened }

// Finish sends what the kernel has routed to the device by now, and reads no
// more of it. It is for a process that ends and leaves sending to programs that
// go on without it: what it has not read yet they never see.
func (p *Plane) Finish() {
	p.dev.finish()
	<-p.deafened
}

// Close implements [forward.Plane]: it closes the device and the raw sockets
// and waits for their readers. A persistent device stays in the kernel.
func (p *Plane) Close() error {
	p.mu.Lock()
	if p.closed {
		p.mu.Unlock()
		return nil
	}
	p.closed = true
	close(p.done)
	p.mu.Unlock()
	err := errors.Join(p.ciphers.close(), p.dev.Close(), p.raw.close())
	p.readers.Wait()
	return err
}

// emit never waits.
func (p *Plane) emit(e forward.Event) {
	select {
	case p.events <- e:
	default:
		p.totals.lost.Add(1)
	}
}

var _ Datagrams = (*sock.Set)(nil)
