package translator

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/net/ipv6"
	"golang.org/x/sys/unix"

	"careof/internal/core/engine"
	"careof/internal/host/beside"
	"careof/internal/host/netspace"
	"careof/wire/nat64"
)

// A Link is one whose translator is looked for.
type Link struct {
	Name   string
	Prefix nat64.Prefix // as configured; invalid: it is found out
}

// Config is what a [Finder] is made with.
type Config struct {
	Links []Link
	// Tell tells the path of a link, or that it has none any more. It is called
	// from one goroutine.
	Tell func(link string, p Path, ok bool)
	// Servers are the name servers to ask where routers tell of none; nil for
	// none.
	Servers func() []netip.Addr
}

// A Finder finds the translators of links. It belongs to one network namespace,
// and is safe for concurrent use.
type Finder struct {
	c      Config
	space  *netspace.Space
	handle *netlink.Handle
	radio  *ipv6.PacketConn // for router advertisements; nil where there are none to be had

	news news // of the kernel

	poked   chan struct{}
	heard   chan hearing
	answers chan answer

	mu     sync.Mutex
	states map[string]*state
}

type hearing struct {
	index  int
	router netip.Addr
	list   []advertised
}

type answer struct {
	link   string
	source netip.Addr // that it was asked from
	list   []nat64.Prefix
	ttl    time.Duration
}

// Open makes a finder for the calling thread's network namespace. It does nothing
// before Run.
func Open(c Config) (f *Finder, err error) {
	f = &Finder{
		c: c, poked: make(chan struct{}, 1), heard: make(chan hearing, 16), answers: make(chan answer),
		states: make(map[string]*state),
	}
	if f.space, err = netspace.Here(); err != nil {
		return nil, fmt.Errorf("translator: %w", err)
	}
	defer func() {
		if err != nil {
			f.Close()
		}
	}()
	if f.handle, err = netlink.NewHandle(unix.NETLINK_ROUTE); err != nil {
		return nil, fmt.Errorf("translator: %w", err)
	}
	conn, err := net.ListenPacket("ip6:ipv6-icmp", "::")
	switch {
	case errors.Is(err, unix.EAFNOSUPPORT), errors.Is(err, unix.EADDRNOTAVAIL), errors.Is(err, unix.EPROTONOSUPPORT), errors.Is(err, unix.EPERM), errors.Is(err, unix.EACCES):
		err = nil // no IPv6, no network with IPv6 alone; no privilege, no advertisements
	case err != nil:
		return nil, fmt.Errorf("translator: %w", err)
	default:
		f.radio = ipv6.NewPacketConn(conn)
		var only ipv6.ICMPFilter
		only.SetAll(true)
		only.Accept(ipv6.ICMPTypeRouterAdvertisement)
		err = errors.Join(f.radio.SetICMPFilter(&only), f.radio.SetControlMessage(ipv6.FlagHopLimit|ipv6.FlagInterface, true))
		if err != nil {
			return nil, fmt.Errorf("translator: %w", err)
		}
	}
	if err = f.subscribe(); err != nil {
		return nil, err
	}
	f.Reconfigure(c.Links)
	return f, nil
}

// news is what the kernel tells of; the channels are closed when it has told more
// than there was room for.
type news struct {
	done   chan struct{}
	addrs  chan netlink.AddrUpdate
	routes chan netlink.RouteUpdate
	links  chan netlink.LinkUpdate
}

// subscribe has the kernel tell. A message that is lost is made good by the next,
// since the state is read whole.
func (f *Finder) subscribe() error {
	n := news{
		done: make(chan struct{}), addrs: make(chan netlink.AddrUpdate, 64),
		routes: make(chan netlink.RouteUpdate, 64), links: make(chan netlink.LinkUpdate, 64),
	}
	ignore := func(error) {} // the channel is closed then
	err := f.space.Do(func() error {
		return errors.Join(
			netlink.AddrSubscribeWithOptions(n.addrs, n.done, netlink.AddrSubscribeOptions{ErrorCallback: ignore}),
			netlink.RouteSubscribeWithOptions(n.routes, n.done, netlink.RouteSubscribeOptions{ErrorCallback: ignore}),
			netlink.LinkSubscribeWithOptions(n.links, n.done, netlink.LinkSubscribeOptions{ErrorCallback: ignore}))
	})
	if err != nil {
		close(n.done)
		return fmt.Errorf("translator: subscribe: %w", err)
	}
	f.news = n
	return nil
}

