package drive

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"net/netip"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"careof/internal/core/engine"
	"careof/internal/core/forward"
	"careof/internal/core/note"
)

// toy is a machine whose steps are a function of the test.
type toy struct {
	step     func(now engine.Now, ev engine.Event) []engine.Action
	deadline time.Time
	restored []string
	entries  []forward.Entry
}

func (m *toy) Step(now engine.Now, ev engine.Event) []engine.Action { return m.step(now, ev) }
func (m *toy) Deadline() time.Time                                  { return m.deadline }
func (m *toy) Restore(_ engine.Now, r engine.Record) error {
	m.restored = append(m.restored, string(r.Key))
	return nil
}
func (m *toy) Entries() iter.Seq[forward.Entry] { return slices.Values(m.entries) }

// stage is a world that writes down what is done to it.
type stage struct {
	mu         sync.Mutex
	log        []string
	failStore  map[string]bool // by key
	storeDelay time.Duration
	held       []forward.Entry
	stored     []engine.Record
}

func (w *stage) note(format string, args ...any) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.log = append(w.log, fmt.Sprintf(format, args...))
}

func (w *stage) lines() []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Clone(w.log)
}

var errDisk = errors.New("disk full")

func (w *stage) Apply(_ string, records []engine.Record) error {
	time.Sleep(w.storeDelay)
	for _, r := range records {
		if w.failStore[string(r.Key)] {
			w.note("store fails")
			return errDisk
		}
	}
	w.note("store %d", len(records))
	return nil
}

func (w *stage) Load(_ string, yield func(engine.Record) error) error {
	for _, r := range w.stored {
		if err := yield(r); err != nil {
			return err
		}
	}
	return nil
}

type plane struct{ *stage }

func (p plane) Apply(_ context.Context, changes []forward.Change) error {
	for _, c := range changes {
		p.note("plane %d %s", c.Op, c.Entry.Key)
	}
	return nil
}
func (p plane) List(context.Context) iter.Seq[forward.Entry] { return slices.Values(p.held) }
func (p plane) Events() <-chan forward.Event                 { return nil }
func (p plane) Counters(forward.Key) forward.Counters        { return forward.Counters{} }
func (p plane) Use(forward.Key) forward.Use                  { return forward.Use{Sent: time.Unix(7, 0)} }
func (p plane) Close() error                                 { return nil }

func newDriver(w *stage, machines ...engine.Machine) *Driver {
	return New("toy", World{
		Store: w, Plane: plane{w},
		Send:     func(s engine.Send) error { w.note("send %s", s.Data); return nil },
		Announce: func(a engine.Announce) error { w.note("announce %v", a.Address); return nil },
		Resolve: func(context.Context, string) ([]netip.Addr, error) {
			return []netip.Addr{netip.MustParseAddr("192.0.2.1")}, nil
		},
		Note: func(n note.Note) { w.note("note %v", n) },
		Now:  func() engine.Now { return engine.Now{Mono: time.Now(), Wall: time.Now()} },
	}, machines, nil)
}

// run drives d inside a bubble until body returns.
func run(t *testing.T, d *Driver, body func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() { defer close(ended); d.Run(ctx) }()
	body()
	cancel()
	<-ended
}

func answer(text string) []engine.Action { return []engine.Action{engine.Send{Data: []byte(text)}} }

func TestReplyWaitsForItsRecordsAndItsForwarding(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := &stage{storeDelay: time.Second}
		m := &toy{step: func(_ engine.Now, ev engine.Event) []engine.Action {
			switch ev := ev.(type) {
			case engine.Packet:
				return []engine.Action{engine.Commit{
					Ticket:  1,
					Records: []engine.Record{{Key: []byte("k"), Value: []byte("v")}},
					Changes: []forward.Change{{Op: forward.Put, Entry: forward.Entry{Key: "e"}}},
					Then:    answer("reply"),
				}}
			case engine.Answer:
				return answer(fmt.Sprintf("answered %d %v", ev.Ticket, ev.Err))
			}
			return nil
		}}
		d := newDriver(w, m)
		run(t, d, func() {
			d.Packet(engine.Packet{Data: []byte("request")})
			synctest.Wait()
			if len(w.lines()) != 0 {
				t.Errorf("something happened before the store was ready: %q", w.lines())
			}
			time.Sleep(2 * time.Second)
			synctest.Wait()
		})
		want := []string{"store 1", "plane 1 e", "send reply", "send answered 1 <nil>"}
		if !slices.Equal(w.lines(), want) {
			t.Errorf("order is\n%q, want\n%q", w.lines(), want)
		}
	})
}

