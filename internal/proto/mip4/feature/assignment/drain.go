package assignment

import (
	"encoding/binary"
	"errors"
	"net/netip"
	"time"

	"careof/internal/core/engine"
	"careof/internal/core/ident"
	"careof/internal/core/note"
	"careof/internal/proto/mip4/ha"
)

// The operator's commands to a home agent. Each is the Value of an
// [engine.Command]; its comment names the Value of the [engine.Result].
type (
	// Drain has all nodes go to other home agents of the pool, and takes no new
	// ones, until Undrain; it outlives a restart. It is answered with a [Pool]
	// when it is durable, and while the nodes are still leaving; or with an
	// error when nobody could take them.
	Drain struct{}
	// Undrain takes nodes again. It is answered with a Pool.
	Undrain struct{}
	// ShowPool is answered with a Pool, of one machine.
	ShowPool struct{}
)

// A Pool is one machine's view of the pool.
type Pool struct {
	Machine  int
	Drained  bool
	Since    time.Time // wall clock, of that
	Nodes    int       // bound at this machine
	Capacity int       // of the home agent; 0: any number
	Moved    uint64    // nodes sent on since the start
	Members  []MemberState
}

// A MemberState is what is known of another home agent of the pool.
type MemberState struct {
	Address  netip.Addr
	Alive    bool
	Drained  bool
	Nodes    int
	Capacity int
	Heard    time.Time // wall clock; zero: never
}

// ErrNobody answers a Drain when no other home agent could take the nodes.
var ErrNobody = errors.New("assignment: no other home agent of the pool lives and has room: the nodes could go nowhere")

// drainRecord is there while the home agent is drained:
//
//	version8 | since 8 (Unix milliseconds)
const drainRecord = "ha/drained"

const drainVersion = 1

func (h *home) restore(_ engine.Now, r engine.Record) error {
	if r.Value == nil {
		return nil
	}
	if len(r.Value) != 9 || r.Value[0] != drainVersion {
		return errors.New("assignment: malformed record")
	}
	h.drained, h.since = true, time.UnixMilli(int64(binary.BigEndian.Uint64(r.Value[1:])))
	return nil
}

func (h *home) command(c engine.Command) bool {
	switch c.Value.(type) {
	case Drain:
		if h.elsewhere() == nil && !h.drained {
			h.agent.Do(engine.Result{Ticket: c.Ticket, Err: ErrNobody})
			return true
		}
		h.turnTo(c.Ticket, true)
	case Undrain:
		h.turnTo(c.Ticket, false)
	case ShowPool:
		h.agent.Do(engine.Result{Ticket: c.Ticket, Value: h.show()})
	default:
		return false
	}
	return true
}

// turnTo drains the home agent or takes that back. The record is one machine's;
// all read it after a restart.
func (h *home) turnTo(t engine.Ticket, drained bool) {
	if h.drained == drained {
		h.agent.Do(engine.Result{Ticket: t, Value: h.show()})
		return
	}
	since := h.agent.Now().Wall
	then := func(err error) {
		if err != nil {
			h.agent.Do(engine.Result{Ticket: t, Err: err})
			return
		}
		h.drained, h.since = drained, since
		h.asking = asking{}
		if len(h.members) > 0 {
			h.reportAt = h.agent.Now().Mono // the others are told, and the nodes are asked
		}
		if h.agent.Config().Shard == 0 {
			kind := Undrained
			if drained {
				kind = Drained
			}
			h.agent.Tell(note.Note{Kind: kind, Level: note.Info})
		}
		h.agent.Do(engine.Result{Ticket: t, Value: h.show()})
	}
	if h.agent.Config().Shard != 0 {
		then(nil)
		return
	}
	r := engine.Record{Key: []byte(drainRecord)}
	if drained {
		r.Value = binary.BigEndian.AppendUint64([]byte{drainVersion}, uint64(since.UnixMilli()))
	}
	h.agent.Commit(engine.Commit{Records: []engine.Record{r}}, then)
}

func (h *home) show() Pool {
	now := h.agent.Now()
	p := Pool{Machine: h.agent.Config().Shard, Drained: h.drained, Nodes: len(h.bound), Capacity: h.cfg.Capacity, Moved: h.moved}
	if h.drained {
		p.Since = h.since
	}
	for _, m := range h.members {
		s := MemberState{Address: m.Address, Alive: m.alive, Drained: m.drained(), Nodes: m.nodes(), Capacity: m.capacity()}
		if !m.heard.IsZero() {
			s.Heard = now.WallOf(m.heard)
		}
		p.Members = append(p.Members, s)
	}
	return p
}

// asking is how far the nodes of a drained home agent have been asked to leave.
type asking struct {
	next   int       // in the agent's nodes
	pauses int       // rounds that are over
	until  time.Time // monotonic: not before
}

const (
	// askedPerSecond is how many nodes are asked each second: the others must
	// register them beside what they do.
	askedPerSecond = 500
	askFirst       = 2 * time.Second // between two rounds, doubling up to
	askMost        = time.Minute
)

// askAgain asks a few more of the nodes that are still bound to register again,
// so that they are sent on. Who does not understand, or is behind a foreign
// agent that does not, is sent on when it renews.
func (h *home) askAgain() {
	now := h.agent.Now()
	if !h.drained || h.elsewhere() == nil || h.asking.until.After(now.Mono) {
		return
	}
	asked := 0
	for ; h.asking.next < h.agent.Places() && asked < askedPerSecond; h.asking.next++ {
		if n := h.agent.NodeAt(h.asking.next); n != nil && len(n.Bindings()) > 0 {
			asked++
			h.ask(n)
		}
	}
	if h.asking.next >= h.agent.Places() {
		h.asking = asking{pauses: h.asking.pauses + 1, until: now.Mono.Add(min(askFirst<<min(h.asking.pauses, 5), askMost))}
	}
}

// ask sends a node the notice to where its last reply went: to itself, or to the
// foreign agent that it visits.
func (h *home) ask(n *ha.Node) {
	b := n.Bindings()[0]
	m := notice{agent: b.Tunnel.Local.Addr(), home: n.Home(), sent: h.stamp()}
	if cfg := h.agent.Config(); cfg.LocalAddress.IsValid() && m.agent == cfg.LocalAddress {
		m.agent = cfg.Addresses[0]
	}
	for _, k := range n.Configuration().Keys {
		if k.Authenticated() {
			h.agent.Do(engine.Send{Link: b.ReplyTo.Link, Src: b.ReplyTo.Src, Dst: b.ReplyTo.Dst, HW: b.ReplyTo.HW, Data: m.seal(k)})
		}
	}
}

func nodeAt(home netip.Addr) ident.Node { return ident.Node{HomeAddress: home} }
