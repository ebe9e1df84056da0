package standard_test

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"careof/internal/core/aaa"
	"careof/internal/core/engine"
	"careof/internal/core/engine/enginetest"
	"careof/internal/core/forward"
	"careof/internal/core/note"
	"careof/internal/proto/mip4/fa"
	"careof/internal/proto/mip4/feature"
	"careof/internal/proto/mip4/ha"
	"careof/internal/proto/mip4/mn"
	"careof/internal/proto/mip4/standard"
	"careof/wire/encap"
)

// A journey is a mobile node among two foreign agents and its home agent, all
// of them real machines, in virtual time. The node's one interface is attached
// to one agent's link at a time; a message takes 1 ms on that link and 25 ms
// to the home agent.
type journey struct {
	t    testing.TB
	plan *plan
	timeline[delivery]
	hosts []*post
	home  *post
	node  *post
	at    *post // whose link the node is attached to; nil for none
	count uint64
	log   []string
	// tap sees every datagram when it is sent, and may change it; nil loses it.
	tap  func(from *post, data []byte) []byte
	lost netip.Addr // a home agent that is not there
	// aaa answers questions to AAA, after a moment; nil: nobody does.
	aaa   func(question any) (aaa.Grant, error)
	slow  time.Duration // how long that takes
	asked []any         // the questions
	// commits sees what is made durable; nil: nobody does.
	commits func(h *post, records []engine.Record)
}

// A post is one machine and where it is.
type post struct {
	name    string
	address netip.Addr // of its visited link, or of the home agent
	careOf  netip.Addr
	hw      engine.HardwareAddr
	machine engine.Machine
	entries enginetest.Plane
	notes   []note.Note
	results []engine.Result
	deaf    bool // hears nothing from the node
}

type delivery struct {
	to *post
	on *post // the link it travels on, when that matters
	ev engine.Event
}

const (
	near = time.Millisecond
	far  = 25 * time.Millisecond
)

// A plan is the configuration of a journey.
type plan struct {
	home    ha.Config
	foreign fa.Config
	node    mn.Config

	atHome, atForeign, atNode standard.Config // the features of each

	without []string // names of features that the foreign agents do not have
}

func newPlan(t testing.TB) *plan {
	p := &plan{home: agentConfig(t), node: nodeConfig(t)}
	p.foreign = fa.Config{Links: []string{"eth1"}, Interval: 3 * time.Second}
	p.node.ForeignAgents.Any = true
	return p
}

func newJourney(t testing.TB, p *plan) *journey {
	t.Helper()
	j := &journey{t: t, plan: p, timeline: newTimeline[delivery]()}
	add := func(name string, address, careOf string, m engine.Machine, err error) *post {
		if err != nil {
			t.Fatal(err)
		}
		h := &post{name: name, machine: m, entries: enginetest.Plane{}, hw: engine.HardwareAddr{2, 0, 0, 0, 0, byte(len(j.hosts) + 1)}}
		h.address, _ = netip.ParseAddr(address)
		h.careOf, _ = netip.ParseAddr(careOf)
		j.hosts = append(j.hosts, h)
		return h
	}
	a, err := standard.HomeAgent(p.home, standard.Features(p.atHome), rand.New(rand.NewPCG(1, 1)))
	j.home = add("ha", agent.String(), "", a, err)
	for i := range 2 {
		address, careOf := fmt.Sprintf("192.0.%d.1", 10+i), fmt.Sprintf("203.0.113.%d", 1+i)
		add(fmt.Sprintf("fa%d", i+1), address, careOf, j.foreign(i), nil)
	}
	n, err := standard.MobileNode(p.node, standard.Features(p.atNode), rand.New(rand.NewPCG(3, 3)))
	j.node = add("mn", "", "", n, err)
	for _, h := range j.hosts[:3] {
		j.boot(h)
	}
	return j
}

// foreign makes the machine of a foreign agent.
func (j *journey) foreign(i int) engine.Persistent {
	j.t.Helper()
	c := j.plan.foreign
	c.CareOfAddresses = []netip.Addr{netip.MustParseAddr(fmt.Sprintf("203.0.113.%d", 1+i))}
	features := slices.DeleteFunc(standard.Features(j.plan.atForeign), func(f feature.Feature) bool { return slices.Contains(j.plan.without, f.Name) })
	f, err := standard.ForeignAgent(c, features, rand.New(rand.NewPCG(2, uint64(i))))
	if err != nil {
		j.t.Fatal(err)
	}
	return f
}

