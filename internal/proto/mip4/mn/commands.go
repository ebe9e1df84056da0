package mn

import (
	"errors"
	"fmt"
	"maps"
	"math"
	"net/netip"
	"slices"
	"strconv"
	"time"

	"careof/internal/core/assoc"
	"careof/internal/core/engine"
	"careof/internal/core/note"
	"careof/wire/mip4"
)

// Questions and orders of the operator. Each is the value of an
// [engine.Command]; the answer's type stands in the comment.
type (
	ShowStatus        struct{} // Status
	ListRegistrations struct{} // []RegistrationInfo
	ListUplinks       struct{} // []UplinkInfo
	ListAgents        struct{} // []AgentInfo
	ListAssociations  struct{} // []AssociationInfo
	ListStages        struct{} // []engine.StageInfo
	ListCounters      struct{} // []Counter
	// Reregister starts a new attempt now, also after Deregister: Status.
	Reregister struct{}
	// Lead replaces the destinations that go through the tunnel besides
	// Config.Routes, for as long as the process lives: Status.
	Lead struct{ Routes []netip.Prefix }
	// Deregister ends all registrations and keeps the node unregistered
	// until Reregister: Status, once the home agent has agreed.
	Deregister struct{}
)

// Status is the node at a glance.
type Status struct {
	Role          string             `json:"role"`
	State         string             `json:"state"` // registered, registering, home, returning, deregistered, idle
	HomeAddress   netip.Addr         `json:"home_address,omitzero"`
	NAI           string             `json:"nai,omitempty"`
	HomeAgent     netip.Addr         `json:"home_agent,omitzero"`
	CareOfAddress netip.Addr         `json:"care_of_address,omitzero"`
	ForeignAgent  netip.Addr         `json:"foreign_agent,omitzero"`
	Link          string             `json:"link,omitempty"`
	Encapsulation string             `json:"encapsulation,omitempty"`
	Encrypted     bool               `json:"encrypted,omitempty"`
	ReverseTunnel bool               `json:"reverse_tunnel"`
	Routes        []netip.Prefix     `json:"routes"`
	Networks      []MobileNetwork    `json:"networks,omitempty"` // of a mobile router
	Registered    []RegistrationInfo `json:"registrations"`
	Problem       *Problem           `json:"problem,omitempty"`
}

// RegistrationInfo is one registration. Times are of the wall clock.
type RegistrationInfo struct {
	Link           string         `json:"link"`
	CareOfAddress  netip.Addr     `json:"care_of_address"`
	HomeAgent      netip.Addr     `json:"home_agent"`
	ForeignAgent   netip.Addr     `json:"foreign_agent,omitzero"`
	Outer          netip.AddrPort `json:"outer,omitzero"`    // as the home agent sees it
	State          string         `json:"state"`             // registered, renewing, requesting, refused, deregistering, idle
	Code           uint8          `json:"code,omitempty"`    // refused: with what
	Meaning        string         `json:"meaning,omitempty"` // refused: of Code
	Active         bool           `json:"active"`            // packets go over it
	Encapsulation  string         `json:"encapsulation,omitempty"`
	Encrypted      bool           `json:"encrypted,omitempty"`
	Since          time.Time      `json:"since,omitzero"`
	Expires        time.Time      `json:"expires,omitzero"`
	Lifetime       string         `json:"lifetime,omitempty"`       // granted: "infinite" or a Go duration
	Remaining      string         `json:"remaining,omitempty"`      // likewise
	RoundTrip      string         `json:"round_trip,omitempty"`     // a Go duration
	Identification string         `json:"identification,omitempty"` // of the last accepted request, hexadecimal
	Transmissions  int            `json:"transmissions,omitempty"`  // of the present attempt
	NextRequest    time.Time      `json:"next_request,omitzero"`
	SPI            uint32         `json:"spi"`
	Message        string         `json:"message,omitempty"` // from an agent to the user

	// Lifetime, Remaining and RoundTrip as values; a lifetime without end is
	// the greatest Duration.
	Granted, Left, Took time.Duration `json:"-"`
}

