package aaa_test

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/md5"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync/atomic"
	"testing"
	"time"

	"layeh.com/radius"

	question "careof/internal/core/aaa"
	"careof/internal/core/assoc"
	"careof/internal/core/forward"
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

// A server whose accounting port is dead still answers questions, and is shown
// alive.
func TestAccountingThatNobodyTakes(t *testing.T) {
	f := serve(t, func(_ []byte, p *radius.Packet) [][]byte { return [][]byte{reply(t, p, radius.CodeAccessAccept, true)} })
	s := f.server()
	nobody, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	defer nobody.Close()
	s.Accounting = nobody.LocalAddr().(*net.UDPAddr).AddrPort()
	warned := make(chan string, 10)
	c := aaa.NewRADIUS(aaa.RADIUSConfig{
		Servers: []aaa.Server{s}, Timeout: 50 * time.Millisecond, Tries: 1, DeadTime: time.Hour,
		Warn: func(text string, _ ...any) { warned <- text },
	})
	if _, err := c.Answer(t.Context(), asking()); err != nil {
		t.Fatal(err)
	}
	l := aaa.NewLedger(c, 0, (&counting{}).Counters, time.Now)
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() { defer close(ended); l.Run(ctx) }()
	select {
	case text := <-warned:
		if text != "an AAA server does not take accounting records" {
			t.Errorf("warned: %s", text)
		}
	case <-time.After(20 * time.Second):
		t.Fatal("nobody is warned")
	}
	if s := c.Status()[0]; s.State != "alive" || s.Timeouts != 0 {
		t.Errorf("shown as %+v", s)
	}
	cancel()
	<-ended
}

// A question waits for its answer and nobody else does; beyond the limits it is
// refused without being asked, unless the node is registered.
func TestADeskBoundsWhatStrangersAsk(t *testing.T) {
	release := make(chan struct{})
	var asked atomic.Int64
	d := aaa.New(answerer(func(ctx context.Context, q any) (question.Grant, error) {
		asked.Add(1)
		<-release
		return question.Grant{}, nil
	}), aaa.Limits{Questions: 10, PerSource: 1000, PerNAI: 2})
	answers := make(chan error, 100000)
	const strangers = 5000
	for i := range strangers {
		q := question.Authorise{SPI: 300}
		q.NAI, q.Source = identNAI(i), netip.MustParseAddr("192.0.2.1")
		d.Ask(t.Context(), q, func(_ any, err error) { answers <- err })
	}
	known := question.Authorise{SPI: 300}
	known.NAI, known.Registered = "van7@fleet.example", true
	d.Ask(t.Context(), known, func(_ any, err error) {
		if err != nil {
			t.Errorf("a registered node's question: %v", err)
		}
		answers <- err
	})
	close(release)
	limited := 0
	for range strangers + 1 {
		select {
		case err := <-answers:
			if errors.Is(err, question.ErrLimited) {
				limited++
			}
		case <-time.After(20 * time.Second):
			t.Fatal("a question was never answered")
		}
	}
	if n := int(asked.Load()); n < 20 || n > 60 || limited != strangers+1-n {
		t.Errorf("%d of %d questions were asked, %d refused", n, strangers, limited)
	}
}

// Wrong requests under one name cost one question.
func TestADeskRemembers(t *testing.T) {
	var asked atomic.Int64
	d := aaa.New(answerer(func(context.Context, any) (question.Grant, error) {
		asked.Add(1)
		return question.Grant{}, fmt.Errorf("no: %w", question.ErrRejected)
	}), aaa.Limits{})
	ask := func() {
		done := make(chan error, 1)
		q := question.Authorise{SPI: 300}
		q.NAI = "nobody@fleet.example"
		d.Ask(t.Context(), q, func(_ any, err error) { done <- err })
		if err := <-done; !errors.Is(err, question.ErrRejected) {
			t.Errorf("%v", err)
		}
	}
	for range 100 {
		ask()
	}
	if n := asked.Load(); n != 1 {
		t.Errorf("asked %d times", n)
	}
	d.Forget("nobody@fleet.example")
	ask()
	if n := asked.Load(); n != 2 {
		t.Errorf("asked %d times after being told to forget", n)
	}
}

