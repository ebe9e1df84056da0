package fa

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"time"

	"careof/internal/core/assoc"
	"careof/internal/core/engine"
	"careof/internal/core/forward"
	"careof/internal/core/ident"
	"careof/internal/core/note"
	"careof/internal/proto/mip4/advertise"
	"careof/internal/proto/mip4/claim"
	"careof/wire/encap"
	"careof/wire/mip4"
)

// RoleName is the foreign agent's name in notes and listings.
const RoleName = "foreign-agent"

// Notes of the foreign agent, beside those of package note.
const (
	Relayed  note.Kind = "relayed"  // a request went to the home agent
	Arrived  note.Kind = "arrived"  // a visit began
	Renewed  note.Kind = "renewed"  // a visit was renewed
	Departed note.Kind = "departed" // a visit ended
)

// An Agent is a foreign agent.
type Agent struct {
	engine.Desk

	// Request and Relay are passed by a Registration Request, in this order.
	Request, Relay engine.Stage[*Exchange]
	// Reply and Deliver are passed by a Registration Reply, in this order.
	Reply, Deliver engine.Stage[*Return]
	// Deny is passed by every denial of the agent's own.
	Deny engine.Stage[*Denial]
	// Advertiser sends the agent advertisements; its stage is Advertise.
	Advertiser *advertise.Advertiser

	// Claims are the extensions for the foreign agent.
	Claims claim.Table

	cfg       Config
	rng       *rand.Rand
	requests  engine.Pipeline[*Exchange]
	replies   engine.Pipeline[*Return]
	own       map[netip.Addr]bool
	links     map[string]engine.Link
	agents    map[netip.Addr]*HomeAgent
	nodesHome map[netip.Addr]*MobileNode
	nodesNAI  map[ident.NAI]*MobileNode
	messages  map[mip4.MessageType]func(engine.Packet, *mip4.Message)
	arrived   []func(*Visitor)
	departed  []func(*Visitor, Reason)
	timeouts  []func(*Pending)
	onPlane   []func(*Visitor, forward.Event)
	records   []recordOwner

	furtherKeys []func(netip.Addr) []*assoc.Association

	pending  pendings
	parked   map[engine.Ticket]*waiting // requests that wait for an answer
	parkedAt engine.Agenda[engine.Ticket]
	visitors visitors
	denials  limiter

	strangersTold quota        // notes of relayed requests
	scanned       time.Time    // when pending requests were last searched for a bounced one
	message       mip4.Message // reused between steps
	counters      counters
	recent        engine.Ring[Registration]
}

var _ engine.Persistent = (*Agent)(nil)

// New makes a foreign agent. rng is its only source of luck: the jitter of
// advertisements. Features are applied in order; what they register twice is an
// error.
func New(cfg Config, rng *rand.Rand, features ...func(*Agent) error) (*Agent, error) {
	cfg = cfg.withDefaults()
	if err := cfg.check(); err != nil {
		return nil, err
	}
	if rng == nil {
		return nil, errors.New("fa: no source of randomness")
	}
	adv, err := advertise.New(cfg.advertisement(), rng)
	if err != nil {
		return nil, err
	}
	a := &Agent{
		Desk:       engine.Desk{Role: RoleName},
		Advertiser: adv,
		cfg:        cfg, rng: rng,
		own:       make(map[netip.Addr]bool),
		links:     make(map[string]engine.Link),
		agents:    make(map[netip.Addr]*HomeAgent),
		nodesHome: make(map[netip.Addr]*MobileNode),
		nodesNAI:  make(map[ident.NAI]*MobileNode),
		messages:  make(map[mip4.MessageType]func(engine.Packet, *mip4.Message)),
		pending:   newPendings(),
		parked:    make(map[engine.Ticket]*waiting),
		visitors:  newVisitors(),
	}
	a.recent.Limit = cfg.Recent
	a.relate()
	a.base()
	for _, feature := range features {
		if err := feature(a); err != nil {
			return nil, err
		}
	}
	return a, a.Err()
}

