package aaa

import (
	"context"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"sync"
	"time"

	"layeh.com/radius"
)

// A link is the TLS connection to a RADIUS server (RFC 6614). It is made when
// there is something to ask, serves many questions at a time, and is made anew
// when it is lost.
type link struct {
	client *RADIUS
	server *serverState
	turn   chan struct{} // holds one token: who has it connects

	mu      sync.Mutex
	conn    *conn  // nil: none
	spoken  string // TLS version
	retired bool   // the server is not asked any more
}

func newLink(r *RADIUS, s *serverState) *link {
	l := &link{client: r, server: s, turn: make(chan struct{}, 1), spoken: "none yet"}
	l.turn <- struct{}{}
	return l
}

// A conn is one connection.
type conn struct {
	c    net.Conn
	free chan byte     // identifiers that no open request has
	over chan struct{} // closed when the connection is

	writing sync.Mutex

	mu    sync.Mutex
	open  map[byte]*sent
	heard time.Time // something, at last
	err   error     // why it is over
}

// A sent is a request that waits for its answer.
type sent struct {
	octets []byte
	answer chan []byte
}

var errRetired = errors.New("the server is not in the configuration any more")

// ask puts a request and waits for its answer, as long as all tries at a server
// take together: "RADIUS packets MUST NOT be retransmitted over the same
// connection" (RFC 6613 section 2.6.1, which RFC 6614 follows). When a connection
// that was there before turns out to be lost, the request goes over another one.
func (l *link) ask(ctx context.Context, accounting bool, make1 func(*Server) *radius.Packet) (answer, request *radius.Packet, err error) {
	cfg := l.client.cfg.Load()
	ctx, cancel := context.WithTimeout(ctx, cfg.Timeout*time.Duration(cfg.Tries))
	defer cancel()
	for {
		c, fresh, err := l.connect(ctx)
		if err != nil {
			return nil, nil, err
		}
		answer, request, err = l.put(ctx, c, accounting, make1)
		if err == nil || fresh || ctx.Err() != nil {
			return answer, request, err
		}
	}
}

// connect gives the connection, and says whether it was made just now.
func (l *link) connect(ctx context.Context) (c *conn, fresh bool, err error) {
	select {
	case <-l.turn:
		defer func() { l.turn <- struct{}{} }()
	case <-ctx.Done():
		return nil, false, ctx.Err()
	}
	l.mu.Lock()
	c, gone := l.conn, l.retired
	l.mu.Unlock()
	switch {
	case gone:
		return nil, false, errRetired
	case c != nil:
		return c, false, nil
	}
	dialer := net.Dialer{}
	if from := l.client.cfg.Load().Source; from.IsValid() {
		dialer.LocalAddr = net.TCPAddrFromAddrPort(netip.AddrPortFrom(from, 0))
	}
	to := l.server.TLS
	secure := &tls.Dialer{NetDialer: &dialer, Config: &tls.Config{
		// "Support for TLS v1.1 or higher" (RFC 6614 section 2.3); 1.1 is dead (RFC 8996).
		MinVersion: tls.VersionTLS12, RootCAs: to.Authorities, ServerName: to.Name,
		Certificates: []tls.Certificate{*to.Certificate},
	}}
	raw, err := secure.DialContext(ctx, "tcp", l.server.Address.String())
	if err != nil {
		return nil, false, fmt.Errorf("aaa: %w", err)
	}
	c = &conn{c: raw, free: make(chan byte, 256), over: make(chan struct{}), open: make(map[byte]*sent)}
	for id := range 256 {
		c.free <- byte(id)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.retired {
		raw.Close()
		return nil, false, errRetired
	}
	l.conn, l.spoken = c, tls.VersionName(raw.(*tls.Conn).ConnectionState().Version)
	go l.read(c)
	return c, true, nil
}

// put sends a request over a connection and waits.
func (l *link) put(ctx context.Context, c *conn, accounting bool, make1 func(*Server) *radius.Packet) (answer, request *radius.Packet, err error) {
	var id byte
	select {
	case id = <-c.free:
	case <-c.over:
		return nil, nil, c.why()
	case <-ctx.Done():
		return nil, nil, errors.New("256 requests are open already")
	}
	request = make1(&l.server.Server)
	request.Identifier = id
	octets, err := sign(request)
	if err != nil {
		c.free <- id
		return nil, nil, err
	}
	began := time.Now()
	q := &sent{octets, make(chan []byte, 16)}
	c.mu.Lock()
	c.open[id] = q
	c.mu.Unlock()
	defer func() {
		c.mu.Lock()
		delete(c.open, id)
		c.mu.Unlock()
		c.free <- id
	}()
	l.client.count(l.server, accounting, func(s *ServerStatus) { s.Requests++ })
	deadline, _ := ctx.Deadline()
	if err := c.write(octets, deadline); err != nil {
		l.lost(c, err)
		return nil, nil, err
	}
	last := errors.New("no answer")
	for {
		select {
		case b := <-q.answer:
			answer, err := l.client.answered(l.server, b, octets)
			if err != nil {
				last = err
				continue
			}
			return answer, request, nil
		case <-c.over:
			return nil, nil, c.why()
		case <-ctx.Done():
			l.client.count(l.server, accounting, func(s *ServerStatus) { s.Timeouts++ })
			c.mu.Lock()
			silent := c.heard.Before(began)
			c.mu.Unlock()
			if silent {
				// The server's host may have gone without a word.
				l.lost(c, last)
			}
			return nil, nil, last
		}
	}
}

// write sends a packet. One that is sent in part ends the connection.
func (c *conn) write(b []byte, deadline time.Time) error {
	c.writing.Lock()
	defer c.writing.Unlock()
	if err := c.c.SetWriteDeadline(deadline); err != nil {
		return fmt.Errorf("aaa: %w", err)
	}
	if _, err := c.c.Write(b); err != nil {
		return fmt.Errorf("aaa: %w", err)
	}
	return nil
}

func (c *conn) why() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.err
}