func (f *Finder) unsubscribe() {
	if f.news.done != nil {
		close(f.news.done)
	}
	f.news = news{}
}

// Close ends it; after Run has returned.
func (f *Finder) Close() error {
	f.unsubscribe()
	var err error
	if f.radio != nil {
		err = f.radio.Close()
	}
	if f.handle != nil {
		f.handle.Close()
	}
	return errors.Join(err, f.space.Close())
}

// Reconfigure replaces the links.
func (f *Finder) Reconfigure(links []Link) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for name := range f.states {
		if !slices.ContainsFunc(links, func(l Link) bool { return l.Name == name }) {
			delete(f.states, name)
		}
	}
	for _, l := range links {
		if f.states[l.Name] == nil {
			f.states[l.Name] = new(state)
		}
		f.states[l.Name].configured = l.Prefix
	}
	f.poke()
}

// Want tells whether a link needs a translator, for it has no IPv4 address: only
// then somebody is asked for one. What routers say is heard anyway.
func (f *Finder) Want(link string, wanted bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if s := f.states[link]; s != nil && s.wanted != wanted {
		s.wanted = wanted
		s.askAnew()
		f.poke()
	}
}

// Servers are the name servers of a link's network: those that routers tell of,
// else the ones of [Config].
func (f *Finder) Servers(link string) (list []netip.Addr) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if s := f.states[link]; s != nil {
		list = s.servers()
	}
	return f.orHosts(list)
}

func (f *Finder) orHosts(servers []netip.Addr) []netip.Addr {
	if len(servers) == 0 && f.c.Servers != nil {
		return f.c.Servers()
	}
	return servers
}

func (f *Finder) poke() {
	select {
	case f.poked <- struct{}{}:
	default:
	}
}

// retryKernel is when what the kernel has is looked at again, also when it told of
// no change: a message may be lost.
const retryKernel = 30 * time.Second

// Run finds until ctx ends.
func (f *Finder) Run(ctx context.Context) error {
	ctx, stop := context.WithCancel(ctx)
	var running sync.WaitGroup
	defer running.Wait()
	defer stop()
	if f.radio != nil {
		running.Go(func() { f.listen(ctx) })
		defer f.radio.SetReadDeadline(time.Unix(1, 0))
	}
	timer := time.NewTimer(0)
	defer timer.Stop()
	changed := true
	for {
		if changed {
			if err := f.readKernel(); err != nil {
				return err
			}
		}
		next := f.step(ctx, &running)
		timer.Reset(next)
		changed = true
		told := true
		select {
		case <-ctx.Done():
			return nil
		case _, told = <-f.news.addrs:
			f.drain()
		case _, told = <-f.news.routes:
			f.drain()
		case _, told = <-f.news.links:
			f.drain()
		case <-f.poked:
		case <-timer.C:
		case h := <-f.heard:
			changed = false
			f.hear(h)
		case a := <-f.answers:
			changed = false
			f.answered(a)
		}
		if !told {
			f.unsubscribe()
		}
		if f.news.done == nil {
			select {
			case <-ctx.Done():
			case <-time.After(resubscribe):
				// When it fails, the kernel is asked at every retryKernel.
				_ = f.subscribe()
			}
		}
	}
}

// resubscribe is how long the kernel's news are let alone after too many of them.
const resubscribe = 100 * time.Millisecond

// drain takes what else has gathered: a router may have a great many routes that
// change all the time, and they are read once for all of these.
func (f *Finder) drain() {
	for range cap(f.news.routes) {
		select {
		case <-f.news.routes:
		case <-f.news.links:
		case <-f.news.addrs:
		default:
			return
		}
	}
}

// hear takes an advertisement.
func (f *Finder) hear(h hearing) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, s := range f.states {
		if s.kernel.index == h.index {
			s.hear(h.router, h.list, time.Now())
		}
	}
}

func (f *Finder) answered(a answer) {
	f.mu.Lock()
	defer f.mu.Unlock()
	s := f.states[a.link]
	if s == nil {
		return
	}
	if !slices.Contains(s.kernel.sources, a.source) {
		a.list = nil // the answer of a network that the link has left
	}
	s.answered(a.list, a.ttl, time.Now())
}

