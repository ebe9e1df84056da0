package ha

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"time"

	"careof/internal/core/assoc"
	"careof/internal/core/binding"
	"careof/internal/core/engine"
	"careof/internal/core/forward"
	"careof/internal/core/ident"
	"careof/internal/core/note"
	"careof/internal/proto/mip4/claim"
	"careof/wire/mip4"
)

// RoleName is the home agent's name in notes and listings.
const RoleName = "home-agent"

// An Agent is a home agent, or one shard of it.
type Agent struct {
	engine.Desk

	// The stages of a Registration Request, in order. Features add hooks.
	Identify, Authenticate, Replay, Agents, Admit, Bind engine.Stage[*Exchange]
	// Reply is passed by every request that is answered.
	Reply engine.Stage[*Exchange]

	// Claims are the extensions that are understood in requests.
	Claims claim.Table
	// Encapsulations are the ones that the M and G bits can ask for.
	Encapsulations []Encapsulation

	cfg        Config
	rng        *rand.Rand
	processing engine.Pipeline[*Exchange]
	answering  engine.Pipeline[*Exchange]

	nodes    []*Node               // in configuration order, own shard only
	blocks   []*[nodesInBlock]Node // the first of nodes
	first    int                   // how many are in blocks
	byHome   ident.Addresses       // Node.index by home address
	byNAI    map[ident.NAI]*Node
	relays   map[netip.Addr]*Relay
	pools    []*pool // parallel to cfg.Networks
	links    map[string]engine.Link
	messages map[mip4.MessageType]func(engine.Packet, *mip4.Message)
	bound    []func(*Node, binding.Binding)
	restored []func(*Node, binding.Binding)
	unbound  []func(*Node, binding.Binding, Reason)
	onPlane  []func(*Node, forward.Event)
	aside    []func(*Exchange, *mip4.Draft)
	records  []recordOwner
	former   map[string]nodeRecord // of nodes that may be adopted, by name; nil: none may

	restoring nodeRecord     // reused between records
	fetched   int            // see fetch: nobody asks, but it must not go unused
	prefixes  []ownedNetwork // the prefix table, of all shards

	furtherKeys   []func(netip.Addr) []*assoc.Association
	allowNetworks func(*Node, []netip.Prefix) []netip.Prefix
	assignable    func(netip.Addr) bool

	started  bool
	expiry   engine.Agenda[engine.Ordinal] // by Node.index
	repairs  engine.Agenda[engine.Ordinal] // by Node.index
	parked   map[engine.Ticket]*Exchange
	parkedAt engine.Agenda[engine.Ticket]
	message  mip4.Message // reused between steps
	spare    []*Exchange  // ended, to be used again
	turns    []*turn      // nobody's at present
	counters counters
	failures meter // of lines about commits that failed
	recent   engine.Ring[answered]
}

var _ engine.Persistent = (*Agent)(nil)

// New makes a home agent. rng is its only source of luck: nonces. features
// are applied in order; what they register twice is an error.
func New(cfg Config, rng *rand.Rand, features ...func(*Agent)) (*Agent, error) {
	cfg = cfg.withDefaults()
	if err := cfg.check(); err != nil {
		return nil, err
	}
	if rng == nil {
		return nil, errors.New("ha: no source of randomness")
	}
	a := &Agent{
		Desk: engine.Desk{Role: RoleName},
		cfg:  cfg, rng: rng,
		byNAI:    make(map[ident.NAI]*Node),
		relays:   make(map[netip.Addr]*Relay),
		links:    make(map[string]engine.Link),
		messages: make(map[mip4.MessageType]func(engine.Packet, *mip4.Message)),
		parked:   make(map[engine.Ticket]*Exchange),
	}
	a.recent.Limit = cfg.Recent
	if err := a.index(); err != nil {
		return nil, err
	}
	a.base()
	for _, feature := range features {
		feature(a)
	}
	return a, a.Err()
}