// read hands answers to who waits for them, until the connection is over.
func (l *link) read(c *conn) {
	for {
		b, err := readPacket(c.c)
		if err != nil {
			l.lost(c, err)
			return
		}
		c.mu.Lock()
		c.heard = time.Now()
		q := c.open[b[1]]
		c.mu.Unlock()
		if code := radius.Code(b[0]); code == radius.CodeDisconnectRequest || code == radius.CodeCoARequest {
			go l.obey(c, b)
			continue
		}
		if q == nil {
			continue // it came too late
		}
		select {
		case q.answer <- b:
		default: // it floods
		}
	}
}

// obey carries out an order that came over the connection: who sends it has
// proven to be the server.
func (l *link) obey(c *conn, b []byte) {
	o := l.client.obeys.Load()
	if o == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), orderLimit)
	defer cancel()
	if answer := o.obey(ctx, b, l.server.Secret, "tls "+l.server.Address.String(), 0); answer != nil {
		if err := c.write(answer, time.Now().Add(orderLimit)); err != nil {
			l.lost(c, err)
		}
	}
}

// orderLimit bounds how long an order over TLS may take.
const orderLimit = 10 * time.Second

// readPacket reads one packet of a stream: its length says where it ends, and one
// that is wrong ends the connection (RFC 6613 section 2.6.4).
func readPacket(from io.Reader) ([]byte, error) {
	var head [4]byte
	if _, err := io.ReadFull(from, head[:]); err != nil {
		return nil, fmt.Errorf("aaa: %w", err)
	}
	n := int(binary.BigEndian.Uint16(head[2:]))
	if n < 20 || n > radius.MaxPacketLength {
		return nil, fmt.Errorf("aaa: a packet of %d octets", n)
	}
	b := append(make([]byte, 0, n), head[:]...)[:n]
	if _, err := io.ReadFull(from, b[4:]); err != nil {
		return nil, fmt.Errorf("aaa: %w", err)
	}
	return b, nil
}

// lost ends a connection; who waits for answers over it hears why.
func (l *link) lost(c *conn, err error) {
	l.mu.Lock()
	if l.conn == c {
		l.conn = nil
	}
	l.mu.Unlock()
	c.mu.Lock()
	first := c.err == nil
	if first {
		c.err = err
	}
	c.mu.Unlock()
	if first {
		close(c.over)
		c.c.Close()
	}
}

// retire closes the connection when the questions that are open over it have
// been answered or given up.
func (l *link) retire() {
	l.mu.Lock()
	c := l.conn
	l.conn, l.retired = nil, true
	l.mu.Unlock()
	if c == nil {
		return
	}
	go func() {
		for range cap(c.free) { // with every identifier in hand nothing is open
			select {
			case <-c.free:
			case <-c.over:
				return
			}
		}
		l.lost(c, errRetired)
	}()
}

// version is which TLS is spoken, or was.
func (l *link) version() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.spoken
}