// What a machine hands over to be forwarded waits for no record that it hands over
// after it: a node that moves would be the later for it where the disk is slow.
func TestForwardingWaitsForNoLaterRecord(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := &stage{storeDelay: time.Second}
		record := engine.Commit{Records: []engine.Record{{Key: []byte("k"), Value: []byte("v")}}}
		m := &toy{step: func(_ engine.Now, ev engine.Event) []engine.Action {
			p, ok := ev.(engine.Packet)
			switch {
			case !ok:
				return nil
			case string(p.Data) == "first":
				return []engine.Action{record}
			}
			return []engine.Action{engine.Commit{Changes: []forward.Change{{Op: forward.Put, Entry: forward.Entry{Key: "e"}}}}, record}
		}}
		d := newDriver(w, m)
		run(t, d, func() {
			d.Packet(engine.Packet{Data: []byte("first")})
			synctest.Wait() // it is being written; the others gather
			d.Packet(engine.Packet{Data: []byte("second")})
			time.Sleep(10 * time.Second)
			synctest.Wait()
		})
		if want := []string{"store 1", "plane 1 e", "store 1"}; !slices.Equal(w.lines(), want) {
			t.Errorf("order is\n%q, want\n%q", w.lines(), want)
		}
	})
}

func TestCommitsThatGatheredShareOneWriteAndFailOneByOne(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := &stage{storeDelay: time.Second, failStore: map[string]bool{"bad": true}}
		m := &toy{step: func(_ engine.Now, ev engine.Event) []engine.Action {
			switch ev := ev.(type) {
			case engine.Packet:
				return []engine.Action{engine.Commit{
					Ticket:  1,
					Records: []engine.Record{{Key: append([]byte(nil), ev.Data...), Value: []byte("v")}},
					Then:    answer("reply to " + string(ev.Data)),
				}}
			case engine.Answer:
				if ev.Err != nil {
					return answer("denied: " + ev.Err.Error())
				}
			}
			return nil
		}}
		d := newDriver(w, m)
		run(t, d, func() {
			d.Packet(engine.Packet{Data: []byte("first")})
			synctest.Wait() // it is being written; the others gather
			for _, name := range []string{"a", "b"} {
				d.Packet(engine.Packet{Data: []byte(name)})
			}
			time.Sleep(1500 * time.Millisecond)
			for _, name := range []string{"c", "bad", "d"} {
				d.Packet(engine.Packet{Data: []byte(name)})
			}
			time.Sleep(10 * time.Second)
			synctest.Wait()
		})
		want := []string{
			"store 1", "send reply to first",
			"store 2", "send reply to a", "send reply to b",
			"store fails", // all three together, then each by itself
			"store 1", "send reply to c",
			"store fails", "send denied: disk full",
			"store 1", "send reply to d",
		}
		if !slices.Equal(w.lines(), want) {
			t.Errorf("order is\n%q, want\n%q", w.lines(), want)
		}
	})
}

func TestWakeComesAtTheDeadline(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := &stage{}
		start := time.Now()
		m := &toy{deadline: start.Add(3 * time.Second)}
		m.step = func(now engine.Now, ev engine.Event) []engine.Action {
			if _, ok := ev.(engine.Wake); !ok {
				return nil
			}
			m.deadline = time.Time{}
			return answer("woke after " + now.Mono.Sub(start).String())
		}
		d := newDriver(w, m)
		run(t, d, func() {
			time.Sleep(time.Minute)
			synctest.Wait()
		})
		if want := []string{"send woke after 3s"}; !slices.Equal(w.lines(), want) {
			t.Errorf("got %q, want %q", w.lines(), want)
		}
	})
}

