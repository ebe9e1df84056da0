package mn

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"time"

	"careof/internal/core/engine"
	"careof/internal/core/forward"
	"careof/internal/core/note"
)

// role is the name of this role in notes and listings.
const role = "mobile-node"

// A Node is a mobile node. It implements [engine.Machine] and
// [engine.Persistent]; it is not safe for concurrent use.
type Node struct {
	stages
	tables

	cfg Config
	rng *rand.Rand
	now engine.Now // of the present Step

	uplinks     map[string]*uplink
	links       map[RegistrationKey]*Registration
	active      *Registration // the one to send through; nil when there is none
	home        *Registration // at home: what ends the bindings; nil when away
	atHome      bool          // the home agent knows that the node is at home
	stopped     bool          // the operator deregistered the node
	agents      map[agentKey]*mobilityAgent
	choice      []Candidate  // of the last Choose, the usable ones, preferred first
	validations []validation // unanswered, oldest first
	aside       []aside
	holds       func(*Registration) bool // see Hold
	unreplied   func(*Registration, int) // see OnUnreplied
	redundancy  Redundancy               // agreed on with the home agent
	rechoose    bool
	more        time.Time // links are still being told of: the choice waits until then
	plainOnly   bool      // the home agent knows no simultaneous bindings (code 1)

	address  netip.Addr // home address, configured or given; invalid while unknown
	roster   roster
	clocks   map[netip.Addr]*sequence
	drains   []forward.Tunnel
	networks []MobileNetwork // of a mobile router
	applied  []forward.Entry // as the data plane was last told, the home address's first
	linkNow  string          // the home link that the data plane has confirmed
	putAgain time.Time       // when to repeat what the data plane refused
	puts     int             // of the entry, under way to the data plane
	homePuts int             // of those, the ones that change the home link
	carrying *Registration   // the active one, as far as the data plane has been made so
	withheld []engine.Tell   // what is true once the data plane has the entry

	led []netip.Prefix // see Lead

	wakeAt    time.Time // the deadline that was told last; zero: it has come
	lateSince time.Time // every wake was late since then; zero: the last one was not
	unread    time.Time // see Unread

	tickets   engine.Ticket
	asked     map[engine.Ticket]func(engine.Answer)
	committed map[engine.Ticket]func(error)
	leaving   []engine.Ticket // commands that wait for the deregistration

	agentsSince time.Time // when counting new agents began
	agentsTold  int
	originated  uint64

	foreignKeys []func() []ForeignKey // of features, to be shown

	counters counters
	problem  Problem

	// what the present Step says, by kind
	arp, sends, rest []engine.Action
	parting          bool // one of sends ends the registration at a home agent that is left: see flush
	saves            map[string][]byte
	stored           map[string]string
}

var _ engine.Persistent = (*Node)(nil)

// New makes a mobile node. features add themselves to its stages and tables;
// the order of features is the order of their hooks.
func New(cfg Config, rng *rand.Rand, features ...func(*Node) error) (*Node, error) {
	if err := cfg.complete(); err != nil {
		return nil, err
	}
	if rng == nil {
		return nil, errors.New("mn: no source of random numbers")
	}
	n := &Node{
		cfg:       cfg,
		rng:       rng,
		address:   cfg.HomeAddress,
		uplinks:   make(map[string]*uplink),
		links:     make(map[RegistrationKey]*Registration),
		agents:    make(map[agentKey]*mobilityAgent),
		clocks:    make(map[netip.Addr]*sequence),
		asked:     make(map[engine.Ticket]func(engine.Answer)),
		committed: make(map[engine.Ticket]func(error)),
		saves:     make(map[string][]byte),
		stored:    make(map[string]string),
	}
	n.counters.init()
	n.roster.init(&n.cfg)
	n.stages.name()
	n.base()
	for _, f := range features {
		if err := f(n); err != nil {
			return nil, fmt.Errorf("mn: %w", err)
		}
	}
	if err := n.tables.err(); err != nil {
		return nil, fmt.Errorf("mn: %w", err)
	}
	return n, nil
}