// step does what is due, and tells how long nothing will be.
func (f *Finder) step(ctx context.Context, running *sync.WaitGroup) time.Duration {
	type finding struct {
		link string
		path Path
		has  bool
	}
	var tell []finding
	now := time.Now()
	next := now.Add(retryKernel)
	f.mu.Lock()
	for _, name := range slices.Sorted(maps.Keys(f.states)) {
		s := f.states[name]
		if s.choose(now) {
			tell = append(tell, finding{name, s.path, s.has})
		}
		if s.solicit(now) {
			f.solicit(s.kernel.index)
		}
		if s.ask(now) {
			servers, from := f.orHosts(s.servers()), s.kernel.sources[0]
			running.Go(func() { f.ask(ctx, name, from, servers) })
		}
		if at := s.wake(); !at.IsZero() && at.Before(next) {
			next = at
		}
	}
	f.mu.Unlock()
	for _, n := range tell {
		f.c.Tell(n.link, n.path, n.has)
	}
	return max(time.Until(next), time.Millisecond)
}

// solicit asks a link's routers to advertise themselves. Where that cannot be
// sent they do it by themselves, in a while.
func (f *Finder) solicit(index int) {
	if f.radio == nil {
		return
	}
	// Type, code, a checksum that the kernel fills in, and 4 reserved octets
	// (RFC 4861 section 4.1).
	message := []byte{byte(ipv6.ICMPTypeRouterSolicitation), 0, 0, 0, 0, 0, 0, 0}
	_, _ = f.radio.WriteTo(message, &ipv6.ControlMessage{HopLimit: 255, IfIndex: index},
		&net.IPAddr{IP: net.IPv6linklocalallrouters, Zone: strconv.Itoa(index)})
}

// listen reads advertisements until its deadline.
func (f *Finder) listen(ctx context.Context) {
	buffer := make([]byte, 2048)
	for {
		n, cm, src, err := f.radio.ReadFrom(buffer)
		if ctx.Err() != nil || errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil || cm == nil {
			continue
		}
		at, ok := src.(*net.IPAddr)
		if !ok {
			continue
		}
		from, _ := netip.AddrFromSlice(at.IP)
		list, err := readAdvertisement(buffer[:n], from, cm.HopLimit)
		if err != nil || len(list) == 0 {
			continue
		}
		select {
		case f.heard <- hearing{cm.IfIndex, from, list}:
		case <-ctx.Done():
			return
		}
	}
}

// ask asks name servers over a link.
func (f *Finder) ask(ctx context.Context, link string, from netip.Addr, servers []netip.Addr) {
	list, ttl, _ := ask(ctx, servers, func(ctx context.Context, server netip.AddrPort) (c net.Conn, err error) {
		d := net.Dialer{LocalAddr: net.UDPAddrFromAddrPort(netip.AddrPortFrom(from, 0)), Control: func(_, _ string, raw syscall.RawConn) (err error) {
			failed := raw.Control(func(fd uintptr) {
				err = errors.Join(unix.BindToDevice(int(fd), link), beside.Own(int(fd)))
			})
			return errors.Join(failed, err)
		}}
		if server.Addr().IsLinkLocalUnicast() {
			// The socket's own address would be another scope's.
			d.LocalAddr, server = nil, netip.AddrPortFrom(server.Addr().WithZone(link), server.Port())
		}
		err = f.space.Do(func() (err error) {
			c, err = d.DialContext(ctx, "udp6", server.String())
			return err
		})
		return c, err
	})
	select {
	case f.answers <- answer{link, from, list, ttl}:
	case <-ctx.Done():
	}
}

