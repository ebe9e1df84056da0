package aaa_test

import (
	"bytes"
	"crypto/hmac"
	"crypto/md5"
	"errors"
	"net"
	"net/netip"
	"sync/atomic"
	"testing"
	"time"

	"layeh.com/radius"

	question "careof/internal/core/aaa"
	"careof/internal/core/assoc"
	"careof/internal/host/aaa"
)

const secret = "a-long-secret-for-agents"

// A fake is a RADIUS server that answers as told.
type fake struct {
	conn  *net.UDPConn
	asked atomic.Int64
}

// serve has answer answer requests: octets to send, in order.
func serve(t *testing.T, answer func(request []byte, p *radius.Packet) [][]byte) *fake {
	t.Helper()
	conn, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	f := &fake{conn: conn}
	t.Cleanup(func() { conn.Close() })
	go func() {
		b := make([]byte, radius.MaxPacketLength)
		for {
			n, from, err := conn.ReadFromUDP(b)
			if err != nil {
				return
			}
			f.asked.Add(1)
			request := bytes.Clone(b[:n])
			p, err := radius.Parse(request, []byte(secret))
			if err != nil {
				continue
			}
			for _, a := range answer(request, p) {
				_, _ = conn.WriteToUDP(a, from)
			}
		}
	}()
	return f
}

func (f *fake) server() aaa.Server {
	at := f.conn.LocalAddr().(*net.UDPAddr).AddrPort()
	return aaa.Server{Address: at, Accounting: at, Secret: []byte(secret)}
}

// signed makes an answer with a Message-Authenticator.
func signed(t *testing.T, p *radius.Packet, code radius.Code, with ...*radius.AVP) []byte {
	return reply(t, p, code, true, with...)
}

// reply makes an answer, signed or not.
func reply(t *testing.T, p *radius.Packet, code radius.Code, signed bool, with ...*radius.AVP) []byte {
	a := p.Response(code)
	a.Attributes = append(a.Attributes, with...)
	if signed {
		a.Attributes = append(radius.Attributes{{Type: 80, Attribute: make([]byte, 16)}}, a.Attributes...)
		b, err := a.MarshalBinary()
		if err != nil {
			t.Error(err)
		}
		h := hmac.New(md5.New, p.Secret)
		h.Write(b)
		copy(a.Attributes[0].Attribute, h.Sum(nil))
	}
	b, err := a.Encode()
	if err != nil {
		t.Error(err)
	}
	return b
}

func asking() question.Authenticate {
	k := assoc.NewKey([]byte("van7-password"))
	data := []byte("a registration request, as it is digested")
	c := []byte("0123456789abcdef")
	return question.Authenticate{
		Subject: question.Subject{NAI: "van7@fleet.example", HomeAgent: netip.MustParseAddr("198.51.100.1")},
		Proof:   question.Proof{SPI: 2, Covered: data, Challenge: c, Authenticator: k.CHAP(nil, data, c)},
	}
}

func client(servers ...aaa.Server) *aaa.RADIUS {
	return aaa.NewRADIUS(aaa.RADIUSConfig{
		Servers: servers, Timeout: 300 * time.Millisecond, Tries: 2, DeadTime: time.Hour,
		NASIdentifier: "fa1.test", NASAddress: netip.MustParseAddr("203.0.113.1"),
	})
}

// Whoever sees a request can send an answer to it. One that is not signed with
// the secret is discarded, and the true one that follows counts. An Access-Accept
// without a Message-Authenticator is discarded although its Response
// Authenticator is right.
func TestAForgedAnswerIsRefused(t *testing.T) {
	for what, forged := range map[string]func(request []byte, p *radius.Packet) []byte{
		"no Message-Authenticator": func(_ []byte, p *radius.Packet) []byte {
			return reply(t, p, radius.CodeAccessAccept, false)
		},
		"another secret": func(_ []byte, p *radius.Packet) []byte {
			q := *p
			q.Secret = []byte("guess")
			return reply(t, &q, radius.CodeAccessAccept, false)
		},
		"a Message-Authenticator of zeros": func(_ []byte, p *radius.Packet) []byte {
			return reply(t, p, radius.CodeAccessAccept, false, &radius.AVP{Type: 80, Attribute: make([]byte, 16)})
		},
		"an answer to another request": func(_ []byte, p *radius.Packet) []byte {
			q := *p
			q.Identifier++
			return reply(t, &q, radius.CodeAccessAccept, true)
		},
		"a cut one": func(_ []byte, p *radius.Packet) []byte {
			return reply(t, p, radius.CodeAccessAccept, true)[:21]
		},
		"nothing": func([]byte, *radius.Packet) []byte { return nil },
	} {
		only := serve(t, func(r []byte, p *radius.Packet) [][]byte { return [][]byte{forged(r, p)} })
		if _, err := client(only.server()).Answer(t.Context(), asking()); !errors.Is(err, question.ErrUnavailable) {
			t.Errorf("%s: %v", what, err)
		}
		before := serve(t, func(r []byte, p *radius.Packet) [][]byte {
			return [][]byte{forged(r, p), reply(t, p, radius.CodeAccessReject, true)}
		})
		if _, err := client(before.server()).Answer(t.Context(), asking()); !errors.Is(err, question.ErrRejected) {
			t.Errorf("%s, then a true reject: %v", what, err)
		}
	}
}