// base installs the base protocol's stages, hooks and tables.
func (a *Agent) base() {
	stage := func(s *engine.Stage[*Exchange], name, section, doc string) {
		s.Name, s.Section, s.Doc = name, section, doc
	}
	stage(&a.Identify, "Identify", "5944#3.8.2", "finds the mobile node by home address or NAI; strangers are discarded without a trace")
	stage(&a.Authenticate, "Authenticate", "5944#3.8.2.1", "checks every authenticator; at least one must make the request acceptable")
	stage(&a.Replay, "Replay", "5944#5.7", "repeats the reply to an exact repeat, refuses any other old Identification with 133")
	stage(&a.Agents, "Agents", "5944#3.8.2.1", "judges the Foreign-Home authenticator: 132, or discarded")
	stage(&a.Admit, "Admit", "5944#3.8.2.3", "policy: reserved bits, home agent field, home address, reverse tunnelling; assigns an address")
	stage(&a.Bind, "Bind", "5944#3.8.2.2", "settles lifetime, encapsulation and effective care-of endpoint, and judges them")
	stage(&a.Reply, "Reply", "5944#3.8.3", "adds the reply's extensions, in acceptances and in denials")
	a.processing = engine.Pipeline[*Exchange]{&a.Identify, &a.Authenticate, &a.Replay, &a.Agents, &a.Admit, &a.Bind}
	a.answering = engine.Pipeline[*Exchange]{&a.Reply}

	a.Identify.Add("base", "node", a.identify)
	a.Identify.Judge(a.judgeIdentity)
	a.Authenticate.Add("base", "foreign-home", a.checkForeignHome)
	a.Authenticate.Add("base", "mobile-home", a.checkMobileHome)
	a.Authenticate.Judge(a.judgeAuthentication)
	a.Replay.Add("base", "repeat", a.repeatReply)
	a.Replay.Add("base", "identification", a.checkIdentification)
	a.Agents.Add("base", "foreign-home", a.judgeForeignHome)
	a.Admit.Add("base", "turn", a.takeTurn)
	a.Admit.Add("base", "reserved-bits", a.checkReservedBits)
	a.Admit.Add("base", "home-agent", a.checkHomeAgent)
	a.Admit.Add("base", "home-address", a.checkHomeAddress)
	a.Admit.Add("base", "reverse-tunnel", a.checkReverseTunnel)
	a.Admit.Judge(a.judgeAdmission)
	a.Bind.Add("base", "lifetime", a.settleLifetime)
	a.Bind.Add("base", "encapsulation", a.settleEncapsulation)
	a.Bind.Add("base", "endpoint", a.settleEndpoint)
	a.Bind.Judge(a.judgeBinding)
	a.Reply.Add("base", "nai", a.copyNAI)

	a.AddTimer(a.repairs.Next, a.repair)

	a.baseClaims()
	a.baseEncapsulations()
	a.baseCommands()
}

// Config is the configuration, defaults filled in.
func (a *Agent) Config() Config { return a.cfg }

// Rand is the agent's source of luck.
func (a *Agent) Rand() *rand.Rand { return a.rng }

// Handle makes run the handler of messages of type t other than Registration
// Requests. The packet's buffer is reused after it returns.
func (a *Agent) Handle(feature string, t mip4.MessageType, run func(engine.Packet, *mip4.Message)) {
	if _, twice := a.messages[t]; twice || t == mip4.TypeRegistrationRequest {
		a.Fail(fmt.Errorf("ha: feature %s handles message %v, which is handled already", feature, t))
		return
	}
	a.messages[t] = run
}

// OnBound has run called when a new, moved or refreshed binding is true.
func (a *Agent) OnBound(run func(*Node, binding.Binding)) { a.bound = append(a.bound, run) }

// OnRestored has run called for every binding that a restart brought back.
func (a *Agent) OnRestored(run func(*Node, binding.Binding)) { a.restored = append(a.restored, run) }

// A Reason says why a binding ended.
type Reason string

// Reasons.
const (
	Deregistered Reason = "deregistered"
	Replaced     Reason = "replaced"
	Expired      Reason = "expired"
	ByOperator   Reason = "cleared"
	Failed       Reason = "failed"
)

// OnUnbound has run called when a binding ended.
func (a *Agent) OnUnbound(run func(*Node, binding.Binding, Reason)) {
	a.unbound = append(a.unbound, run)
}

// OnPlane has run called for events of the data plane about a node's entry.
func (a *Agent) OnPlane(run func(*Node, forward.Event)) { a.onPlane = append(a.onPlane, run) }