// The ledger's octets are the data plane's, also those of entries that are made
// anew or removed meanwhile; records wait while no server takes them, and come
// in order.
func TestAccountingTellsWhatThePlaneCounted(t *testing.T) {
	type told struct {
		status, in, out uint32
		session         string
	}
	var deaf atomic.Bool
	deaf.Store(true)
	records := make(chan told, 100)
	f := serve(t, func(r []byte, p *radius.Packet) [][]byte {
		if deaf.Load() || !radius.IsAuthenticRequest(r, []byte(secret)) {
			return nil
		}
		u := func(n radius.Type) uint32 {
			if a := p.Get(n); len(a) == 4 {
				return uint32(a[0])<<24 | uint32(a[1])<<16 | uint32(a[2])<<8 | uint32(a[3])
			}
			return 0
		}
		records <- told{u(40), u(42), u(43), string(p.Get(44))}
		return [][]byte{reply(t, p, radius.CodeAccountingResponse, false)}
	})
	c := aaa.NewRADIUS(aaa.RADIUSConfig{Servers: []aaa.Server{f.server()}, Timeout: 50 * time.Millisecond, Tries: 1})
	plane := &counting{}
	l := aaa.NewLedger(c, 0, plane.Counters, time.Now)
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() { defer close(ended); l.Run(ctx) }()
	tell := func(m question.Moment) {
		l.Account(question.Account{Role: "home-agent", Moment: m, Session: 7, Key: "ha/10.10.0.5", Began: time.Now(), Subject: question.Subject{NAI: "van7@fleet.example"}})
	}
	metered := l.Metered(plane)
	tell(question.Start)
	plane.now.Store(&forward.Counters{SentBytes: 1000, ReceivedBytes: 400})
	tell(question.Interim)
	if err := metered.Apply(ctx, []forward.Change{{Op: forward.Delete, Entry: forward.Entry{Key: "ha/10.10.0.5"}}}); err != nil {
		t.Fatal(err)
	}
	plane.now.Store(&forward.Counters{SentBytes: 50, ReceivedBytes: 5}) // a new entry
	if err := metered.Apply(ctx, []forward.Change{{Op: forward.Delete, Entry: forward.Entry{Key: "ha/10.10.0.5"}}}); err != nil {
		t.Fatal(err)
	}
	plane.now.Store(&forward.Counters{})
	tell(question.Stop)
	deaf.Store(false)
	for i, want := range []told{{7, 0, 0, ""}, {1, 0, 0, "0000000000000007"}, {3, 400, 1000, "0000000000000007"}, {2, 405, 1050, "0000000000000007"}} {
		select {
		case got := <-records:
			if got != want {
				t.Errorf("record %d: %+v, want %+v", i, got, want)
			}
		case <-time.After(30 * time.Second):
			t.Fatalf("record %d never came", i)
		}
	}
	cancel()
	<-ended
}

// A role tells of a session's end while its entry is still being removed: what that
// has counted is in the last record, once.
//
//rfc:2866#5.3
func TestTheLastRecordHasWhatTheEntryCounted(t *testing.T) {
	stops := make(chan byte, 10)
	f := serve(t, func(_ []byte, p *radius.Packet) [][]byte {
		if a := p.Get(42); p.Get(40)[3] == 2 {
			stops <- a[3]
		}
		return [][]byte{reply(t, p, radius.CodeAccountingResponse, false)}
	})
	c := aaa.NewRADIUS(aaa.RADIUSConfig{Servers: []aaa.Server{f.server()}})
	for _, removedFirst := range []bool{false, true} {
		plane := &counting{}
		l := aaa.NewLedger(c, 0, plane.Counters, time.Now)
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan struct{})
		go func() { defer close(ended); l.Run(ctx) }()
		tell := func(m question.Moment) {
			l.Account(question.Account{Role: "foreign-agent", Moment: m, Session: 9, Key: "fa/10.10.0.5", Began: time.Now(), Subject: question.Subject{NAI: "van7@fleet.example"}})
		}
		remove := func() {
			if err := l.Metered(plane).Apply(ctx, []forward.Change{{Op: forward.Delete, Entry: forward.Entry{Key: "fa/10.10.0.5"}}}); err != nil {
				t.Error(err)
			}
		}
		tell(question.Start)
		plane.now.Store(&forward.Counters{SentBytes: 70})
		if removedFirst {
			remove()
			tell(question.Stop)
		} else {
			tell(question.Stop)
			remove()
		}
		select {
		case got := <-stops:
			if got != 70 {
				t.Errorf("removed first %v: %d octets, want 70", removedFirst, got)
			}
		case <-time.After(30 * time.Second):
			t.Fatal("no record came")
		}
		cancel()
		<-ended
	}
}

