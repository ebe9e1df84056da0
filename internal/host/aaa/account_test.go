package aaa_test

import (
	"context"
	"net"
	"sync/atomic"
	"testing"
	"time"

	"layeh.com/radius"

	question "careof/internal/core/aaa"
	"careof/internal/core/forward"
	"careof/internal/host/aaa"
)

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

// follow waits for records, one after the other.
func follow[T comparable](t *testing.T, records <-chan T, want ...T) {
	t.Helper()
	for i, want := range want {
		select {
		case got := <-records:
			if got != want {
				t.Errorf("record %d: %+v, want %+v", i, got, want)
			}
		case <-time.After(30 * time.Second):
			t.Fatalf("record %d never came", i)
		}
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
	follow(t, records, told{7, 0, 0, ""}, told{1, 0, 0, "0000000000000007"}, told{3, 400, 1000, "0000000000000007"}, told{2, 405, 1050, "0000000000000007"})
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
	follow(t, status, 7, 1, 3, 3)
	cancel()
	<-ended
}
