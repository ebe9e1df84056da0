package liveness

import (
	"fmt"
	"net/netip"
	"time"

	"careof/internal/core/engine"
	"careof/internal/core/forward"
	"careof/internal/core/note"
	"careof/internal/proto/mip4/feature/path"
	"careof/internal/proto/mip4/feature/vendor"
	"careof/internal/proto/mip4/mn"
	"careof/wire/encap"
	"careof/wire/mip4"
)

const (
	// rounds is in how many of them nobody must have answered.
	rounds = 4
	// between is the time between two rounds: a part of the limit, at most this.
	between = time.Second
	// first is when a home agent is asked for the first time after it has
	// accepted, so that it is known whether it answers at all, and again.
	first = time.Second
	// trials are how many times one is asked that has never answered.
	trials = 3
	// maxOthers bounds how many other home agents are asked.
	maxOthers = 4
	// maxDoublings bounds how the limit grows while nobody else takes the node.
	maxDoublings = 5
)

// mobile is the feature's part of a mobile node.
type mobile struct {
	cfg  Config
	node *mn.Node

	agent   netip.Addr // whom the rest is about
	heard   time.Time  // monotonic: its last sign of life
	revived time.Time  // when it was silent last, until then
	answers bool       // it has answered an echo or a question
	tried   int        // how often it was asked without that
	renewed bool       // it has been asked to register the node, for want of that
	next    time.Time  // when to look; zero: never

	asked  int                      // rounds since it was heard
	others map[netip.Addr]time.Time // home agents that have answered meanwhile
	known  map[netip.Addr]bool      // those that answer questions at all
	late   time.Duration            // a part of the limit, so that many nodes do not go together
	vain   int                      // times that no other one took the node

	id, seq uint16
}

func addMobile(c Config, n *mn.Node) {
	m := &mobile{cfg: c, node: n, others: make(map[netip.Addr]time.Time), known: make(map[netip.Addr]bool)}
	n.Accepted.Add(Name, "alive", m.accepted)
	n.Denied.Add(Name, "alive", m.denied)
	n.Timer(Name, func() time.Time { return m.next }, m.due)
	n.OnPlane(Name, m.plane)
	n.Hold(m.holds)
}

// limit is how long the home agent may be silent.
func (m *mobile) limit(r *mn.Registration) time.Duration {
	d := m.cfg.Limit
	if !m.cfg.Exactly && m.node.Uplink(r.Key.Link).Metered {
		d = max(d, meteredLimit)
	}
	return d
}

// accepted begins with a home agent, or goes on.
func (m *mobile) accepted(x *mn.Response) engine.Verdict {
	if at := x.Registration.Key.HomeAgent; at != m.agent {
		m.agent, m.answers, m.renewed = at, false, false
	}
	m.tried = 0
	m.alive(x.Now.Mono)
	m.next = x.Now.Mono.Add(m.limit(x.Registration) / 2)
	if !m.answers {
		m.next = x.Now.Mono.Add(first)
	}
	return engine.Next()
}

// denied: it may refuse, but it lives.
func (m *mobile) denied(x *mn.Response) engine.Verdict {
	if x.Authentic && x.Registration.Key.HomeAgent == m.agent {
		m.alive(x.Now.Mono)
	}
	return engine.Next()
}

// alive takes a sign of life.
func (m *mobile) alive(at time.Time) {
	if at.After(m.heard) {
		if m.asked > 0 {
			m.revived = at
		}
		m.heard, m.asked, m.vain = at, 0, 0
		clear(m.others)
	}
}

// plane takes the answer to an echo.
func (m *mobile) plane(ev forward.Event) {
	if reply, ok := ev.(forward.EchoReply); ok && reply.ID == m.id && m.id != 0 && reply.Key == m.node.Key() {
		m.answers = true
		m.alive(m.node.Now().Mono)
	}
}

// due looks when the home agent was last heard; before that the data plane says
// when the last packet came out of the tunnel.
func (m *mobile) due() {
	if m.next.IsZero() || m.next.After(m.node.Now().Mono) {
		return
	}
	m.next = time.Time{}
	r := m.node.Active()
	if r == nil || !r.Live() || r.Key.HomeAgent != m.agent || r.Key.Agent.IsValid() || m.node.AtHome() {
		return // until one accepts
	}
	if !m.answers {
		m.trial(r)
		return
	}
	m.node.Ask(engine.LastUse{Key: m.node.Key()}, func(a engine.Answer) {
		if m.node.Active() != r || !r.Live() || r.Key.HomeAgent != m.agent || !m.next.IsZero() {
			return
		}
		if use, ok := a.Value.(forward.Use); ok && a.Err == nil {
			m.alive(use.Received)
		}
		m.judge(r)
	})
}

