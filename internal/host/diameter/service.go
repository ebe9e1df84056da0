package diameter

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"sync"
	"time"

	"careof/internal/core/diameter"
	"careof/internal/core/engine"
	"careof/internal/core/note"
	wire "careof/wire/diameter"
)

// Config configures a service.
type Config struct {
	Node  diameter.Config
	Peers []Peer
	// Listen and ListenTLS are where connections are taken; port 0 lets the system choose.
	Listen    []netip.AddrPort
	ListenTLS []netip.AddrPort
	// Certificate proves who this node is; it has the node's name. Needed for TLS.
	Certificate *tls.Certificate
	// Authorities sign the certificates of peers.
	Authorities *x509.CertPool
	// Deliver is given requests of peers. It must not block.
	Deliver func(diameter.Deliver)
	// Note is told what happens. It must not block. nil: nobody is.
	Note func(note.Note)
}

// A Peer is where a peer is. What else is to be known of it is in the node's configuration, to which New adds it.
type Peer struct {
	Host    string
	Address netip.AddrPort // to dial, and where it may come from; invalid: it is waited for
	// From are more addresses that it may come from without TLS.
	From []netip.Addr
	TLS  bool // dial with TLS, and take nothing else
}

// A Service is a running node.
type Service struct {
	cfg   Config
	node  *diameter.Node
	dials map[string]Peer

	ctx       context.Context
	cancel    context.CancelFunc
	wait      sync.WaitGroup
	listeners []net.Listener

	mu       sync.Mutex
	queue    []func()
	wake     chan struct{}
	handling map[netip.Addr]int // TLS handshakes under way, by source
	hands    int

	// The rest belongs to the loop.
	conns   map[diameter.Conn]*conn
	last    diameter.Conn
	tickets uint64
	done    map[uint64]func(diameter.Answered)
	idle    chan struct{} // closed when a stop is through
	ended   bool
}

// Start makes the node and begins to listen and to dial.
func Start(c Config) (*Service, error) {
	for _, p := range c.Peers {
		q := diameter.Peer{Host: p.Host, Connect: p.Address.IsValid(), Secure: p.TLS, Addresses: p.From}
		if p.Address.IsValid() {
			q.Addresses = append(q.Addresses[:len(q.Addresses):len(q.Addresses)], p.Address.Addr().Unmap())
		}
		c.Node.Peers = append(c.Node.Peers, q)
		if p.TLS && (c.Certificate == nil || c.Authorities == nil) {
			return nil, fmt.Errorf("diameter: peer %s: TLS needs a certificate and the authorities of peers", p.Host)
		}
	}
	if len(c.ListenTLS) > 0 && (c.Certificate == nil || c.Authorities == nil) {
		return nil, errors.New("diameter: listening with TLS needs a certificate and the authorities of peers")
	}
	// The machine's luck is jitter and identifiers.
	node, err := diameter.New(c.Node, rand.New(rand.NewPCG(rand.Uint64(), rand.Uint64())))
	if err != nil {
		return nil, err
	}
	s := &Service{cfg: c, node: node, dials: map[string]Peer{}, wake: make(chan struct{}, 1), conns: map[diameter.Conn]*conn{},
		done: map[uint64]func(diameter.Answered){}, handling: map[netip.Addr]int{}, idle: make(chan struct{})}
	for _, p := range c.Peers {
		s.dials[p.Host] = p
	}
	s.ctx, s.cancel = context.WithCancel(context.Background())
	for _, at := range []struct {
		addrs  []netip.AddrPort
		secure bool
	}{{c.Listen, false}, {c.ListenTLS, true}} {
		for _, addr := range at.addrs {
			l, err := net.Listen("tcp", addr.String())
			if err != nil {
				s.closeListeners()
				s.cancel()
				return nil, fmt.Errorf("diameter: %w", err)
			}
			s.listeners = append(s.listeners, l)
			s.wait.Go(func() { s.accept(l, at.secure) })
		}
	}
	s.wait.Go(s.loop)
	return s, nil
}

func (s *Service) closeListeners() {
	for _, l := range s.listeners {
		l.Close()
	}
}

