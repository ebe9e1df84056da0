package diameter

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"time"

	"careof/internal/core/engine"
	"careof/internal/core/note"
	wire "careof/wire/diameter"
)

// A Node is one Diameter node. It is for one caller at a time.
type Node struct {
	cfg   Config
	rng   *rand.Rand
	now   engine.Now
	out   []Action
	peers []*peer // as configured
	links map[Conn]*link

	strangers []*link // in the order they came

	hopByHop, endToEnd uint32
	ready              bool // the identifiers have begun

	pending map[uint32]*request // by every Hop-by-Hop Identifier it was sent with
	waiting map[uint64]*request // by ticket
	due     engine.Agenda[uint64]

	nextHandle uint64
	served     map[uint64]*served
	known      map[duplicate]*served // of them, and of those that were answered
	forget     engine.Agenda[uint64]
	answered   []uint64 // handles whose answers are kept for duplicates, the oldest first

	stopped bool
	stats   Stats
}

// A link is a connection.
type link struct {
	id     Conn
	peer   *peer // nil: a stranger
	local  netip.Addr
	remote netip.AddrPort
	secure bool
	names  []string
	until  time.Time // a stranger must have said who it is
}

// New makes a node. Luck is drawn from rng.
func New(c Config, rng *rand.Rand) (*Node, error) {
	if err := c.complete(); err != nil {
		return nil, err
	}
	n := &Node{cfg: c, rng: rng, links: map[Conn]*link{}, pending: map[uint32]*request{}, waiting: map[uint64]*request{},
		served: map[uint64]*served{}, known: map[duplicate]*served{}}
	for _, p := range c.Peers {
		n.peers = append(n.peers, &peer{Peer: p})
	}
	return n, nil
}

// Step tells the node one event, or with nil that time has passed, and returns what to do, in order.
func (n *Node) Step(now engine.Now, ev Event) []Action {
	n.now, n.out = now, nil
	if !n.ready {
		n.ready = true
		// "implementations MAY set the high order 12 bits to contain the low order 12 bits of current time, and the low order 20 bits
		// to a random value": unique for 4 minutes, across restarts.
		n.hopByHop, n.endToEnd = n.rng.Uint32(), uint32(now.Wall.Unix())<<20|n.rng.Uint32()>>12
		for _, p := range n.peers {
			p.since = now.Wall
			n.start(p)
		}
	}
	switch e := ev.(type) {
	case Connected:
		n.connected(e)
	case Unconnected:
		n.unconnected(e)
	case Accepted:
		n.accept(e)
	case Received:
		n.received(e)
	case Closed:
		n.closed(e)
	case Submit:
		n.submit(e)
	case Reply:
		n.reply(e)
	case Stop:
		n.stop(e)
	}
	n.expire()
	return n.out
}

// Deadline is when the node next wants to be told the time; zero when it waits for nothing.
func (n *Node) Deadline() time.Time {
	var next time.Time
	sooner := func(at time.Time) {
		if !at.IsZero() && (next.IsZero() || at.Before(next)) {
			next = at
		}
	}
	for _, p := range n.peers {
		sooner(p.timer)
		sooner(p.retry)
		if p.open() != nil {
			sooner(p.dog.at)
		}
	}
	for _, l := range n.strangers {
		sooner(l.until)
	}
	sooner(n.due.Next())
	sooner(n.forget.Next())
	return next
}

func (n *Node) expire() {
	past := func(at time.Time) bool { return !at.IsZero() && !at.After(n.now.Mono) }
	for _, p := range n.peers {
		if past(p.timer) {
			p.timer = time.Time{}
			n.timeout(p)
		}
		if past(p.retry) {
			p.retry = time.Time{}
			n.start(p)
		}
		if p.open() != nil && past(p.dog.at) {
			n.dogTimer(p)
		}
	}
	for len(n.strangers) > 0 && past(n.strangers[0].until) {
		n.stats.Strangers++
		n.drop(n.strangers[0])
	}
	for {
		ticket, ok := n.due.Due(n.now.Mono)
		if !ok {
			break
		}
		if r := n.waiting[ticket]; r != nil {
			if r.peer != nil {
				r.peer.stats.Timeouts++
			}
			n.finish(r, Answered{Err: undelivered(ErrTimeout)})
		}
	}
	for {
		handle, ok := n.forget.Due(n.now.Mono)
		if !ok {
			break
		}
		n.unserve(n.served[handle])
	}
}

// drop ends a connection and forgets it.
func (n *Node) drop(l *link) {
	if l == nil || n.links[l.id] == nil {
		return
	}
	n.out = append(n.out, Close{Conn: l.id})
	n.gone(l)
}

func (n *Node) gone(l *link) {
	delete(n.links, l.id)
	if i := slices.Index(n.strangers, l); i >= 0 {
		n.strangers = slices.Delete(n.strangers, i, i+1)
	}
}