// OnAside has run called for replies that are outside the pipeline, so that
// features can add to them: those to questions about paths, which bind nothing.
func (a *Agent) OnAside(run func(*Exchange, *mip4.Draft)) { a.aside = append(a.aside, run) }

// Aside lets the features add to a reply outside the pipeline, before it is
// signed.
func (a *Agent) Aside(x *Exchange, d *mip4.Draft) {
	for _, run := range a.aside {
		run(x, d)
	}
}

// Step implements [engine.Machine].
func (a *Agent) Step(now engine.Now, ev engine.Event) []engine.Action {
	a.Begin(now)
	if !a.started {
		a.started = true
		a.announce()
	}
	// A binding that is over is over, also when its Wake comes late.
	a.expire()
	switch ev := ev.(type) {
	case engine.Packet:
		a.packet(ev)
	case engine.Answer:
		a.answer(ev)
	case engine.Plane:
		a.plane(ev.Event)
	case engine.Command:
		a.Command(ev)
	case engine.LinkChanged:
		a.linkChanged(ev.Link)
	}
	a.expire()
	a.dropOverdue()
	a.Due()
	return a.End()
}

// Insecure says at every start that a node is served without authentication.
const Insecure note.Kind = "insecure"

// maxRestoredNotes bounds the notes about single restored bindings.
const maxRestoredNotes = 1000

// announce tells what an operator must know at a start: who is served without
// authentication, and which bindings came back.
func (a *Agent) announce() {
	back := 0
	for _, n := range a.nodes {
		who := note.Note{HomeAddress: n.home, NAI: string(n.config.NAI)}
		a.warnInsecure(n)
		for b := range n.list.Each() {
			if !b.Live(a.Now().Mono) {
				continue
			}
			if back++; back > maxRestoredNotes {
				continue
			}
			came := who
			came.Kind, came.CareOfAddress, came.Endpoint = note.Restored, b.CareOfAddress, b.Tunnel.Peer
			came.Encapsulation, came.Lifetime = tunnelName(b.Tunnel), finite(b.Remaining(a.Now().Mono))
			a.Tell(came)
		}
	}
	if back > maxRestoredNotes {
		a.Tell(note.Note{Kind: note.Restored, Level: note.Info, Why: fmt.Sprintf("%d bindings in all", back)})
	}
}

// Deadline implements [engine.Machine].
func (a *Agent) Deadline() time.Time {
	return engine.Earliest(a.Next(), a.expiry.Next(), a.parkedAt.Next())
}

// Stages describes the stages, for `careof show stages`.
func (a *Agent) Stages() []engine.StageInfo {
	return append(a.processing.Describe(RoleName), a.answering.Describe(RoleName)...)
}

// packet sorts what came in. A message that nobody handles leaves no trace
// but a count.
//
//rfc:4064#6-1
//rfc:4064#9-1
//rfc:4064#8-2
func (a *Agent) packet(p engine.Packet) {
	// A reply could only go to one host: no reflection to broadcast, to
	// ourselves, or to nowhere.
	if !unicast(p.Src.Addr()) || p.Src.Port() == 0 || a.cfg.own(p.Src.Addr()) {
		a.ignore()
		return
	}
	if len(p.Data) > 0 && mip4.MessageType(p.Data[0]) == mip4.TypeRegistrationRequest {
		a.request(p, nil)
		return
	}
	m := &a.message
	if err := m.Parse(p.Data); err != nil {
		a.ignore()
		return
	}
	if handle, ok := a.messages[m.Type]; ok {
		handle(p, m)
		return
	}
	a.ignore()
}

// ignore counts what was discarded from a stranger; there is nothing to say
// about it.
//
//rfc:3115#1.1-1
func (a *Agent) ignore() { a.counters.ignored++ }

func (a *Agent) plane(ev forward.Event) {
	n := a.at(planeHome(ev))
	if n == nil || n.list.Len() == 0 {
		return
	}
	for _, run := range a.onPlane {
		run(n, ev)
	}
}

func (a *Agent) answer(ans engine.Answer) {
	if x, ok := a.parked[ans.Ticket]; ok {
		a.unpark(ans.Ticket)
		kept := ans // escapes, but not for every commit
		x.Answer = &kept
		a.advance(x)
		return
	}
	a.Answered(ans)
}
