package aaa_test

import (
	"context"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"net/netip"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"layeh.com/radius"

	question "careof/internal/core/aaa"
	"careof/internal/host/aaa"
	"careof/internal/host/aaa/aaatest"
	"careof/internal/host/diameter/diametertest"
)

const serverName = "aaa.home.example"

// A secured is a RADIUS server over TLS that answers as told.
type secured struct {
	ca       *diametertest.Authority
	at       netip.AddrPort
	accepted atomic.Int64
	asked    atomic.Int64
	conns    chan net.Conn
}

// secure starts one. answer gives the octets that go back for a request.
func secure(t *testing.T, answer func(c net.Conn, request []byte, p *radius.Packet) [][]byte) *secured {
	t.Helper()
	s := &secured{ca: diametertest.NewAuthority(t), conns: make(chan net.Conn, 100)}
	l, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{
		Certificates: []tls.Certificate{s.ca.Certificate(t, serverName)}, ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: s.ca.Pool,
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	s.at = l.Addr().(*net.TCPAddr).AddrPort()
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go s.serve(c, answer)
		}
	}()
	return s
}

func (s *secured) serve(c net.Conn, answer func(net.Conn, []byte, *radius.Packet) [][]byte) {
	defer c.Close()
	if c.(*tls.Conn).Handshake() != nil {
		return
	}
	s.accepted.Add(1)
	s.conns <- c
	for {
		head := make([]byte, 4)
		if _, err := io.ReadFull(c, head); err != nil {
			return
		}
		b := append(head, make([]byte, int(binary.BigEndian.Uint16(head[2:]))-4)...)
		if _, err := io.ReadFull(c, b[4:]); err != nil {
			return
		}
		s.asked.Add(1)
		p, err := radius.Parse(b, []byte(aaa.RadSec))
		if err != nil {
			return
		}
		for _, a := range answer(c, b, p) {
			if _, err := c.Write(a); err != nil {
				return
			}
		}
	}
}

func (s *secured) server(t *testing.T) aaa.Server {
	cert := s.ca.Certificate(t, "fa1.visited.example")
	return aaa.Server{Address: s.at, Secret: []byte(aaa.RadSec), TLS: &aaa.TLS{Name: serverName, Authorities: s.ca.Pool, Certificate: &cert}}
}

func accepting(t *testing.T) func(net.Conn, []byte, *radius.Packet) [][]byte {
	return func(_ net.Conn, _ []byte, p *radius.Packet) [][]byte {
		p.Secret = []byte(aaa.RadSec)
		return [][]byte{signed(t, p, radius.CodeAccessAccept)}
	}
}

// Many questions go over one connection, which stays; when the server closes it,
// the next question makes another one and nobody notices.
func TestQuestionsOverTLSShareAConnection(t *testing.T) {
	s := secure(t, accepting(t))
	c := aaa.NewRADIUS(aaa.RADIUSConfig{Servers: []aaa.Server{s.server(t)}, Timeout: 20 * time.Second, Tries: 1})
	defer c.Close()
	const many = 600 // more than there are identifiers
	errs := make(chan error, many)
	for range many {
		go func() { _, err := c.Answer(t.Context(), asking()); errs <- err }()
	}
	for range many {
		if err := <-errs; err != nil {
			t.Fatal(err)
		}
	}
	if n := s.accepted.Load(); n != 1 || s.asked.Load() != many {
		t.Errorf("%d connections, asked %d times", n, s.asked.Load())
	}
	(<-s.conns).Close()
	if _, err := c.Answer(t.Context(), asking()); err != nil {
		t.Errorf("after the server has closed the connection: %v", err)
	}
	if st := c.Status()[0]; st.State != "alive" || st.TLS != "TLS 1.3" || s.accepted.Load() != 2 {
		t.Errorf("%+v, %d connections", st, s.accepted.Load())
	}
}

