package kernel

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"iter"
	"maps"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"sync"
	"time"

	"careof/internal/core/forward"
	"careof/internal/host/clock"
	"careof/internal/host/netspace"
	"careof/internal/host/plane/tun"
	"careof/wire/encap"
)

// Protocols are the IP protocols whose packets the kernel's devices take:
// user space must not receive them too (see tun.Config).
var Protocols = []encap.Kind{encap.IPIP, encap.GRE}

// Config is what a [Plane] is built from.
type Config struct {
	Slow   *tun.Plane // takes what devices cannot; closed by Close
	Device string     // user space's device: the name is our devices' tag
	Base   int        // see route.Config; the table in front of it is ours
}

// A Plane is the data plane of tunnel devices. It implements [forward.Plane].
type Plane struct {
	slow  forward.Plane
	links links
	now   func() time.Time
	after func(time.Duration, func()) (stop func() bool)

	mu      sync.Mutex
	entries map[forward.Key]*installed
	users   map[device]map[forward.Key]bool
	names   map[device]string
	left    map[device]string // of an earlier process, wanted by nobody yet
	next    int
	closed  bool
	armed   time.Time   // when the timer rings, zero: it is not set
	stop    func() bool // of the timer
}

var _ forward.Plane = (*Plane)(nil)

// installed is what an entry has in the kernel.
type installed struct {
	inner netip.Prefix
	d     device
	modes []forward.Mode // of its tunnels, as applied
	until time.Time      // zero: no end
	over  bool           // the end has come
}

// Open looks what the kernel has, in the calling thread's network namespace.
// Errors: ErrUnsupported.
func Open(c Config) (*Plane, error) {
	if err := probe(); err != nil {
		return nil, err
	}
	space, err := netspace.Here()
	if err != nil {
		return nil, err
	}
	p, err := open(c.Slow, &netlinks{space: space, tag: "careof " + c.Device, base: c.Base})
	if err != nil {
		space.Close()
		return nil, err
	}
	return p, nil
}

func open(slow forward.Plane, l links) (*Plane, error) {
	p := &Plane{
		slow: slow, links: l, now: clock.Mono,
		after:   func(d time.Duration, f func()) func() bool { return time.AfterFunc(d, f).Stop },
		entries: make(map[forward.Key]*installed), users: make(map[device]map[forward.Key]bool),
		names: make(map[device]string), left: make(map[device]string),
	}
	have, err := l.devices()
	if err != nil {
		return nil, fmt.Errorf("kernel: devices: %w", err)
	}
	for name, d := range have {
		p.left[d] = name
	}
	return p, nil
}

// Apply implements [forward.Plane].
func (p *Plane) Apply(ctx context.Context, changes []forward.Change) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	for i := range changes {
		if p.closed {
			return net.ErrClosed
		}
		c := changes[i]
		if err := p.apply(ctx, &c); err != nil {
			return fmt.Errorf("kernel: entry %q: %w", c.Entry.Key, err)
		}
	}
	return nil
}

func (p *Plane) apply(ctx context.Context, c *forward.Change) error {
	key := c.Entry.Key
	switch c.Op {
	case forward.Put:
		in, err := plan(&c.Entry)
		if err != nil {
			return err
		}
		if in != nil {
			// User space sends what is no unicast, and believes routers.
			c.Entry.Tunnels = slices.Clone(c.Entry.Tunnels)
			for i := range c.Entry.Tunnels {
				if t := &c.Entry.Tunnels[i]; slices.Contains(Protocols, t.Encap) && t.Mode != forward.Receive {
					t.Mode = forward.Send
				}
			}
		}
		if err := p.slow.Apply(ctx, []forward.Change{*c}); err != nil {
			return err
		}
		return p.install(&c.Entry, in)
	case forward.Extend:
		if in := p.entries[key]; in != nil {
			in.until = c.Until
			if err := p.refresh(in); err != nil {
				return err
			}
			p.wake(in)
		}
	case forward.Delete:
		if err := p.uninstall(key); err != nil {
			return err
		}
	}
	return p.slow.Apply(ctx, []forward.Change{*c})
}

