package diameter

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"time"

	"careof/internal/core/diameter"
	wire "careof/wire/diameter"
)

// Bounds.
const (
	// dialTime bounds connecting and the TLS handshake.
	dialTime = 10 * time.Second
	// handTime bounds the handshake of a connection from outside.
	handTime = 5 * time.Second
	// writeTime is how long a peer may take nothing of what is written to it.
	writeTime = 10 * time.Second
	// maxUnsent bounds the messages that wait for a connection, and maxUnread those that were read and wait for the machine.
	maxUnsent = 4096
	maxUnread = 64
	// maxHands and maxHandsEach bound TLS handshakes under way, in all and of one source.
	maxHands     = 32
	maxHandsEach = 4
)

// A conn is one connection.
type conn struct {
	net.Conn
	id     diameter.Conn
	out    chan []byte
	unread chan struct{} // one for each message that the machine has not seen
	closed bool          // by the machine
}

// accept takes connections until the listener is closed.
func (s *Service) accept(l net.Listener, secure bool) {
	for {
		c, err := l.Accept()
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil { // of this connection, or no descriptors for the moment
			select {
			case <-time.After(100 * time.Millisecond):
				continue
			case <-s.ctx.Done():
				return
			}
		}
		if !secure {
			s.do(func() { s.accepted(c, nil) })
			continue
		}
		source := addrOf(c.RemoteAddr()).Addr()
		if !s.beginHandshake(source) {
			c.Close()
			continue
		}
		s.wait.Go(func() {
			defer s.endHandshake(source)
			t, names, err := s.serverHandshake(c)
			if err != nil {
				// A stranger, of whom nothing is said.
				c.Close()
				return
			}
			s.do(func() { s.accepted(t, names) })
		})
	}
}

func (s *Service) beginHandshake(source netip.Addr) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.hands >= maxHands || s.handling[source] >= maxHandsEach {
		return false
	}
	s.hands++
	s.handling[source]++
	return true
}

func (s *Service) endHandshake(source netip.Addr) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.hands--
	if s.handling[source]--; s.handling[source] == 0 {
		delete(s.handling, source)
	}
}

// tlsConfig is for both directions: "mutual authentication" by certificates that the authorities have signed (RFC 6733 section 13.1).
// Names are not the host names that dialling would want, but the peers'; they are judged apart.
//
//rfc:6733#13.1
func (s *Service) tlsConfig(side x509.ExtKeyUsage) *tls.Config {
	return &tls.Config{
		MinVersion:         tls.VersionTLS12,
		Certificates:       []tls.Certificate{*s.cfg.Certificate},
		ClientAuth:         tls.RequireAnyClientCert,
		InsecureSkipVerify: true, // VerifyConnection does it, without a host name
		VerifyConnection: func(cs tls.ConnectionState) error {
			if len(cs.PeerCertificates) == 0 {
				return errors.New("no certificate")
			}
			o := x509.VerifyOptions{Roots: s.cfg.Authorities, Intermediates: x509.NewCertPool(), KeyUsages: []x509.ExtKeyUsage{side}}
			for _, c := range cs.PeerCertificates[1:] {
				o.Intermediates.AddCert(c)
			}
			_, err := cs.PeerCertificates[0].Verify(o)
			return err
		},
	}
}

// proven are the names of a verified certificate: its DNS names, and the common name of one that has none.
func proven(cs tls.ConnectionState) []string {
	c := cs.PeerCertificates[0]
	if len(c.DNSNames) > 0 {
		return c.DNSNames
	}
	return []string{c.Subject.CommonName}
}

func (s *Service) serverHandshake(c net.Conn) (net.Conn, []string, error) {
	ctx, cancel := context.WithTimeout(s.ctx, handTime)
	defer cancel()
	t := tls.Server(c, s.tlsConfig(x509.ExtKeyUsageClientAuth))
	if err := t.HandshakeContext(ctx); err != nil {
		return nil, nil, err
	}
	return t, proven(t.ConnectionState()), nil
}

// dial connects to a peer and tells the machine what came of it.
func (s *Service) dial(host string) {
	p := s.dials[host]
	s.wait.Go(func() {
		c, err := s.connect(p)
		s.do(func() {
			if err != nil {
				s.step(diameter.Unconnected{Peer: host, Err: err})
				return
			}
			k := s.adopt(c)
			s.step(diameter.Connected{Peer: host, Conn: k.id, Local: addrOf(c.LocalAddr()).Addr(), Remote: addrOf(c.RemoteAddr()), Secure: p.TLS})
			s.begin(k)
		})
	})
}