// boot tells an agent of its interface.
func (j *journey) boot(h *post) {
	name := "eth1"
	if h == j.home {
		name = "eth0"
	}
	j.step(h, engine.LinkChanged{Link: engine.Link{
		Name: name, Up: true, MTU: 1500, HW: h.hw, Addresses: []netip.Prefix{netip.PrefixFrom(h.address, 24)},
	}})
}

func (j *journey) fa(n int) *post { return j.hosts[n] }

// reboot starts a foreign agent anew, with what it has stored.
func (j *journey) reboot(n int, stored enginetest.Store) {
	j.t.Helper()
	h := j.fa(n)
	m := j.foreign(n - 1)
	stored.Restore(j.t, m, j.now)
	j.recall(func(d delivery) bool { return d.to == h })
	h.machine, h.entries = m, enginetest.Plane{}
	j.boot(h)
}

// attach plugs the node in at an agent, with an address when own is valid.
func (j *journey) attach(h *post, own netip.Addr) {
	j.at = h
	j.count++
	l := engine.Link{Name: "wlan0", Up: h != nil, MTU: 1500, HW: j.node.hw, Attachment: j.count}
	if own.IsValid() {
		l.Addresses, l.Gateways = []netip.Prefix{netip.PrefixFrom(own, 24)}, []netip.Addr{h.address}
	}
	j.step(j.node, engine.LinkChanged{Link: l})
}

func (j *journey) step(h *post, ev engine.Event) {
	j.execute(h, h.machine.Step(j.now, ev))
	if at := h.machine.Deadline(); !at.IsZero() && !at.After(j.now.Mono) {
		j.t.Fatalf("%s: after %T the deadline is not in the future", h.name, ev)
	}
}

func (j *journey) later(d time.Duration, to, on *post, ev engine.Event) {
	j.after(d, delivery{to, on, ev})
}

func (j *journey) execute(h *post, actions []engine.Action) {
	for _, a := range actions {
		switch a := a.(type) {
		case engine.Send:
			j.send(h, a)
		case engine.SendDiscovery:
			j.discover(h, a)
		case engine.Commit:
			if j.commits != nil {
				j.commits(h, a.Records)
			}
			for _, c := range a.Changes {
				h.entries.Apply(j.t, c)
			}
			j.execute(h, a.Then)
			if a.Ticket != 0 {
				j.later(0, h, nil, engine.Answer{Ticket: a.Ticket})
			}
		case engine.Ask:
			j.asked = append(j.asked, a.Question)
			if j.aaa != nil {
				g, err := j.aaa(a.Question)
				j.later(j.slow, h, nil, engine.Answer{Ticket: a.Ticket, Value: g, Err: err})
				continue
			}
			j.later(0, h, nil, engine.Answer{Ticket: a.Ticket, Err: fmt.Errorf("nobody knows")})
		case engine.Tell:
			h.notes = append(h.notes, a.Note)
		case engine.Result:
			h.results = append(h.results, a)
		}
	}
}

// discover carries a router discovery message over the link of one agent.
func (j *journey) discover(from *post, s engine.SendDiscovery) {
	on, to := from, j.node
	if from == j.node {
		on, to = j.at, j.at
	}
	if on == nil || on != j.at || from != j.node && s.HW != (engine.HardwareAddr{}) && s.HW != j.node.hw || to == j.home && to != on {
		return
	}
	link := "wlan0"
	if to != j.node {
		link = "eth1"
	}
	j.later(near, to, on, engine.Discovery{Link: link, Src: s.Src, Dst: s.Dst, TTL: 1, HW: from.hw, Data: slices.Clone(s.Data)})
}

