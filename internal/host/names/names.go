// Package names resolves names, those of home agents above all. While a mobile
// node is not registered nothing but its own messages leaves, and name servers
// lie where programs' packets go: into a tunnel that is not there. So the
// questions go over the uplinks themselves, from their own addresses, over all
// at once.
package names

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"careof/internal/host/beside"
	"careof/internal/host/netspace"
)

// A Resolver asks the name servers of the host (resolv.conf) over uplinks, and
// as any program would beside that. It belongs to one network namespace.
type Resolver struct {
	space   *netspace.Space
	uplinks func() []string
	servers func(link string) []netip.Addr

	six func(link string) (Six, bool)

	server string // for tests: ask this one and not those of resolv.conf
}

// A Six is how IPv4 is reached over an uplink that has IPv6 alone.
type Six struct {
	Source  netip.Addr
	Servers []netip.Addr                // the network's name servers
	To      func(netip.Addr) netip.Addr // the address that stands for an IPv4 one
}

// OverSix has the uplinks that have IPv6 alone used too: six tells how. It is called
// before anything is asked.
func (r *Resolver) OverSix(six func(link string) (Six, bool)) { r.six = six }

// Open binds to the calling thread's network namespace. uplinks tells the
// interfaces to ask over, and servers which name servers the network of one has
// named: with none, or where servers is nil, those of resolv.conf are asked.
func Open(uplinks func() []string, servers func(link string) []netip.Addr) (*Resolver, error) {
	space, err := netspace.Here()
	if err != nil {
		return nil, fmt.Errorf("names: %w", err)
	}
	return &Resolver{space: space, uplinks: uplinks, servers: servers}, nil
}

// Close ends it.
func (r *Resolver) Close() error { return r.space.Close() }

// newWays is how often an uplink that has just got its address is looked for while
// the others' answers are waited for.
const newWays = 250 * time.Millisecond

// Lookup is the IPv4 addresses of a name, in the order of the first answer that
// had any. Uplinks that get their address meanwhile are asked over too. The error
// says for each way why there is none.
func (r *Resolver) Lookup(ctx context.Context, name string) ([]netip.Addr, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	type answer struct {
		list []netip.Addr
		err  error
		i    int
	}
	answers, over := make(chan answer), make(chan struct{})
	defer close(over)
	var asked []way
	ask := func(ways ...way) {
		for _, w := range ways {
			if slices.ContainsFunc(asked, func(a way) bool { return a.link == w.link && a.addr == w.addr }) {
				continue
			}
			i := len(asked)
			asked = append(asked, w)
			go func() {
				list, err := r.asker(w).LookupNetIP(ctx, "ip4", name)
				select {
				case answers <- answer{list, err, i}:
				case <-over:
				}
			}()
		}
	}
	ask(append(r.ways(), way{})...)
	again := time.NewTicker(newWays)
	defer again.Stop()
	failures := make(map[int]string)
	for len(failures) < len(asked) {
		select {
		case <-again.C:
			if ctx.Err() == nil {
				ask(r.ways()...)
			}
		case a := <-answers:
			if a.err == nil && len(a.list) > 0 {
				for i := range a.list {
					a.list[i] = a.list[i].Unmap()
				}
				return a.list, nil
			}
			failures[a.i] = asked[a.i].String() + ": " + explain(a.err)
		}
	}
	said := make([]string, len(asked))
	for i := range said {
		said[i] = failures[i]
	}
	return nil, fmt.Errorf("names: %s: %s", name, strings.Join(said, "; "))
}

// explain says in words why a name has no address.
func explain(err error) string {
	var dns *net.DNSError
	switch {
	case err == nil:
		return "it has no IPv4 address"
	case !errors.As(err, &dns):
		return err.Error()
	case dns.IsNotFound:
		return "there is no such name"
	case dns.IsTimeout:
		return "the name server " + dns.Server + " does not answer"
	case dns.Server != "":
		return "asking " + dns.Server + ": " + dns.Err
	}
	return dns.Err
}

// A way is an uplink and its address; the zero value is that of any program.
type way struct {
	link    string
	addr    netip.Addr
	servers []netip.Addr // that its network has named
	six     *Six         // it has IPv6 alone
}

func (w way) String() string {
	if w.link == "" {
		return "as programs ask"
	}
	return "over " + w.link
}

// ways are the uplinks that are up and have an IPv4 address, or a translator to
// IPv4.
func (r *Resolver) ways() (list []way) {
	// An error leaves the list short, and what is asked says what is wrong.
	_ = r.space.Do(func() error {
		for _, name := range r.uplinks() {
			link, err := net.InterfaceByName(name)
			if err != nil || link.Flags&net.FlagUp == 0 {
				continue
			}
			addrs, err := link.Addrs()
			if err != nil {
				continue
			}
			if r.six != nil {
				if six, ok := r.six(name); ok {
					list = append(list, way{link: name, addr: six.Source, servers: six.Servers, six: &six})
					continue
				}
			}
			for _, a := range addrs {
				if p, err := netip.ParsePrefix(a.String()); err == nil && p.Addr().Is4() {
					w := way{link: name, addr: p.Addr()}
					if r.servers != nil {
						w.servers = r.servers(name)
					}
					list = append(list, w)
					break
				}
			}
		}
		return nil
	})
	return list
}

