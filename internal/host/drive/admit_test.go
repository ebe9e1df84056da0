package drive

import (
	"context"
	"fmt"
	"net/netip"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"careof/internal/core/engine"
)

var (
	bound    = netip.MustParseAddrPort("192.0.2.7:434")
	stranger = netip.MustParseAddrPort("203.0.113.9:1000")
)

// committing is a machine that commits for a peer whose message says "mine",
// and only counts what others say.
func committing(seen *[]string, mu *sync.Mutex) *toy {
	return &toy{step: func(_ engine.Now, ev engine.Event) []engine.Action {
		p, ok := ev.(engine.Packet)
		if !ok {
			return nil
		}
		mu.Lock()
		*seen = append(*seen, string(p.Data))
		mu.Unlock()
		if string(p.Data) != "mine" {
			return nil
		}
		return []engine.Action{engine.Commit{
			Records: []engine.Record{{Key: []byte("k"), Value: []byte("v")}},
			Then:    []engine.Action{engine.Send{Dst: p.Src, Data: []byte("reply")}},
		}}
	}}
}

// TestRenewalsAreHeardFirstAndWhenStrangersFillTheirRoom: what comes from a
// peer that something was committed for is not shed for strangers' messages,
// however many, and is worked off before theirs.
func TestRenewalsAreHeardFirstAndWhenStrangersFillTheirRoom(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var mu sync.Mutex
		var seen []string
		d := newDriver(&stage{}, committing(&seen, &mu))
		d.Limit(Limits{Peers: 1})
		ctx, stop := context.WithCancel(t.Context())
		ended := make(chan struct{})
		go func() { defer close(ended); d.Run(ctx) }()
		d.Packet(engine.Packet{Src: bound, Data: []byte("mine")})
		synctest.Wait()

		// Nothing runs between these: the machine's goroutine waits for the
		// lock of the log.
		mu.Lock()
		seen = seen[:0]
		for i := range 3 * backlog {
			src := netip.AddrPortFrom(netip.AddrFrom4([4]byte{198, 18, byte(i >> 8), byte(i)}), 9)
			d.Packet(engine.Packet{Src: src, Data: []byte("garbage")})
		}
		d.Packet(engine.Packet{Src: bound, Data: []byte("renewal")})
		mu.Unlock()
		synctest.Wait()
		stop()
		<-ended

		a := d.Admission()
		if a.Shed == 0 || a.Dropped != 0 {
			t.Errorf("%+v: strangers' messages are shed, the renewal is not dropped", a)
		}
		for i, what := range seen {
			if what == "renewal" {
				if i > 2*strangersAtOnce {
					t.Errorf("the renewal came after %d of strangers' %d messages", i, len(seen)-1)
				}
				return
			}
		}
		t.Errorf("the renewal was not heard among %d messages", len(seen))
	})
}

// TestOneSourceCannotTakeAllRoom: a source that nobody is bound at has a
// limit, which other sources and bound peers behind the same address do not
// feel.
func TestOneSourceCannotTakeAllRoom(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var mu sync.Mutex
		var seen []string
		d := newDriver(&stage{}, committing(&seen, &mu))
		d.Limit(Limits{Peers: 1, PerSource: 100})
		ctx, stop := context.WithCancel(t.Context())
		ended := make(chan struct{})
		go func() { defer close(ended); d.Run(ctx) }()
		neighbour := netip.AddrPortFrom(stranger.Addr(), 2000) // behind the same translator
		d.Packet(engine.Packet{Src: neighbour, Data: []byte("mine")})
		synctest.Wait()
		count := func(what string) (n int) {
			mu.Lock()
			defer mu.Unlock()
			for _, s := range seen {
				if s == what {
					n++
				}
			}
			return n
		}
		for range 1000 {
			d.Packet(engine.Packet{Src: stranger, Data: []byte("flood")})
			synctest.Wait()
		}
		if n := count("flood"); n < 100 || n > 100*burst {
			t.Errorf("%d messages of one source were taken at once, want at most %d", n, 100*burst)
		}
		if a := d.Admission(); a.Limited != uint64(1000-count("flood")) {
			t.Errorf("%d were taken, and %d limited", count("flood"), a.Limited)
		}
		d.Packet(engine.Packet{Src: neighbour, Data: []byte("renewal")})
		d.Packet(engine.Packet{Src: bound, Data: []byte("other")})
		synctest.Wait()
		if count("renewal") != 1 || count("other") != 1 {
			t.Error("another source, or a bound node behind the same address, feels the limit")
		}
		before := count("flood")
		time.Sleep(time.Second)
		for range 1000 {
			d.Packet(engine.Packet{Src: stranger, Data: []byte("flood")})
			synctest.Wait()
		}
		if n := count("flood") - before; n < 90 || n > 110 {
			t.Errorf("%d messages were taken after a second, want 100", n)
		}
		stop()
		<-ended
	})
}