// base installs the base protocol's stages, hooks and tables.
func (a *Agent) base() {
	a.Request = engine.Stage[*Exchange]{Name: "Request", Section: "5944#3.7.2.1",
		Doc: "checks a visitor's request: bits, care-of address, Mobile-Foreign authenticator, lifetime, tunnels, room"}
	a.Relay = engine.Stage[*Exchange]{Name: "Relay", Section: "5944#3.7.2.2",
		Doc: "settles where the request goes and what is added behind the part that the mobile node has authenticated"}
	a.Reply = engine.Stage[*Return]{Name: "Reply", Section: "5944#3.7.3.1",
		Doc: "finds the pending request and checks the Foreign-Home authenticator; may refuse to honour the reply"}
	a.Deliver = engine.Stage[*Return]{Name: "Deliver", Section: "5944#3.7.3.2",
		Doc: "settles lifetime and tunnel of the visit and what is added to the reply"}
	a.Deny = engine.Stage[*Denial]{Name: "Deny", Section: "5944#3.7.2.3",
		Doc: "puts a denial of the agent's own together; features may explain it"}
	a.requests = engine.Pipeline[*Exchange]{&a.Request, &a.Relay}
	a.replies = engine.Pipeline[*Return]{&a.Reply, &a.Deliver}

	a.Request.Add("base", "reserved-bits", a.checkReservedBits)
	a.Request.Add("base", "mobile-foreign", a.checkMobileForeign)
	a.Request.Add("base", "home-address", a.checkHomeAddress)
	a.Request.Add("base", "care-of-address", a.checkCareOf)
	a.Request.Add("base", "lifetime", a.checkLifetime)
	a.Request.Add("base", "encapsulation", a.settleEncapsulation)
	a.Request.Add("base", "delivery-style", a.settleStyle)
	a.Request.Add("base", "reverse-tunnel", a.checkReverseTunnel)
	a.Request.Add("base", "room", a.checkRoom)
	a.Request.Judge(a.judgeRequest)
	a.Relay.Add("base", "upstream", a.settleUpstream)
	a.Relay.Add("base", "foreign-home", a.settleSigner)
	a.Reply.Add("base", "foreign-home", a.checkForeignHome)
	a.Reply.Add("base", "reply", a.checkReply)
	a.Deliver.Add("base", "lifetime", a.settleLifetime)
	a.Deliver.Add("base", "tunnel", a.settleTunnel)
	a.Deny.Add("base", "fields", denyFields)

	a.baseClaims()
	a.baseCommands()
}

// Config is the configuration, defaults filled in.
func (a *Agent) Config() Config { return a.cfg }

// HomeAgentKeys are the associations with a home agent; none when none is
// shared.
func (a *Agent) HomeAgentKeys(address netip.Addr) []*assoc.Association {
	var keys []*assoc.Association
	if h := a.agents[address]; h != nil {
		keys = h.Keys
	}
	for _, run := range a.furtherKeys {
		if further := run(address); len(further) > 0 {
			keys = append(keys[:len(keys):len(keys)], further...)
		}
	}
	return keys
}

// AddHomeAgentKeys has run tell of associations with home agents that no
// configuration has, the latest to expire last: it signs.
func (a *Agent) AddHomeAgentKeys(run func(netip.Addr) []*assoc.Association) {
	a.furtherKeys = append(a.furtherKeys, run)
}

// Rand is the agent's source of luck.
func (a *Agent) Rand() *rand.Rand { return a.rng }

// Handle makes run the handler of messages of type t other than Registration
// Requests and Replies. The packet's buffer is reused after it returns.
func (a *Agent) Handle(feature string, t mip4.MessageType, run func(engine.Packet, *mip4.Message)) {
	if _, twice := a.messages[t]; twice || t == mip4.TypeRegistrationRequest || t == mip4.TypeRegistrationReply {
		a.Fail(fmt.Errorf("fa: feature %s handles message %v, which is handled already", feature, t))
		return
	}
	a.messages[t] = run
}

// OnArrived has run called when a visit has begun or was renewed.
func (a *Agent) OnArrived(run func(*Visitor)) { a.arrived = append(a.arrived, run) }

// OnDeparted has run called when a visit ended.
func (a *Agent) OnDeparted(run func(*Visitor, Reason)) { a.departed = append(a.departed, run) }

// OnTimeout has run called when nothing has answered a request, no ICMP error
// either.
func (a *Agent) OnTimeout(run func(*Pending)) { a.timeouts = append(a.timeouts, run) }

// OnPlane has run called for events of the data plane about a visitor's entry.
func (a *Agent) OnPlane(run func(*Visitor, forward.Event)) { a.onPlane = append(a.onPlane, run) }