// Every request has a Message-Authenticator, as its first attribute.
func TestRequestsAreSigned(t *testing.T) {
	seen := make(chan []byte, 1)
	f := serve(t, func(r []byte, p *radius.Packet) [][]byte {
		seen <- r
		return [][]byte{reply(t, p, radius.CodeAccessAccept, true)}
	})
	if _, err := client(f.server()).Answer(t.Context(), asking()); err != nil {
		t.Fatal(err)
	}
	r := <-seen
	if r[20] != 80 || r[21] != 18 {
		t.Fatalf("the first attribute is %d", r[20])
	}
	mac := bytes.Clone(r[22:38])
	clear(r[22:38])
	h := hmac.New(md5.New, []byte(secret))
	h.Write(r)
	if !hmac.Equal(mac, h.Sum(nil)) {
		t.Error("the Message-Authenticator is wrong")
	}
}

// A server that does not answer gives way to the next, and is left alone for its
// dead time; when it answers again after that, it is the first one again.
func TestADeadServerFailsOverAndBack(t *testing.T) {
	var deaf atomic.Bool
	deaf.Store(true)
	accept := func(_ []byte, p *radius.Packet) [][]byte {
		return [][]byte{reply(t, p, radius.CodeAccessAccept, true)}
	}
	first := serve(t, func(r []byte, p *radius.Packet) [][]byte {
		if deaf.Load() {
			return nil
		}
		return accept(r, p)
	})
	second := serve(t, accept)
	c := aaa.NewRADIUS(aaa.RADIUSConfig{Servers: []aaa.Server{first.server(), second.server()}, Timeout: 500 * time.Millisecond, Tries: 2, DeadTime: time.Hour})
	for range 3 {
		if _, err := c.Answer(t.Context(), asking()); err != nil {
			t.Fatal(err)
		}
	}
	if a, b := first.asked.Load(), second.asked.Load(); a != 2 || b != 3 {
		t.Errorf("the first server was asked %d times, want 2; the second %d times, want 3", a, b)
	}
	if s := c.Status(); s[0].State != "dead" || s[1].State != "alive" {
		t.Errorf("%+v", s)
	}
	deaf.Store(false)
	if _, err := c.Answer(t.Context(), asking()); err != nil || first.asked.Load() != 2 {
		t.Errorf("the first server is asked before its dead time is over: %d times, %v", first.asked.Load(), err)
	}
	c.SetNow(func() time.Time { return time.Now().Add(time.Hour + time.Second) })
	if _, err := c.Answer(t.Context(), asking()); err != nil || first.asked.Load() != 3 || c.Status()[0].State != "alive" {
		t.Errorf("after its dead time the first server was asked %d times: %+v, %v", first.asked.Load(), c.Status()[0], err)
	}
}

// Servers come and go while questions are open: these get their answers from whom
// they were put to, by UDP and over TLS; the next ones go to the new servers; and
// of a server that stays it stays known that it is dead.
func TestServersChangeWhileQuestionsAreOpen(t *testing.T) {
	release := make(chan struct{})
	arrived := make(chan struct{}, 2)
	old := serve(t, func(_ []byte, p *radius.Packet) [][]byte {
		arrived <- struct{}{}
		<-release
		return [][]byte{signed(t, p, radius.CodeAccessReject)}
	})
	oldTLS := secure(t, func(_ net.Conn, _ []byte, p *radius.Packet) [][]byte {
		arrived <- struct{}{}
		<-release
		p.Secret = []byte(aaa.RadSec)
		return [][]byte{signed(t, p, radius.CodeAccessReject)}
	})
	dead := serve(t, func([]byte, *radius.Packet) [][]byte { return nil })
	next := serve(t, func(_ []byte, p *radius.Packet) [][]byte { return [][]byte{signed(t, p, radius.CodeAccessAccept)} })
	for what, server := range map[string]aaa.Server{"UDP": old.server(), "TLS": oldTLS.server(t)} {
		t.Run(what, func(t *testing.T) {
			cfg := aaa.RADIUSConfig{Servers: []aaa.Server{server}, Timeout: 30 * time.Second, Tries: 1, DeadTime: time.Hour}
			c := aaa.NewRADIUS(cfg)
			defer c.Close()
			open := make(chan error, 1)
			go func() { _, err := c.Answer(t.Context(), asking()); open <- err }()
			<-arrived
			cfg.Timeout, cfg.Servers = 100*time.Millisecond, []aaa.Server{dead.server(), next.server()}
			c.Reconfigure(cfg)
			if _, err := c.Answer(t.Context(), asking()); err != nil {
				t.Errorf("the new servers: %v", err)
			}
			cfg.Servers = []aaa.Server{next.server(), dead.server()}
			c.Reconfigure(cfg)
			if s := c.Status(); len(s) != 2 || s[0].State != "alive" || s[0].Answers != 1 || s[1].State != "dead" {
				t.Errorf("after a change of their order: %+v", s)
			}
			select {
			case err := <-open:
				t.Fatalf("the open question was given up: %v", err)
			default:
			}
			release <- struct{}{}
			if err := <-open; !errors.Is(err, question.ErrRejected) {
				t.Errorf("the open question: %v", err)
			}
		})
	}
}