// readKernel reads what the kernel has of the links.
func (f *Finder) readKernel() error {
	links, err := netspace.Dump(f.handle.LinkList)
	if err != nil {
		return fmt.Errorf("translator: links: %w", err)
	}
	addrs, err := netspace.Dump(func() ([]netlink.Addr, error) { return f.handle.AddrList(nil, netlink.FAMILY_V6) })
	if err != nil {
		return fmt.Errorf("translator: addresses: %w", err)
	}
	routes, err := netspace.Dump(func() ([]netlink.Route, error) {
		return f.handle.RouteListFiltered(netlink.FAMILY_V6, &netlink.Route{Table: unix.RT_TABLE_MAIN, Dst: nil}, netlink.RT_FILTER_TABLE|netlink.RT_FILTER_DST)
	})
	if err != nil {
		return fmt.Errorf("translator: routes: %w", err)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	now := make(map[string]kernelState)
	for _, l := range links {
		a := l.Attrs()
		if f.states[a.Name] == nil {
			continue
		}
		k := kernelState{
			index: a.Index, mtu: f.mtu(a.Name, a.MTU),
			up: a.RawFlags&unix.IFF_UP != 0 && a.RawFlags&unix.IFF_RUNNING != 0 && a.RawFlags&unix.IFF_LOWER_UP != 0,
		}
		k.sources = usable(addrs, a.Index)
		k.routed = slices.ContainsFunc(routes, func(r netlink.Route) bool { return leads(r, a.Index) })
		if f.states[a.Name].wanted {
			if k.routers, err = f.routers(routes, a.Index); err != nil {
				return err
			}
		}
		now[a.Name] = k
	}
	for name, s := range f.states {
		s.attach(now[name])
	}
	return nil
}

// mtu is that of IPv6, which a router may have made smaller than the link's.
func (f *Finder) mtu(link string, mtu int) int {
	if strings.ContainsAny(link, "/") {
		return mtu
	}
	// Where it cannot be read the link's own counts.
	_ = f.space.Do(func() error {
		b, err := os.ReadFile("/proc/sys/net/ipv6/conf/" + link + "/mtu")
		if v, bad := strconv.Atoi(strings.TrimSpace(string(b))); err == nil && bad == nil && v > 0 {
			mtu = min(mtu, v)
		}
		return err
	})
	return mtu
}

// usable are the addresses of a link that new connections may have.
func usable(addrs []netlink.Addr, index int) []netip.Addr {
	var list []source
	for _, a := range addrs {
		addr, ok := netip.AddrFromSlice(a.IP)
		const not = unix.IFA_F_TENTATIVE | unix.IFA_F_DADFAILED | unix.IFA_F_DEPRECATED
		if !ok || a.LinkIndex != index || a.Scope != int(netlink.SCOPE_UNIVERSE) || a.Flags&not != 0 || !addr.Is6() || addr.IsMulticast() || addr.IsLoopback() {
			continue
		}
		list = append(list, source{addr, a.Flags&unix.IFA_F_TEMPORARY != 0})
	}
	return sortSources(list)
}

// routers are those of a link's default routes, best first.
func (f *Finder) routers(routes []netlink.Route, index int) (list []nextHop, err error) {
	var known []netlink.Neigh
	slices.SortStableFunc(routes, func(a, b netlink.Route) int { return cmp.Compare(a.Priority, b.Priority) })
	for _, r := range routes {
		if !leads(r, index) {
			continue
		}
		hops := r.MultiPath
		if r.LinkIndex == index {
			hops = []*netlink.NexthopInfo{{LinkIndex: index, Gw: r.Gw}}
		}
		for _, h := range hops {
			addr, ok := netip.AddrFromSlice(h.Gw)
			if !ok || h.LinkIndex != index || slices.ContainsFunc(list, func(n nextHop) bool { return n.addr == addr }) {
				continue
			}
			if known == nil {
				if known, err = netspace.Dump(func() ([]netlink.Neigh, error) { return f.handle.NeighList(index, netlink.FAMILY_V6) }); err != nil {
					return nil, fmt.Errorf("translator: neighbours: %w", err)
				}
			}
			list = append(list, nextHop{addr, resolved(known, h.Gw)})
		}
	}
	return list, nil
}

// resolved is the link-layer address of a neighbour, zero while it is not known.
func resolved(known []netlink.Neigh, addr net.IP) (hw engine.HardwareAddr) {
	const not = netlink.NUD_INCOMPLETE | netlink.NUD_FAILED
	for _, n := range known {
		if n.IP.Equal(addr) && n.State&not == 0 && len(n.HardwareAddr) == len(hw) {
			copy(hw[:], n.HardwareAddr)
		}
	}
	return hw
}

// leads tells whether a route is a default route over a link.
func leads(r netlink.Route, index int) bool {
	if r.Dst != nil {
		if ones, _ := r.Dst.Mask.Size(); ones != 0 {
			return false
		}
	}
	if r.Type != unix.RTN_UNICAST {
		return false
	}
	return r.LinkIndex == index || slices.ContainsFunc(r.MultiPath, func(n *netlink.NexthopInfo) bool { return n.LinkIndex == index })
}