// Step implements [engine.Machine].
func (a *Agent) Step(now engine.Now, ev engine.Event) []engine.Action {
	a.Begin(now)
	// What is over is over, also when its Wake comes late.
	a.expire()
	switch ev := ev.(type) {
	case engine.Packet:
		a.packet(ev)
	case engine.Bounced:
		a.bounced(ev)
	case engine.Answer:
		a.answered(ev)
	case engine.Plane:
		a.plane(ev.Event)
	case engine.Command:
		a.command(ev)
	case engine.LinkChanged:
		a.linkChanged(ev.Link)
	}
	a.expire()
	a.dropOverdue()
	a.Due()
	a.Advertiser.SetBusy(now, a.visitors.count() >= a.cfg.MaxVisitors)
	if _, order := ev.(engine.Command); order {
		ev = engine.Wake{} // commands came here first
	}
	for _, act := range a.Advertiser.Step(now, ev) {
		if t, ok := act.(engine.Tell); ok {
			act = a.Telling(t.Note)
		}
		a.Do(act)
	}
	return a.End()
}

// Deadline implements [engine.Machine].
func (a *Agent) Deadline() time.Time {
	return engine.Earliest(a.Next(), a.pending.agenda.Next(), a.parkedAt.Next(), a.visitors.agenda.Next(), a.Advertiser.Deadline())
}

// Stages describes the stages, for `careof show stages`.
func (a *Agent) Stages() []engine.StageInfo {
	list := a.Advertiser.Stages(RoleName)
	list = append(list, a.requests.Describe(RoleName)...)
	list = append(list, a.replies.Describe(RoleName)...)
	return append(list, engine.Pipeline[*Denial]{&a.Deny}.Describe(RoleName)...)
}

// packet sorts what came in. A message that nobody handles leaves no trace
// but a count.
//
//rfc:4064#6-1
//rfc:4064#9-1
//rfc:4064#8-2
func (a *Agent) packet(p engine.Packet) {
	m := &a.message
	if err := m.Parse(p.Data); err != nil {
		a.counters.ignored++
		return
	}
	switch m.Type {
	case mip4.TypeRegistrationRequest:
		a.request(p, m)
		return
	case mip4.TypeRegistrationReply:
		a.reply(p, m)
		return
	}
	if handle, ok := a.messages[m.Type]; ok {
		handle(p, m)
		return
	}
	a.counters.ignored++
}

func (a *Agent) plane(ev forward.Event) {
	v := a.visitors.byEntry[ev.Entry()]
	if v == nil {
		return
	}
	for _, run := range a.onPlane {
		run(v, ev)
	}
}

// linkChanged keeps the addresses that are this host's.
func (a *Agent) linkChanged(l engine.Link) {
	l.Addresses = slices.Clone(l.Addresses)
	if l.Gone {
		delete(a.links, l.Name)
	} else {
		a.links[l.Name] = l
	}
	clear(a.own)
	for _, link := range a.links {
		for _, p := range link.Addresses {
			a.own[p.Addr()] = true
		}
	}
}

// ours says whether an address is this host's.
func (a *Agent) ours(addr netip.Addr) bool {
	return a.own[addr] || slices.Contains(a.cfg.CareOfAddresses, addr)
}

// visited says whether visitors attach to the link.
func (a *Agent) visited(link string) bool { return slices.Contains(a.cfg.Links, link) }

// address is the agent's own address on a link, invalid when it has none.
func (a *Agent) address(link string) netip.Addr {
	l, ok := a.links[link]
	if !ok || len(l.Addresses) == 0 {
		return netip.Addr{}
	}
	return l.Addresses[0].Addr()
}

// Offers says whether the data plane has an encapsulation.
func (a *Agent) Offers(k encap.Kind) bool { return slices.Contains(a.cfg.Encapsulations, k) }

// offered finds the encapsulation that the M and G bits ask for, and says
// whether the data plane has it. With both set it prefers GRE, which also
// carries fragments, as a home agent of this suite does.
//
//rfc:5944#3.3
func (a *Agent) offered(f mip4.RequestFlags) (encap.Kind, bool) {
	switch {
	case f.Has(mip4.FlagG) && (a.Offers(encap.GRE) || !f.Has(mip4.FlagM)):
		return encap.GRE, a.Offers(encap.GRE)
	case f.Has(mip4.FlagM):
		return encap.Minimal, a.Offers(encap.Minimal)
	}
	return encap.IPIP, true
}
