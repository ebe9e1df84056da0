package aaa

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"time"

	"layeh.com/radius"
)

// ask sends a request as often as configured and waits for an authentic answer.
// Every request has a socket of its own, and so a port that cannot be guessed. A
// retransmission is the same datagram: same identifier, same authenticator (RFC
// 2865 section 2.5). What is not authentic is no answer: the true one may follow.
func (r *RADIUS) ask(ctx context.Context, s *serverState, accounting bool, make1 func(*Server) *radius.Packet) (answer, request *radius.Packet, err error) {
	cfg := r.cfg.Load()
	request = make1(&s.Server)
	octets, err := sign(request)
	if err != nil {
		return nil, nil, err
	}
	to := s.Address
	if accounting {
		to = s.Accounting
	}
	var from *net.UDPAddr
	if cfg.Source.IsValid() {
		from = net.UDPAddrFromAddrPort(netip.AddrPortFrom(cfg.Source, 0))
	}
	conn, err := net.DialUDP("udp", from, net.UDPAddrFromAddrPort(to))
	if err != nil {
		return nil, nil, fmt.Errorf("aaa: %w", err)
	}
	defer conn.Close()
	stop := context.AfterFunc(ctx, func() { conn.SetReadDeadline(time.Unix(1, 0)) })
	defer stop()
	last := errors.New("no answer")
	buffer := make([]byte, radius.MaxPacketLength)
	for range cfg.Tries {
		if err := conn.SetReadDeadline(time.Now().Add(cfg.Timeout)); err != nil {
			return nil, nil, err
		}
		if ctx.Err() != nil {
			return nil, nil, ctx.Err()
		}
		r.count(s, accounting, func(s *ServerStatus) { s.Requests++ })
		if _, err := conn.Write(octets); err != nil {
			last = err
			continue
		}
		for {
			n, err := conn.Read(buffer)
			if err != nil {
				var timeout net.Error
				if !errors.As(err, &timeout) || !timeout.Timeout() {
					last = err // an ICMP error: nobody is there
				}
				break
			}
			p, err := r.answered(s, buffer[:n], octets)
			if err != nil {
				last = err
				continue
			}
			return p, request, nil
		}
		r.count(s, accounting, func(s *ServerStatus) { s.Timeouts++ })
	}
	return nil, nil, last
}

// answered reads what may be the answer to a request; both are as on the wire.
func (r *RADIUS) answered(s *serverState, b, request []byte) (*radius.Packet, error) {
	if n := len(b); n >= 20 {
		if l := int(b[2])<<8 | int(b[3]); l >= 20 && l <= n {
			b = b[:l]
		}
	}
	if err := authentic(b, request, s.Secret); err != nil {
		r.update(s, func(s *serverState) { s.stats.Forged++ })
		return nil, err
	}
	return radius.Parse(append([]byte(nil), b...), s.Secret)
}