// base is the base protocol: its hooks stand first in every stage.
func (n *Node) base() {
	n.Heard.Add("base", "attachment", heardAttachment)
	n.Choose.Add("base", "address", chooseAddress)
	n.Choose.Add("base", "home", chooseHome)
	n.Choose.Add("base", "agent", chooseAgent)
	n.Choose.Judge(chooseOrder)
	n.Request.Add("base", "fields", requestFields)
	n.Request.Add("base", "agent", requestAgent)
	n.Request.Add("base", "identity", requestIdentity)
	n.Request.Add("base", "tunnels", requestTunnels)
	n.Keys.Add("base", "keys", replyKeys)
	n.Reply.Add("base", "authenticate", replyAuthenticate)
	n.Reply.Add("base", "foreign", replyForeign)
	n.Reply.Add("base", "fields", replyFields)
	n.Reply.Judge(replyJudge)
	n.Accepted.Add("base", "lifetime", acceptLifetime)
	n.Accepted.Add("base", "tunnel", acceptTunnel)
	n.Accepted.Add("base", "agent", acceptAgent)
	n.Denied.Add("base", "repair", denyRepair)
	n.Probed.Judge(probedJudge)
	n.baseTables()
}

// Config returns the configuration with its defaults. It must not be changed.
func (n *Node) Config() Config { return n.cfg }

// Now is the instant of the present Step, for hooks.
func (n *Node) Now() engine.Now { return n.now }

// Rand is the node's source of random numbers.
func (n *Node) Rand() *rand.Rand { return n.rng }

// HomeAddress is the node's home address, invalid while it is unknown.
func (n *Node) HomeAddress() netip.Addr { return n.address }

// Active is the registration through whose tunnel the node sends, nil when
// there is none.
func (n *Node) Active() *Registration { return n.active }

// Key is the key of the node's forwarding entry; empty while the home address
// is unknown.
func (n *Node) Key() forward.Key {
	if !n.address.IsValid() {
		return ""
	}
	return forward.Key(role + "/" + n.address.String())
}

// Emit adds an action to what the present Step says. It is for hooks and
// handlers of features.
func (n *Node) Emit(a engine.Action) {
	if _, own := a.(engine.Originate); own {
		n.originated++
	}
	n.rest = append(n.rest, a)
}

// Originated counts the packets that features have sent through the tunnel.
func (n *Node) Originated() uint64 { return n.originated }

// Tell adds a note, with the role and the node's identity filled in.
func (n *Node) Tell(t note.Note) {
	t.Role = role
	if !t.HomeAddress.IsValid() {
		t.HomeAddress = n.address
	}
	t.NAI = string(n.cfg.NAI)
	n.counters.count(t)
	n.rest = append(n.rest, engine.Tell{Note: t})
}

// maxAsked bounds the questions that are open at a time.
const maxAsked = 64

// Ask puts a question to the world and calls then with its answer. Beyond a
// bound of open questions it answers at once with an error.
func (n *Node) Ask(question any, then func(engine.Answer)) {
	if len(n.asked) >= maxAsked {
		then(engine.Answer{Err: errors.New("mn: too many open questions")})
		return
	}
	n.tickets++
	n.asked[n.tickets] = then
	n.rest = append(n.rest, engine.Ask{Ticket: n.tickets, Question: question})
}

// Step implements [engine.Machine].
func (n *Node) Step(now engine.Now, ev engine.Event) []engine.Action {
	n.now = now
	n.noteStandstill()
	switch ev := ev.(type) {
	case engine.LinkChanged:
		n.heard(ev.Link)
		n.more = time.Time{}
		if ev.More {
			n.more = now.Mono.Add(patience)
		}
	case engine.Packet:
		n.receive(ev)
	case engine.Discovery:
		n.discovery(ev)
	case engine.Answer:
		n.answered(ev)
	case engine.Command:
		n.command(ev)
	case engine.Plane:
		n.planeEvent(ev.Event)
	case engine.Wake:
	}
	// Whatever the event was, deadlines that have come are met in the same
	// step; a choice may follow from both.
	n.due()
	// Each round can only lead to a further one through an acceptance or a
	// change of home agent, so few rounds settle it.
	for range 4 {
		if !n.rechoose || n.more.After(now.Mono) {
			break
		}
		n.rechoose = false
		n.choose()
	}
	n.solicit()
	return n.flush()
}