// UplinkInfo is one interface.
type UplinkInfo struct {
	Link          string       `json:"link"`
	Priority      int          `json:"priority"`
	Cost          int          `json:"cost"`
	Metered       bool         `json:"metered"`
	Usable        bool         `json:"usable"`
	State         string       `json:"state"` // in-use, standby, held, dead, unusable
	Why           string       `json:"why"`   // it is used, or not
	Home          bool         `json:"home"`
	CareOfAddress netip.Addr   `json:"care_of_address,omitzero"`
	ForeignAgent  netip.Addr   `json:"foreign_agent,omitzero"`
	Gateways      []netip.Addr `json:"gateways"`
	Active        bool         `json:"active"`
	Unanswered    int          `json:"unanswered,omitempty"` // requests in a row over it that nobody has answered, but for the last one
	Quality       Quality      `json:"-"`
	Keepalive     Keepalive    `json:"-"`
	Doubts        Doubts       `json:"-"`
	Answered      time.Time    `json:"answered,omitzero"` // Quality.Answered on the wall clock
	Measured      time.Time    `json:"measured,omitzero"` // Quality.Measured there
}

// AgentInfo is a mobility agent that is heard on a link.
type AgentInfo struct {
	Link            string         `json:"link"`
	Address         netip.Addr     `json:"address"`
	Flags           string         `json:"flags"`             // letters of RFC 5944 section 2.1.1
	CareOfAddresses []netip.Addr   `json:"care_of_addresses"` // those that may be used
	Prefixes        []netip.Prefix `json:"prefixes"`
	MaxLifetime     string         `json:"max_lifetime"`
	Longest         time.Duration  `json:"-"` // MaxLifetime as a value
	Heard           time.Time      `json:"heard"`
	Expires         time.Time      `json:"expires"`
	Shunned         time.Time      `json:"shunned,omitzero"` // until then
	InUse           bool           `json:"in_use"`
}

// AssociationInfo is a mobility security association without its secret.
type AssociationInfo struct {
	Peer        string `json:"peer"` // the home agent's address or name, or "any"
	Kind        string `json:"kind"` // "home-agent", "foreign-agent"
	SPI         uint32 `json:"spi"`
	Algorithm   string `json:"algorithm"`
	Replay      string `json:"replay"`
	Fingerprint string `json:"fingerprint"` // of the key
	Insecure    bool   `json:"insecure,omitempty"`
}

// A Counter counts one thing since the start.
type Counter struct {
	Name  string `json:"name"`
	Value uint64 `json:"value"`
}

// counters counts notes by kind, and denials by code.
type counters struct {
	kinds map[note.Kind]uint64
	codes map[uint8]uint64
}

func (c *counters) init() {
	c.kinds, c.codes = make(map[note.Kind]uint64), make(map[uint8]uint64)
}

func (c *counters) count(t note.Note) {
	c.kinds[t.Kind]++
	if t.Kind == note.Refused {
		c.codes[t.Code]++
	}
}

func (c *counters) list() []Counter {
	var list []Counter
	for kind, v := range c.kinds {
		list = append(list, Counter{string(kind), v})
	}
	for code, v := range c.codes {
		list = append(list, Counter{fmt.Sprintf("refused-%03d", code), v})
	}
	slices.SortFunc(list, func(a, b Counter) int {
		if a.Name < b.Name {
			return -1
		}
		return 1
	})
	return list
}

// advice is what an operator can do about a denial.
func advice(c mip4.Code) string { return mip4.ExplainCode(c).Do }

// Answer answers a command.
func (n *Node) Answer(c engine.Command, value any, err error) {
	n.Emit(engine.Result{Ticket: c.Ticket, Value: value, Err: err})
}

// command hands a command to its receiver.
func (n *Node) command(c engine.Command) {
	name := fmt.Sprintf("%T", c.Value)
	for _, h := range n.commands {
		if fmt.Sprintf("%T", h.sample) == name {
			h.run(c)
			return
		}
	}
	n.Answer(c, nil, fmt.Errorf("mn: unknown command %s", name))
}