// A record stays until a server has taken it: an answer that is forged takes
// nothing.
//
//rfc:2866#3
func TestAForgedAccountingResponseIsRefused(t *testing.T) {
	var honest atomic.Bool
	f := serve(t, func(_ []byte, p *radius.Packet) [][]byte {
		other := *p
		other.Secret = []byte("guess")
		next := *p
		next.Identifier++
		answers := [][]byte{
			reply(t, &other, radius.CodeAccountingResponse, false), reply(t, &next, radius.CodeAccountingResponse, false),
			reply(t, p, radius.CodeAccountingResponse, false, &radius.AVP{Type: 80, Attribute: make([]byte, 16)}), // a signature that is wrong
		}
		if honest.Load() {
			answers = append(answers, reply(t, p, radius.CodeAccountingResponse, true))
		}
		return answers
	})
	c := aaa.NewRADIUS(aaa.RADIUSConfig{Servers: []aaa.Server{f.server()}, Timeout: 200 * time.Millisecond, Tries: 1})
	l := aaa.NewLedger(c, 0, (&counting{}).Counters, time.Now)
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() { defer close(ended); l.Run(ctx) }()
	waiting := func() int { _, n, _ := l.Status(); return n }
	await := func(what string, is func() bool) {
		t.Helper()
		for end := time.Now().Add(30 * time.Second); !is(); {
			if time.Now().After(end) {
				t.Fatalf("never: %s", what)
			}
			<-time.After(10 * time.Millisecond)
		}
	}
	await("forged answers", func() bool { return c.Status()[0].Forged >= 6 })
	if n := waiting(); n != 1 {
		t.Errorf("%d records wait, want the one that nobody has taken", n)
	}
	honest.Store(true)
	await("the record is taken", func() bool { return waiting() == 0 })
	cancel()
	<-ended
}

// A session that goes on is told of as often as the server, or the configuration,
// wants.
func TestInterimRecordsComeByThemselves(t *testing.T) {
	status := make(chan byte, 100)
	f := serve(t, func(_ []byte, p *radius.Packet) [][]byte {
		status <- p.Get(40)[3]
		return [][]byte{reply(t, p, radius.CodeAccountingResponse, false)}
	})
	c := aaa.NewRADIUS(aaa.RADIUSConfig{Servers: []aaa.Server{f.server()}})
	l := aaa.NewLedger(c, 50*time.Millisecond, (&counting{}).Counters, time.Now)
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() { defer close(ended); l.Run(ctx) }()
	l.Account(question.Account{Moment: question.Start, Session: 7, Key: "ha/10.10.0.5", Began: time.Now(), Subject: question.Subject{NAI: "van7@fleet.example"}})
	for i, want := range []byte{7, 1, 3, 3} {
		select {
		case got := <-status:
			if got != want {
				t.Errorf("record %d has status %d, want %d", i, got, want)
			}
		case <-time.After(30 * time.Second):
			t.Fatalf("record %d never came", i)
		}
	}
	cancel()
	<-ended
}

