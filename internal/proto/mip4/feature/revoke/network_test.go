package revoke_test

import (
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"
	"time"

	"careof/internal/core/assoc"
	"careof/internal/core/engine"
	"careof/internal/core/engine/enginetest"
	"careof/internal/core/ident"
	"careof/internal/core/note"
	"careof/internal/proto/mip4/fa"
	"careof/internal/proto/mip4/feature/revoke"
	"careof/internal/proto/mip4/ha"
	"careof/internal/proto/mip4/mn"
	"careof/wire/adv4"
	"careof/wire/mip4"
)

var (
	homeAgent = netip.MustParseAddr("198.51.100.1")
	careOf    = netip.MustParseAddr("203.0.113.1")  // the foreign agent's
	linkAddr  = netip.MustParseAddr("192.168.1.1")  // the foreign agent's, on the visited link
	visitor   = netip.MustParseAddr("10.10.0.5")    // registers through the foreign agent
	direct    = netip.MustParseAddr("10.10.0.6")    // registers directly
	elsewhere = netip.MustParseAddr("192.0.2.7")    // its care-of address
	third     = netip.MustParseAddr("203.0.113.99") // another care-of address of the visitor's
	homeNet   = netip.MustParsePrefix("10.10.0.0/24")
	visitorHW = engine.HardwareAddr{2, 0, 0, 0, 0, 5}
)

const delay = 25 * time.Millisecond

func association(spi uint32, secret string) *assoc.Association {
	a, err := assoc.New(spi, assoc.HMACSHA256, assoc.NewKey([]byte(secret)), assoc.Timestamps)
	if err != nil {
		panic(err)
	}
	return a
}

var (
	nodeKey  = association(256, "node-node-node-n")
	agentKey = association(300, "agent-agent-agen")
)

// A machine is one role with what it has told.
type machine struct {
	engine.Machine
	plane   enginetest.Plane
	notes   []note.Note
	results []engine.Result
}

func (m *machine) told(k note.Kind) int {
	n := 0
	for _, t := range m.notes {
		if t.Kind == k {
			n++
		}
	}
	return n
}

type arrival struct {
	at time.Time
	to *machine
	ev engine.Event
}

// A network is a home agent, a foreign agent and a direct mobile node, 25 ms
// apart, in virtual time.
type network struct {
	t                     *testing.T
	now                   engine.Now
	home, foreign, mobile *machine
	queue                 []arrival
	store                 enginetest.Store     // of the home agent
	adverts               []adv4.MobilityAgent // unicast to the visitor
	replies               []mip4.RegistrationReply
	sent                  []engine.Send // between the machines
	lost                  func(engine.Send) bool
}