// TLS is worth what its certificates are: without the right name, the right
// authority or one of its own nobody is asked, and nothing is said.
func TestOnlyTheServerOfThatNameIsAsked(t *testing.T) {
	s := secure(t, accepting(t))
	for what, change := range map[string]func(*aaa.TLS){
		"another name":            func(x *aaa.TLS) { x.Name = "mallory.example" },
		"an address as name":      func(x *aaa.TLS) { x.Name = "127.0.0.1" },
		"another authority":       func(x *aaa.TLS) { x.Authorities = diametertest.NewAuthority(t).Pool },
		"a stranger for a client": func(x *aaa.TLS) { cert := diametertest.NewAuthority(t).Certificate(t, "fa1"); x.Certificate = &cert },
	} {
		server := s.server(t)
		change(server.TLS)
		c := aaa.NewRADIUS(aaa.RADIUSConfig{Servers: []aaa.Server{server}, Timeout: 5 * time.Second, Tries: 1})
		if _, err := c.Answer(t.Context(), asking()); !errors.Is(err, question.ErrUnavailable) || s.asked.Load() != 0 {
			t.Errorf("%s: %v, asked %d times", what, err, s.asked.Load())
		}
		c.Close()
	}
}

// A server that is silent over its connection gives way to the next one, by UDP or
// over TLS alike, and is the first one again after its dead time.
func TestASilentServerOverTLSFailsOverAndBack(t *testing.T) {
	var deaf atomic.Bool
	deaf.Store(true)
	accept := accepting(t)
	first := secure(t, func(c net.Conn, b []byte, p *radius.Packet) [][]byte {
		if deaf.Load() {
			return nil
		}
		return accept(c, b, p)
	})
	second := serve(t, func(_ []byte, p *radius.Packet) [][]byte { return [][]byte{reply(t, p, radius.CodeAccessAccept, true)} })
	c := aaa.NewRADIUS(aaa.RADIUSConfig{Servers: []aaa.Server{first.server(t), second.server()}, Timeout: time.Second, Tries: 2, DeadTime: time.Hour})
	defer c.Close()
	for range 3 {
		if _, err := c.Answer(t.Context(), asking()); err != nil {
			t.Fatal(err)
		}
	}
	// Over TLS nothing is repeated.
	if a, b := first.asked.Load(), second.asked.Load(); a != 1 || b != 3 {
		t.Errorf("the first server was asked %d times, want 1; the second %d times, want 3", a, b)
	}
	deaf.Store(false)
	c.SetNow(func() time.Time { return time.Now().Add(time.Hour + time.Second) })
	if _, err := c.Answer(t.Context(), asking()); err != nil || first.asked.Load() != 2 || c.Status()[0].State != "alive" {
		t.Errorf("after its dead time the first server was asked %d times: %+v, %v", first.asked.Load(), c.Status()[0], err)
	}
	if n := first.accepted.Load(); n != 2 {
		t.Errorf("%d connections: a silent one is not used again", n)
	}
}

// What is no RADIUS ends the connection, and what is not authentic is no answer.
func TestAServerThatTalksNonsenseOverTLS(t *testing.T) {
	for what, c := range map[string]struct {
		answer func(p *radius.Packet) []byte
		want   error
	}{
		"no length":            {func(*radius.Packet) []byte { return make([]byte, 100) }, question.ErrUnavailable},
		"a length of 64k":      {func(*radius.Packet) []byte { return []byte{2, 0, 0xff, 0xff, 0} }, question.ErrUnavailable},
		"another's identifier": {func(p *radius.Packet) []byte { p.Identifier++; return signed(t, p, radius.CodeAccessAccept) }, question.ErrUnavailable},
		"another secret": {func(p *radius.Packet) []byte {
			p.Secret = []byte("guess")
			return signed(t, p, radius.CodeAccessAccept)
		}, question.ErrUnavailable},
		"a true reject, for it": {func(p *radius.Packet) []byte { return signed(t, p, radius.CodeAccessReject) }, question.ErrRejected},
	} {
		s := secure(t, func(_ net.Conn, _ []byte, p *radius.Packet) [][]byte {
			p.Secret = []byte(aaa.RadSec)
			return [][]byte{c.answer(p)}
		})
		client := aaa.NewRADIUS(aaa.RADIUSConfig{Servers: []aaa.Server{s.server(t)}, Timeout: time.Second, Tries: 1})
		if _, err := client.Answer(t.Context(), asking()); !errors.Is(err, c.want) {
			t.Errorf("%s: %v", what, err)
		}
		client.Close()
	}
}

