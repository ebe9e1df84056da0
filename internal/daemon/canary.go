package daemon

import (
	"bytes"
	"context"
	crand "crypto/rand"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"strconv"
	"time"

	"careof/internal/core/engine"
	"careof/internal/core/forward"
	"careof/internal/core/note"
	"careof/internal/proto/mip4/ha"
	"careof/wire/encap"
)

// A canary lives from what mobile nodes live from, and notices when it stops:
// a daemon that looks well but answers nobody is worse than one that is gone.
// Every round it sends itself
//
//   - a message to the home agent's own address and port, which comes in by the
//     signalling socket, has every machine make a record durable as an accepted
//     registration does, and is answered through that socket;
//   - a packet to an address that is bound to itself. It goes by the routing
//     table to the tunnel device, and comes out of a tunnel (UDP, to the
//     canary's own socket); what it sends back must come out of the device.
//
// Only while both work is the service manager's watchdog fed.
//
// It does not show whether the network beyond this host works, nor an
// authenticator being checked; and since its tunnel ends on this host, its
// packets are user space's on every plane.
type canary struct {
	d       *daemon
	home    netip.AddrPort // the home agent
	inner   netip.Addr     // the address bound to the canary
	conn    *net.UDPConn   // mobile node and care-of address
	own     netip.AddrPort // of conn
	probe   *net.UDPConn   // correspondent node
	heard   chan []byte    // what came in by the signalling socket
	patient time.Duration
}

// canaryPatience is how long each of the two ways may take. Mobile nodes are
// less patient.
const canaryPatience = 3 * time.Second

// canaryKey is the key of the canary's forwarding entry.
const canaryKey forward.Key = "canary"

func (d *daemon) newCanary() (*canary, error) {
	addr, port := d.localAddresses()[0], d.cfg.HomeAgent.Port
	c := &canary{
		d: d, home: netip.AddrPortFrom(addr, port), inner: d.cfg.HomeAgent.CanaryAddress,
		heard: make(chan []byte, 1), patient: canaryPatience,
	}
	var err error
	// The two need different addresses: a packet whose source is its tunnel's
	// other end goes in a circle (RFC 2003 section 3.2).
	if c.conn, err = net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)}); err != nil {
		return nil, fmt.Errorf("canary: %w", err)
	}
	if c.probe, err = net.ListenUDP("udp4", net.UDPAddrFromAddrPort(netip.AddrPortFrom(addr, 0))); err != nil {
		c.conn.Close()
		return nil, fmt.Errorf("canary: %w", err)
	}
	c.own = c.conn.LocalAddr().(*net.UDPAddr).AddrPort()
	return c, nil
}

// canaryMark begins the canary's messages: a type that no message of mobile IP
// has.
const canaryMark = "\x00careof canary "

// hears takes a signalling message that is the canary's own.
func (c *canary) hears(p engine.Packet) bool {
	if c == nil || p.Src != c.own || !bytes.HasPrefix(p.Data, []byte(canaryMark)) {
		return false
	}
	select {
	case c.heard <- bytes.Clone(p.Data):
	default:
	}
	return true
}

// run sings until ctx ends.
func (c *canary) run(ctx context.Context, every time.Duration) {
	defer c.conn.Close()
	defer c.probe.Close()
	// A read must not outlive the daemon.
	defer context.AfterFunc(ctx, func() {
		c.conn.SetReadDeadline(time.Unix(1, 0))
		c.probe.SetReadDeadline(time.Unix(1, 0))
	})()
	tick := time.NewTicker(every)
	defer tick.Stop()
	missed := false
	for {
		select {
		case <-ctx.Done():
			c.leave()
			return
		case <-tick.C:
		}
		began := time.Now()
		err := errors.Join(c.registers(ctx), c.echoes(ctx))
		switch {
		case ctx.Err() != nil:
			continue
		case err != nil:
			level := note.Warn
			if missed {
				level = note.Debug // it is known; the counter goes on
			}
			c.d.hub.note(note.Note{Kind: note.CanaryMissed, Level: level, Why: err.Error()})
		case missed:
			c.d.hub.note(note.Note{Kind: note.CanaryBack, Level: note.Info, Took: time.Since(began)})
		default:
			c.d.hub.note(note.Note{Kind: note.CanaryWell, Level: note.Debug, Took: time.Since(began)})
		}
		if missed = err != nil; !missed && watchdogInterval() > 0 {
			notify(c.d.log, "WATCHDOG=1")
		}
	}
}

// token is what one message says and no other.
func token() []byte {
	b := append([]byte(canaryMark), make([]byte, 16)...)
	_, _ = crand.Read(b[len(canaryMark):]) // never fails
	return b
}

var errCanary = errors.New("nothing came back in time")

