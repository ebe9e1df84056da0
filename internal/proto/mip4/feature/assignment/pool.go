package assignment

import (
	"cmp"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"careof/internal/core/assoc"
	"careof/internal/core/binding"
	"careof/internal/core/engine"
	"careof/internal/core/note"
	"careof/internal/proto/mip4/ha"
	"careof/wire/encap"
	"careof/wire/mip4"
)

const (
	// reportEvery is how often each machine of a home agent reports.
	reportEvery = time.Second
	// perReport is how many holdings stand in one report: it fits an Ethernet
	// frame. perTurn is the least number that is told in a second; all are told
	// in turnTime.
	perReport = 64
	perTurn   = 64
	turnTime  = 10
	// leaving is how long a node that has gone to another home agent may take to
	// say so itself.
	leaving = 2 * time.Second
	// tellReleased is in how many reports a node stands that has gone to another
	// home agent: one of them may be lost.
	tellReleased = 3
)

// A member is what is known of another home agent of the pool.
type member struct {
	Member
	parts    []part    // one for each of its machines
	heard    time.Time // monotonic, of the last report; zero: never
	alive    bool
	doubted  time.Time // monotonic: when it was last told that its clock is off
	expected int       // nodes sent there since its last report
}

type part struct {
	report report
	heard  time.Time
}

func (h *home) addPool() error {
	for _, m := range h.cfg.Pool {
		if len(m.Keys) == 0 || !m.Keys[0].Authenticated() {
			return fmt.Errorf("pool member %v has no key", m.Address)
		}
		if _, own := h.own(m.Address); own {
			return errors.New("the home agent is a member of its own pool")
		}
		h.members = append(h.members, &member{Member: m})
	}
	if len(h.members) == 0 {
		return nil
	}
	h.agent.AddTimer(func() time.Time { return h.reportAt }, h.tick)
	h.reportAt = time.Time{}.Add(1) // with the first step
	h.agent.Handle(Name, mip4.TypeExperimentalMessage, h.message)
	h.agent.OnBound(func(n *ha.Node, b binding.Binding) {
		if len(h.news) < perReport {
			h.news = append(h.news, holding{n.Home(), b.Identification})
		}
		if b.Since.Equal(b.Renewed) {
			h.reportAt = h.agent.Now().Mono // it has come: the one that had it is told now
		}
	})
	return nil
}

// A share is this machine's part of the capacity, and of how many nodes.
type share struct{ capacity, of int }

// capacity is this machine's part of the home agent's: as much of it as it has
// of the configured nodes. 0: any number.
func (h *home) capacity() int {
	cfg := h.agent.Config()
	total := len(cfg.Nodes)
	if h.cfg.Capacity == 0 || cfg.Shards < 2 || total == 0 {
		return h.cfg.Capacity
	}
	if h.share.of != total {
		mine := 0
		for i := range cfg.Nodes {
			if cfg.Nodes[i].Shard(cfg.Shards) == cfg.Shard {
				mine++
			}
		}
		h.share = share{(h.cfg.Capacity*mine + total - 1) / total, total}
	}
	return h.share.capacity
}

// tick reports to the others, and finds out who is silent.
func (h *home) tick() {
	now := h.agent.Now()
	h.reportAt = now.Mono.Add(reportEvery)
	for _, m := range h.members {
		if m.alive && now.Mono.Sub(m.heard) > h.cfg.DeadAfter {
			m.alive = false
			h.tell(m, MemberLost, note.Warn, fmt.Sprintf("no word for %v", h.cfg.DeadAfter))
		}
	}
	holds := slices.Concat(h.news, h.turn(), h.tellOfReleased())
	h.news = nil
	for first := true; first || len(holds) > 0; first = false {
		n := min(perReport, len(holds))
		h.report(holds[:n])
		holds = holds[n:]
	}
	h.askAgain()
}

// stamp is the time of the next message: later than that of the last one, also
// when the clock stands or goes back.
func (h *home) stamp() uint64 {
	h.sent = max(h.sent+1, uint64(h.agent.Now().Wall.UnixMilli()))
	return h.sent
}

// report tells the others of this machine.
func (h *home) report(holds []holding) {
	cfg := h.agent.Config()
	r := report{
		from: cfg.Addresses[0], sent: h.stamp(), machine: uint8(cfg.Shard), machines: uint8(cfg.Shards), drained: h.drained,
		nodes: uint32(len(h.bound)), capacity: uint32(h.capacity()), holds: holds,
	}
	for _, m := range h.members {
		r.to = m.Address
		h.agent.Do(engine.Send{Src: h.source(), Dst: netip.AddrPortFrom(m.Address, encap.Port), Data: r.seal(m.Keys[len(m.Keys)-1])})
	}
}

// source is where the suite's own messages come from.
func (h *home) source() netip.AddrPort {
	cfg := h.agent.Config()
	from := cfg.Addresses[0]
	if cfg.LocalAddress.IsValid() {
		from = cfg.LocalAddress
	}
	return netip.AddrPortFrom(from, cfg.Port)
}

// turn is the next few of the nodes that are bound here.
func (h *home) turn() (holds []holding) {
	places := h.agent.Places()
	if len(h.bound) == 0 {
		return nil
	}
	for range min(places, max(perTurn, places/turnTime)) {
		h.cursor = (h.cursor + 1) % places
		if n := h.agent.NodeAt(h.cursor); n != nil {
			if id, live := latest(n); live {
				holds = append(holds, holding{n.Home(), id})
			}
		}
	}
	return holds
}

