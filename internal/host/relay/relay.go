package relay

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"syscall"
	"time"

	"golang.org/x/net/ipv4"
	"golang.org/x/sys/unix"
)

const serverPort, clientPort = 67, 68

// Config says where a relay listens, and whom it asks.
type Config struct {
	Device      string       // of the tunnels
	Address     netip.Addr   // of this host, that the servers answer to
	Servers     []netip.Addr // each is told everything
	Networks    []netip.Prefix
	Information Information

	// Bound tells of the node that is bound with a home address, and whether one is.
	Bound func(ctx context.Context, home netip.Addr) (Node, bool)
}

// A Relay is a relay agent at work. It is safe for concurrent use.
type Relay struct {
	c Config
	// Both are bound to the device: what nodes say to the relay's address, and to everybody.
	// Without the first the kernel would give the former to servers: it looks for an address
	// before it looks at devices.
	tunnels, broadcasts *ipv4.PacketConn
	servers             net.PacketConn // bound to the address

	mu    sync.Mutex
	rules rules
}

// Open opens the sockets, in the calling thread's network namespace: at the servers' port
// (67), on the device, and at the relay's address. Whoever else has that port on this host
// keeps what comes over its links.
func Open(c Config) (*Relay, error) {
	r := &Relay{c: c, rules: rules{
		address: c.Address, servers: c.Servers, networks: c.Networks, information: c.Information,
		pending: make(map[exchange]question), budgets: make(map[netip.Addr]budget),
	}}
	var opened []net.PacketConn
	for _, at := range []struct {
		address netip.Addr
		device  string
	}{{c.Address, c.Device}, {netip.IPv4Unspecified(), c.Device}, {c.Address, ""}} {
		conn, err := listen(netip.AddrPortFrom(at.address, serverPort), at.device)
		if err != nil {
			for _, o := range opened {
				o.Close()
			}
			return nil, fmt.Errorf("relay: %w", err)
		}
		opened = append(opened, conn)
	}
	r.tunnels, r.broadcasts, r.servers = ipv4.NewPacketConn(opened[0]), ipv4.NewPacketConn(opened[1]), opened[2]
	return r, nil
}

func listen(at netip.AddrPort, device string) (net.PacketConn, error) {
	lc := net.ListenConfig{Control: func(_, _ string, c syscall.RawConn) (err error) {
		return errors.Join(c.Control(func(fd uintptr) {
			err = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_REUSEADDR, 1)
			if device != "" {
				err = errors.Join(err, unix.BindToDevice(int(fd), device))
			}
		}), err)
	}}
	return lc.ListenPacket(context.Background(), "udp4", at.String())
}

// Run relays until ctx ends; it closes the sockets.
func (r *Relay) Run(ctx context.Context) error {
	stop := context.AfterFunc(ctx, r.close)
	defer stop()
	defer r.close()
	var running sync.WaitGroup
	running.Go(func() { r.fromServers(ctx) })
	running.Go(func() { r.fromNodes(ctx, r.broadcasts) })
	r.fromNodes(ctx, r.tunnels)
	running.Wait()
	return nil
}

func (r *Relay) close() {
	r.tunnels.Close()
	r.broadcasts.Close()
	r.servers.Close()
}

// readPause keeps a socket that has nothing but errors from being asked all the time.
const readPause = 20 * time.Millisecond

// mostMessage is a DHCP message's size: what a datagram can carry.
const mostMessage = 1 << 16

func (r *Relay) fromNodes(ctx context.Context, conn *ipv4.PacketConn) {
	b := make([]byte, mostMessage)
	for {
		n, _, from, err := conn.ReadFrom(b)
		if closed(err) {
			return
		}
		home, ok := source(from)
		if err != nil || !ok {
			time.Sleep(readPause)
			continue
		}
		r.mu.Lock()
		out, _ := r.rules.up(time.Now(), home, b[:n], func() (Node, bool) { return r.c.Bound(ctx, home) })
		r.mu.Unlock()
		for _, s := range r.c.Servers {
			if out != nil {
				// What is not sent the client says again.
				_, _ = r.servers.WriteTo(out, net.UDPAddrFromAddrPort(netip.AddrPortFrom(s, serverPort)))
			}
		}
	}
}

func (r *Relay) fromServers(ctx context.Context) {
	b := make([]byte, mostMessage)
	for {
		n, from, err := r.servers.ReadFrom(b)
		if closed(err) {
			return
		}
		server, ok := source(from)
		if err != nil || !ok {
			time.Sleep(readPause) // an ICMP error about what was sent, for example
			continue
		}
		bound := func(home netip.Addr) bool {
			_, there := r.c.Bound(ctx, home)
			return there
		}
		r.mu.Lock()
		home, out, _ := r.rules.down(time.Now(), server, b[:n], bound)
		r.mu.Unlock()
		if out != nil {
			_, _ = r.tunnels.WriteTo(out, nil, net.UDPAddrFromAddrPort(netip.AddrPortFrom(home, clientPort)))
		}
	}
}

func closed(err error) bool { return errors.Is(err, net.ErrClosed) }

func source(a net.Addr) (netip.Addr, bool) {
	u, ok := a.(*net.UDPAddr)
	if !ok {
		return netip.Addr{}, false
	}
	return u.AddrPort().Addr().Unmap(), true
}

// A Count is how many messages had an outcome.
type Count struct {
	Outcome Outcome
	N       uint64
}

// Counts lists all outcomes, those that did not happen too.
func (r *Relay) Counts() (list []Count) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for o := range outcomes {
		list = append(list, Count{o, r.rules.counts[o]})
	}
	return list
}