// send carries a signalling datagram.
func (j *journey) send(from *post, s engine.Send) {
	ttl := s.TTL
	if ttl == 0 {
		ttl = 64
	}
	p := engine.Packet{Src: s.Src, Dst: s.Dst, TTL: ttl, Data: slices.Clone(s.Data)}
	if j.tap != nil {
		if p.Data = j.tap(from, p.Data); p.Data == nil {
			return
		}
	}
	j.log = append(j.log, fmt.Sprintf("%s %v>%v", from.name, s.Src.Addr(), s.Dst.Addr()))
	switch {
	case from == j.node && s.HW != (engine.HardwareAddr{}): // to an agent on the link
		if j.at != nil && j.at.hw == s.HW && !j.at.deaf {
			p.Link, p.HW, p.Src = "eth1", j.node.hw, netip.AddrPortFrom(s.Src.Addr(), 40434)
			j.later(near, j.at, j.at, p)
		}
	case from == j.node: // through the link's router
		if j.at != nil {
			p.Link, p.Src, p.TTL = "eth0", netip.AddrPortFrom(s.Src.Addr(), 40434), ttl-1
			j.later(near+far, j.home, nil, p)
		}
	case from != j.home && s.HW == j.node.hw: // from an agent on the link to the node
		p.Link, p.HW = "wlan0", from.hw
		j.later(near, j.node, from, p)
	case from != j.home && s.Dst.Addr() == j.lost:
	case from != j.home: // relayed
		p.Link = "eth0"
		j.later(far, j.home, nil, p)
	default:
		p.Link, p.Src = "eth0", netip.AddrPortFrom(agent, 434)
		for _, h := range j.hosts[1:3] {
			if s.Dst.Addr() == h.careOf {
				j.later(far, h, nil, p)
				return
			}
		}
		p.Link = "wlan0"
		j.later(far+near, j.node, j.at, p)
	}
}

func (j *journey) run(d time.Duration) {
	j.t.Helper()
	j.pass(j.t, d, func(d delivery) {
		// Who has left the link does not hear it any more.
		if d.on == nil || d.on == j.at {
			j.step(d.to, d.ev)
		}
	}, func() (at time.Time, wake func()) {
		for _, h := range j.hosts {
			at, wake = sooner(at, wake, h.machine.Deadline(), func() { j.step(h, engine.Wake{}) })
		}
		return at, wake
	})
}

func (j *journey) status() mn.Status {
	j.step(j.node, engine.Command{Ticket: 1, Value: mn.ShowStatus{}})
	return j.node.results[len(j.node.results)-1].Value.(mn.Status)
}

func (j *journey) trace() string {
	var b strings.Builder
	for _, h := range j.hosts {
		for _, n := range h.notes {
			fmt.Fprintln(&b, h.name, n)
		}
	}
	return b.String()
}

// only is the one entry that a host has for the node.
func (h *post) only() (forward.Entry, bool) {
	for _, k := range slices.Sorted(maps.Keys(h.entries)) {
		return h.entries[k], len(h.entries) == 1
	}
	return forward.Entry{}, false
}

// visits checks that all three agree that the node is registered with an
// agent's care-of address, and nobody else thinks otherwise.
func (j *journey) visits(h *post, form encap.Kind) {
	j.t.Helper()
	s := j.status()
	if s.State != "registered" || s.ForeignAgent != h.address || s.CareOfAddress != h.careOf {
		j.t.Fatalf("the node is %s with %v through %v\n%s", s.State, s.CareOfAddress, s.ForeignAgent, j.trace())
	}
	if e, ok := j.node.only(); !ok || e.Deliver != (forward.Deliver{Link: "wlan0", HW: h.hw, Via: h.address}) {
		j.t.Errorf("the node sends to %+v", e.Deliver)
	}
	e, ok := h.only()
	if !ok || e.Deliver.HW != j.node.hw || e.Deliver.Link != "eth1" || e.Inner.Addr() != s.HomeAddress {
		j.t.Errorf("%s delivers %+v", h.name, e)
	}
	there, ok := j.home.only()
	var sending []forward.Tunnel
	for _, t := range there.Tunnels {
		if t.Mode != forward.Receive {
			sending = append(sending, t)
		}
	}
	if !ok || len(sending) != 1 || sending[0].Peer.Addr() != h.careOf || sending[0].Encap != form {
		j.t.Errorf("the home agent sends to %+v", sending)
	}
	if len(e.Tunnels) == 0 || e.Tunnels[0].Encap != form || e.Tunnels[0].Local.Addr() != h.careOf || e.Tunnels[0].Peer.Addr() != agent {
		j.t.Errorf("%s receives from %+v", h.name, e.Tunnels)
	}
}

func count(h *post, k note.Kind) (n int) {
	for _, t := range h.notes {
		if t.Kind == k {
			n++
		}
	}
	return n
}