// A released node is one that this home agent has let go of because another one
// has it. Whoever hears of it claims it again (see contest): the home link may
// believe this home agent, which has risen with its old bindings and said so to
// everybody, and has perhaps been told better before it could report them.
type released struct {
	holding
	times int // that it is still told
}

// tellOfReleased is what to report of the released nodes.
func (h *home) tellOfReleased() (holds []holding) {
	for i := range h.released {
		holds = append(holds, h.released[i].holding)
		h.released[i].times--
	}
	h.released = slices.DeleteFunc(h.released, func(r released) bool { return r.times == 0 })
	return holds
}

// latest is the Identification of the node's last request that binds.
func latest(n *ha.Node) (id uint64, bound bool) {
	for _, b := range n.Bindings() {
		id, bound = max(id, b.Identification), true
	}
	return id, bound
}

// message takes another home agent's report. What is not authentic, not meant
// for this one, or not of now, is nothing.
func (h *home) message(p engine.Packet, msg *mip4.Message) {
	now := h.agent.Now()
	for _, m := range h.members {
		r, ok := openReport(msg, m.Keys...)
		if !ok || r.from != m.Address {
			continue
		}
		if _, own := h.own(r.to); !own {
			return
		}
		if off := now.Wall.Sub(time.UnixMilli(int64(r.sent))); off.Abs() > max(h.agent.Config().Window, assoc.DefaultWindow) {
			// It may be a replay; it may be a clock.
			if now.Mono.Sub(m.doubted) > time.Minute || m.doubted.IsZero() {
				m.doubted = now.Mono
				h.tell(m, Untimely, note.Warn, fmt.Sprintf("its report is of %v ago: its clock and this one must agree", off.Round(time.Second)))
			}
			return
		}
		if len(m.parts) != int(r.machines) {
			m.parts = make([]part, r.machines)
		}
		at := &m.parts[r.machine]
		if r.sent <= at.report.sent {
			return
		}
		h.drop(r.holds)
		r.holds = nil
		*at = part{r, now.Mono}
		m.heard, m.expected = now.Mono, 0
		if !m.alive {
			m.alive = true
			h.tell(m, MemberBack, note.Info, "")
		}
		return
	}
}

// drop ends the bindings of nodes that another home agent has accepted since:
// this one was away meanwhile, or has missed that they left. One that was served
// until now gets a moment: its own word that it has left follows its last packets. Identifications are
// of the node's own time. With nonces nothing can be told from them, and the
// lifetime has to do.
func (h *home) drop(holds []holding) {
	for _, t := range holds {
		n := h.agent.Find(nodeAt(t.home))
		if n == nil || n.Home() != t.home || len(n.Configuration().Keys) == 0 || n.Configuration().Keys[0].Replay() == assoc.Nonces {
			continue
		}
		id, live := latest(n)
		if !live || id >= t.identification {
			delete(h.gone, n)
			if live && id > t.identification {
				h.contest(n, id)
			}
			continue
		}
		since, known := h.gone[n]
		if !known {
			since = h.agent.Now().Mono
			h.gone[n] = since
		}
		if !h.bound[n] || h.agent.Now().Mono.Sub(since) >= leaving {
			h.agent.Remove(n, binding.ID{}, MovedOn)
			h.released = append(h.released, released{holding{n.Home(), id}, tellReleased})
			h.reportAt = h.agent.Now().Mono
		}
	}
}

// contest tells a home agent that still holds a node of this one's, and the home
// link: one that has come back to life has answered ARP for the node, and said
// so to everybody.
//
//rfc:5944#4.6
func (h *home) contest(n *ha.Node, id uint64) {
	h.news = append(h.news, holding{n.Home(), id})
	h.reportAt = h.agent.Now().Mono
	if link := h.agent.HomeLink(n); link != "" {
		h.agent.Do(engine.Announce{Link: link, Address: n.Home()})
	}
}

func (h *home) tell(m *member, kind note.Kind, level note.Level, why string) {
	if h.agent.Config().Shard != 0 {
		return // one speaks for all
	}
	h.agent.Tell(note.Note{Kind: kind, Level: level, Endpoint: netip.AddrPortFrom(m.Address, encap.Port), HomeAgent: m.Address, Why: why})
}

// nodes sums up a member's machines.
func (m *member) nodes() (n int) {
	for _, p := range m.parts {
		n += int(p.report.nodes)
	}
	return n
}

func (m *member) drained() bool {
	return slices.ContainsFunc(m.parts, func(p part) bool { return p.report.drained })
}

// capacity is how many nodes it takes in all; 0: any number.
func (m *member) capacity() (n int) {
	for _, p := range m.parts {
		n += int(p.report.capacity)
	}
	return n
}

// elsewhere is the other home agent to send a node to: one that lives, is not
// drained and has room, and of those the one with the fewest nodes; nil when
// there is none.
func (h *home) elsewhere() *member {
	var best *member
	for _, m := range h.members {
		if !m.alive || m.drained() || m.capacity() > 0 && m.nodes()+m.expected >= m.capacity() {
			continue
		}
		if best == nil || cmp.Compare(m.nodes()+m.expected, best.nodes()+best.expected) < 0 {
			best = m
		}
	}
	return best
}