// Addresses are where the service listens: Config.Listen, and then Config.ListenTLS, with the ports that the system chose.
func (s *Service) Addresses() []netip.AddrPort {
	var all []netip.AddrPort
	for _, l := range s.listeners {
		at, _ := netip.ParseAddrPort(l.Addr().String())
		all = append(all, at)
	}
	return all
}

// do has the loop do something.
func (s *Service) do(f func()) {
	s.mu.Lock()
	s.queue = append(s.queue, f)
	s.mu.Unlock()
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// loop is the only one to touch the machine.
func (s *Service) loop() {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		s.mu.Lock()
		queue := s.queue
		s.queue = nil
		s.mu.Unlock()
		for _, f := range queue {
			f()
		}
		s.step(nil)
		if s.node.Idle() && !s.ended {
			s.ended = true
			close(s.idle)
		}
		if at := s.node.Deadline(); !at.IsZero() {
			timer.Reset(time.Until(at))
		} else {
			timer.Stop()
		}
		select {
		case <-s.wake:
		case <-timer.C:
		case <-s.ctx.Done():
			s.end()
			return
		}
	}
}

// end closes what is open and tells everybody who waits.
func (s *Service) end() {
	for _, c := range s.conns {
		c.Conn.Close()
	}
	for ticket, f := range s.done {
		f(diameter.Answered{Ticket: ticket, Err: diameter.ErrStopped})
	}
	s.done = nil
}

func (s *Service) step(ev diameter.Event) {
	now := time.Now()
	for _, a := range s.node.Step(engine.Now{Mono: now, Wall: now.Round(0)}, ev) {
		switch a := a.(type) {
		case diameter.Dial:
			s.dial(a.Peer)
		case diameter.Send:
			s.send(a)
		case diameter.Close:
			s.hangUp(a.Conn)
		case diameter.Deliver:
			if s.cfg.Deliver != nil {
				s.cfg.Deliver(a)
			} else {
				refusal := a.Request.Answer(wire.CommandUnsupported)
				s.do(func() { s.step(diameter.Reply{Handle: a.Handle, Answer: refusal}) })
			}
		case diameter.Answered:
			if f := s.done[a.Ticket]; f != nil {
				delete(s.done, a.Ticket)
				f(a)
			}
		case diameter.Tell:
			if s.cfg.Note != nil {
				s.cfg.Note(a.Note)
			}
		}
	}
}

// Submit sends a request. done is told once what became of it; it must not block, and it is told in the service's time. The ticket is
// the service's.
func (s *Service) Submit(r diameter.Submit, done func(diameter.Answered)) {
	s.do(func() {
		if s.done == nil {
			done(diameter.Answered{Err: diameter.ErrStopped})
			return
		}
		s.tickets++
		r.Ticket = s.tickets
		s.done[r.Ticket] = done
		s.step(r)
	})
}

// Do sends a request and waits for what becomes of it.
func (s *Service) Do(ctx context.Context, r diameter.Submit) (diameter.Answered, error) {
	answer := make(chan diameter.Answered, 1)
	s.Submit(r, func(a diameter.Answered) { answer <- a })
	select {
	case a := <-answer:
		return a, a.Err
	case <-ctx.Done():
		return diameter.Answered{}, ctx.Err()
	case <-s.ctx.Done():
		return diameter.Answered{}, diameter.ErrStopped
	}
}

// Reply answers what Config.Deliver was given.
func (s *Service) Reply(handle uint64, answer *wire.Message) {
	s.do(func() { s.step(diameter.Reply{Handle: handle, Answer: answer}) })
}

// Peers is what is shown of every peer, and the counts that belong to none.
func (s *Service) Peers() ([]diameter.PeerStatus, diameter.Stats) {
	type shown struct {
		peers []diameter.PeerStatus
		stats diameter.Stats
	}
	reply := make(chan shown, 1)
	s.do(func() { reply <- shown{s.node.Peers(), s.node.Stats()} })
	select {
	case r := <-reply:
		return r.peers, r.stats
	case <-s.ctx.Done():
		return nil, diameter.Stats{}
	}
}

// Close tells the peers, waits for them as long as ctx allows, and ends everything.
func (s *Service) Close(ctx context.Context) {
	s.closeListeners()
	s.do(func() { s.step(diameter.Stop{Cause: wire.Rebooting}) })
	select {
	case <-s.idle:
	case <-ctx.Done():
	}
	s.cancel()
	s.wait.Wait()
}