// plan tells what the kernel does for an entry, nil when nothing.
func plan(e *forward.Entry) (*installed, error) {
	in := &installed{inner: e.Inner}
	sends, ours := 0, 0
	for i := range e.Tunnels {
		t := &e.Tunnels[i]
		in.modes = append(in.modes, t.Mode)
		// What is to be counted user space sends, and it also takes what comes.
		device := slices.Contains(Protocols, t.Encap) && t.Budget == 0
		if device && e.Role != forward.HomeAgent {
			return nil, fmt.Errorf("tunnel devices are for home agents: %w", ErrUnsupported)
		}
		if device && e.Router.IsValid() && t.Wrap.IsValid() {
			return nil, fmt.Errorf("a mobile network through a foreign agent, which needs two tunnels: %w", ErrUnsupported)
		}
		if t.Mode == forward.Receive {
			continue
		}
		sends++
		if !device {
			continue
		}
		ours++
		in.d = deviceOf(t)
		in.until = t.Until
	}
	switch {
	case ours == 0:
		return nil, nil
	case sends > 1:
		return nil, fmt.Errorf("simultaneous bindings: %w", ErrUnsupported)
	}
	return in, nil
}

func deviceOf(t *forward.Tunnel) device {
	d := device{kind: t.Encap, local: t.Local.Addr(), peer: t.Peer.Addr(), link: t.Link}
	if t.Encap == encap.GRE && t.HasKey {
		d.hasKey, d.key = true, t.Key
	}
	return d
}

// install makes the kernel do what was planned, and then takes back what it
// did for the entry before.
func (p *Plane) install(e *forward.Entry, in *installed) error {
	key := e.Key
	old := p.entries[key]
	if in == nil {
		return p.uninstall(key)
	}
	if err := p.use(in.d, key, mtuOf(e)); err != nil {
		return err
	}
	if old != nil && old.inner != in.inner {
		if err := p.links.release(old.inner); err != nil {
			return err
		}
	}
	p.entries[key] = in
	in.over = true // until there is a route
	if err := p.refresh(in); err != nil {
		return err
	}
	p.wake(in)
	if old != nil && old.d != in.d {
		return p.unuse(old.d, key)
	}
	return nil
}

func mtuOf(e *forward.Entry) int {
	for i := range e.Tunnels {
		if t := &e.Tunnels[i]; t.Mode != forward.Receive {
			return t.MTU
		}
	}
	return 0
}

// refresh makes the route be there as long as the entry's time is not over.
// Without it packets reach user space, which drops them.
func (p *Plane) refresh(in *installed) error {
	over := !in.until.IsZero() && !p.now().Before(in.until)
	if over == in.over {
		return nil
	}
	var err error
	if over {
		err = p.links.release(in.inner)
	} else {
		err = p.links.lead(in.inner, p.names[in.d])
	}
	if err == nil {
		in.over = over
	}
	return err
}

func (p *Plane) uninstall(key forward.Key) error {
	in := p.entries[key]
	if in == nil {
		return nil
	}
	if err := p.links.release(in.inner); err != nil {
		return err
	}
	delete(p.entries, key)
	return p.unuse(in.d, key)
}

// defaultUnderlayMTU is believed of an underlay that routing chooses.
const defaultUnderlayMTU = 1500

// use makes a device, unless it is there.
func (p *Plane) use(d device, key forward.Key, mtu int) error {
	if mtu == 0 {
		under := defaultUnderlayMTU
		if d.link != "" {
			var err error
			if under, err = p.links.underlay(d.link); err != nil {
				return err
			}
		}
		h := encap.Header{Kind: d.kind, HasKey: d.hasKey}
		mtu = under - h.Overhead()
	}
	if p.users[d] == nil {
		name, had := p.left[d]
		if had {
			if err := p.links.setMTU(name, mtu); err != nil {
				return err
			}
			delete(p.left, d)
		} else {
			name = p.free()
			if err := p.links.add(name, d, mtu); err != nil {
				return err
			}
		}
		p.names[d], p.users[d] = name, make(map[forward.Key]bool)
	}
	p.users[d][key] = true
	return nil
}