// registers goes the way of a registration.
func (c *canary) registers(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, c.patient)
	defer cancel()
	select {
	case <-c.heard: // what came too late the last time, in the place of this one
	default:
	}
	ask, reply := token(), token()
	if _, err := c.conn.WriteToUDPAddrPort(ask, c.home); err != nil {
		return fmt.Errorf("canary registration: %w", err)
	}
	for got := []byte(nil); !bytes.Equal(got, ask); {
		select {
		case got = <-c.heard:
		case <-ctx.Done():
			return fmt.Errorf("canary registration: the signalling socket is deaf: %w", errCanary)
		}
	}
	order := ha.Canary{Reply: engine.Send{Src: c.home, Dst: c.own, Data: reply}}
	if _, err := c.d.home.Command(ctx, order); err != nil {
		return fmt.Errorf("canary registration: nothing becomes durable: %w", err)
	}
	if err := receive(c.conn, c.patient, func(b []byte) bool { return bytes.Equal(b, reply) }); err != nil {
		return fmt.Errorf("canary registration: no reply: %w", err)
	}
	return nil
}

// receive waits for a datagram that is the right one.
func receive(conn *net.UDPConn, patience time.Duration, right func([]byte) bool) error {
	conn.SetReadDeadline(time.Now().Add(patience))
	b := make([]byte, 2048)
	for {
		n, err := conn.Read(b)
		if errors.Is(err, os.ErrDeadlineExceeded) {
			return errCanary
		}
		if err != nil {
			return err
		}
		if right(b[:n]) {
			return nil
		}
	}
}

// entry binds the canary's address to the canary's socket.
func (c *canary) entry() forward.Entry {
	return forward.Entry{
		Key: canaryKey, Role: forward.HomeAgent, Inner: netip.PrefixFrom(c.inner, 32),
		Tunnels: []forward.Tunnel{{Local: c.home, Peer: c.own, Encap: encap.UDP, Inside: encap.IPIP, Mode: forward.Both}},
	}
}

// echoes goes the way of a correspondent node's packet, and back.
func (c *canary) echoes(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, c.patient)
	defer cancel()
	if err := c.d.plane.Apply(ctx, []forward.Change{{Op: forward.Put, Entry: c.entry()}}); err != nil {
		return fmt.Errorf("canary echo: %w", err)
	}
	ask := token()
	if _, err := c.probe.WriteToUDPAddrPort(ask, netip.AddrPortFrom(c.inner, canaryPort)); err != nil {
		return fmt.Errorf("canary echo: %w", err)
	}
	var back []byte
	err := receive(c.conn, c.patient, func(b []byte) bool {
		back = turned(b, ask)
		return back != nil
	})
	if err != nil {
		return fmt.Errorf("canary echo: nothing comes out of the tunnel: %w", err)
	}
	if _, err := c.conn.WriteToUDPAddrPort(back, c.home); err != nil {
		return fmt.Errorf("canary echo: %w", err)
	}
	if err := receive(c.probe, c.patient, func(b []byte) bool { return bytes.Equal(b, ask) }); err != nil {
		return fmt.Errorf("canary echo: nothing comes back out of the device: %w", err)
	}
	return nil
}

// canaryPort is where the canary's packets go: discard.
const canaryPort = 9

// turned is a Tunnel Data message with the packet that came in one, going the
// other way; nil when it is not the one that says ask. Exchanging addresses and
// ports leaves both checksums as they are.
func turned(message, ask []byte) []byte {
	const header, ip, udp = 4, 20, 8 // Tunnel Data (RFC 3519 section 3.3), IPv4, UDP
	if len(message) != header+ip+udp+len(ask) || message[0] != encap.TunnelDataType || !bytes.HasSuffix(message, ask) {
		return nil
	}
	b := bytes.Clone(message)
	swap := func(at, n int) {
		one, other := b[at:at+n], b[at+n:at+2*n]
		copy(one, message[at+n:])
		copy(other, message[at:at+n])
	}
	swap(header+12, 4)
	swap(header+ip, 2)
	return b
}

// leave takes the canary's address back.
func (c *canary) leave() {
	ctx, cancel := context.WithTimeout(context.Background(), c.patient)
	defer cancel()
	_ = c.d.plane.Apply(ctx, []forward.Change{{Op: forward.Delete, Entry: c.entry()}})
}

// watchdogInterval is how often the service manager wants to be told that all
// is well (sd_watchdog_enabled(3)), with time to spare; 0: it does not.
func watchdogInterval() time.Duration {
	us, err := strconv.ParseInt(os.Getenv("WATCHDOG_USEC"), 10, 64)
	if err != nil || us <= 0 {
		return 0
	}
	if pid := os.Getenv("WATCHDOG_PID"); pid != "" && pid != strconv.Itoa(os.Getpid()) {
		return 0
	}
	return time.Duration(us) * time.Microsecond / 2
}

// watch runs the canary, and feeds the watchdog also where there is none.
func (d *daemon) watchdog(ctx context.Context) {
	every := watchdogInterval()
	if c := d.canary; c != nil {
		sing := d.cfg.HomeAgent.Canary
		if every > 0 {
			sing = min(sing, every)
		}
		c.run(ctx, sing)
		return
	}
	if every == 0 {
		return
	}
	tick := time.NewTicker(every)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		if d.plane == nil || d.plane.Status().Up {
			notify(d.log, "WATCHDOG=1")
		}
	}
}