// A station that nobody knows has a limit, whatever IP addresses it makes up; and
// so have all of them together, whatever link-layer addresses they make up.
// Messages without one, as replies of home agents are, do not count.
func TestStationsHaveTheirLimits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := newAdmission(Limits{PerStation: 10, Stations: 1000})
		from := func(i, station int) bool {
			p := engine.Packet{Src: netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)}), 434)}
			if station >= 0 {
				p.HW = engine.HardwareAddr{2, 0, 0, byte(station >> 16), byte(station >> 8), byte(station)}
			}
			return a.allows(&p)
		}
		one, all, replies := 0, 0, 0
		for i := range 1000 {
			if from(i, 0) {
				one++
			}
		}
		time.Sleep(time.Second)
		for i := range 10000 {
			if from(i, i+1) {
				all++
			}
			if from(i, -1) {
				replies++
			}
		}
		if one > 10*burst || one < 10 {
			t.Errorf("%d messages of one station were taken at once", one)
		}
		if all > 250 || all < 200 {
			t.Errorf("%d messages of ever other stations were taken at once, want a quarter of the 1000 of a second", all)
		}
		if replies != 10000 {
			t.Errorf("%d of 10000 messages without a station were taken", replies)
		}
	})
}

// TestStrangersLeaveNoState: a million of them do not make a driver grow.
func TestStrangersLeaveNoState(t *testing.T) {
	a := newAdmission(Limits{PerSource: 10})
	peers, meters := len(a.peers), len(a.meters)
	for i := range 100000 {
		src := netip.MustParseAddrPort(fmt.Sprintf("198.18.%d.%d:%d", i>>8&255, i&255, 1024+i>>16))
		if a.knows(src) {
			t.Fatalf("%v is known, who never was bound", src)
		}
		a.allows(&engine.Packet{Src: src})
	}
	if len(a.peers) != peers || len(a.meters) != meters {
		t.Error("the tables have grown")
	}
}

// Whose message leads to a commit is known, also when the answer goes to
// somebody else: a foreign agent hears the home agents of its visitors while
// strangers fill its mailbox.
func TestWhoseMessageLeadsToACommitIsKnown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		homeAgent, visitor := netip.MustParseAddrPort("198.51.100.1:434"), netip.MustParseAddrPort("10.10.0.5:4000")
		d := newDriver(&stage{}, &toy{step: func(_ engine.Now, ev engine.Event) []engine.Action {
			if p, ok := ev.(engine.Packet); !ok || string(p.Data) != "reply" {
				return nil
			}
			return []engine.Action{engine.Commit{Then: []engine.Action{engine.Send{Dst: visitor, Data: []byte("reply")}}}}
		}})
		ctx, stop := context.WithCancel(t.Context())
		ended := make(chan struct{})
		go func() { defer close(ended); d.Run(ctx) }()
		d.Packet(engine.Packet{Src: homeAgent, Data: []byte("reply")})
		d.Packet(engine.Packet{Src: stranger, Data: []byte("nothing")})
		synctest.Wait()
		stop()
		<-ended
		if a := d.admission; !a.knows(homeAgent) || !a.knows(visitor) || a.knows(stranger) {
			t.Errorf("home agent %v, visitor %v, stranger %v", a.knows(homeAgent), a.knows(visitor), a.knows(stranger))
		}
	})
}

// What a machine is handed stays as it is until it asks for more, whatever
// comes in meanwhile, and whoever sent it may use its buffer again.
func TestMessagesKeepTheirOctets(t *testing.T) {
	b := newMailbox()
	buffer := make([]byte, 4)
	put := func(round int) {
		for k := range 100 {
			copy(buffer, fmt.Sprintf("%d.%02d", round, k))
			b.putPacket(engine.Packet{Data: buffer})
		}
	}
	put(0)
	for round := range 5 {
		taken := b.take()
		put(round + 1)
		if len(taken) != 100 {
			t.Fatalf("%d messages were taken, want 100", len(taken))
		}
		for k, ev := range taken {
			if got, want := string(ev.(engine.Packet).Data), fmt.Sprintf("%d.%02d", round, k); got != want {
				t.Fatalf("message %d of round %d says %q, want %q", k, round, got, want)
			}
		}
	}
	for range 2 * backlog {
		b.putPacket(engine.Packet{Data: buffer})
	}
	if b.dropped.Load() != backlog+100 {
		t.Errorf("%d messages were dropped, want what has no room", b.dropped.Load())
	}
}