func newNetwork(t *testing.T, homeCfg, foreignCfg revoke.Config) *network {
	t.Helper()
	n := &network{
		t: t, now: engine.Now{Mono: time.Unix(100_000, 0), Wall: time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)},
		store: enginetest.Store{}, lost: func(engine.Send) bool { return false },
	}
	n.bootHome(homeCfg)
	agent, err := fa.New(fa.Config{
		Links: []string{"eth1"}, CareOfAddresses: []netip.Addr{careOf},
		HomeAgents: []fa.HomeAgent{{Address: homeAgent, Keys: []*assoc.Association{agentKey}}},
	}, luck(), func(a *fa.Agent) error {
		if add := revoke.New(foreignCfg).Foreign; add != nil {
			return add(a)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	n.foreign = &machine{Machine: agent, plane: enginetest.Plane{}}
	n.step(n.foreign, up("eth0", careOf))
	n.step(n.foreign, up("eth1", linkAddr))
	node, err := mn.New(mn.Config{
		HomeAddress: direct, HomeAgents: []mn.HomeAgent{{Address: homeAgent}}, Association: nodeKey,
		Uplinks: []mn.UplinkConfig{{Interface: "wlan0"}},
	}, luck(), revoke.New(revoke.Config{}).Mobile)
	if err != nil {
		t.Fatal(err)
	}
	n.mobile = &machine{Machine: node, plane: enginetest.Plane{}}
	return n
}

func luck() *rand.Rand { return rand.New(rand.NewPCG(1, 2)) }

func up(name string, addr netip.Addr) engine.LinkChanged {
	return engine.LinkChanged{Link: engine.Link{Name: name, Up: true, MTU: 1500, Addresses: []netip.Prefix{netip.PrefixFrom(addr, 24)},
		Gateways: []netip.Addr{addr.Next()}, GatewayHW: engine.HardwareAddr{2, 0, 0, 0, 0, 1}}}
}

// bootHome starts the home agent, from what is stored.
func (n *network) bootHome(cfg revoke.Config) {
	n.t.Helper()
	agent, err := ha.New(ha.Config{
		Addresses: []netip.Addr{homeAgent}, Networks: []ha.Network{{Prefix: homeNet, Virtual: true}},
		Nodes: []ha.MobileNode{
			{Node: ident.Node{HomeAddress: visitor}, Keys: []*assoc.Association{nodeKey}},
			{Node: ident.Node{HomeAddress: direct}, Keys: []*assoc.Association{nodeKey}},
		},
		ForeignAgents: []ha.ForeignAgent{{Address: careOf, Keys: []*assoc.Association{agentKey}}},
	}, luck(), func(a *ha.Agent) {
		if err := revoke.New(cfg).Home(a); err != nil {
			n.t.Error(err)
		}
	})
	if err != nil {
		n.t.Fatal(err)
	}
	n.home = &machine{Machine: agent, plane: enginetest.Plane{}}
	n.store.Restore(n.t, agent, n.now)
}

func (n *network) step(m *machine, ev engine.Event) {
	n.do(m, enginetest.Step(m.Machine, n.now, ev))
}

func (n *network) do(m *machine, actions []engine.Action) {
	for _, act := range actions {
		switch act := act.(type) {
		case engine.Send:
			n.send(act)
		case engine.SendDiscovery:
			if act.HW != visitorHW {
				continue
			}
			msg, err := adv4.Parse(act.Data)
			if err != nil {
				n.t.Fatal(err)
			}
			agent, err := msg.ForMobileNode()
			if err != nil {
				n.t.Fatal(err)
			}
			n.adverts = append(n.adverts, agent)
		case engine.Commit:
			if m == n.home {
				n.store.Keep(act.Records)
			}
			for _, c := range act.Changes {
				m.plane.Apply(n.t, c)
			}
			n.do(m, act.Then)
			n.queue = append(n.queue, arrival{n.now.Mono, m, engine.Answer{Ticket: act.Ticket}})
		case engine.Ask:
			n.queue = append(n.queue, arrival{n.now.Mono, m, engine.Answer{Ticket: act.Ticket}})
		case engine.Tell:
			m.notes = append(m.notes, act.Note)
		case engine.Result:
			m.results = append(m.results, act)
		}
	}
}

func (n *network) send(s engine.Send) {
	s.Data = slices.Clone(s.Data)
	n.sent = append(n.sent, s)
	if n.lost(s) {
		return
	}
	if s.HW == visitorHW {
		m, err := mip4.Parse(s.Data)
		if err != nil {
			n.t.Fatal(err)
		}
		if r, err := m.Reply(); err == nil {
			n.replies = append(n.replies, r)
		}
		return
	}
	n.deliver(s)
}

func (n *network) deliver(s engine.Send) {
	to := map[netip.Addr]*machine{homeAgent: n.home, careOf: n.foreign, elsewhere: n.mobile}[s.Dst.Addr()]
	if to == nil {
		return
	}
	src := s.Src
	if !src.Addr().IsValid() {
		src = netip.AddrPortFrom(elsewhere, 0)
	}
	if src.Port() == 0 {
		src = netip.AddrPortFrom(src.Addr(), 40434) // the mobile node's own port
	}
	link := map[*machine]string{n.home: "eth0", n.foreign: "eth0", n.mobile: "wlan0"}[to]
	n.queue = append(n.queue, arrival{n.now.Mono.Add(delay), to, engine.Packet{Link: link, Src: src, Dst: s.Dst, TTL: 60, Data: s.Data}})
}

// run lets time pass.
func (n *network) run(d time.Duration) {
	n.t.Helper()
	end := n.now.Mono.Add(d)
	for range 100_000 {
		slices.SortStableFunc(n.queue, func(a, b arrival) int { return a.at.Compare(b.at) })
		at, do := end, func() {}
		if len(n.queue) > 0 && !n.queue[0].at.After(end) {
			a := n.queue[0]
			at, do = a.at, func() { n.queue = n.queue[1:]; n.step(a.to, a.ev) }
		}
		for _, m := range []*machine{n.home, n.foreign, n.mobile} {
			if dl := m.Deadline(); !dl.IsZero() && dl.Before(at) {
				at, do = dl, func() { n.step(m, engine.Wake{}) }
			}
		}
		if d := at.Sub(n.now.Mono); d > 0 {
			n.now.Mono, n.now.Wall = n.now.Mono.Add(d), n.now.Wall.Add(d)
		}
		do()
		if at.Equal(end) && (len(n.queue) == 0 || n.queue[0].at.After(end)) {
			return
		}
	}
	n.t.Fatal("the network does not come to rest")
}

// visit registers the visitor through the foreign agent, and gives the code
// of the answer. change may add to the request before it is signed.
func (n *network) visit(lifetime uint16, change ...func(*mip4.Draft)) mip4.Code {
	n.t.Helper()
	n.replies = nil
	d := mip4.NewRequest(mip4.RegistrationRequest{
		Flags: mip4.FlagT, Lifetime: lifetime, HomeAddress: visitor, HomeAgent: homeAgent, CareOfAddress: careOf, Identification: assoc.Timestamp(n.now.Wall),
	})
	for _, c := range change {
		c(d)
	}
	d.Authenticate(mip4.ExtMobileHome, nodeKey)
	data, err := d.Seal()
	if err != nil {
		n.t.Fatal(err)
	}
	n.step(n.foreign, engine.Packet{
		Link: "eth1", Src: netip.AddrPortFrom(visitor, 434), Dst: netip.AddrPortFrom(linkAddr, 434), TTL: 255, HW: visitorHW, Data: data,
	})
	n.run(4 * delay)
	if len(n.replies) == 0 {
		return 255
	}
	return n.replies[len(n.replies)-1].Code
}

// move registers the visitor elsewhere, with an address of its own.
func (n *network) move() {
	n.t.Helper()
	d := mip4.NewRequest(mip4.RegistrationRequest{
		Flags: mip4.FlagD | mip4.FlagT, Lifetime: 600, HomeAddress: visitor, HomeAgent: homeAgent, CareOfAddress: third, Identification: assoc.Timestamp(n.now.Wall),
	})
	d.Authenticate(mip4.ExtMobileHome, nodeKey)
	data, err := d.Seal()
	if err != nil {
		n.t.Fatal(err)
	}
	n.step(n.home, engine.Packet{Link: "eth0", Src: netip.AddrPortFrom(third, 434), Dst: netip.AddrPortFrom(homeAgent, 434), TTL: 60, Data: data})
}

// order gives the home agent a command and waits for its result.
func (n *network) order(value any) (revoke.Report, error) {
	n.t.Helper()
	before := len(n.home.results)
	n.step(n.home, engine.Command{Ticket: 99, Value: value})
	for range 100 {
		if len(n.home.results) > before {
			r := n.home.results[len(n.home.results)-1]
			report, _ := r.Value.(revoke.Report)
			return report, r.Err
		}
		n.run(100 * time.Millisecond)
	}
	n.t.Fatal("the command is not answered")
	return revoke.Report{}, nil
}

// messages are the revocations and acknowledgments that were sent.
func (n *network) messages(t mip4.MessageType) (out []engine.Send) {
	for _, s := range n.sent {
		if mip4.MessageType(s.Data[0]) == t {
			out = append(out, s)
		}
	}
	return out
}