// accept takes a connection from outside, of somebody who has not said who it is.
//
//rfc:6733#5.6.1
func (n *Node) accept(e Accepted) {
	l := &link{id: e.Conn, local: e.Local, remote: e.Remote, secure: e.Secure, names: e.Names, until: n.now.Mono.Add(patience)}
	from := 0
	for _, s := range n.strangers {
		if s.remote.Addr() == e.Remote.Addr() {
			from++
		}
	}
	// Where a peer may come from, strangers elsewhere take nobody's place.
	known := slices.ContainsFunc(n.peers, func(p *peer) bool { return slices.Contains(p.Addresses, e.Remote.Addr().Unmap()) })
	if n.stopped || len(n.strangers) >= n.cfg.MaxStrangers && !known || from >= n.cfg.MaxPerSource {
		n.stats.Strangers++
		n.out = append(n.out, Close{Conn: e.Conn})
		return
	}
	n.links[l.id] = l
	n.strangers = append(n.strangers, l)
}

// introduce takes the first message of a stranger.
//
//rfc:6733#5.6.1
func (n *Node) introduce(l *link, octets []byte) {
	m, err := wire.Parse(octets)
	// "SHOULD close and discard the connection if any message other than a CER arrives". "CERs received from unknown peers MAY be
	// silently discarded": whoever cannot prove to be a peer learns nothing.
	if err == nil && m.IsRequest() && m.Command == wire.CapabilitiesExchange {
		host, _ := m.Text(wire.OriginHost)
		if p := n.find(host); p != nil && p.proves(l) {
			l.peer, l.until = p, time.Time{}
			n.strangers = slices.DeleteFunc(n.strangers, func(s *link) bool { return s == l })
			n.arrived(p, l, m)
			return
		}
	}
	n.stats.Strangers++
	n.drop(l)
}

// proves tells whether an accepted connection is this peer's: by its certificate, or by where it comes from.
func (p *peer) proves(l *link) bool {
	if slices.ContainsFunc(l.names, func(name string) bool { return Same(name, p.Host) }) {
		return true
	}
	return !p.Secure && slices.Contains(p.Addresses, l.remote.Addr().Unmap())
}

func (n *Node) find(host string) *peer {
	for _, p := range n.peers {
		if Same(p.Host, host) {
			return p
		}
	}
	return nil
}

func (n *Node) received(e Received) {
	l := n.links[e.Conn]
	if l == nil {
		return
	}
	if l.peer == nil {
		n.introduce(l, e.Octets)
		return
	}
	n.hear(l.peer, l, e.Octets)
}

func (n *Node) closed(e Closed) {
	l := n.links[e.Conn]
	if l == nil {
		return
	}
	n.gone(l)
	if l.peer != nil {
		n.disconnected(l.peer, l, e.Err)
	}
}

func (n *Node) send(l *link, m *wire.Message) bool {
	octets, err := m.Append(nil)
	if err != nil {
		n.tell(note.Note{Kind: Misunderstood, Level: note.Warn, Why: fmt.Sprintf("%s cannot be written: %v", m.Name(), err)})
		return false
	}
	if l.peer != nil {
		l.peer.stats.Sent++
	}
	n.out = append(n.out, Send{Conn: l.id, Octets: octets})
	return true
}

func (n *Node) tell(t note.Note) {
	t.Role = "diameter"
	n.out = append(n.out, Tell{t})
}

// about is a note of a peer.
func (n *Node) about(p *peer, l *link, kind note.Kind, level note.Level, why string) {
	t := note.Note{Kind: kind, Level: level, Why: p.Host}
	if why != "" {
		t.Why += ": " + why
	}
	if l != nil {
		t.Endpoint = l.remote
	}
	n.tell(t)
}

// originate is what a message of this node's own begins with.
func (n *Node) originate() []wire.AVP {
	return []wire.AVP{wire.OriginHost.Text(n.cfg.Host), wire.OriginRealm.Text(n.cfg.Realm)}
}

func (n *Node) nextHop() uint32 { n.hopByHop++; return n.hopByHop }
func (n *Node) nextEnd() uint32 { n.endToEnd++; return n.endToEnd }

// stop ends all connections politely: "REBOOTING: A scheduled reboot is imminent."
func (n *Node) stop(e Stop) {
	n.stopped = true
	for len(n.strangers) > 0 {
		n.drop(n.strangers[0])
	}
	for _, p := range n.peers {
		p.retry = time.Time{}
		if p.open() != nil {
			n.sendDPR(p, e.Cause)
			continue
		}
		n.reset(p)
	}
	for _, r := range n.inOrder() {
		n.finish(r, Answered{Err: undelivered(ErrStopped)})
	}
}

// Idle reports whether a node that was told to stop has no connection left.
func (n *Node) Idle() bool { return n.stopped && len(n.links) == 0 }