// free is a name that none of our devices has.
func (p *Plane) free() string {
	for {
		name := "careofk" + strconv.Itoa(p.next)
		p.next++
		if !slices.Contains(slices.Collect(maps.Values(p.left)), name) && !slices.Contains(slices.Collect(maps.Values(p.names)), name) {
			return name
		}
	}
}

func (p *Plane) unuse(d device, key forward.Key) error {
	delete(p.users[d], key)
	if len(p.users[d]) > 0 {
		return nil
	}
	name := p.names[d]
	delete(p.users, d)
	delete(p.names, d)
	return p.links.remove(name)
}

// wake sets the timer to the end of an entry, unless it rings before that.
func (p *Plane) wake(in *installed) {
	if in.over || in.until.IsZero() || !p.armed.IsZero() && !in.until.Before(p.armed) {
		return
	}
	if p.stop != nil {
		p.stop()
	}
	p.armed = in.until
	p.stop = p.after(max(in.until.Sub(p.now()), time.Millisecond), p.end)
}

// end takes the routes of entries whose time is over.
func (p *Plane) end() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return
	}
	p.armed = time.Time{}
	for _, key := range slices.Sorted(maps.Keys(p.entries)) {
		in := p.entries[key]
		// What fails now is tried again by the timer that is set here.
		_ = p.refresh(in)
		p.wake(in)
	}
}

// List implements [forward.Plane].
func (p *Plane) List(ctx context.Context) iter.Seq[forward.Entry] {
	return func(yield func(forward.Entry) bool) {
		for e := range p.slow.List(ctx) {
			p.mu.Lock()
			if in := p.entries[e.Key]; in != nil {
				for i := range min(len(e.Tunnels), len(in.modes)) {
					e.Tunnels[i].Mode = in.modes[i]
				}
			}
			p.mu.Unlock()
			if !yield(e) {
				return
			}
		}
	}
}

// Events implements [forward.Plane].
func (p *Plane) Events() <-chan forward.Event { return p.slow.Events() }

// Counters implements [forward.Plane]. They begin anew with each device.
func (p *Plane) Counters(k forward.Key) forward.Counters {
	c := p.slow.Counters(k)
	p.mu.Lock()
	defer p.mu.Unlock()
	in := p.entries[k]
	if in == nil || len(p.users[in.d]) != 1 {
		return c
	}
	if d, err := p.links.traffic(p.names[in.d]); err == nil {
		c.SentPackets += d.SentPackets
		c.SentBytes += d.SentBytes
		c.ReceivedPackets += d.ReceivedPackets
		c.ReceivedBytes += d.ReceivedBytes
		c.DroppedPackets += d.DroppedPackets
	}
	return c
}

// Use implements [forward.Plane]: devices do not tell when.
func (p *Plane) Use(k forward.Key) forward.Use { return p.slow.Use(k) }

// Reconcile removes devices of an earlier process that nobody has asked for
// since. Call it once the entries that outlived a restart have been applied.
func (p *Plane) Reconcile() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	var errs []error
	for _, d := range slices.SortedFunc(maps.Keys(p.left), func(a, b device) int { return cmp.Compare(p.left[a], p.left[b]) }) {
		if err := p.links.remove(p.left[d]); err != nil {
			errs = append(errs, err)
			continue
		}
		delete(p.left, d)
	}
	return errors.Join(errs...)
}

// Devices are the names of our devices.
func (p *Plane) Devices() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Sorted(maps.Values(p.names))
}

// Withdraw removes everything of ours from the kernel.
func (p *Plane) Withdraw() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	var errs []error
	for _, key := range slices.Sorted(maps.Keys(p.entries)) {
		errs = append(errs, p.uninstall(key))
	}
	return errors.Join(append(errs, p.links.withdraw())...)
}

// Close implements [forward.Plane]. Devices stay, for the next start to find.
func (p *Plane) Close() error {
	p.mu.Lock()
	if p.closed {
		p.mu.Unlock()
		return nil
	}
	p.closed = true
	if p.stop != nil {
		p.stop()
	}
	err := p.links.close()
	p.mu.Unlock()
	return errors.Join(err, p.slow.Close())
}