// A server may give orders over the connection that it is asked over, and over
// nothing else: everybody knows the secret of RADIUS over TLS.
func TestOrdersOverTLS(t *testing.T) {
	acks := make(chan radius.Code, 10)
	s := secure(t, func(c net.Conn, b []byte, p *radius.Packet) [][]byte {
		if p.Code != radius.CodeAccessRequest {
			acks <- p.Code
			return nil
		}
		return accepting(t)(c, b, p)
	})
	cfg := aaa.RADIUSConfig{Servers: []aaa.Server{s.server(t)}, Timeout: 20 * time.Second, Tries: 1}
	c := aaa.NewRADIUS(cfg)
	defer c.Close()
	carried := make(chan any, 10)
	o, err := aaa.Listen(netip.MustParseAddrPort("127.0.0.1:0"), cfg, func(_ context.Context, order any) (int, error) {
		carried <- order
		return 1, nil
	})
	if err != nil {
		t.Fatal(err)
	}
	c.Obey(o)
	go func() { _ = o.Run(t.Context()) }()
	if _, err := c.Answer(t.Context(), asking()); err != nil {
		t.Fatal(err)
	}
	p := radius.New(radius.CodeDisconnectRequest, []byte(aaa.RadSec))
	p.Add(1, []byte("van7@fleet.example"))
	order, err := p.Encode()
	if err != nil {
		t.Fatal(err)
	}
	udp, err := net.Dial("udp", o.Address().String())
	if err != nil {
		t.Fatal(err)
	}
	defer udp.Close()
	if _, err := udp.Write(order); err != nil {
		t.Fatal(err)
	}
	_ = udp.SetReadDeadline(time.Now().Add(200 * time.Millisecond))
	if n, err := udp.Read(make([]byte, 100)); err == nil || len(carried) != 0 {
		t.Errorf("an order by UDP with the secret that everybody knows: %d octets back, %d carried out", n, len(carried))
	}
	if _, err := (<-s.conns).Write(order); err != nil {
		t.Fatal(err)
	}
	select {
	case code := <-acks:
		if code != radius.CodeDisconnectACK || len(carried) != 1 {
			t.Errorf("%v, %d carried out", code, len(carried))
		}
	case <-time.After(20 * time.Second):
		t.Fatal("the order is not answered")
	}
}

// Debian's FreeRADIUS with the example's listener for TLS: questions and records
// go over it, with TLS 1.3 and a certificate at each end.
//
//rfc:5030#3.1
func TestFreeRADIUSOverTLS(t *testing.T) {
	ca := diametertest.NewAuthority(t)
	files, replace := aaatest.RadSec(t, ca, serverName)
	ports := freePorts(t, 3)
	at := netip.MustParseAddrPort("127.0.0.1:" + ports[2])
	dir := aaatest.FreeRADIUSWith(t, func(f func()) { f() }, files, append(replace, "port = 1812", "port = "+ports[0], "port = 1813", "port = "+ports[1],
		"port = 2083", "port = "+ports[2])...)
	cert := ca.Certificate(t, "fa1.visited.example")
	c := aaa.NewRADIUS(aaa.RADIUSConfig{Timeout: 10 * time.Second, NASIdentifier: "ha1.test", Servers: []aaa.Server{
		{Address: at, Secret: []byte(aaa.RadSec), TLS: &aaa.TLS{Name: serverName, Authorities: ca.Pool, Certificate: &cert}},
	}})
	defer c.Close()
	g, err := c.Answer(t.Context(), asking())
	if err != nil || g.HomeAgent != netip.MustParseAddr("198.51.100.1") {
		t.Fatalf("granted %+v, %v", g, err)
	}
	wrong := asking()
	wrong.Proof.Challenge = slices.Clone(wrong.Proof.Challenge)
	wrong.Proof.Challenge[0]++
	if _, err := c.Answer(t.Context(), wrong); !errors.Is(err, question.ErrRejected) {
		t.Errorf("another challenge: %v", err)
	}
	g, err = c.Answer(t.Context(), question.Authorise{Subject: question.Subject{NAI: "van7@fleet.example"}, SPI: 256})
	if err != nil || len(g.Associations) != 1 {
		t.Errorf("granted %+v, %v", g, err)
	}
	l := aaa.NewLedger(c, 0, (&counting{}).Counters, time.Now)
	go l.Run(t.Context())
	l.Account(question.Account{Role: "home-agent", Moment: question.Start, Session: 0xfeed, Began: time.Now(), Subject: question.Subject{NAI: "van7@fleet.example"}})
	written(t, dir, "Acct-Status-Type = Start")
	if s := c.Status()[0]; s.State != "alive" || s.TLS != "TLS 1.3" || s.Forged != 0 {
		t.Errorf("%+v", s)
	}
}