// Disconnect requests are obeyed once, from the servers alone.
//
//rfc:5176#2.1
//rfc:5176#2.2
func TestDynamicAuthorisation(t *testing.T) {
	var carried atomic.Int64
	cfg := aaa.RADIUSConfig{
		Servers:       []aaa.Server{{Address: netip.MustParseAddrPort("127.0.0.1:1812"), Secret: []byte(secret)}},
		NASIdentifier: "ha1.test",
	}
	o, err := aaa.Listen(netip.MustParseAddrPort("127.0.0.1:0"), cfg, func(_ context.Context, order any) (int, error) {
		carried.Add(1)
		if e, ok := order.(question.End); ok && e.NAI == "nobody@fleet.example" {
			return 0, nil
		}
		return 1, nil
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- o.Run(ctx) }()
	conn, err := net.Dial("udp", o.Address().String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	send := func(b []byte, wait time.Duration) *radius.Packet {
		t.Helper()
		if _, err := conn.Write(b); err != nil {
			t.Fatal(err)
		}
		_ = conn.SetReadDeadline(time.Now().Add(wait))
		buffer := make([]byte, 4096)
		n, err := conn.Read(buffer)
		if err != nil {
			return nil
		}
		if !radius.IsAuthenticResponse(buffer[:n], b, []byte(secret)) {
			t.Error("the answer is not authentic")
		}
		p, err := radius.Parse(buffer[:n], []byte(secret))
		if err != nil {
			t.Fatal(err)
		}
		signature := bytes.Clone(p.Get(80))
		whole := bytes.Clone(buffer[:n])
		copy(whole[4:20], b[4:20])
		at := bytes.Index(whole, append([]byte{80, 18}, signature...))
		if len(signature) != 16 || at < 0 {
			t.Fatalf("an answer of %v without Message-Authenticator", p.Code)
		}
		clear(whole[at+2 : at+18])
		h := hmac.New(md5.New, []byte(secret))
		h.Write(whole)
		if !hmac.Equal(signature, h.Sum(nil)) {
			t.Errorf("the Message-Authenticator of %v is wrong", p.Code)
		}
		return p
	}
	order := func(code radius.Code, key string, with ...*radius.AVP) []byte {
		p := radius.New(code, []byte(key))
		p.Attributes = with
		b, err := p.Encode()
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	name := func(s string) *radius.AVP { return &radius.AVP{Type: 1, Attribute: []byte(s)} }
	u32 := func(t radius.Type, v uint32) *radius.AVP {
		return &radius.AVP{Type: t, Attribute: []byte{byte(v >> 24), byte(v >> 16), byte(v >> 8), byte(v)}}
	}
	one := order(radius.CodeDisconnectRequest, secret, name("van7@fleet.example"), u32(55, uint32(time.Now().Unix())))
	for range 2 { // the second is the same datagram again
		if p := send(one, 5*time.Second); p == nil || p.Code != radius.CodeDisconnectACK {
			t.Fatalf("%+v", p)
		}
	}
	// Nor is it another one from another port: that is who repeats it to choose.
	first := conn
	if conn, err = net.Dial("udp", o.Address().String()); err != nil {
		t.Fatal(err)
	}
	if p := send(one, 5*time.Second); p == nil || p.Code != radius.CodeDisconnectACK {
		t.Fatalf("from another port: %+v", p)
	}
	conn.Close()
	conn = first
	if carried.Load() != 1 {
		t.Errorf("carried out %d times", carried.Load())
	}
	for what, c := range map[string]struct {
		b    []byte
		code radius.Code
		why  uint32
	}{
		"an unknown session":    {order(radius.CodeDisconnectRequest, secret, name("nobody@fleet.example")), radius.CodeDisconnectNAK, 503},
		"nothing to go by":      {order(radius.CodeDisconnectRequest, secret, u32(55, uint32(time.Now().Unix()))), radius.CodeDisconnectNAK, 402},
		"for another agent":     {order(radius.CodeDisconnectRequest, secret, name("x"), &radius.AVP{Type: 32, Attribute: []byte("ha2")}), radius.CodeDisconnectNAK, 403},
		"a session of nobody's": {order(radius.CodeDisconnectRequest, secret, &radius.AVP{Type: 44, Attribute: []byte("zz")}), radius.CodeDisconnectNAK, 503},
		"a change of nothing":   {order(radius.CodeCoARequest, secret, name("x")), radius.CodeCoANAK, 401},
		"a change of lifetime":  {order(radius.CodeCoARequest, secret, name("x"), u32(27, 60)), radius.CodeCoAACK, 0},
	} {
		p := send(c.b, 5*time.Second)
		if p == nil || p.Code != c.code {
			t.Errorf("%s: %+v", what, p)
			continue
		}
		if a := p.Get(101); c.why != 0 && (len(a) != 4 || uint32(a[2])<<8|uint32(a[3]) != c.why) {
			t.Errorf("%s: Error-Cause %x, want %d", what, a, c.why)
		}
	}
	before := carried.Load()
	for what, b := range map[string][]byte{
		"another secret": order(radius.CodeDisconnectRequest, "guess", name("van7@fleet.example")),
		"an old one":     order(radius.CodeDisconnectRequest, secret, name("van7@fleet.example"), u32(55, uint32(time.Now().Add(-time.Hour).Unix()))),
		"one of before this start": order(radius.CodeCoARequest, secret, name("van7@fleet.example"), u32(27, 60),
			u32(55, uint32(time.Now().Add(-time.Minute).Unix()))),
		"one of the future":       order(radius.CodeDisconnectRequest, secret, name("van7@fleet.example"), u32(55, uint32(time.Now().Add(time.Hour).Unix()))),
		"a CoA of another secret": order(radius.CodeCoARequest, "guess", name("van7@fleet.example"), u32(27, 60)),
		"no order":                order(radius.CodeAccessRequest, secret, name("van7@fleet.example")),
		"a wrong Message-Authenticator": order(radius.CodeDisconnectRequest, secret, name("van7@fleet.example"),
			&radius.AVP{Type: 80, Attribute: make([]byte, 16)}),
	} {
		if p := send(b, 100*time.Millisecond); p != nil {
			t.Errorf("%s: answered with %v", what, p.Code)
		}
	}
	// Where timestamps are required, an order without one is not heard.
	cfg.Timestamps = true
	o.Reconfigure(cfg)
	if p := send(order(radius.CodeDisconnectRequest, secret, name("van7@fleet.example")), 100*time.Millisecond); p != nil {
		t.Errorf("one without a timestamp: answered with %v", p.Code)
	}
	if carried.Load() != before {
		t.Error("a stranger's order was carried out")
	}
	if p := send(order(radius.CodeDisconnectRequest, secret, name("van7@fleet.example"), u32(55, uint32(time.Now().Unix()))), 5*time.Second); p == nil || carried.Load() != before+1 {
		t.Errorf("one with a timestamp: %+v", p)
	}
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
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