func (s *Service) connect(p Peer) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(s.ctx, dialTime)
	defer cancel()
	var d net.Dialer
	c, err := d.DialContext(ctx, "tcp", p.Address.String())
	if err != nil {
		return nil, err
	}
	if !p.TLS {
		return c, nil
	}
	config := s.tlsConfig(x509.ExtKeyUsageServerAuth)
	config.ServerName = p.Host
	t := tls.Client(c, config)
	if err := t.HandshakeContext(ctx); err != nil {
		c.Close()
		return nil, fmt.Errorf("TLS: %w", err)
	}
	names := proven(t.ConnectionState())
	for _, name := range names {
		if diameter.Same(name, p.Host) {
			return t, nil
		}
	}
	t.Close()
	return nil, fmt.Errorf("TLS: the certificate is of %q", names)
}

func addrOf(a net.Addr) netip.AddrPort {
	at, _ := netip.ParseAddrPort(a.String())
	return netip.AddrPortFrom(at.Addr().Unmap(), at.Port())
}

// accepted gives the machine a connection from outside.
func (s *Service) accepted(c net.Conn, names []string) {
	k := s.adopt(c)
	s.step(diameter.Accepted{Conn: k.id, Local: addrOf(c.LocalAddr()).Addr(), Remote: addrOf(c.RemoteAddr()), Secure: names != nil, Names: names})
	s.begin(k)
}

// adopt gives a connection its number. begin starts it, unless the machine has refused it by then.
func (s *Service) adopt(c net.Conn) *conn {
	s.last++
	k := &conn{Conn: c, id: s.last, out: make(chan []byte, maxUnsent), unread: make(chan struct{}, maxUnread)}
	s.conns[k.id] = k
	return k
}

func (s *Service) begin(k *conn) {
	s.wait.Go(func() { s.write(k) })
	if !k.closed {
		s.wait.Go(func() { s.read(k) })
	}
}

// send queues octets for a connection. One that takes none is lost.
func (s *Service) send(a diameter.Send) {
	k := s.conns[a.Conn]
	if k == nil {
		return
	}
	select {
	case k.out <- a.Octets:
	default:
		s.lost(k, fmt.Errorf("it does not take what is sent: %d messages wait", maxUnsent))
	}
}

// hangUp ends a connection for the machine, when what was sent is written.
func (s *Service) hangUp(id diameter.Conn) {
	if k := s.conns[id]; k != nil {
		k.closed = true
		delete(s.conns, id)
		close(k.out)
	}
}

// lost ends a connection that failed, and tells the machine.
func (s *Service) lost(k *conn, err error) {
	s.do(func() {
		if s.conns[k.id] == nil {
			return
		}
		k.Conn.Close()
		s.hangUp(k.id)
		s.step(diameter.Closed{Conn: k.id, Err: err})
	})
}

// write writes until there is nothing more to come.
func (s *Service) write(k *conn) {
	defer k.Conn.Close()
	for {
		select {
		case octets, more := <-k.out:
			if !more {
				return
			}
			k.SetWriteDeadline(time.Now().Add(writeTime))
			if _, err := k.Write(octets); err != nil {
				s.lost(k, err)
				return
			}
		case <-s.ctx.Done():
			return
		}
	}
}

// under is the transport below TLS.
func under(c net.Conn) net.Conn {
	if t, ok := c.(*tls.Conn); ok {
		return t.NetConn()
	}
	return c
}

// read frames messages until the connection ends.
//
//rfc:6733#2.1
func (s *Service) read(k *conn) {
	var head [4]byte
	for {
		if _, err := io.ReadFull(k, head[:]); err != nil {
			if errors.Is(err, io.EOF) {
				err = nil // it has closed it
			}
			s.lost(k, err)
			return
		}
		// "the stream is compromised and cannot be recovered. The transport connection MUST be closed using a RESET call".
		n, err := wire.Size(head[:])
		if err != nil {
			if t, ok := under(k.Conn).(*net.TCPConn); ok {
				t.SetLinger(0)
			}
			s.lost(k, err)
			return
		}
		octets := make([]byte, n)
		copy(octets, head[:])
		if _, err := io.ReadFull(k, octets[len(head):]); err != nil {
			s.lost(k, err)
			return
		}
		select {
		case k.unread <- struct{}{}:
		case <-s.ctx.Done():
			return
		}
		s.do(func() {
			<-k.unread
			if !k.closed {
				s.step(diameter.Received{Conn: k.id, Octets: octets})
			}
		})
	}
}