// Over makes connections over an uplink, the questions for names included.
func (r *Resolver) Over(link string) func(ctx context.Context, network, address string) (net.Conn, error) {
	return func(ctx context.Context, network, address string) (net.Conn, error) {
		host, port, err := net.SplitHostPort(address)
		if err != nil {
			return nil, fmt.Errorf("names: %w", err)
		}
		w, list, err := r.over(ctx, link, host)
		if err != nil {
			return nil, err
		}
		for _, a := range list {
			var c net.Conn
			if c, err = r.dial(ctx, w, network, net.JoinHostPort(a.String(), port)); err == nil {
				return c, nil
			}
		}
		return nil, fmt.Errorf("names: %s %v: %w", address, w, err)
	}
}

// LookupOver is the addresses of a name, or of an address, as they are told over one
// uplink: the IPv4 ones, and over one that has IPv6 alone the others too, with those
// that stand for IPv4 ones there.
func (r *Resolver) LookupOver(ctx context.Context, link, host string) ([]netip.Addr, error) {
	w, list, err := r.over(ctx, link, host)
	if w.six == nil {
		return list, err
	}
	for _, a := range list {
		if a.Is4() {
			list = append(list, w.six.To(a))
		}
	}
	slices.SortFunc(list, netip.Addr.Compare)
	return slices.Compact(list), err
}

func (r *Resolver) over(ctx context.Context, link, host string) (w way, list []netip.Addr, err error) {
	ways := r.ways()
	i := slices.IndexFunc(ways, func(w way) bool { return w.link == link })
	if i < 0 {
		return w, nil, fmt.Errorf("names: %s is not up, or has no address: %w", link, unix.ENETDOWN)
	}
	w = ways[i]
	family := "ip4"
	if w.six != nil {
		family = "ip"
	}
	if a, err := netip.ParseAddr(host); err == nil {
		list = append(list, a)
	} else if list, err = r.asker(w).LookupNetIP(ctx, family, host); err != nil {
		return w, nil, fmt.Errorf("names: %s %v: %s", host, w, explain(err))
	}
	for i := range list {
		list[i] = list[i].Unmap()
	}
	// What the network has itself, a translator has not to be asked for.
	slices.SortStableFunc(list, func(a, b netip.Addr) int { return b.BitLen() - a.BitLen() })
	return w, list, nil
}

const dnsPort = 53

// asker asks the name servers one way.
func (r *Resolver) asker(w way) *net.Resolver {
	var asked atomic.Uint32
	return &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, network, server string) (net.Conn, error) {
		switch {
		case r.server != "":
			server = r.server
		case len(w.servers) > 0:
			// Servers are asked in turn, each once for every one that the library
			// believes there is, and then again.
			next := w.servers[int(asked.Add(1)-1)%len(w.servers)]
			server = netip.AddrPortFrom(next, dnsPort).String()
		}
		return r.dial(ctx, w, network, server)
	}}
}

// dial opens a socket that uses an uplink, by its address (the
// policy rules lead that over it) and by its name (two modems may give the same
// address), and has the daemon's mark, since programs may not do that. Who is on
// this host is asked as it is.
func (r *Resolver) dial(ctx context.Context, w way, network, server string) (c net.Conn, err error) {
	var d net.Dialer
	at, err := netip.ParseAddrPort(server)
	if err == nil && w.link != "" && !at.Addr().IsLoopback() {
		switch four := at.Addr().Unmap().Is4(); {
		case four && w.six != nil:
			server = netip.AddrPortFrom(w.six.To(at.Addr().Unmap()), at.Port()).String()
		case !four && w.six == nil:
			return nil, fmt.Errorf("names: %v is no IPv4 address: %w", at.Addr(), unix.EAFNOSUPPORT)
		}
		switch local := netip.AddrPortFrom(w.addr, 0); {
		case at.Addr().IsLinkLocalUnicast() && w.six != nil:
			// Its own address is then of the link too.
			server = netip.AddrPortFrom(at.Addr().WithZone(w.link), at.Port()).String()
		case strings.HasPrefix(network, "udp"):
			d.LocalAddr = net.UDPAddrFromAddrPort(local)
		default:
			d.LocalAddr = net.TCPAddrFromAddrPort(local)
		}
		d.Control = func(_, _ string, raw syscall.RawConn) error {
			var err error
			if e := raw.Control(func(fd uintptr) { err = errors.Join(unix.BindToDevice(int(fd), w.link), beside.Own(int(fd))) }); e != nil {
				return e
			}
			return err
		}
	}
	// The server is an address, so the socket is made on this thread.
	err = r.space.Do(func() (err error) {
		c, err = d.DialContext(ctx, network, server)
		return err
	})
	return c, err
}