// trial asks whether the home agent answers at all. One that answers neither
// echoes nor questions, while another one answers questions, is asked once for
// what it has answered before: to register the node. Whether it is dead, then
// shows as with any renewal.
func (m *mobile) trial(r *mn.Registration) {
	others := m.node.Others(r)
	if m.tried++; m.tried > trials || len(others) == 0 {
		if len(m.others) > 0 && !m.renewed {
			m.renewed = true
			m.node.Renew(r)
		}
		return // until it accepts again
	}
	m.echo()
	if m.question(r, m.agent) && !m.renewed {
		for _, a := range others[:min(len(others), maxOthers)] {
			m.question(r, a)
		}
	}
	m.next = m.node.Now().Mono.Add(first)
}

// judge asks on, or takes the home agent for dead.
func (m *mobile) judge(r *mn.Registration) {
	now, limit := m.node.Now().Mono, m.limit(r)
	others := m.node.Others(r)
	if silent := now.Sub(m.heard); silent < limit/2 || len(others) == 0 {
		m.next = later(m.heard, now.Add(-limit/2)).Add(limit/2 + time.Millisecond)
		if len(others) == 0 {
			m.next = now.Add(limit)
		}
		return
	}
	if m.asked == 0 {
		m.late = time.Duration(m.node.Rand().Int64N(int64(limit)/4 + 1))
	}
	if m.asked >= rounds && now.Sub(m.heard) >= limit<<min(m.vain, maxDoublings)+m.late && m.leave(r, others, now) {
		return
	}
	m.asked++
	m.echo()
	// An echo costs the home agent nothing that is signed: mostly it is answered.
	if m.asked > 1 && m.question(r, m.agent) {
		for _, a := range others[:min(len(others), maxOthers)] {
			if now.Sub(m.others[a]) > 2*m.pause(limit) {
				m.question(r, a)
			}
		}
	}
	m.next = now.Add(m.pause(limit))
}

// holds says that it is the path that is dead: the home agent is silent, and so is
// another one that has answered before.
func (m *mobile) holds(r *mn.Registration) bool {
	if r.Key.HomeAgent != m.agent || r.Key.Agent.IsValid() {
		return false
	}
	if m.asked == 0 { // the next request gets through, where the last ones did not
		return !m.revived.IsZero() && (r.Asked().Before(m.revived) || m.node.Now().Mono.Sub(m.revived) < m.limit(r)/2)
	}
	knows := false
	for _, a := range m.node.Others(r) {
		if m.before(a, m.pause(m.limit(r))) {
			return false
		}
		knows = knows || m.known[a]
	}
	return knows
}

func (m *mobile) pause(limit time.Duration) time.Duration { return min(between, limit/(2*rounds)) }

// before says that another home agent has answered so long ago: when a path
// carries again that was dead, the answer of the one that serves may be just behind.
func (m *mobile) before(a netip.Addr, ago time.Duration) bool {
	at, answered := m.others[a]
	return answered && m.node.Now().Mono.Sub(at) >= ago
}

// leave goes to the first of the others that has answered lately.
func (m *mobile) leave(r *mn.Registration, others []netip.Addr, now time.Time) bool {
	for _, a := range others {
		if !m.before(a, m.pause(m.limit(r))/2) || now.Sub(m.others[a]) > m.limit(r)/2 {
			continue
		}
		if !m.node.Leave(r, a) {
			return false
		}
		m.vain++
		m.next = now.Add(m.limit(r)) // it stays, unless that one accepts
		m.node.Tell(note.Note{
			Kind: Silent, Level: note.Warn, Link: r.Key.Link, CareOfAddress: r.Key.CareOf, HomeAgent: m.agent,
			Took: now.Sub(m.heard), Endpoint: m.node.AtHomeAgent(a),
			Why: fmt.Sprintf("nothing came from it for %v, and another one answers over the same path", now.Sub(m.heard).Round(time.Second)),
		})
		return true
	}
	return false
}

// echo sends an echo request from the home address to the home agent, as any
// packet goes.
//
//rfc:3519#4.9
func (m *mobile) echo() {
	if m.id == 0 {
		m.id = uint16(m.node.Rand().Uint32N(1<<16-1) + 1)
	}
	m.seq++
	packet, err := encap.AppendEcho(nil, &encap.Echo{
		Type: encap.EchoRequest, Src: m.node.HomeAddress(), Dst: m.agent, ID: m.id, Seq: m.seq,
	}, m.seq)
	if err == nil { // else there is no home address that could be a source
		m.node.Emit(engine.Originate{Packet: packet})
	}
}

// question asks a home agent over the path in use; false where none can be.
func (m *mobile) question(r *mn.Registration, at netip.Addr) bool {
	return m.node.Inquire(r, at, func(mn.Validation) {
		now := m.node.Now().Mono
		if at != m.agent {
			m.others[at], m.known[at] = now, true
			return
		}
		m.answers = true
		m.alive(now)
	}, &mip4.CVSE{Vendor: vendor.Careof, VendorType: path.Question})
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}