// baseCommands are the base's rows.
func (n *Node) baseCommands() {
	show := func(sample any, value func() any) {
		n.Command("base", sample, func(c engine.Command) { n.Answer(c, value(), nil) })
	}
	show(ShowStatus{}, func() any { return n.status() })
	show(ListRegistrations{}, func() any { return n.infos() })
	show(ListUplinks{}, func() any { return n.uplinkInfos() })
	show(ListAgents{}, func() any { return n.agentInfos() })
	show(ListAssociations{}, func() any { return n.associations() })
	show(ListStages{}, func() any { return n.stages.describe() })
	show(ListCounters{}, func() any { return n.counters.list() })
	n.Command("base", Reregister{}, n.reregister)
	n.Command("base", Deregister{}, n.deregister)
	n.Command("base", Lead{}, func(c engine.Command) {
		n.led = slices.Clone(c.Value.(Lead).Routes)
		n.Answer(c, n.status(), nil)
	})
	n.Command("base", Reconfigure{}, func(c engine.Command) { n.Answer(c, nil, n.reconfigure(c.Value.(Reconfigure).Config)) })
}

// reregister makes every link count as attached anew.
func (n *Node) reregister(c engine.Command) {
	n.stopped = false
	for _, u := range n.uplinks {
		u.attached = true
	}
	if n.broken() {
		for _, r := range n.links {
			r.refusals = 0
		}
		n.roster.refused, n.roster.refusals, n.roster.restful = nil, 0, time.Time{}
	}
	n.rechoose = true
	n.Answer(c, n.status(), nil)
}

// deregister asks the home agent to end all bindings.
func (n *Node) deregister(c engine.Command) {
	if n.home != nil || !n.address.IsValid() || n.active == nil || !n.active.live || n.broken() {
		// At home the node is deregistered already; without a path nobody
		// can be told, and the lifetime does it.
		var err error
		if n.home == nil && n.active != nil {
			err = errors.New("mn: no uplink to deregister over; the home agent keeps the binding until it expires")
		}
		n.forget()
		n.Answer(c, n.status(), err)
		return
	}
	n.stopped = true
	n.leaving = append(n.leaving, c.Ticket)
	for _, r := range n.registrations() {
		if r != n.active {
			r.giveUp()
		}
	}
	n.begin(n.active, DeregisterAll)
}

// deregistered ends a Deregister, agreed or not.
func (n *Node) deregistered(r *Registration, agreed bool) {
	var err error
	if agreed {
		n.Tell(n.noteOf(r, note.Note{Kind: note.Deregistered, Level: note.Info}))
	} else {
		err = errors.New("mn: the home agent did not answer; it keeps the binding until it expires")
	}
	n.forget()
	for _, t := range n.leaving {
		n.Emit(engine.Result{Ticket: t, Value: n.status(), Err: err})
	}
	n.leaving = nil
}

// forget drops every registration and stays unregistered.
func (n *Node) forget() {
	n.stopped = true
	for _, r := range n.registrations() {
		if r == n.home {
			continue
		}
		r.giveUp()
		if r.live {
			r.end()
			n.saveRegistration(r)
		}
	}
	n.active, n.drains = nil, nil
}

func (n *Node) status() Status {
	s := Status{
		Role: role, State: n.state(), HomeAddress: n.address, NAI: string(n.cfg.NAI),
		Routes: n.routes(), Networks: n.networkStates(), Registered: n.infos(),
	}
	if agent, ok := n.roster.current(); ok {
		s.HomeAgent = agent.address
	}
	if r := n.active; r != nil && r.live && n.home == nil {
		s.HomeAgent, s.CareOfAddress, s.Link = r.Key.HomeAgent, r.Key.CareOf, r.Key.Link
		s.ForeignAgent = r.Key.Agent
		s.Encapsulation, s.Encrypted, s.ReverseTunnel = r.form(), r.Tunnel.Secured(), r.Reverse
	}
	if n.problem.Code != 0 {
		p := n.problem
		s.Problem = &p
	}
	return s
}

func (n *Node) state() string {
	switch {
	case n.atHome:
		return "home"
	case n.home != nil:
		return "returning"
	case n.stopped:
		return "deregistered"
	case !n.broken():
		return "registered"
	}
	for _, r := range n.links {
		if r.try != nil {
			return "registering"
		}
	}
	return "idle"
}