func TestCommandIsAnsweredByTheMachineAndAStoppedDriverSaysSo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := &toy{step: func(_ engine.Now, ev engine.Event) []engine.Action {
			c, ok := ev.(engine.Command)
			if !ok {
				return nil
			}
			if c.Value == "fail" {
				return []engine.Action{engine.Result{Ticket: c.Ticket, Err: errDisk}}
			}
			return []engine.Action{engine.Result{Ticket: c.Ticket, Value: fmt.Sprint("re: ", c.Value)}}
		}}
		d := newDriver(&stage{}, m, m)
		run(t, d, func() {
			got, err := d.Command(t.Context(), "status")
			if err != nil || !slices.Equal(got, []any{"re: status", "re: status"}) {
				t.Errorf("answers %v, %v; want one from each shard", got, err)
			}
			if _, err := d.Command(t.Context(), "fail"); !errors.Is(err, errDisk) {
				t.Errorf("error is %v, want the machine's", err)
			}
		})
		if _, err := d.Command(t.Context(), "status"); !errors.Is(err, ErrStopped) {
			t.Errorf("error after the end is %v, want ErrStopped", err)
		}
	})
}

func TestQuestionsAreAnswered(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := &stage{}
		m := &toy{step: func(_ engine.Now, ev engine.Event) []engine.Action {
			switch ev := ev.(type) {
			case engine.Packet:
				return []engine.Action{
					engine.Ask{Ticket: 1, Question: engine.LastUse{Key: "e"}},
					engine.Ask{Ticket: 2, Question: "what?"},
					engine.Ask{Ticket: 3, Question: engine.Resolve{Name: "ha.example"}},
				}
			case engine.Answer:
				return answer(fmt.Sprintf("%d: %v %v", ev.Ticket, ev.Value, ev.Err))
			}
			return nil
		}}
		d := newDriver(w, m)
		run(t, d, func() {
			d.Packet(engine.Packet{Data: []byte("x")})
			synctest.Wait()
		})
		got := w.lines()
		slices.Sort(got)
		want := []string{
			fmt.Sprintf("send 1: %v <nil>", forward.Use{Sent: time.Unix(7, 0)}),
			"send 2: <nil> drive: nobody answers string",
			"send 3: [192.0.2.1] <nil>",
		}
		if !slices.Equal(got, want) {
			t.Errorf("got %q, want %q", got, want)
		}
	})
}

func TestAMachineThatIsBehindLosesPacketsButNoAnswers(t *testing.T) {
	b := newMailbox()
	for range backlog {
		if !b.put(engine.Packet{}, true) {
			t.Fatal("a packet was dropped before the backlog was full")
		}
	}
	if b.put(engine.Packet{}, true) || b.dropped.Load() != 1 {
		t.Error("the packet after a full backlog was taken, or not counted as dropped")
	}
	if !b.put(engine.Answer{}, false) {
		t.Error("an answer was dropped")
	}
	if n := len(b.take()); n != backlog+1 {
		t.Errorf("%d events came out, want %d", n, backlog+1)
	}
	if !b.put(engine.Packet{}, true) {
		t.Error("an empty mailbox refuses a packet")
	}
}

func TestRestoreRepairsOnlyWhatDiffers(t *testing.T) {
	end := time.Unix(1000, 0)
	entry := func(key forward.Key, peer string, until time.Time) forward.Entry {
		return forward.Entry{Key: key, Role: forward.HomeAgent, Tunnels: []forward.Tunnel{{
			Peer: netip.MustParseAddrPort(peer), Until: until,
		}}}
	}
	w := &stage{
		stored: []engine.Record{{Key: []byte("one")}, {Key: []byte("two")}},
		held: []forward.Entry{
			entry("same", "192.0.2.1:434", end.Add(300*time.Millisecond)),
			entry("moved", "192.0.2.2:434", end),
			entry("stale", "192.0.2.3:434", end),
			{Key: "another role's", Role: forward.MobileNode},
		},
	}
	m := &toy{entries: []forward.Entry{
		entry("missing", "192.0.2.4:434", end),
		entry("moved", "192.0.2.9:434", end),
		entry("same", "192.0.2.1:434", end),
	}}
	d := newDriver(w, m)
	if err := d.Restore(t.Context(), func(e forward.Entry) bool { return e.Role == forward.HomeAgent }); err != nil {
		t.Fatal(err)
	}
	if want := []string{"one", "two"}; !slices.Equal(m.restored, want) {
		t.Errorf("restored records %q, want %q", m.restored, want)
	}
	want := []string{"plane 1 missing", "plane 1 moved", "plane 2 stale"}
	if !slices.Equal(w.lines(), want) {
		t.Errorf("repairs are %q, want %q", w.lines(), want)
	}
}
