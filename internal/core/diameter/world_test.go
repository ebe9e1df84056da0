package diameter

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"careof/internal/core/engine"
	wire "careof/wire/diameter"
)

// A world is nodes and the wires between them, in virtual time.
type world struct {
	t     *testing.T
	now   time.Time
	nodes map[string]*host
	order []string
	queue []happening
	conns map[Conn]*pipe
	last  Conn
	cut   map[string]bool // hosts whose packets are lost
	down  map[string]bool // hosts that accept no connection
	trace []string
}

type happening struct {
	at  time.Time
	to  *host
	ev  Event
	seq int
}

// A pipe is one end of a connection.
type pipe struct {
	owner *host
	other Conn
}

type host struct {
	*Node
	name     string
	addr     netip.Addr
	serve    func(w *world, h *host, d Deliver)
	answered []Answered
	sent     []string // names of what it sent, with flags
	notes    []string
	results  []wire.ResultCode // of its answers
}

func newWorld(t *testing.T) *world {
	return &world{t: t, now: time.Unix(1_790_000_000, 0), nodes: map[string]*host{}, conns: map[Conn]*pipe{}, cut: map[string]bool{}, down: map[string]bool{}}
}

func addrOf(i int) netip.Addr { return netip.AddrFrom4([4]byte{192, 0, 2, byte(i)}) }

// add makes a node; its peers' addresses are filled in by run.
func (w *world) add(c Config) *host {
	w.t.Helper()
	if c.Applications == nil {
		c.Applications = []wire.Application{wire.MobileIPv4}
	}
	c.Product = "test"
	for i := range c.Peers {
		if c.Peers[i].Addresses == nil {
			for k := range 20 {
				c.Peers[i].Addresses = append(c.Peers[i].Addresses, addrOf(k))
			}
		}
	}
	n, err := New(c, rand.New(rand.NewPCG(uint64(len(w.nodes)), 7)))
	if err != nil {
		w.t.Fatal(err)
	}
	h := &host{Node: n, name: c.Host, addr: addrOf(len(w.nodes) + 1)}
	h.serve = func(w *world, h *host, d Deliver) {
		w.step(h, Reply{Handle: d.Handle, Answer: d.Request.Answer(wire.Success, wire.AuthApplicationID.Uint32(2))})
	}
	w.nodes[c.Host] = h
	w.order = append(w.order, c.Host)
	return h
}

func (w *world) post(after time.Duration, to *host, ev Event) {
	w.queue = append(w.queue, happening{w.now.Add(after), to, ev, len(w.queue)})
}

func (w *world) step(h *host, ev Event) {
	for _, a := range h.Step(engine.Now{Mono: w.now, Wall: w.now}, ev) {
		switch a := a.(type) {
		case Dial:
			w.dial(h, a.Peer)
		case Send:
			m, err := wire.Parse(a.Octets)
			if err != nil {
				w.t.Fatalf("%s sends what cannot be read: %v", h.name, err)
			}
			if err := m.Check(); err != nil && m.Command != 4711 {
				w.t.Fatalf("%s sends a wrong %s: %v", h.name, m.Name(), err)
			}
			if r, ok := m.Result(); ok {
				h.results = append(h.results, r)
			}
			h.sent = append(h.sent, m.Name()+" "+m.Flags.String())
			w.trace = append(w.trace, fmt.Sprintf("%v %s %s %v", w.now.Sub(time.Unix(1_790_000_000, 0)), h.name, m.Name(), m.Flags))
			if p := w.conns[a.Conn]; p != nil && !w.cut[h.name] {
				if to := w.conns[p.other]; to != nil && !w.cut[to.owner.name] {
					w.post(time.Millisecond, to.owner, Received{Conn: p.other, Octets: a.Octets})
				}
			}
		case Close:
			if p := w.conns[a.Conn]; p != nil {
				delete(w.conns, a.Conn)
				if to := w.conns[p.other]; to != nil && !w.cut[h.name] && !w.cut[to.owner.name] {
					delete(w.conns, p.other)
					w.post(time.Millisecond, to.owner, Closed{Conn: p.other})
				}
			}
		case Deliver:
			h.serve(w, h, a)
		case Answered:
			h.answered = append(h.answered, a)
		case Tell:
			h.notes = append(h.notes, string(a.Note.Kind)+" "+a.Note.Why)
			w.trace = append(w.trace, fmt.Sprintf("%v %s %s", w.now.Sub(time.Unix(1_790_000_000, 0)), h.name, a.Note))
		}
	}
}

func (w *world) dial(h *host, to string) {
	other := w.nodes[to]
	if other == nil || w.down[to] || w.cut[to] || w.cut[h.name] {
		w.post(3*time.Millisecond, h, Unconnected{Peer: to, Err: errors.New("connection refused")})
		return
	}
	a, b := w.last+1, w.last+2
	w.last = b
	w.conns[a], w.conns[b] = &pipe{h, b}, &pipe{other, a}
	w.post(time.Millisecond, other, Accepted{Conn: b, Local: other.addr, Remote: netip.AddrPortFrom(h.addr, 40000)})
	w.post(time.Millisecond, h, Connected{Peer: to, Conn: a, Local: h.addr, Remote: netip.AddrPortFrom(other.addr, 3868)})
}

// run lets time pass, or until done.
func (w *world) run(d time.Duration, done func() bool) bool {
	w.t.Helper()
	end := w.now.Add(d)
	for _, name := range w.order {
		w.step(w.nodes[name], nil)
	}
	for {
		if done != nil && done() {
			return true
		}
		at, i := end, -1
		var wake *host
		for k, h := range w.queue {
			if h.at.Before(at) {
				at, i = h.at, k
			}
		}
		for _, name := range w.order {
			if d := w.nodes[name].Deadline(); !d.IsZero() && d.Before(at) {
				at, i, wake = d, -1, w.nodes[name]
			}
		}
		if i < 0 && wake == nil {
			w.now = end
			return done == nil
		}
		if at.After(w.now) {
			w.now = at
		}
		if wake != nil {
			w.step(wake, nil)
			continue
		}
		h := w.queue[i]
		w.queue = slices.Delete(w.queue, i, i+1)
		w.step(h.to, h.ev)
	}
}

func (w *world) wants(what string, done func() bool) {
	w.t.Helper()
	if !w.run(5*time.Minute, done) {
		w.t.Fatalf("not in five minutes: %s\n%s", what, strings.Join(w.trace, "\n"))
	}
}

func (h *host) health(peer string) string {
	for _, p := range h.Peers() {
		if p.Host == peer {
			return p.Health
		}
	}
	return "no such peer"
}

func (h *host) state(peer string) string {
	for _, p := range h.Peers() {
		if p.Host == peer {
			return p.State
		}
	}
	return "no such peer"
}

func (h *host) up(peer string) func() bool {
	return func() bool { return strings.HasSuffix(h.state(peer), "-open") }
}

// str is a small request: it ends a session.
func str(realm string) *wire.Message {
	return wire.NewRequest(wire.SessionTermination, wire.MobileIPv4, wire.SessionID.Text("a;1;2"), wire.DestinationRealm.Text(realm),
		wire.AuthApplicationID.Uint32(2), wire.TerminationCause.Uint32(wire.Logout))
}