func (n *Node) infos() []RegistrationInfo {
	list := []RegistrationInfo{}
	for _, r := range n.registrations() {
		if !r.live && r.try == nil {
			continue
		}
		i := RegistrationInfo{
			Link: r.Key.Link, CareOfAddress: r.Key.CareOf, HomeAgent: r.Key.HomeAgent, ForeignAgent: r.Key.Agent,
			State: r.state(), Active: n.Carries(r) && r.live && !n.broken(),
			NextRequest: n.now.WallOf(engine.Earliest(r.retryAt, r.renewAt)), Message: r.Message,
		}
		if r.association != nil {
			i.SPI = r.association.SPI()
		}
		if r.live {
			i.Encapsulation, i.Encrypted = r.form(), r.Tunnel.Secured()
			i.Outer = r.Outer
			i.Since, i.Expires = n.now.WallOf(r.since), n.now.WallOf(r.expires)
			i.Lifetime, i.Remaining = lifetimeText(r.Granted), "infinite"
			i.Granted, i.Left = r.Granted, math.MaxInt64
			if !r.expires.IsZero() {
				i.Left = r.expires.Sub(n.now.Mono)
				i.Remaining = lifetimeText(i.Left)
			}
			i.Identification = fmt.Sprintf("%016s", strconv.FormatUint(r.accepted, 16))
		}
		if i.State == refused {
			i.Code, i.Meaning = uint8(r.denied), r.denied.String()
		}
		if u := n.uplinks[r.Key.Link]; u != nil && u.rtt > 0 {
			i.RoundTrip, i.Took = lifetimeText(u.rtt), u.rtt
		}
		if r.try != nil {
			i.Transmissions = r.try.transmissions
		}
		list = append(list, i)
	}
	return list
}

// lifetimeText is a duration for people and JSON.
func lifetimeText(d time.Duration) string {
	if d >= Infinite {
		return "infinite"
	}
	return d.Round(time.Millisecond).String()
}

// refused is the state of a registration whose last attempt an agent denied.
const refused = "refused"

func (r *Registration) state() string {
	switch {
	case r.try != nil && r.try.purpose != Register:
		return "deregistering"
	case r.live && r.try != nil:
		return "renewing"
	case r.live:
		return "registered"
	case r.refusals > 0:
		return refused
	case r.try != nil:
		return "requesting"
	}
	return "idle"
}

func (n *Node) agentInfos() []AgentInfo {
	list := []AgentInfo{}
	for _, a := range n.agentsOn("") {
		list = append(list, AgentInfo{
			Link: a.key.link, Address: a.key.address, Flags: a.flags.String(),
			CareOfAddresses: append([]netip.Addr{}, a.careOf...), Prefixes: append([]netip.Prefix{}, a.prefixes...),
			MaxLifetime: lifetimeText(a.lifetime), Longest: a.lifetime, Heard: n.now.WallOf(a.heard), Expires: n.now.WallOf(a.expires),
			Shunned: n.now.WallOf(a.shunned), InUse: n.inUse(a),
		})
	}
	return list
}

func (n *Node) associations() []AssociationInfo {
	list := []AssociationInfo{}
	add := func(peer string, a *assoc.Association) {
		if a == unkeyed {
			return
		}
		list = append(list, AssociationInfo{
			Peer: peer, Kind: "home-agent", SPI: a.SPI(), Algorithm: a.Algorithm().String(),
			Replay: a.Replay().String(), Fingerprint: a.Key().String(), Insecure: !a.Authenticated(),
		})
	}
	for _, h := range n.cfg.HomeAgents {
		if h.Name != "" {
			add(h.Name, h.Association)
		} else {
			add(h.Address.String(), h.Association)
		}
	}
	if len(n.cfg.HomeAgents) == 0 {
		add("any", n.cfg.Association)
	}
	for _, agent := range slices.SortedFunc(maps.Keys(n.roster.keys), netip.Addr.Compare) {
		add(agent.String(), n.roster.keys[agent])
	}
	for _, f := range n.cfg.ForeignAgents.Associations {
		add(f.Address.String(), f.Association)
		list[len(list)-1].Kind = "foreign-agent"
	}
	for _, of := range n.foreignKeys {
		for _, k := range of() {
			add(k.Agent.String(), k.Association)
			list[len(list)-1].Kind = "foreign-agent"
		}
	}
	return list
}