// answered hands an answer to whoever waits for it.
func (n *Node) answered(a engine.Answer) {
	if then, ok := n.asked[a.Ticket]; ok {
		delete(n.asked, a.Ticket)
		then(a)
		return
	}
	if then, ok := n.committed[a.Ticket]; ok {
		delete(n.committed, a.Ticket)
		then(a.Err)
	}
}

// patience is how long a choice waits for the links that are yet to be told of.
// It is for a driver that does not keep its word: one on a busy machine, which takes
// its time from one link to the next, does.
const patience = time.Second

// planeEvent hands an event of the data plane to the features, and takes
// routers' complaints as a hint.
func (n *Node) planeEvent(ev forward.Event) {
	if u, ok := ev.(forward.Unreachable); ok && n.active != nil && u.Key == n.Key() && u.Peer == n.active.Tunnel.Peer.Addr() {
		n.hint(n.active)
	}
	for _, h := range n.planeHandlers {
		h.run(ev)
	}
}

// hintAge is how old the last request must be before an unproven hint that
// the path is dead leads to a new one.
const hintAge = 5 * time.Second

// hint registers again over a path that may be dead. Anybody can forge the
// message that led here, so it costs at most one request in a while and ends
// nothing. It says whether a request is on its way.
func (n *Node) hint(r *Registration) bool {
	if r.try == nil && n.now.Mono.Sub(r.lastSent) >= hintAge {
		n.begin(r, Register)
	}
	return r.try != nil
}

// Deadline implements [engine.Machine].
func (n *Node) Deadline() time.Time {
	at := engine.Earliest(n.putAgain, n.roster.resolveAt, n.roster.resolveBy, n.roster.returnAt, n.agentDeadline(), n.solicitDeadline())
	for _, r := range n.links {
		at = engine.Earliest(at, r.deadline())
	}
	for _, t := range n.drains {
		at = engine.Earliest(at, t.Until)
	}
	for _, t := range n.timers {
		at = engine.Earliest(at, t.deadline())
	}
	if n.rechoose {
		at = n.now.Mono
		if n.more.After(at) {
			at = n.more
		}
	}
	n.wakeAt = at
	return at
}

// due meets every deadline that has come.
func (n *Node) due() {
	mono := n.now.Mono
	come := func(at time.Time) bool { return !at.IsZero() && !at.After(mono) }
	n.agentsDue()
	n.trustAgain()
	for _, r := range n.registrations() {
		if come(r.expires) {
			n.expired(r)
		}
		if come(r.renewAt) {
			r.renewAt = time.Time{}
			if r.live && r.try == nil && n.canRenew(r) {
				n.begin(r, Register)
			}
		}
		if come(r.retryAt) {
			r.retryAt = time.Time{}
			n.retry(r)
		}
		if r.idle(mono) {
			delete(n.links, r.Key)
		}
	}
	n.drains = slices.DeleteFunc(n.drains, func(t forward.Tunnel) bool { return come(t.Until) })
	if come(n.roster.resolveBy) {
		n.unresolved()
	}
	if come(n.roster.resolveAt) {
		n.roster.resolveAt = time.Time{}
		n.resolve()
	}
	if come(n.roster.returnAt) {
		n.tryReturn()
	}
	if come(n.putAgain) {
		n.putAgain = time.Time{} // flush compares with what is applied
	}
	for _, t := range n.timers {
		if come(t.deadline()) {
			t.run()
		}
	}
}
